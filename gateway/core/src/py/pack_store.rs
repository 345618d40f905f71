//! `PackStore`: the packs of a store without a file system around them, for checks from outside.

use std::collections::HashMap;
use std::sync::Arc;

use caudal_blocks::Store;
use pyo3::prelude::*;
use tokio::runtime::Runtime;

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
    fn new(py: Python<'_>, store_url: &str, store_options: HashMap<String, String>) -> PyResult<Self> {
        Ok(py.detach(|| -> Result<Self> {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("caudal-packs")
                .enable_all()
                .build()
                .map_err(CoreError::from)?;
            Ok(Self {
                store: caudal_blocks::open_store(store_url, &store_options)?,
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
}

pub fn footer_to<'py>(py: Python<'py>, footer: &caudal_blocks::Footer) -> PyResult<Bound<'py, PyAny>> {
    let entries: Vec<_> = footer
        .entries
        .iter()
        .map(|e| (e.inode, e.offset, e.len, e.pack_offset))
        .collect();
    build(py, &types(py)?.pack_footer, (footer.lsn, entries))
}
