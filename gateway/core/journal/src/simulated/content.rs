//! The bytes of a file: as everyone sees them, and as the disk has them.

use std::collections::BTreeMap;

const SECTOR: usize = 512;

#[derive(Default)]
pub struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Written since the last sync, by the number of the write.
    pending: BTreeMap<u64, (usize, Vec<u8>)>,
    writes: u64,
}

fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl Content {
    pub fn len(&self) -> u64 {
        self.now.len() as u64
    }

    /// Number of the newest write.
    pub const fn writes(&self) -> u64 {
        self.writes
    }

    pub fn write(&mut self, at: usize, data: Vec<u8>) {
        put(&mut self.now, at, &data);
        self.writes += 1;
        self.pending.insert(self.writes, (at, data));
    }

    /// Returns the bytes read; fewer than asked for at the end only.
    pub fn read(&self, at: usize, buffer: &mut [u8]) -> usize {
        let start = at.min(self.now.len());
        let count = buffer.len().min(self.now.len() - start);
        buffer[..count].copy_from_slice(&self.now[start..start + count]);
        count
    }

    pub fn resize(&mut self, bytes: usize) {
        self.now.resize(bytes, 0);
    }

    /// Makes durable what was written up to this write.
    pub fn sync(&mut self, upto: u64) {
        self.durable.resize(self.now.len(), 0);
        let later = self.pending.split_off(&(upto + 1));
        for (at, data) in std::mem::replace(&mut self.pending, later).into_values() {
            put(&mut self.durable, at, &data);
        }
    }

    /// A sync failed, and the system takes what it was about for written all the same: the next one has nothing to do.
    pub fn give_up(&mut self, upto: u64) {
        self.pending = self.pending.split_off(&(upto + 1));
    }

    /// What is found after a loss of power; `survives` decides for each sector that was not synced.
    pub fn after_power_loss(&self, survives: &mut impl FnMut() -> bool) -> Self {
        let mut bytes = self.durable.clone();
        for (at, data) in self.pending.values() {
            let mut start = 0;
            while start < data.len() {
                let end = (start + SECTOR - (at + start) % SECTOR).min(data.len());
                if survives() {
                    put(&mut bytes, at + start, &data[start..end]);
                }
                start = end;
            }
        }
        Self {
            now: bytes.clone(),
            durable: bytes,
            ..Self::default()
        }
    }
}
