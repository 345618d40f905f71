//! `Fence`: where the thread that keeps the owner's lease tells how its attempts end.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;

use crate::clock::SystemClock;
use crate::errors::CoreError;
use crate::fence::{Attempt, Fence};

#[pyclass(module = "gateway._core", name = "Fence", frozen)]
pub struct PyFence(pub Arc<Fence>);

impl PyFence {
    /// That of a core which was given none: it lets everything pass.
    pub fn or_open(given: Option<&Self>) -> Arc<Fence> {
        given.map_or_else(|| Self::new().0, |fence| fence.0.clone())
    }
}

fn seconds(value: f64) -> PyResult<Duration> {
    Ok(Duration::try_from_secs_f64(value).map_err(|error| CoreError::Invalid(error.to_string()))?)
}

#[pymethods]
impl PyFence {
    #[new]
    fn new() -> Self {
        Self(Arc::new(Fence::new(Arc::new(SystemClock))))
    }

    fn attempt(&self) {
        self.0.attempt();
    }

    fn renewed(&self, lease_s: f64) -> PyResult<()> {
        self.0.end(Attempt::Renewed(seconds(lease_s)?));
        Ok(())
    }

    fn unanswered(&self, go_on_s: f64) -> PyResult<()> {
        self.0.end(Attempt::Unanswered(seconds(go_on_s)?));
        Ok(())
    }

    fn contested(&self) {
        self.0.end(Attempt::Contested);
    }

    fn lost(&self) {
        self.0.end(Attempt::Lost);
    }

    fn wake(&self) {
        self.0.wake();
    }

    fn wait_wanted(&self, py: Python<'_>, timeout_s: f64) -> PyResult<bool> {
        let timeout = seconds(timeout_s)?;
        Ok(py.detach(|| self.0.wait_wanted(timeout)))
    }

    #[pyo3(name = "pass_")]
    fn pass(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.0.wait())?)
    }

    #[getter]
    fn lease_left_s(&self) -> Option<f64> {
        self.0.lease_left().map(|left| left.as_secs_f64())
    }

    #[getter]
    fn state(&self) -> &'static str {
        match self.0.passes() {
            Err(_) => "fenced",
            Ok(false) => "waiting",
            Ok(true) if self.0.lease_left().is_some_and(|left| left.is_zero()) => "unconfirmed",
            Ok(true) => "valid",
        }
    }
}
