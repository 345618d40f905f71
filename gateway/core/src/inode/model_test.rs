//! A state machine: one inode against a plain byte array, with flushes, checkpoints, trims and crashes in any order.
//!
//! The journal, the rows and the packs are played here, so that thousands of histories run in a second. What must hold
//! after every step: reads show the array; the size, the allocated bytes, and where data and holes begin agree. What must hold
//! after a crash: the same.

mod flush;

use std::collections::HashMap;

use bytes::Bytes;
use caudal_journal::Place;
use proptest::prelude::*;

use super::dirty::{Origin, Written};
use super::extents::{Extent, ExtentMap};
use super::payload::{AttrChange, DataHead, HoleChange};
use super::seek::{Sought, Wanted};
use super::state::{Parts, Source, State, Taken};
use crate::attributes::Attributes;

const SPACE: usize = 400;

#[derive(Clone, Debug)]
enum Step {
    Write { offset: u64, len: u64 },
    Truncate { size: u64 },
    Punch { offset: u64, len: u64 },
    Allocate { offset: u64, len: u64 },
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
        2 => (0u64..300, 1u64..90).prop_map(|(offset, len)| Step::Allocate { offset, len }),
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
                    clear_privilege: false,
                }));
                self.clear(*offset as usize..offset.saturating_add(*len).min(SPACE as u64) as usize);
            }
            Step::Allocate { offset, len } => {
                let end = offset + len;
                self.append(Logged::Attr(AttrChange {
                    inode: 1,
                    size: (end > self.size).then_some(end),
                    ctime_ns: Some(0),
                    ..Default::default()
                }));
                self.size = self.size.max(end);
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
        self.check_seek();
    }

    /// Every place at which data end and holes begin, and the answer somewhere in between.
    fn check_seek(&self) {
        let mut at = self.lsn * 31 % (self.size + 1);
        for wanted in [Wanted::Hole, Wanted::Data] {
            assert_eq!(
                self.seek(at, wanted),
                self.expected(at, wanted),
                "{wanted:?} from {at}"
            );
        }
        at = 0;
        while at < self.size {
            for wanted in [Wanted::Data, Wanted::Hole] {
                let found = self.seek(at, wanted);
                assert_eq!(found, self.expected(at, wanted), "{wanted:?} from {at}");
                at = found;
            }
        }
    }

    /// Seeks in steps of any length; what is not found is at the end of the file.
    fn seek(&self, offset: u64, wanted: Wanted) -> u64 {
        let mut at = offset;
        loop {
            match self.state.seek(at, wanted, (self.lsn % 4) as usize) {
                Sought::Found(found) => return found,
                Sought::End => return self.size,
                Sought::More(next) => {
                    assert!(next > at, "a seek gets on");
                    at = next;
                }
            }
        }
    }

    fn expected(&self, offset: u64, wanted: Wanted) -> u64 {
        (offset..self.size)
            .find(|at| self.allocated[*at as usize] == (wanted == Wanted::Data))
            .unwrap_or(self.size)
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
