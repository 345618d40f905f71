//! A state machine: one inode against a plain byte array, with flushes, checkpoints, trims and crashes in any order.
//!
//! The journal, the rows and the packs are played here, so that thousands of histories run in a second. What must hold
//! after every step: reads show the array, the size and the allocated bytes agree. What must hold after a crash: the same.

use std::collections::HashMap;

use bytes::Bytes;
use caudal_journal::Place;
use proptest::prelude::*;

use super::dirty::{Origin, Written};
use super::extents::{Extent, ExtentMap};
use super::payload::{AttrChange, DataHead, HoleChange};
use super::state::{Parts, Source, State, Taken};
use crate::attributes::Attributes;

const SPACE: usize = 400;

#[derive(Clone, Debug)]
enum Step {
    Write { offset: u64, len: u64 },
    Truncate { size: u64 },
    Punch { offset: u64, len: u64 },
    Spill,
    Take { max_bytes: u64 },
    Commit,
    Abort,
    Relocate { offset: u64, len: u64 },
    Checkpoint,
    Trim,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u64..300, 1u64..80).prop_map(|(offset, len)| Step::Write { offset, len }),
        2 => (0u64..350).prop_map(|size| Step::Truncate { size }),
        2 => (0u64..300, prop_oneof![1u64..90, Just(u64::MAX)]).prop_map(|(offset, len)| Step::Punch { offset, len }),
        1 => Just(Step::Spill),
        3 => prop_oneof![1u64..60, Just(u64::MAX)].prop_map(|max_bytes| Step::Take { max_bytes }),
        3 => Just(Step::Commit),
        1 => Just(Step::Abort),
        1 => (0u64..300, 1u64..200).prop_map(|(offset, len)| Step::Relocate { offset, len }),
        2 => Just(Step::Checkpoint),
        2 => Just(Step::Trim),
        2 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

#[derive(Clone, Debug)]
enum Logged {
    Data(DataHead, Bytes),
    Attr(AttrChange),
    Hole(HoleChange),
    Rows {
        taken_lsn: u64,
        attributes: Attributes,
        splices: Vec<Extent>,
    },
}

struct Batch {
    taken: Taken,
    splices: Vec<Extent>,
    first_lsn: u64,
    relocation: bool,
}

struct World {
    state: State,
    log: Vec<(u64, Logged)>,
    lsn: u64,
    /// The row as the database has it, and the LSN that it has come to.
    row: (Attributes, ExtentMap),
    checkpoint_lsn: u64,
    pending: Vec<(u64, u64)>,
    packs: HashMap<u64, Vec<u8>>,
    batch: Option<Batch>,
    bytes: Vec<u8>,
    allocated: Vec<bool>,
    size: u64,
    fill: u8,
}

fn origin(lsn: u64, data: &Bytes) -> Origin {
    Origin {
        place: Place {
            segment: lsn,
            offset: 0,
        },
        len: data.len() as u32,
        crc: 0,
    }
}

fn apply_rows(row: &mut (Attributes, ExtentMap), attributes: &Attributes, splices: &[Extent]) {
    row.0 = *attributes;
    for splice in splices {
        row.1.splice(*splice);
    }
}

impl World {
    fn new() -> Self {
        let attributes = Attributes {
            inode: 1,
            ..Default::default()
        };
        Self {
            state: State::new(attributes, ExtentMap::default(), 0),
            log: Vec::new(),
            lsn: 0,
            row: (attributes, ExtentMap::default()),
            checkpoint_lsn: 0,
            pending: Vec::new(),
            packs: HashMap::new(),
            batch: None,
            bytes: vec![0; SPACE],
            allocated: vec![false; SPACE],
            size: 0,
            fill: 0,
        }
    }

    fn append(&mut self, record: Logged) -> u64 {
        self.lsn += 1;
        self.log.push((self.lsn, record.clone()));
        apply(&mut self.state, self.lsn, &record, true, false);
        self.lsn
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { offset, len } => self.write(*offset, *len),
            Step::Truncate { size } => {
                let change = AttrChange {
                    inode: 1,
                    size: Some(*size),
                    ctime_ns: Some(0),
                    ..Default::default()
                };
                self.append(Logged::Attr(change));
                self.clear(*size as usize..SPACE);
                self.size = *size;
            }
            Step::Punch { offset, len } => {
                self.append(Logged::Hole(HoleChange {
                    inode: 1,
                    offset: *offset,
                    len: *len,
                    time_ns: 0,
                }));
                self.clear(*offset as usize..offset.saturating_add(*len).min(SPACE as u64) as usize);
            }
            Step::Spill => {
                self.state.dirty.spill();
            }
            Step::Take { max_bytes } => self.take(*max_bytes),
            Step::Relocate { offset, len } => self.relocate(*offset, *len),
            Step::Commit => self.commit(),
            Step::Abort => self.batch = None,
            Step::Checkpoint => {
                for (lsn, record) in &self.log {
                    if let (
                        true,
                        Logged::Rows {
                            attributes, splices, ..
                        },
                    ) = (*lsn > self.checkpoint_lsn, record)
                    {
                        apply_rows(&mut self.row, attributes, splices);
                    }
                }
                self.checkpoint_lsn = self.lsn;
            }
            Step::Trim => self.trim(),
            Step::Crash => self.crash(),
        }
    }

    fn write(&mut self, offset: u64, len: u64) {
        self.fill = self.fill.wrapping_add(1).max(1);
        let data = Bytes::from(vec![self.fill; len as usize]);
        let head = DataHead {
            inode: 1,
            offset,
            time_ns: 0,
            clear_privilege: false,
        };
        self.append(Logged::Data(head, data));
        let range = offset as usize..(offset + len) as usize;
        self.bytes[range.clone()].fill(self.fill);
        self.allocated[range].fill(true);
        self.size = self.size.max(offset + len);
    }

    fn clear(&mut self, range: std::ops::Range<usize>) {
        if !range.is_empty() {
            self.bytes[range.clone()].fill(0);
            self.allocated[range].fill(false);
        }
    }

    fn first_lsn(&self) -> u64 {
        self.state.dirty_since_lsn().unwrap_or(u64::MAX)
    }

    fn take(&mut self, max_bytes: u64) {
        if self.batch.is_some() || self.state.is_clean() {
            return;
        }
        let first_lsn = self.first_lsn();
        let taken = self.state.take(max_bytes, usize::MAX, 0);
        self.batch = Some(self.packed(taken, first_lsn, false));
    }

    fn relocate(&mut self, offset: u64, len: u64) {
        use super::state::TakenPiece;
        if self.batch.is_some() {
            return;
        }
        let pieces = self
            .state
            .extents
            .range(offset, offset + len)
            .map(|e| TakenPiece {
                offset: e.offset,
                len: e.len,
                source: Source::Pack {
                    pack: e.pack,
                    pack_offset: e.pack_offset,
                },
            });
        let pieces = pieces.collect();
        let taken = Taken {
            lsn: 0,
            monotonic_ns: 0,
            attributes: self.state.attributes,
            pieces,
            bytes: 0,
        };
        self.batch = Some(self.packed(taken, u64::MAX, true));
    }

    fn packed(&mut self, taken: Taken, first_lsn: u64, relocation: bool) -> Batch {
        let id = 1000 + self.packs.len() as u64;
        let mut pack = Vec::new();
        let mut splices = Vec::new();
        for piece in &taken.pieces {
            if matches!(piece.source, Source::Zeros) {
                splices.extend(self.state.hole_splice(piece.offset, piece.len));
                continue;
            }
            let pack_offset = pack.len() as u64;
            splices.push(Extent {
                offset: piece.offset,
                len: piece.len,
                pack: id,
                pack_offset,
            });
            pack.extend_from_slice(&self.bytes_of(&piece.source, piece.len));
        }
        self.packs.insert(id, pack);
        Batch {
            taken,
            splices,
            first_lsn,
            relocation,
        }
    }

    fn commit(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        self.lsn += 1;
        let rows = Logged::Rows {
            taken_lsn: batch.taken.lsn,
            attributes: batch.taken.attributes,
            splices: batch.splices.clone(),
        };
        self.log.push((self.lsn, rows));
        if batch.relocation {
            self.state.splice_flushed(0, &batch.splices);
        } else {
            self.pending.push((self.lsn, batch.first_lsn));
            self.state.splice_flushed(batch.taken.lsn, &batch.splices);
            self.state.end_flush(&batch.taken);
        }
    }

    fn trim(&mut self) {
        self.pending
            .retain(|(commit_lsn, _)| *commit_lsn > self.checkpoint_lsn);
        let floor = self
            .pending
            .iter()
            .map(|(_, first)| *first)
            .min()
            .unwrap_or(u64::MAX);
        let floor = floor.min(self.first_lsn()).min(self.checkpoint_lsn + 1);
        self.log.retain(|(lsn, _)| *lsn >= floor);
    }

    /// Recovery: the log over the row of the last checkpoint.
    fn crash(&mut self) {
        self.batch = None;
        self.pending.clear();
        let mut rows = self.row.clone();
        let mut state: Option<State> = None;
        let mut first_lsn = u64::MAX;
        for (lsn, record) in &self.log {
            if let Logged::Rows {
                taken_lsn,
                attributes,
                splices,
            } = record
            {
                if let Some(state) = &mut state {
                    state.replay_flushed(*taken_lsn, splices.iter().copied());
                    // The log keeps what the flush covered until a checkpoint has its rows, after this crash too.
                    self.pending.push((*lsn, first_lsn));
                }
                // What the database has is not applied again: a load in between would see the row as it was before.
                if *lsn > self.checkpoint_lsn {
                    apply_rows(&mut rows, attributes, splices);
                }
            } else {
                first_lsn = first_lsn.min(*lsn);
                let state = state.get_or_insert_with(|| State::new(rows.0, rows.1.clone(), 0));
                apply(state, *lsn, record, false, true);
            }
        }
        self.state = state.unwrap_or_else(|| State::new(rows.0, rows.1.clone(), self.lsn));
        self.state.last_lsn = self.state.last_lsn.max(self.lsn);
    }

    fn bytes_of(&self, source: &Source, len: u64) -> Vec<u8> {
        match source {
            Source::Zeros => vec![0; len as usize],
            Source::Memory(bytes) => bytes.to_vec(),
            Source::Journal { origin, skip } => {
                let found = self.log.iter().find(|(lsn, _)| *lsn == origin.place.segment);
                let Some((_, Logged::Data(_, data))) = found else {
                    panic!("trimmed while it is dirty")
                };
                data[*skip as usize..*skip as usize + len as usize].to_vec()
            }
            Source::Pack { pack, pack_offset } => {
                self.packs[pack][*pack_offset as usize..(*pack_offset + len) as usize].to_vec()
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.state.attributes.size, self.size, "size");
        let allocated = self.allocated.iter().filter(|a| **a).count() as u64;
        assert_eq!(self.state.attributes.space_used, allocated, "allocated");
        let mut parts = Parts::new();
        if self.size > 0 {
            self.state.resolve(0, self.size, &mut parts);
        }
        let mut read = Vec::new();
        for part in &parts {
            assert_eq!(part.at, read.len() as u64, "parts follow each other");
            let bytes = self.bytes_of(&part.source, part.len);
            assert_eq!(bytes.len() as u64, part.len);
            read.extend_from_slice(&bytes);
        }
        assert_eq!(read, &self.bytes[..self.size as usize], "contents");
    }
}

fn apply(state: &mut State, lsn: u64, record: &Logged, memory: bool, replaying: bool) {
    match record {
        Logged::Data(head, data) => {
            let written = Written::new(memory.then(|| data.clone()), origin(lsn, data));
            state.write(lsn, head, written);
        }
        Logged::Attr(change) => state.set_attributes(lsn, change, replaying),
        Logged::Hole(change) => state.punch(lsn, change),
        Logged::Rows { .. } => unreachable!("rows are not changes of the live inode"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]
    #[test]
    fn any_history_reads_as_it_was_written(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.crash();
        world.check();
    }
}
