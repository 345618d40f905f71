//! Records on their way to the disks: those that were appended since the last round, laid out as the file will hold them.

use std::io::IoSlice;
use std::ops::Range;

use bytes::Bytes;

use crate::format::{ALIGN, RECORD_HEADER, RecordHeader, Salt, span};

/// Heads up to this size are copied into the batch under its lock; larger ones are copied before.
pub const INLINE_HEAD: usize = 1024;
/// Bodies up to this size are copied into the batch; larger ones are written from where they are.
pub const INLINE_BODY: usize = 512;

const ZEROS: [u8; ALIGN as usize] = [0; ALIGN as usize];

/// One record of a batch.
#[derive(Clone, Debug)]
struct Entry {
    /// First LSN of its segment.
    segment: u64,
    /// Where it begins in the file.
    offset: u64,
    payload_len: u64,
    /// Header and copied payload in `Batch::copied`; the padding follows there.
    copied: Range<usize>,
    /// Shared parts of the payload in `Batch::shared`, which follow the copied part.
    shared: Range<usize>,
}

#[derive(Default)]
pub struct Batch {
    copied: Vec<u8>,
    shared: Vec<Bytes>,
    entries: Vec<Entry>,
    bytes: u64,
}

/// A payload: a part to be copied and parts to be shared, in this order.
pub struct Payload<'a> {
    pub copied: [&'a [u8]; 2],
    pub shared: [Bytes; 2],
    pub len: u64,
    pub crc: u32,
}

/// Records of one segment that follow one another: one write.
pub struct Run<'a> {
    pub segment: u64,
    pub offset: u64,
    pub bytes: u64,
    pub slices: Vec<IoSlice<'a>>,
}

impl Batch {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that it will take in the files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// First LSN of the segment that it begins in; None: it is empty.
    #[must_use]
    pub fn first_segment(&self) -> Option<u64> {
        self.entries.first().map(|entry| entry.segment)
    }

    /// First LSN of the segment that it ends in; 0: it is empty.
    #[must_use]
    pub fn last_segment(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.segment)
    }

    pub fn push(&mut self, at: (u64, u64), header: &RecordHeader, salt: Salt, payload: Payload<'_>) {
        let (segment, offset) = at;
        let start = self.copied.len();
        self.copied.extend_from_slice(&header.encode(salt));
        for part in payload.copied {
            self.copied.extend_from_slice(part);
        }
        let end = self.copied.len();
        let first_shared = self.shared.len();
        self.shared
            .extend(payload.shared.into_iter().filter(|part| !part.is_empty()));
        let span = span(payload.len);
        let padding = span - RECORD_HEADER as u64 - payload.len;
        self.copied.extend_from_slice(&ZEROS[..padding as usize]);
        self.bytes += span;
        self.entries.push(Entry {
            segment,
            offset,
            payload_len: payload.len,
            copied: start..end,
            shared: first_shared..self.shared.len(),
        });
    }

    /// Makes it empty; keeps its memory unless that is large.
    pub fn clear(&mut self) {
        const KEEP: usize = 8 << 20;
        self.copied.clear();
        self.copied.shrink_to(KEEP);
        self.shared.clear();
        self.entries.clear();
        self.bytes = 0;
    }

    /// What is to be written, a run a segment.
    #[must_use]
    pub fn runs(&self) -> Vec<Run<'_>> {
        let mut runs = Vec::with_capacity(1);
        for group in self.entries.chunk_by(|a, b| a.segment == b.segment) {
            let mut slices = Vec::new();
            let mut bytes = 0;
            // Copied bytes that are not in a slice yet; neighbours go out as one.
            let mut pending = group[0].copied.start;
            for (index, entry) in group.iter().enumerate() {
                bytes += span(entry.payload_len);
                if !entry.shared.is_empty() {
                    slices.push(IoSlice::new(&self.copied[pending..entry.copied.end]));
                    slices.extend(
                        self.shared[entry.shared.clone()]
                            .iter()
                            .map(|part| IoSlice::new(part)),
                    );
                    pending = entry.copied.end;
                }
                if index + 1 == group.len() {
                    let padding = span(entry.payload_len) - RECORD_HEADER as u64 - entry.payload_len;
                    let end = entry.copied.end + padding as usize;
                    if pending < end {
                        slices.push(IoSlice::new(&self.copied[pending..end]));
                    }
                }
            }
            runs.push(Run {
                segment: group[0].segment,
                offset: group[0].offset,
                bytes,
                slices,
            });
        }
        runs
    }

    /// The parts of the payload that begins at `payload_offset` of a segment; None where it is not in this batch.
    /// Shared parts are not copied, so this may be asked for under a lock.
    #[must_use]
    pub fn payload(&self, segment: u64, payload_offset: u64) -> Option<Vec<Bytes>> {
        let offset = payload_offset.checked_sub(RECORD_HEADER as u64)?;
        let index = self
            .entries
            .binary_search_by_key(&(segment, offset), |entry| (entry.segment, entry.offset))
            .ok()?;
        let entry = &self.entries[index];
        let copied = &self.copied[entry.copied.start + RECORD_HEADER..entry.copied.end];
        let mut parts = vec![Bytes::copy_from_slice(copied)];
        parts.extend(self.shared[entry.shared.clone()].iter().cloned());
        Some(parts)
    }
}

/// Copies bytes from `offset` of the parts, taken together, until the buffer is full; says whether there were enough.
#[must_use]
pub fn copy_from_parts(parts: &[Bytes], offset: u64, buf: &mut [u8]) -> bool {
    let mut skip = offset;
    let mut done = 0;
    for part in parts {
        let start = skip.min(part.len() as u64) as usize;
        skip -= start as u64;
        let n = (part.len() - start).min(buf.len() - done);
        buf[done..done + n].copy_from_slice(&part[start..start + n]);
        done += n;
    }
    done == buf.len()
}
