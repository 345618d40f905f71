//! `KeyRing`: the master keys of a file system, for packs and for whole objects.

use std::sync::Arc;

use caudal_blocks::seal::{self, KeyError, KeyRing as Ring};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::convert::fs_id_from;
use super::exceptions::SealError;
use crate::errors::CoreError;

#[pyclass(module = "gateway._core", frozen)]
pub struct KeyRing(pub Arc<Ring>);

type Secret = [u8; seal::MASTER_KEY];

fn failed(error: KeyError) -> PyErr {
    match error {
        KeyError::Id(_) => PyValueError::new_err(error.to_string()),
        _ => SealError::new_err(error.to_string()),
    }
}

fn secrets(keys: Vec<(String, Vec<u8>)>) -> PyResult<Vec<(String, Secret)>> {
    keys.into_iter()
        .map(|(id, secret)| {
            let secret = Secret::try_from(secret.as_slice()).map_err(|_| {
                PyValueError::new_err(format!("the key {id} has not {} bytes", seal::MASTER_KEY))
            })?;
            Ok((id, secret))
        })
        .collect()
}

#[pymethods]
impl KeyRing {
    #[new]
    #[pyo3(signature = (fs_id, keys, *, seals = true))]
    fn new(fs_id: &[u8], keys: Vec<(String, Vec<u8>)>, seals: bool) -> PyResult<Self> {
        let ring = Ring::new(fs_id_from(fs_id)?, &secrets(keys)?, seals);
        Ok(Self(ring.map_err(failed)?))
    }

    #[pyo3(signature = (keys, *, seals = true))]
    fn replace(&self, keys: Vec<(String, Vec<u8>)>, seals: bool) -> PyResult<()> {
        self.0.replace(&secrets(keys)?, seals).map_err(failed)
    }

    #[getter]
    fn current(&self) -> Option<String> {
        self.0.current()
    }

    #[getter]
    fn fs_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.fs_id())
    }

    #[getter]
    fn ids(&self) -> Vec<String> {
        self.0.ids()
    }

    fn seal<'py>(&self, py: Python<'py>, data: &[u8], purpose: &str) -> PyResult<Bound<'py, PyBytes>> {
        let sealed = py.detach(|| self.0.seal(data, purpose)).map_err(failed)?;
        Ok(PyBytes::new(py, &sealed))
    }

    fn open<'py>(&self, py: Python<'py>, data: &[u8], purpose: &str) -> PyResult<Bound<'py, PyBytes>> {
        let plain = py.detach(|| self.0.open(data, purpose)).map_err(failed)?;
        Ok(PyBytes::new(py, &plain))
    }

    fn sealer(&self, purpose: &str) -> PyResult<ObjectSealer> {
        let sealer = self.0.sealer(purpose).map_err(failed)?;
        Ok(ObjectSealer(Mutex::new(Some(sealer))))
    }

    fn opener(&self, purpose: &str) -> ObjectOpener {
        ObjectOpener(Mutex::new(Some(self.0.opener(purpose))))
    }

    fn __repr__(&self) -> String {
        format!("<KeyRing {}>", self.0.ids().join(" "))
    }
}

#[pyclass(module = "gateway._core", frozen)]
pub struct ObjectSealer(Mutex<Option<seal::ObjectSealer>>);

#[pyclass(module = "gateway._core", frozen)]
pub struct ObjectOpener(Mutex<Option<seal::ObjectOpener>>);

fn finished() -> PyErr {
    CoreError::Misuse("it was finished").into()
}

#[pymethods]
impl ObjectSealer {
    fn update<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let sealed = py.detach(|| self.0.lock().as_mut().map(|sealer| sealer.update(data)));
        Ok(PyBytes::new(py, &sealed.ok_or_else(finished)?))
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let sealer = self.0.lock().take().ok_or_else(finished)?;
        Ok(PyBytes::new(py, &py.detach(|| sealer.finish())))
    }
}

#[pymethods]
impl ObjectOpener {
    fn update<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let plain = py.detach(|| self.0.lock().as_mut().map(|opener| opener.update(data)));
        Ok(PyBytes::new(py, &plain.ok_or_else(finished)?.map_err(failed)?))
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let opener = self.0.lock().take().ok_or_else(finished)?;
        Ok(PyBytes::new(py, &py.detach(|| opener.finish()).map_err(failed)?))
    }
}

/// The id of the key that a pack or an object is sealed with, as its first bytes say; None: it is not sealed.
#[pyfunction]
pub fn sealed_with(start: &[u8]) -> PyResult<Option<String>> {
    match seal::pack_key_id(start).or_else(|_| seal::object_key_id(start)) {
        Ok(id) => Ok(Some(id)),
        Err(KeyError::Malformed(_)) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}
