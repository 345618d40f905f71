//! Reading the journal while it is being written, from another process.

use std::path::PathBuf;
use std::sync::Arc;

use caudal_base::number::epoch_of;

use crate::disk::{Disk, SystemDisk};
use crate::error::{JournalError, Result};
use crate::format::{RECORD_HEADER, RecordHeader, SEGMENT_HEADER, payload_place};
use crate::history::History;
use crate::segment::Segment;
use crate::{Place, format};

/// A record with a payload of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    pub lsn: u64,
    pub kind: u8,
    pub payload: Vec<u8>,
    pub place: Place,
}

/// Reads records in the order of LSNs, across segments and epochs, as far as the writer says that they are durable.
pub struct Tail {
    disk: Arc<dyn Disk>,
    dirs: Vec<PathBuf>,
    fs_id: [u8; 16],
    only: Option<u8>,
    /// LSN of the last record that was passed; the reader's place is after it.
    position: u64,
    from_lsn: u64,
    at: Option<At>,
    cut_off: bool,
}

/// Where in which segment the reader is.
struct At {
    segment: Segment,
    /// LSN and offset of the next record.
    next_lsn: u64,
    offset: u64,
}

impl Tail {
    /// Begins at the first record with an LSN of at least `from_lsn`. The journal need not be there yet.
    pub fn open(dirs: &[PathBuf], fs_id: [u8; 16], from_lsn: u64) -> Result<Self> {
        Self::open_on(Arc::new(SystemDisk), dirs, fs_id, from_lsn)
    }

    /// As [`Self::open`], on a disk of the caller's.
    pub fn open_on(disk: Arc<dyn Disk>, dirs: &[PathBuf], fs_id: [u8; 16], from_lsn: u64) -> Result<Self> {
        let mut tail = Self {
            disk,
            dirs: dirs.to_vec(),
            fs_id,
            only: None,
            position: from_lsn.saturating_sub(1),
            from_lsn,
            at: None,
            cut_off: false,
        };
        // An unreadable journal is to be known at once.
        tail.find_segment()?;
        Ok(tail)
    }

    /// Shows only records of this kind; the payloads of others are not even read.
    #[must_use]
    pub fn only(mut self, kind: u8) -> Self {
        self.only = Some(kind);
        self
    }

    /// Everything up to this LSN was shown or passed over.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether the record before the first one asked for is no part of this history: it belonged to an epoch that, as the
    /// next one found it, had ended before. Whoever knows it knows another history than this journal tells.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// The next record with an LSN of at most `durable_lsn`, which the writer has published; None: there is none yet.
    /// [`JournalError::Corrupt`]: a record that must be there cannot be read in any mirror.
    pub fn next_upto(&mut self, durable_lsn: u64) -> Result<Option<OwnedRecord>> {
        // A later epoch began: it says how far this segment is to be believed.
        let mut looked = self.at.as_ref().is_some_and(|at| {
            at.segment.last_lsn.is_none() && epoch_of(durable_lsn) > at.segment.header.epoch
        });
        if looked {
            self.find_segment()?;
        }
        while self.position < durable_lsn {
            match self.step()? {
                Step::Shown(record) => return Ok(Some(record)),
                Step::Passed => looked = false,
                Step::Nothing if !looked => {
                    // The segment ends here, or the reader's idea of it is old.
                    looked = true;
                    self.find_segment()?;
                }
                Step::Nothing => return self.nothing(durable_lsn),
            }
        }
        Ok(None)
    }

    /// No record where the newest state of the directories says one might be.
    fn nothing(&self, durable_lsn: u64) -> Result<Option<OwnedRecord>> {
        match &self.at {
            Some(at) if at.segment.last_lsn.unwrap_or(durable_lsn) >= at.next_lsn => {
                Err(JournalError::Corrupt {
                    path: at
                        .segment
                        .sources
                        .first()
                        .map(|source| source.path.clone())
                        .unwrap_or_default(),
                    offset: at.offset,
                    first_lost: at.next_lsn,
                    last_lost: at.segment.last_lsn.unwrap_or(durable_lsn),
                })
            }
            _ => Ok(None),
        }
    }

    fn step(&mut self) -> Result<Step> {
        let Some(at) = &mut self.at else {
            return Ok(Step::Nothing);
        };
        if at.segment.last_lsn.is_some_and(|last| at.next_lsn > last) {
            return Ok(Step::Nothing);
        }
        let want = |kind| at.next_lsn >= self.from_lsn && self.only.is_none_or(|only| only == kind);
        let Some((header, payload)) = at.read(want) else {
            return Ok(Step::Nothing);
        };
        let place = payload_place(at.segment.header.first_lsn, at.offset);
        at.offset += header.span();
        at.next_lsn += 1;
        self.position = self.position.max(header.lsn);
        Ok(match payload {
            Some(payload) => Step::Shown(OwnedRecord {
                lsn: header.lsn,
                kind: header.kind,
                payload,
                place,
            }),
            None => Step::Passed,
        })
    }

    /// Looks at the directories: how far does the segment reach that the reader is in, and is there one after it?
    fn find_segment(&mut self) -> Result<()> {
        let history = History::scan(&*self.disk, &self.dirs, &self.fs_id)?;
        if let Some(at) = &mut self.at {
            let first_lsn = at.segment.header.first_lsn;
            if let Some(same) = history
                .segments
                .iter()
                .find(|segment| segment.header.first_lsn == first_lsn)
            {
                at.segment.clone_from(same);
                if same.last_lsn.is_none_or(|last| at.next_lsn <= last) {
                    return Ok(());
                }
            }
        }
        let position = self.position;
        let next = history
            .segments
            .into_iter()
            .find(|segment| segment.last_lsn.is_none_or(|last| last > position));
        if let Some(segment) = next {
            let preceding = segment.header.previous_lsn;
            if position > 0 && preceding > position {
                // The reader had not passed what was trimmed, or files are missing.
                return Err(JournalError::Corrupt {
                    path: segment
                        .sources
                        .first()
                        .map(|source| source.path.clone())
                        .unwrap_or_default(),
                    offset: 0,
                    first_lost: position + 1,
                    last_lost: preceding,
                });
            }
            if self.at.is_none() {
                // A journal without anything before it, as on a new machine, contradicts nobody.
                let older = epoch_of(position) < segment.header.epoch;
                self.cut_off = older && preceding > 0 && preceding < position;
            }
            let next_lsn = segment.header.first_lsn;
            self.at = Some(At {
                segment,
                next_lsn,
                offset: SEGMENT_HEADER,
            });
        }
        Ok(())
    }
}

enum Step {
    Shown(OwnedRecord),
    Passed,
    Nothing,
}

impl At {
    /// The record at the place from the first mirror where it is valid; its payload only where it is wanted.
    fn read(&self, want: impl Fn(u8) -> bool) -> Option<(RecordHeader, Option<Vec<u8>>)> {
        let salt = self.segment.header.salt();
        self.segment.sources.iter().find_map(|source| {
            let mut bytes = [0; RECORD_HEADER];
            let got = source.file.read_at(&mut bytes, self.offset).ok()?;
            let header = RecordHeader::decode(&bytes[..got], salt)?;
            if header.lsn != self.next_lsn || self.offset + header.span() > source.len {
                return None;
            }
            if !want(header.kind) {
                return Some((header, None));
            }
            let mut payload = vec![0; header.payload_len as usize];
            let at = self.offset + format::RECORD_HEADER as u64;
            let got = source.file.read_at(&mut payload, at).ok()?;
            (got == payload.len() && crc32c::crc32c(&payload) == header.payload_crc)
                .then_some((header, Some(payload)))
        })
    }
}
