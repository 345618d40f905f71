//! `Core`: each method says what to do with the GIL and hands the work to the engine.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caudal_journal::Published;
use caudal_journal::members::Members;
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyDict};

use super::batch::FlushBatch;
use super::convert::{
    ExtentTuple, attributes_from, attributes_to, extent_from, extent_to, fs_id_from, lsn_if_resident,
};
use super::fence::PyFence;
use super::key_ring::KeyRing;
use super::pack_store::footer_to;
use super::sim_world::{SimWorld, open_engine};
use super::types::{build, types};
use super::{capsule, replay, stats};
use crate::attributes::Names;
use crate::engine::{Config, Engine};
use crate::errors::{CoreError, Result};
use crate::flush::take::TakeHow;
use crate::inode::payload::{AttrChange, KIND_ROWS};
use crate::inode::seek::Wanted;
use crate::mirrors::MirrorRules;
use crate::operation;
use crate::packs;
use crate::write::WriteHow;

/// How far a core has come: replayed up to an LSN, then started.
enum Phase {
    New,
    Replayed(u64),
    Started,
}

#[pyclass(module = "gateway._core", frozen)]
pub struct Core {
    pub engine: Arc<Engine>,
    phase: Mutex<Phase>,
}

impl Drop for Core {
    /// A core that nobody closed ends like a killed process as far as its caller can tell, but without leaving threads.
    fn drop(&mut self) {
        let engine = self.engine.clone();
        Python::attach(|py| py.detach(|| engine.close()));
    }
}

#[pymethods]
impl Core {
    #[new]
    #[pyo3(signature = (*, keys = None, fence = None, fs_id, epoch, journal, store_url, store_options, l1_bytes, l2_dir, l2_bytes, segment_bytes,
        journal_limit_bytes, dirty_memory_bytes, max_inodes, readahead_bytes, pack_bytes, io_threads, store_wait_s = 30.0,
        wait_slots = 100, mirror_wait_s = 10.0, members_file = None, membership = 0, members = Vec::new(), accept_loss = false,
        world = None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of a constructor")]
    fn new(
        py: Python<'_>,
        keys: Option<&KeyRing>,
        fence: Option<&PyFence>,
        fs_id: &[u8],
        epoch: u64,
        journal: Vec<PathBuf>,
        store_url: &str,
        store_options: HashMap<String, String>,
        l1_bytes: u64,
        l2_dir: Option<PathBuf>,
        l2_bytes: u64,
        segment_bytes: u64,
        journal_limit_bytes: u64,
        dirty_memory_bytes: u64,
        max_inodes: usize,
        readahead_bytes: u64,
        pack_bytes: u64,
        io_threads: usize,
        store_wait_s: f64,
        wait_slots: usize,
        mirror_wait_s: f64,
        members_file: Option<PathBuf>,
        membership: u64,
        members: Vec<Vec<u8>>,
        accept_loss: bool,
        world: Option<&SimWorld>,
    ) -> PyResult<Self> {
        let mirror_wait = Duration::try_from_secs_f64(mirror_wait_s)
            .map_err(|error| CoreError::Invalid(format!("mirror_wait_s: {error}")))?;
        let lists = members.iter().filter_map(|bytes| Members::decode(bytes).ok());
        let mirrors = MirrorRules {
            places: members_file
                .as_ref()
                .map(|file| file.with_file_name("journal-places")),
            witness: members_file,
            published: Published {
                epoch: membership,
                lists: lists.collect(),
            },
            accept_loss,
            wait: mirror_wait,
        };
        let store_wait = Duration::try_from_secs_f64(store_wait_s)
            .map_err(|error| CoreError::Invalid(format!("store_wait_s: {error}")))?;
        let config = Config {
            fs_id: fs_id_from(fs_id)?,
            epoch,
            journal,
            segment_bytes,
            journal_limit_bytes,
            wait_slots,
            l1_bytes,
            l2_dir,
            l2_bytes,
            readahead_bytes,
            dirty_memory_bytes,
            max_inodes,
            pack_bytes,
            io_threads,
            store_wait,
            mirrors,
        };
        let keys = keys.map(|keys| keys.0.clone());
        let fence = PyFence::or_open(fence);
        let world = world.map(|world| world.0.clone());
        let engine = py.detach(|| open_engine(config, store_url, &store_options, keys, fence, world))?;
        Ok(Self {
            engine,
            phase: Mutex::new(Phase::New),
        })
    }

    #[pyo3(signature = (*, from_lsn, on_rows, load))]
    fn replay<'py>(
        &self,
        py: Python<'py>,
        from_lsn: u64,
        on_rows: Bound<'py, PyAny>,
        load: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if !matches!(*self.phase.lock(), Phase::New) {
            return Err(CoreError::Misuse("the journal was replayed already").into());
        }
        let report = replay::run(&self.engine, from_lsn, on_rows, load)?;
        *self.phase.lock() = Phase::Replayed(report.last_lsn);
        replay::report_to(py, &report)
    }

    fn start(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| -> Result<()> {
            let mut phase = self.phase.lock();
            let Phase::Replayed(last_lsn) = *phase else {
                return Err(CoreError::Misuse("start comes once, after replay"));
            };
            self.engine.start(last_lsn)?;
            *phase = Phase::Started;
            Ok(())
        })?;
        Ok(())
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.engine.close());
    }

    /// Directories of the mirrors that hold everything that was acknowledged.
    fn mirrors(&self) -> PyResult<Vec<String>> {
        let dirs = self.engine.journal()?.healthy_dirs();
        Ok(dirs
            .iter()
            .map(|dir| dir.to_string_lossy().into_owned())
            .collect())
    }

    /// (Membership epoch, list of members in its stored form).
    fn members<'py>(&self, py: Python<'py>) -> PyResult<(u64, Bound<'py, PyBytes>)> {
        let list = self.engine.journal()?.members();
        Ok((list.epoch, PyBytes::new(py, &list.encode())))
    }

    fn mirror_add(&self, py: Python<'_>, path: PathBuf) -> PyResult<bool> {
        let journal = self.engine.journal()?;
        Ok(py.detach(|| journal.add_mirror(&path)).map_err(CoreError::from)?)
    }

    fn mirror_remove(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let journal = self.engine.journal()?;
        Ok(py
            .detach(|| journal.remove_mirror(&path))
            .map_err(CoreError::from)?)
    }

    #[getter]
    fn durable_lsn(&self) -> PyResult<u64> {
        Ok(self.engine.journal()?.durable_lsn())
    }

    #[getter]
    fn last_lsn(&self) -> PyResult<u64> {
        Ok(self.engine.journal()?.last_lsn())
    }

    fn reserve(&self, bytes: u64) -> PyResult<()> {
        Ok(operation::reserve(&self.engine, bytes)?)
    }

    fn release(&self) {
        operation::release(&self.engine);
    }

    /// With the GIL held: it takes a microsecond, in which whoever got the GIL could only wait for the namespace's lock.
    fn append_rows(&self, payload: &[u8]) -> PyResult<u64> {
        let journal = self.engine.journal().map_err(PyErr::from)?;
        let appended = journal
            .append(KIND_ROWS, &[], Bytes::copy_from_slice(payload))
            .map_err(CoreError::from)?;
        operation::appended(&self.engine);
        Ok(appended.lsn)
    }

    fn wait_durable(&self, py: Python<'_>, lsn: u64) -> PyResult<()> {
        Ok(py.detach(|| operation::wait_durable(&self.engine, lsn))?)
    }

    fn activate(&self, attributes: &Bound<'_, PyAny>, extents: Vec<ExtentTuple>) -> PyResult<()> {
        let attributes = attributes_from(attributes)?;
        Ok(self
            .engine
            .activate(attributes, extents.into_iter().map(extent_from))?)
    }

    fn attributes<'py>(&self, py: Python<'py>, inode: u64) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.engine
            .attributes(inode)
            .map(|attributes| attributes_to(py, &attributes))
            .transpose()
    }

    #[pyo3(signature = (inode, *, mode, uid, gid, nlink, ctime_ns, lsn))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments")]
    fn update_names(
        &self,
        inode: u64,
        mode: u32,
        uid: u32,
        gid: u32,
        nlink: u32,
        ctime_ns: i64,
        lsn: u64,
    ) -> bool {
        self.engine.update_names(
            inode,
            &Names {
                mode,
                uid,
                gid,
                nlink,
                ctime_ns,
                lsn,
            },
        )
    }

    #[pyo3(signature = (inode, *, size = None, atime_ns = None, mtime_ns = None, ctime_ns))]
    fn set_data_attributes(
        &self,
        inode: u64,
        size: Option<u64>,
        atime_ns: Option<i64>,
        mtime_ns: Option<i64>,
        ctime_ns: i64,
    ) -> PyResult<Option<u64>> {
        let change = AttrChange {
            inode,
            size,
            atime_ns,
            mtime_ns,
            ctime_ns: Some(ctime_ns),
            ..Default::default()
        };
        let result = self.engine.live(inode, None).and_then(|live| {
            self.engine.room_among_dirty(&live)?;
            self.engine.append_attributes(&live, &change)
        });
        lsn_if_resident(result)
    }

    #[pyo3(signature = (inode, offset, *, hole))]
    fn seek(&self, inode: u64, offset: u64, hole: bool) -> PyResult<Option<u64>> {
        let wanted = if hole { Wanted::Hole } else { Wanted::Data };
        let place = self.engine.seek(inode, None, offset, wanted)?;
        Ok((hole || !place.eof).then_some(place.offset))
    }

    #[pyo3(signature = (inode, offset, length, *, uid = 0))]
    fn allocate(&self, py: Python<'_>, inode: u64, offset: u64, length: u64, uid: u32) -> PyResult<u64> {
        Ok(py.detach(|| self.engine.allocate(inode, None, offset, length, uid))?)
    }

    #[pyo3(signature = (inode, offset, length, *, uid = 0))]
    fn deallocate(&self, py: Python<'_>, inode: u64, offset: u64, length: u64, uid: u32) -> PyResult<u64> {
        Ok(py.detach(|| self.engine.deallocate(inode, None, offset, length, uid))?)
    }

    fn will_need(&self, inode: u64, offset: u64, length: u64) -> PyResult<()> {
        Ok(self.engine.will_need(inode, None, offset, length)?)
    }

    fn forget(&self, py: Python<'_>, inode: u64) {
        // What is to be freed may be much.
        if self.engine.table.get(inode).is_some() {
            py.detach(|| self.engine.forget(inode));
        }
    }

    fn read<'py>(
        &self,
        py: Python<'py>,
        inode: u64,
        offset: u64,
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let data = py.detach(|| self.engine.read_blocking(inode, offset, length))?;
        Ok(PyBytes::new(py, &data))
    }

    #[pyo3(signature = (inode, offset, data, *, stable = false, uid = 0))]
    fn write(
        &self,
        py: Python<'_>,
        inode: u64,
        offset: u64,
        data: &[u8],
        stable: bool,
        uid: u32,
    ) -> PyResult<u64> {
        let how = WriteHow { stable, uid };
        Ok(py.detach(|| self.engine.write_blocking(inode, offset, data, how))?)
    }

    fn commit(&self, py: Python<'_>, inode: u64) -> PyResult<()> {
        Ok(py.detach(|| self.engine.commit(inode, None))?)
    }

    fn extents(&self, inode: u64) -> Option<Vec<ExtentTuple>> {
        Some(self.engine.extents(inode)?.iter().map(extent_to).collect())
    }

    #[pyo3(signature = (*, inodes, dirty_before_ns, upto_lsn, max_bytes))]
    fn flush_take(
        &self,
        py: Python<'_>,
        inodes: Option<Vec<u64>>,
        dirty_before_ns: Option<i64>,
        upto_lsn: Option<u64>,
        max_bytes: u64,
    ) -> PyResult<Option<FlushBatch>> {
        let how = TakeHow {
            inodes,
            dirty_before_ns,
            upto_lsn,
            max_bytes,
        };
        Ok(py.detach(|| self.engine.flush_take(&how))?.map(FlushBatch::new))
    }

    fn relocate(
        &self,
        py: Python<'_>,
        moves: Vec<(u64, u64, u64, u64, u64)>,
        max_bytes: u64,
    ) -> PyResult<Option<FlushBatch>> {
        let moves: Vec<_> = moves
            .into_iter()
            .map(|(inode, offset, len, pack, at)| (inode, extent_from((offset, len, pack, at))))
            .collect();
        Ok(py
            .detach(|| self.engine.relocate(&moves, max_bytes))?
            .map(FlushBatch::new))
    }

    fn dirty<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let summary = self.engine.dirty_summary();
        build(
            py,
            &types(py)?.dirty_summary,
            (
                summary.bytes,
                summary.memory_bytes,
                summary.inodes,
                summary.oldest_age_s,
                summary.oldest_lsn,
            ),
        )
    }

    fn trim(&self, py: Python<'_>, checkpoint_lsn: u64) -> PyResult<u64> {
        Ok(py.detach(|| self.engine.trim(checkpoint_lsn))?)
    }

    fn list_packs(&self, py: Python<'_>) -> PyResult<Vec<(u64, u64, f64)>> {
        Ok(py.detach(|| self.engine.block_on(packs::list(self.engine.store.as_ref()))?)?)
    }

    fn delete_pack(&self, py: Python<'_>, id: u64) -> PyResult<()> {
        Ok(py.detach(|| {
            self.engine
                .block_on(packs::delete(self.engine.store.as_ref(), id))?
        })?)
    }

    fn verify_pack(&self, py: Python<'_>, id: u64, deep: bool) -> PyResult<()> {
        py.detach(|| {
            self.engine
                .block_on(packs::verify(self.engine.store.as_ref(), id, deep))?
        })?;
        Ok(())
    }

    fn pack_footer<'py>(&self, py: Python<'py>, id: u64) -> PyResult<Bound<'py, PyAny>> {
        let footer = py.detach(|| {
            self.engine
                .block_on(packs::verify(self.engine.store.as_ref(), id, false))?
        })?;
        footer_to(py, &footer)
    }

    fn cache_drop(&self, py: Python<'_>, l1: bool, l2: bool) -> PyResult<()> {
        Ok(py.detach(|| self.engine.cache_drop(l1, l2))?)
    }

    fn resize_l1(&self, py: Python<'_>, bytes: u64) -> PyResult<()> {
        Ok(py.detach(|| self.engine.resize_l1(bytes))?)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats::collect(py, &self.engine)
    }

    fn io_capsule<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyCapsule>> {
        let engine = slf.get().engine.clone();
        engine.journal()?;
        capsule::of(slf.py(), engine, slf.unbind())
    }
}
