//! `JournalTail`: row transactions from a journal that another process writes.

use std::path::PathBuf;
use std::sync::Arc;

use caudal_journal::Tail;
use caudal_journal::disk::{Disk, SystemDisk};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::convert::fs_id_from;
use super::sim_world::SimWorld;
use crate::errors::{CoreError, Result};
use crate::inode::payload::KIND_ROWS;

#[pyclass(module = "gateway._core", frozen)]
pub struct JournalTail(Mutex<Tail>);

/// Row transactions up to `durable_lsn`, until they have `max_bytes`.
fn next_rows(tail: &mut Tail, durable_lsn: u64, max_bytes: u64) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut rows = Vec::new();
    let mut bytes = 0;
    while bytes < max_bytes {
        let Some(record) = tail.next_upto(durable_lsn)? else {
            break;
        };
        bytes += record.payload.len() as u64;
        rows.push((record.lsn, record.payload));
    }
    Ok(rows)
}

#[pymethods]
impl JournalTail {
    #[new]
    #[pyo3(signature = (journal, fs_id, from_lsn, world = None))]
    fn new(
        py: Python<'_>,
        journal: Vec<PathBuf>,
        fs_id: &[u8],
        from_lsn: u64,
        world: Option<&SimWorld>,
    ) -> PyResult<Self> {
        let fs_id = fs_id_from(fs_id)?;
        let disk: Arc<dyn Disk> = match world {
            Some(world) => Arc::new(world.0.disk()),
            None => Arc::new(SystemDisk),
        };
        let tail = py
            .detach(|| Tail::open_on(disk, &journal, fs_id, from_lsn))
            .map_err(CoreError::from)?;
        Ok(Self(Mutex::new(tail.only(KIND_ROWS))))
    }

    fn next_batch<'py>(
        &self,
        py: Python<'py>,
        durable_lsn: u64,
        max_bytes: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        let rows = py.detach(|| next_rows(&mut self.0.lock(), durable_lsn, max_bytes))?;
        PyList::new(
            py,
            rows.into_iter()
                .map(|(lsn, payload)| (lsn, PyBytes::new(py, &payload))),
        )
    }

    #[getter]
    fn position(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.0.lock().position())
    }
    #[getter]
    fn is_cut_off(&self, py: Python<'_>) -> bool {
        py.detach(|| self.0.lock().is_cut_off())
    }
}
