//! `Limits`: what operators allow, and the gate that holds clients to it.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::errors::CoreError;
use crate::gate::{Gate, NAME, OwnedGate};
use crate::limits::{Address, Rates, Rule, Scope};

#[pyclass(module = "gateway._core", name = "Limits", frozen)]
pub struct PyLimits(Arc<Gate>);

type RuleTuple = (String, u16, Vec<u8>, u8, f64, f64, f64, f64);

fn rule_from(given: RuleTuple) -> Result<Rule, CoreError> {
    let (scope, export, network, prefix, read_bytes_s, write_bytes_s, ops_s, burst_s) = given;
    let numbers = [read_bytes_s, write_bytes_s, ops_s, burst_s];
    if numbers.iter().any(|number| !number.is_finite() || *number < 0.0) {
        return Err(CoreError::Invalid("rates are finite and not negative".to_owned()));
    }
    let scope = match scope.as_str() {
        "server" => Scope::Server,
        "export" => Scope::Export(export),
        "clients" if prefix <= 128 => Scope::Clients {
            network: Address::try_from(network)
                .map_err(|_| CoreError::Invalid("an address has 16 bytes".to_owned()))?,
            prefix,
        },
        other => return Err(CoreError::Invalid(format!("{other} is no scope"))),
    };
    let rates = Rates {
        read_bytes_s,
        write_bytes_s,
        ops_s,
        burst_s,
    };
    Ok(Rule { scope, rates })
}

#[pymethods]
impl PyLimits {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self(Gate::new().map_err(CoreError::from)?))
    }

    fn set(&self, rules: Vec<RuleTuple>) -> PyResult<()> {
        let rules = rules.into_iter().map(rule_from).collect::<Result<Vec<_>, _>>()?;
        self.0.limits.set(&rules, self.0.now_ns());
        Ok(())
    }

    fn counts(&self) -> Vec<(u64, u64, u64, f64)> {
        let seconds = |ns: u64| ns as f64 / 1e9;
        self.0
            .limits
            .counts()
            .into_iter()
            .map(|[passed, delayed, refused, ns]| (passed, delayed, refused, seconds(ns)))
            .collect()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }

    fn gate_capsule<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        PyCapsule::new_with_value(py, OwnedGate::new(self.0.clone()), NAME)
    }
}
