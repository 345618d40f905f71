//! The core as a Python module; `_core.pyi` says what each part does.

mod batch;
mod block_cache;
mod capsule;
mod convert;
mod core;
mod exceptions;
mod fence;
mod journal_tail;
mod key_ring;
mod limits;
mod pack_store;
mod quotas;
mod replay;
mod sim_world;
mod stats;
mod types;

use caudal_base::failpoint;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Names of all failpoints of the core and of the crates below it.
const FAILPOINTS: &[&str] = &[
    "core.before_data_append",
    "core.after_data_append",
    "flush.after_take",
    "flush.before_put",
    "flush.after_put",
    "flush.before_commit",
    "flush.after_commit",
    "journal.before_append",
    "journal.before_write",
    "journal.torn_write",
    "journal.before_sync",
    "journal.after_sync",
    "journal.before_roll",
    "journal.after_roll",
    "journal.before_trim",
    "journal.after_trim",
    "journal.before_members",
    "journal.after_members",
    "journal.before_return",
    "journal.before_rebuild",
    "journal.rebuild_copied",
    "journal.rebuild_joined",
    "journal.rebuild_before_promote",
    "journal.rebuild_after_promote",
    "pack.before_put",
    "pack.after_put",
    "pack.before_get",
];

/// Passes a failpoint of Python's own steps.
#[pyfunction(name = "failpoint")]
#[pyo3(signature = (name))]
fn pass_failpoint(py: Python<'_>, name: &str) -> PyResult<()> {
    py.detach(|| failpoint::hit(name))
        .map_err(|error| PyOSError::new_err((libc::EIO, error.to_string())))
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    failpoint::arm_from_env().map_err(PyValueError::new_err)?;
    let py = module.py();
    module.add("FAILPOINTS", PyTuple::new(py, FAILPOINTS)?)?;
    module.add("BLOCK_PAYLOAD_BYTES", caudal_blocks::PAYLOAD)?;
    types::register(module)?;
    exceptions::register(module)?;
    module.add_class::<core::Core>()?;
    module.add_class::<batch::FlushBatch>()?;
    module.add_class::<block_cache::BlockCache>()?;
    module.add_class::<fence::PyFence>()?;
    module.add_class::<limits::PyLimits>()?;
    module.add_class::<pack_store::PackStore>()?;
    module.add_class::<quotas::Quotas>()?;
    module.add_class::<key_ring::KeyRing>()?;
    module.add_class::<key_ring::ObjectSealer>()?;
    module.add_class::<key_ring::ObjectOpener>()?;
    module.add_function(wrap_pyfunction!(key_ring::sealed_with, module)?)?;
    module.add_class::<sim_world::SimWorld>()?;
    module.add_class::<journal_tail::JournalTail>()?;
    module.add_function(wrap_pyfunction!(pass_failpoint, module)?)?;
    // Written by PyO3; the stub lists the names.
    module.delattr("__all__")
}
