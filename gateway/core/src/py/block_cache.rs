//! `BlockCache`: the tiers of a core's block cache, as the cache's policy and operators change them while it serves.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use caudal_blocks::{Run, ShelfStats};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::core::Core;
use super::types::dict;
use crate::activity::{Rates, caller};
use crate::audit::{Event, Place};
use crate::engine::Engine;
use crate::errors::{CoreError, Result};

#[pyclass(module = "gateway._core", frozen)]
pub struct BlockCache(Arc<Engine>);

impl BlockCache {
    /// Runs a future of the cache without the GIL.
    fn run<T: Send, F>(&self, py: Python<'_>, work: impl FnOnce(&Engine) -> F + Send) -> PyResult<T>
    where
        F: Future<Output = caudal_blocks::Result<T>> + Send,
    {
        let engine = &self.0;
        Ok(py.detach(|| -> Result<T> { Ok(engine.block_on(work(engine))??) })?)
    }
}

#[pymethods]
impl BlockCache {
    #[new]
    fn new(core: &Core) -> Self {
        Self(core.engine.clone())
    }

    fn add_shelf(&self, py: Python<'_>, directory: PathBuf, bytes: u64) -> PyResult<()> {
        let engine = self.0.clone();
        let add = async move { engine.blocks.shelf_set().add(&directory, bytes).await };
        self.run(py, |_| add)
    }

    fn remove_shelf(&self, py: Python<'_>, directory: PathBuf) -> PyResult<()> {
        let engine = self.0.clone();
        let remove = async move { engine.blocks.shelf_set().remove(&directory).await };
        self.run(py, |_| remove)
    }

    fn drain_shelf(&self, directory: PathBuf, draining: bool) -> PyResult<()> {
        let drained = self.0.blocks.shelf_set().drain(&directory, draining);
        Ok(drained.map_err(CoreError::from)?)
    }

    fn resize_shelf(&self, py: Python<'_>, directory: PathBuf, bytes: u64) -> PyResult<()> {
        let engine = self.0.clone();
        let resize = async move { engine.blocks.shelf_set().resize(&directory, bytes).await };
        self.run(py, |_| resize)
    }

    fn move_from_shelf(&self, py: Python<'_>, directory: PathBuf, run: Run) -> PyResult<u64> {
        let engine = self.0.clone();
        let moved = async move { engine.blocks.shelf_set().move_from(&directory, run).await };
        self.run(py, |_| moved)
    }

    fn warm(&self, py: Python<'_>, run: Run) -> PyResult<u64> {
        let engine = self.0.clone();
        let warmed = async move { engine.blocks.warm(run).await };
        self.run(py, |_| warmed)
    }

    fn held(&self, py: Python<'_>, runs: Vec<Run>) -> u64 {
        py.detach(|| runs.iter().map(|run| self.0.blocks.held(*run)).sum())
    }

    fn activity<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = py.detach(|| self.0.io.activity.look(Instant::now()));
        dict(py, |d| {
            let files: Vec<_> = found.files.iter().map(|(inode, of)| (*inode, told(of))).collect();
            let clients: Vec<_> = found
                .clients
                .iter()
                .map(|(client, of)| (client.to_string(), told(of)))
                .collect();
            let sample: Vec<_> = found
                .sample
                .iter()
                .map(|(note, times)| (note.inode, *times, note.bytes as f64 * times))
                .collect();
            d.set_item("files", files)?;
            d.set_item("clients", clients)?;
            d.set_item("all", told(&found.all))?;
            d.set_item("sample", sample)
        })
    }

    fn take_read_packs(&self) -> Vec<u64> {
        self.0.blocks.take_read_packs()
    }

    fn export_reads(&self) -> Vec<(u16, u64, u64, u64)> {
        self.0.io.exports.all()
    }

    /// Levels by export: 0 nothing, 1 changes, 2 all.
    fn audit_set(&self, levels: Vec<(u16, u8)>) {
        self.0.io.audit.set(&levels);
    }

    fn audit_level(&self, export: u16) -> u8 {
        self.0.io.audit.level(export)
    }

    #[pyo3(signature = (export, op, result, inode, place, target = None))]
    fn audit_note(
        &self,
        export: u16,
        op: String,
        result: i32,
        inode: u64,
        place: Option<(u64, Vec<u8>)>,
        target: Option<(u64, Vec<u8>)>,
    ) {
        let (client, uid) = caller();
        let place_of = |(directory, name)| Place::new(directory, name);
        self.0.io.audit.push(Event {
            at_ns: self.0.clock.now_ns(),
            op,
            export,
            client,
            uid,
            result,
            inode,
            place: place.map(place_of),
            target: target.map(place_of),
        });
    }

    fn audit_take(&self, most: usize) -> Vec<AuditTuple> {
        self.0.io.audit.take(most).into_iter().map(told_event).collect()
    }

    fn audit_counts(&self) -> (usize, u64) {
        (self.0.io.audit.waiting(), self.0.io.audit.dropped())
    }

    fn pin(&self, py: Python<'_>, runs: Vec<Run>) {
        py.detach(|| self.0.blocks.shelf_set().pin(&runs));
    }
}

type PlaceTuple = (u64, Cow<'static, [u8]>);
type AuditTuple = (
    i64,
    String,
    u16,
    Option<String>,
    u32,
    i32,
    u64,
    Option<PlaceTuple>,
    Option<PlaceTuple>,
);

fn told_event(event: Event) -> AuditTuple {
    let place = |place: Place| (place.directory, Cow::Owned(place.name));
    (
        event.at_ns,
        event.op,
        event.export,
        event.client.map(|client| client.to_string()),
        event.uid,
        event.result,
        event.inode,
        event.place.map(place),
        event.target.map(place),
    )
}

type Told = (f64, f64, f64, f64, f64, f64);

const fn told(of: &Rates) -> Told {
    (
        of.reads,
        of.writes,
        of.names,
        of.read_bytes,
        of.written_bytes,
        of.error,
    )
}

/// Figures of the shelves, in the order in which they came.
pub fn shelves<'py>(py: Python<'py>, shelves: &[ShelfStats]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for shelf in shelves {
        list.append(figures(py, shelf)?)?;
    }
    Ok(list)
}

fn figures<'py>(py: Python<'py>, shelf: &ShelfStats) -> PyResult<Bound<'py, PyDict>> {
    dict(py, |d| {
        d.set_item("path", shelf.dir.to_string_lossy())?;
        d.set_item("state", shelf.state)?;
        d.set_item("why", &shelf.why)?;
        d.set_item("hits", shelf.hits)?;
        d.set_item("bytes", shelf.bytes)?;
        d.set_item("capacity_bytes", shelf.capacity_bytes)?;
        d.set_item("errors", shelf.errors)?;
        d.set_item("damaged_blocks", shelf.damaged_blocks)
    })
}
