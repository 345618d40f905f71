//! Segment files: their names, and reading the records of one from whichever mirror has them intact.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use caudal_base::number::epoch_of;

use crate::disk::{Disk, DiskFile};
use crate::format::{RECORD_HEADER, RecordHeader, SEGMENT_HEADER, SEGMENT_HEADER_USED, Salt, SegmentHeader};

const SUFFIX: &str = ".seg";
/// A file that is to become a segment, or was one.
pub const SPARE_SUFFIX: &str = ".spare";

#[must_use]
pub fn file_name(first_lsn: u64) -> String {
    format!("{first_lsn:016x}{SUFFIX}")
}

/// First LSN of the segment with this file name; None where it is the name of something else.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 16)
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

/// One mirror's file of a segment.
#[derive(Clone)]
pub struct Source {
    pub path: PathBuf,
    pub file: Arc<dyn DiskFile>,
    pub len: u64,
}

/// One segment of the history, in all mirrors that have it.
#[derive(Clone)]
pub struct Segment {
    pub header: SegmentHeader,
    pub sources: Vec<Source>,
    /// Last LSN of it that belongs to the history, as the segment after it says; None: it is the newest.
    pub last_lsn: Option<u64>,
}

impl Segment {
    /// One file of a segment, by itself; None where it is not there or its header is another.
    #[must_use]
    pub fn open(disk: &dyn Disk, path: &Path, header: SegmentHeader, last_lsn: Option<u64>) -> Option<Self> {
        let file = disk.open(path).ok()?;
        let mut bytes = [0; SEGMENT_HEADER_USED];
        let got = file.read_at(&mut bytes, 0).ok()?;
        if SegmentHeader::decode(&bytes[..got]).ok()? != header {
            return None;
        }
        let len = file.size().ok()?;
        let path = path.to_owned();
        Some(Self {
            header,
            sources: vec![Source { path, file, len }],
            last_lsn,
        })
    }
}

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// What was read of one source, so that many records cost one system call.
#[derive(Default)]
struct Window {
    offset: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The bytes at `offset`; None where the file has fewer or cannot be read.
    fn get(&mut self, source: &Source, offset: u64, len: usize) -> Option<&[u8]> {
        if offset + len as u64 > source.len {
            return None;
        }
        let held = offset >= self.offset && offset + len as u64 <= self.offset + self.bytes.len() as u64;
        if !held {
            let want = (len.max(CHUNK) as u64).min(source.len - offset) as usize;
            self.offset = offset;
            self.bytes.resize(want, 0);
            let got = source.file.read_at(&mut self.bytes, offset).unwrap_or(0);
            self.bytes.truncate(got);
            if got < len {
                return None;
            }
        }
        let start = (offset - self.offset) as usize;
        Some(&self.bytes[start..start + len])
    }
}

/// Walks the records of one segment. Where one mirror's copy of a record is bad, another's is taken.
pub struct SegmentReader<'a> {
    segment: &'a Segment,
    windows: Vec<Window>,
    salt: Salt,
    offset: u64,
    next_lsn: u64,
}

/// A record in the reader's buffer.
pub struct Found<'a> {
    pub header: RecordHeader,
    /// Where the record begins in the file.
    pub offset: u64,
    pub payload: &'a [u8],
}

/// What lies where no valid record follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Something was being written there.
    pub torn: bool,
    /// Largest LSN that a later record of the segment says was durable; 0: there is none.
    pub durable_lsn: u64,
}

impl<'a> SegmentReader<'a> {
    #[must_use]
    pub fn new(segment: &'a Segment) -> Self {
        Self {
            segment,
            windows: segment.sources.iter().map(|_| Window::default()).collect(),
            salt: segment.header.salt(),
            offset: SEGMENT_HEADER,
            next_lsn: segment.header.first_lsn,
        }
    }

    /// Where the next record begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    #[must_use]
    pub fn next_lsn(&self) -> u64 {
        self.next_lsn
    }

    /// The next record; None at the end of the history, or where no mirror has a valid one.
    pub fn next(&mut self) -> Option<Found<'_>> {
        if self.segment.last_lsn.is_some_and(|last| self.next_lsn > last) {
            return None;
        }
        let (at, header) = (0..self.windows.len()).find_map(|at| {
            self.valid(at, self.offset, self.next_lsn)
                .map(|header| (at, header))
        })?;
        let offset = self.offset;
        self.offset += header.span();
        self.next_lsn += 1;
        let source = &self.segment.sources[at];
        let payload =
            self.windows[at].get(source, offset + RECORD_HEADER as u64, header.payload_len as usize)?;
        Some(Found {
            header,
            offset,
            payload,
        })
    }

    /// The header of the record at `offset` of one source if the whole record is valid.
    fn valid(&mut self, at: usize, offset: u64, lsn: u64) -> Option<RecordHeader> {
        let source = &self.segment.sources[at];
        let window = &mut self.windows[at];
        let header = RecordHeader::decode(window.get(source, offset, RECORD_HEADER)?, self.salt)?;
        if header.lsn != lsn {
            return None;
        }
        let payload = window.get(source, offset + RECORD_HEADER as u64, header.payload_len as usize)?;
        (crc32c::crc32c(payload) == header.payload_crc).then_some(header)
    }

    /// Whether one mirror has every record up to where this reader is, without the help of the others.
    #[must_use]
    pub fn alone(segment: &Segment, source: usize, end_lsn: u64) -> bool {
        let only = Segment {
            header: segment.header,
            sources: vec![segment.sources[source].clone()],
            last_lsn: Some(end_lsn),
        };
        let mut reader = SegmentReader::new(&only);
        while reader.next().is_some() {}
        reader.next_lsn > end_lsn
    }

    /// Looks at what follows the last valid record. Only records of this very segment count: their checksum covers its
    /// first LSN, so neither its former life nor a user's data are mistaken for them.
    pub fn remains(&mut self) -> Remains {
        let mut remains = Remains::default();
        for at in 0..self.windows.len() {
            let source = &self.segment.sources[at];
            let mut offset = self.offset;
            while let Some(bytes) = self.windows[at].get(source, offset, RECORD_HEADER) {
                let lsn = lsn_of(bytes);
                // Cheap test first: nearly everything here is zeros or older than this segment.
                let newer = lsn >= self.next_lsn && epoch_of(lsn) == self.segment.header.epoch;
                if offset == self.offset {
                    // No record was ever like this: its LSN did not get as far as the epoch, which comes last.
                    let cut = epoch_of(lsn) == 0 && bytes.iter().any(|&byte| byte != 0);
                    remains.torn |= newer || cut;
                }
                if newer && let Some(header) = RecordHeader::decode(bytes, self.salt) {
                    remains.torn = true;
                    remains.durable_lsn = remains.durable_lsn.max(header.durable_lsn);
                }
                offset += crate::format::ALIGN;
            }
        }
        remains
    }
}

fn lsn_of(header: &[u8]) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&header[8..16]);
    u64::from_le_bytes(out)
}
