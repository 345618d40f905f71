//! `PackStore`: the packs of a store without a file system around them, for checks from outside.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use caudal_blocks::{BlockError, Store, StoreError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::runtime::Runtime;

use super::key_ring::KeyRing;
use super::types::{build, types};
use crate::errors::{CoreError, Result};
use crate::packs;

#[pyclass(module = "gateway._core", frozen)]
pub struct PackStore {
    store: Arc<dyn Store>,
    runtime: Runtime,
}

#[pymethods]
impl PackStore {
    #[new]
    #[pyo3(signature = (store_url, store_options, keys = None))]
    fn new(
        py: Python<'_>,
        store_url: &str,
        store_options: HashMap<String, String>,
        keys: Option<&KeyRing>,
    ) -> PyResult<Self> {
        let keys = keys.map(|keys| keys.0.clone());
        Ok(py.detach(|| -> Result<Self> {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("caudal-packs")
                .enable_all()
                .build()
                .map_err(CoreError::from)?;
            Ok(Self {
                store: packs::keyed(caudal_blocks::open_store(store_url, &store_options)?, keys),
                runtime,
            })
        })?)
    }

    fn list_packs(&self, py: Python<'_>) -> PyResult<Vec<(u64, u64, f64)>> {
        Ok(py.detach(|| self.runtime.block_on(packs::list(self.store.as_ref())))?)
    }

    fn delete_pack(&self, py: Python<'_>, id: u64) -> PyResult<()> {
        Ok(py.detach(|| self.runtime.block_on(packs::delete(self.store.as_ref(), id)))?)
    }

    fn verify_pack(&self, py: Python<'_>, id: u64, deep: bool) -> PyResult<()> {
        py.detach(|| {
            self.runtime
                .block_on(packs::verify(self.store.as_ref(), id, deep))
        })?;
        Ok(())
    }

    fn pack_footer<'py>(&self, py: Python<'py>, id: u64) -> PyResult<Bound<'py, PyAny>> {
        let footer = py.detach(|| {
            self.runtime
                .block_on(packs::verify(self.store.as_ref(), id, false))
        })?;
        footer_to(py, &footer)
    }

    /// Objects beside the packs, below a directory: (key, bytes).
    fn list_objects(&self, py: Python<'_>, prefix: &str) -> PyResult<Vec<(String, u64)>> {
        let found = py
            .detach(|| self.runtime.block_on(self.store.list(prefix)))
            .map_err(|error| CoreError::from(BlockError::from(error)))?;
        Ok(found.into_iter().map(|info| (info.key, info.bytes)).collect())
    }

    /// False: there is one with this key, which stays.
    fn put_object(&self, py: Python<'_>, key: &str, data: &[u8]) -> PyResult<bool> {
        let chunks = [Bytes::copy_from_slice(data)];
        match py.detach(|| self.runtime.block_on(self.store.put(key, &chunks))) {
            Ok(()) => Ok(true),
            Err(StoreError::AlreadyExists(_)) => Ok(false),
            Err(error) => Err(CoreError::from(BlockError::from(error)).into()),
        }
    }

    /// The first bytes of an object, at most so many; None: there is no such object.
    fn read_object<'py>(
        &self,
        py: Python<'py>,
        key: &str,
        max_bytes: u64,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match py.detach(|| self.runtime.block_on(self.store.get_range(key, 0..max_bytes))) {
            Ok(bytes) => Ok(Some(PyBytes::new(py, &bytes))),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(StoreError::Range(_)) => Ok(Some(PyBytes::new(py, b""))),
            Err(error) => Err(CoreError::from(BlockError::from(error)).into()),
        }
    }

    fn delete_object(&self, py: Python<'_>, key: &str) -> PyResult<()> {
        Ok(py
            .detach(|| self.runtime.block_on(self.store.delete(key)))
            .map_err(|error| CoreError::from(BlockError::from(error)))?)
    }
}

pub fn footer_to<'py>(py: Python<'py>, footer: &caudal_blocks::Footer) -> PyResult<Bound<'py, PyAny>> {
    let entries: Vec<_> = footer
        .entries
        .iter()
        .map(|e| (e.inode, e.offset, e.len, e.pack_offset))
        .collect();
    build(py, &types(py)?.pack_footer, (footer.lsn, entries))
}
