//! What the append lock guards: the batch, the LSNs and places that are given out, and who does what.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::Appended;
use crate::batch::{Batch, Payload};
use crate::error::JournalError;
use crate::format::{RecordHeader, SEGMENT_HEADER, Salt, payload_place, span};
use crate::room::Room;

/// A segment that is kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    pub first_lsn: u64,
    /// Last LSN so far.
    pub last_lsn: u64,
    pub bytes: u64,
}

/// What the append lock guards.
pub struct State {
    pub batch: Batch,
    pub in_flight: Option<Arc<Batch>>,
    pub next_lsn: u64,
    /// Oldest first; records go to the last one.
    pub kept: VecDeque<Kept>,
    /// First LSN of the segment that the disks have open.
    pub disk_segment: u64,
    /// Why nothing is taken any more.
    pub end: Option<JournalError>,
    /// When the first record of the batch came.
    pub batch_since: Option<Instant>,
    /// Largest LSN that somebody waits for.
    pub wanted: u64,
    /// Somebody does a round.
    pub busy: bool,
    /// Rounds with a sync that were begun.
    pub round: u64,
    /// What the round in flight will make durable; 0: none is, or it does not sync.
    pub syncing_upto: u64,
    pub written_upto: u64,
    pub last_sync: Instant,
    pub closing: bool,
    /// The committer sleeps until it is woken.
    pub asleep: bool,
    /// Threads that wait for the batch to shrink.
    pub blocked: usize,
    fs_id: [u8; 16],
    segment_bytes: u64,
    salt: Salt,
    /// Where the next record begins in the open segment.
    offset: u64,
}

/// Where the epoch begins.
pub struct Start {
    pub fs_id: [u8; 16],
    pub segment_bytes: u64,
    pub first_lsn: u64,
    pub previous_lsn: u64,
    /// Segments of older epochs.
    pub kept: VecDeque<Kept>,
}

impl State {
    #[must_use]
    pub fn new(start: Start) -> Self {
        let first_lsn = start.first_lsn;
        let mut kept = start.kept;
        kept.push_back(Kept {
            first_lsn,
            last_lsn: first_lsn - 1,
            bytes: start.segment_bytes,
        });
        Self {
            batch: Batch::default(),
            in_flight: None,
            next_lsn: first_lsn,
            kept,
            disk_segment: first_lsn,
            end: None,
            batch_since: None,
            wanted: 0,
            busy: false,
            round: 0,
            syncing_upto: 0,
            written_upto: start.previous_lsn,
            last_sync: Instant::now(),
            closing: false,
            asleep: false,
            blocked: 0,
            fs_id: start.fs_id,
            segment_bytes: start.segment_bytes,
            salt: Salt::new(&start.fs_id, first_lsn),
            offset: SEGMENT_HEADER,
        }
    }

    /// Gives the record its LSN and place and puts it into the batch. It fits into a segment.
    pub fn push(&mut self, room: &Room, kind: u8, payload: Payload<'_>, durable_lsn: u64) -> Appended {
        let lsn = self.next_lsn;
        let (segment, offset) = self.place(room, lsn, span(payload.len));
        if self.batch.is_empty() {
            self.batch_since = Some(Instant::now());
        }
        let header = RecordHeader {
            payload_len: payload.len as u32,
            kind,
            lsn,
            payload_crc: payload.crc,
            durable_lsn,
        };
        self.batch.push((segment, offset), &header, self.salt, payload);
        self.next_lsn = lsn + 1;
        Appended {
            lsn,
            place: payload_place(segment, offset),
        }
    }

    /// Room for the record at the end of the open segment, or at the beginning of the next.
    fn place(&mut self, room: &Room, lsn: u64, span: u64) -> (u64, u64) {
        if self.offset + span > self.segment_bytes {
            room.take(self.segment_bytes - self.offset + SEGMENT_HEADER);
            self.kept.push_back(Kept {
                first_lsn: lsn,
                last_lsn: lsn,
                bytes: self.segment_bytes,
            });
            self.salt = Salt::new(&self.fs_id, lsn);
            self.offset = SEGMENT_HEADER;
        }
        room.take(span);
        let offset = self.offset;
        self.offset += span;
        let Some(open) = self.kept.back_mut() else {
            unreachable!("the open segment is kept")
        };
        open.last_lsn = lsn;
        (open.first_lsn, offset)
    }

    /// Begins a new segment, unless the open one is empty: the next record goes to an empty one.
    pub fn switch(&mut self, room: &Room) {
        let first_lsn = self.next_lsn;
        if self.open_segment() == first_lsn {
            return;
        }
        room.take(self.segment_bytes - self.offset + SEGMENT_HEADER);
        self.kept.push_back(Kept {
            first_lsn,
            last_lsn: first_lsn - 1,
            bytes: self.segment_bytes,
        });
        self.salt = Salt::new(&self.fs_id, first_lsn);
        self.offset = SEGMENT_HEADER;
    }

    #[must_use]
    pub fn unwritten_bytes(&self) -> u64 {
        self.batch.bytes() + self.in_flight.as_ref().map_or(0, |batch| batch.bytes())
    }

    /// Parts of a payload that is not in a file yet.
    #[must_use]
    pub fn unwritten(&self, segment: u64, payload_offset: u64) -> Option<Vec<Bytes>> {
        let in_flight = self
            .in_flight
            .as_ref()
            .and_then(|batch| batch.payload(segment, payload_offset));
        in_flight.or_else(|| self.batch.payload(segment, payload_offset))
    }

    /// First LSN of the segment that the next record goes to, if it fits.
    #[must_use]
    pub fn open_segment(&self) -> u64 {
        self.kept.back().map_or(0, |open| open.first_lsn)
    }

    /// Bytes left in the open segment; a segment that is to be begun when a round gets there has no space on disk yet.
    #[must_use]
    pub fn left_on_disk(&self) -> u64 {
        if self.disk_segment == self.open_segment() {
            self.segment_bytes - self.offset
        } else {
            0
        }
    }
}
