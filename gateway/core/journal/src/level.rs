//! Before a new epoch begins, every mirror gets what the others have of the history, so that each alone is enough.
//!
//! What replay showed may so far be in one mirror only, or not even on its disk; the new segment's header will say that it was
//! there. So it is made durable in every mirror first.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile};
use crate::error::{JournalError, Result};
use crate::format::{SEGMENT_HEADER, payload_place};
use crate::history::History;
use crate::replay::check_end;
use crate::segment::{Segment, SegmentReader, file_name};

pub const COPY_BYTES: usize = 1 << 20;
/// Copies in the making; left over by a crash they are written anew.
pub const COPY_SUFFIX: &str = ".copy";

/// Finds the end of the history and cuts it there: the newest segment gets its last LSN, an empty one goes.
pub fn settle(history: &mut History) -> Result<u64> {
    let Some(newest) = history.segments.last_mut() else {
        return Ok(0);
    };
    let mut reader = SegmentReader::new(newest);
    while reader.next().is_some() {}
    check_end(newest, &mut reader)?;
    let next_lsn = reader.next_lsn();
    let header = newest.header;
    if next_lsn > header.first_lsn {
        newest.last_lsn = Some(next_lsn - 1);
        return Ok(next_lsn - 1);
    }
    if let Some(empty) = history.segments.pop() {
        history
            .abandoned
            .extend(empty.sources.into_iter().map(|source| source.path));
    }
    Ok(header.previous_lsn)
}

/// The last LSN that some directories have together, for messages; 0 where it cannot be told.
#[must_use]
pub fn end_of(disk: &dyn Disk, dirs: &[PathBuf], fs_id: &[u8; 16]) -> u64 {
    History::scan(disk, dirs, fs_id)
        .and_then(|mut history| settle(&mut history))
        .unwrap_or(0)
}

/// Makes the directory hold the whole history, durably; returns the segments that it lacked or had damaged. With one mirror
/// there is nothing to compare.
///
/// The newest of the directory's own segments may be in the page cache alone, and its last sync may have failed: then the
/// system takes its bytes for written, and a sync has nothing to do. So what it holds is written once more. Older ones were
/// synced before there was a newer one.
pub fn level(disk: &dyn Disk, dir: &Path, history: &History, alone: bool) -> Result<Vec<u64>> {
    let mut mended = Vec::new();
    let own = |segment: &Segment| {
        let mut sources = segment.sources.iter();
        sources.position(|source| source.path.parent() == Some(dir))
    };
    let newest = history
        .segments
        .iter()
        .rposition(|segment| own(segment).is_some());
    for (index, segment) in history.segments.iter().enumerate() {
        let whole = own(segment)
            .filter(|&own| alone || SegmentReader::alone(segment, own, segment.last_lsn.unwrap_or(0)));
        match whole {
            Some(own) if Some(index) == newest => {
                let source = &segment.sources[own];
                rewrite(&*source.file, records_end(segment))
                    .map_err(|error| JournalError::io(&source.path, &error))?;
            }
            Some(_) => {}
            None => {
                copy(disk, dir, segment, &mut |_| Ok(())).map_err(|error| JournalError::io(dir, &error))?;
                mended.push(segment.header.first_lsn);
            }
        }
    }
    Ok(mended)
}

/// Told of the bytes that were just written; an error ends the copy.
pub type Pace<'a> = &'a mut dyn FnMut(&dyn DiskFile) -> io::Result<()>;

/// Where the segment's last record ends.
fn records_end(segment: &Segment) -> u64 {
    let mut reader = SegmentReader::new(segment);
    while reader.next().is_some() {}
    reader.offset()
}

/// Writes the first bytes of a file where they are already, and syncs them. A crash in between changes nothing: whatever part
/// of them was on the disk is there again, or still.
fn rewrite(file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let len = (bytes - offset).min(COPY_BYTES as u64) as usize;
        let got = file.read_at(&mut buffer[..len], offset)?;
        file.write_at(&mut [IoSlice::new(&buffer[..got])], offset)?;
        if got < len {
            break;
        }
        offset += got as u64;
    }
    file.sync()
}

/// Writes a segment anew, each record from the mirror that has it, and puts it in its place at once.
pub fn copy(disk: &dyn Disk, dir: &Path, segment: &Segment, pace: Pace<'_>) -> io::Result<()> {
    let name = file_name(segment.header.first_lsn);
    let path = dir.join(format!("{name}{COPY_SUFFIX}"));
    let file = disk.create(&path)?;
    let len = segment.sources.iter().map(|source| source.len).max().unwrap_or(0);
    file.allocate(len)?;
    let mut page = [0; SEGMENT_HEADER as usize];
    let used = segment.header.encode();
    page[..used.len()].copy_from_slice(&used);
    file.write_at(&mut [IoSlice::new(&page)], 0)?;
    copy_records(segment, &*file, pace)?;
    file.sync()?;
    disk.rename(&path, &dir.join(name))?;
    disk.sync_dir(dir)
}

fn copy_records(segment: &Segment, to: &dyn DiskFile, pace: Pace<'_>) -> io::Result<()> {
    let salt = segment.header.salt();
    let mut reader = SegmentReader::new(segment);
    let mut pending = Vec::new();
    let mut start = reader.offset();
    while let Some(found) = reader.next() {
        let place = payload_place(segment.header.first_lsn, found.offset);
        pending.extend_from_slice(&found.header.encode(salt));
        pending.extend_from_slice(found.payload);
        let next = (place.offset + found.payload.len() as u64).next_multiple_of(crate::format::ALIGN);
        pending.resize((next - start) as usize, 0);
        if pending.len() >= COPY_BYTES {
            to.write_at(&mut [IoSlice::new(&pending)], start)?;
            start = next;
            pending.clear();
            pace(to)?;
        }
    }
    if segment.last_lsn.is_some_and(|last| reader.next_lsn() <= last) {
        // A source went bad, or was trimmed and used again, while it was read.
        return Err(io::ErrorKind::InvalidData.into());
    }
    to.write_at(&mut [IoSlice::new(&pending)], start)
}
