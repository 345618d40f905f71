//! The data path's C table as Python hands it to the shim.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use super::core::Core;
use crate::engine::Engine;
use crate::vtable::{NAME, OwnedIo};

/// What the capsule points to: the table first, and the core, which closes its engine when it goes.
#[repr(C)]
struct Contents {
    _io: OwnedIo,
    _core: Py<Core>,
}

pub fn of<'py>(py: Python<'py>, engine: Arc<Engine>, core: Py<Core>) -> PyResult<Bound<'py, PyCapsule>> {
    PyCapsule::new_with_value(
        py,
        Contents {
            _io: OwnedIo::new(engine),
            _core: core,
        },
        NAME,
    )
}
