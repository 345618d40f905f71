//! `FlushBatch`: a batch, handed from one call to the next.

use parking_lot::{Mutex, MutexGuard};
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::convert::{attributes_to, extent_to};
use super::types::{build, types};
use crate::errors::CoreError;
use crate::flush::Batch;

#[pyclass(module = "gateway._core", frozen)]
pub struct FlushBatch(Mutex<Batch>);

impl FlushBatch {
    pub const fn new(batch: Batch) -> Self {
        Self(Mutex::new(batch))
    }

    /// A batch belongs to one thread at a time; waiting here could hold the GIL for as long as a put takes.
    fn batch(&self) -> Result<MutexGuard<'_, Batch>, CoreError> {
        self.0
            .try_lock()
            .ok_or(CoreError::Misuse("another thread uses the batch"))
    }
}

#[pymethods]
impl FlushBatch {
    #[getter]
    fn inodes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let class = &types(py)?.flushed_inode;
        let list = PyList::empty(py);
        for inode in &self.batch()?.inodes {
            let splices: Vec<_> = inode.splices.iter().map(extent_to).collect();
            let attributes = attributes_to(py, &inode.taken.attributes)?;
            list.append(build(
                py,
                class,
                (inode.live.inode, inode.taken.lsn, attributes, splices),
            )?)?;
        }
        Ok(list)
    }

    #[getter]
    fn packs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let class = &types(py)?.flushed_pack;
        let list = PyList::empty(py);
        for pack in &self.batch()?.packs {
            list.append(build(py, class, (pack.id, pack.bytes, pack.live_bytes))?)?;
        }
        Ok(list)
    }

    #[getter]
    fn bytes(&self) -> PyResult<u64> {
        Ok(self.batch()?.bytes())
    }

    fn write(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.batch()?.write()).map_err(PyErr::from)
    }

    fn commit(&self, py: Python<'_>, lsn: u64) -> PyResult<()> {
        py.detach(|| self.batch()?.commit(lsn)).map_err(PyErr::from)
    }

    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| -> Result<(), CoreError> {
            self.batch()?.abort();
            Ok(())
        })
        .map_err(PyErr::from)
    }
}
