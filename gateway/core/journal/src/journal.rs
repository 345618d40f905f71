//! Signatures.
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Appended, Full, JournalConfig, JournalStats, Place, Record, ReplayError, Result};

pub struct Journal(());
/// Room in the journal, given back when dropped.
pub struct Permit(());
/// One of the threads that may wait for disks.
pub struct WaitSlot(());

/// What a replay found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// LSN before the first record that is kept: everything up to it was trimmed. 0: nothing was.
    pub preceding_lsn: u64,
    /// First and last LSN that was shown; last is at least the journal's own last even where nothing was shown.
    pub first_lsn: u64,
    pub last_lsn: u64,
    pub records: u64,
    pub bytes: u64,
    pub torn_tail: bool,
}

/// Shows every record with an LSN of at least `from_lsn`, in order.
pub fn replay<E>(
    _dirs: &[PathBuf],
    _fs_id: [u8; 16],
    _from_lsn: u64,
    _show: &mut dyn FnMut(&Record<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<Replayed, ReplayError<E>> {
    unimplemented!()
}

pub struct Tail(());
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    pub lsn: u64,
    pub kind: u8,
    pub payload: Vec<u8>,
    pub place: Place,
}

impl Tail {
    pub fn open(_dirs: &[PathBuf], _fs_id: [u8; 16], _from_lsn: u64) -> Result<Self> {
        unimplemented!()
    }
    /// Only records of this kind are read; the others are passed over unread.
    #[must_use]
    pub fn only(self, _kind: u8) -> Self {
        unimplemented!()
    }
    pub fn next_upto(&mut self, _durable_lsn: u64) -> Result<Option<OwnedRecord>> {
        unimplemented!()
    }
    /// Everything up to this LSN was seen.
    #[must_use]
    pub fn position(&self) -> u64 {
        unimplemented!()
    }
}

pub type OnDurable = Box<dyn FnOnce(Result<()>) + Send>;

impl Journal {
    pub fn open(_config: JournalConfig, _last_lsn_replayed: u64) -> Result<Arc<Self>> {
        unimplemented!()
    }
    pub fn reserve(&self, _bytes: u64) -> std::result::Result<Permit, Full> {
        unimplemented!()
    }
    pub fn append(&self, _kind: u8, _head: &[u8], _body: Bytes) -> Result<Appended> {
        unimplemented!()
    }
    /// As append, for a caller that has the CRC32C of the body already.
    pub fn append_prepared(&self, _kind: u8, _head: &[u8], _body: Bytes, _body_crc: u32) -> Result<Appended> {
        unimplemented!()
    }
    pub fn wait_durable(&self, _lsn: u64) -> Result<()> {
        unimplemented!()
    }
    pub fn on_durable(&self, _lsn: u64, _done: OnDurable) {
        unimplemented!()
    }
    pub fn try_wait_slot(&self) -> Option<WaitSlot> {
        unimplemented!()
    }
    pub fn durable_lsn(&self) -> u64 {
        unimplemented!()
    }
    pub fn last_lsn(&self) -> u64 {
        unimplemented!()
    }
    pub fn read_at(&self, _place: Place, _offset_in_payload: u64, _buf: &mut [u8]) -> io::Result<()> {
        unimplemented!()
    }
    pub fn trim(&self, _below_lsn: u64) -> io::Result<u64> {
        unimplemented!()
    }
    pub fn stats(&self) -> JournalStats {
        unimplemented!()
    }
    pub fn close(&self) {
        unimplemented!()
    }
}

