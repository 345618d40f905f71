//! One mirror of the journal: the open segment in its directory, and the order of its writes and syncs.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use caudal_base::failpoint;

use crate::batch::{Batch, Run};
use crate::disk::{Disk, DiskFile};
use crate::format::{SEGMENT_HEADER, SegmentHeader};
use crate::member::Member;
use crate::members::{self, Members};
use crate::segment::file_name;
use crate::spares::Spares;

/// Once so much was written, the disk is told to begin, so that the sync at the end has less to wait for.
const START_WRITING_BYTES: u64 = 8 << 20;

pub struct Mirror {
    pub member: Arc<Member>,
    disk: Arc<dyn Disk>,
    spares: Arc<Spares>,
    header: SegmentHeader,
    file: Arc<dyn DiskFile>,
    /// Written since the disk was last told to begin.
    lazy: std::ops::Range<u64>,
}

impl Mirror {
    /// Begins with a new segment. The member's directory was opened before.
    pub fn begin(disk: Arc<dyn Disk>, member: Arc<Member>, header: SegmentHeader) -> io::Result<Self> {
        let spares = spares_of(&member)?;
        let file = new_segment(&*disk, &member.dir, &spares, &header)?;
        Ok(Self {
            member,
            disk,
            spares,
            header,
            file,
            lazy: 0..0,
        })
    }

    /// Goes on in a segment that the mirror has.
    pub fn resume(disk: Arc<dyn Disk>, member: Arc<Member>, header: SegmentHeader) -> io::Result<Self> {
        let spares = spares_of(&member)?;
        let file = disk.open(&member.dir.join(file_name(header.first_lsn)))?;
        Ok(Self {
            member,
            disk,
            spares,
            header,
            file,
            lazy: 0..0,
        })
    }

    /// Replaces the list of members in the mirror, durably. It says that the mirror holds everything: so its files must be there
    /// still, and not in a directory that is gone.
    pub fn write_members(&self, list: &Members) -> io::Result<()> {
        self.disk
            .open(&self.member.dir.join(file_name(self.header.first_lsn)))?;
        let own = self.member.id().ok_or(io::ErrorKind::InvalidInput)?;
        let list = Members { own, ..list.clone() };
        members::write(&*self.disk, &self.member.dir, &list)
    }

    /// Writes a batch, goes on to `segment`, and with `sync` makes it and everything before it durable.
    pub fn run(&mut self, batch: &Batch, sync: bool, segment: u64) -> io::Result<()> {
        for mut run in batch.runs() {
            if run.segment != self.header.first_lsn {
                self.roll(run.segment)?;
            }
            self.write(&mut run)?;
        }
        if segment != self.header.first_lsn {
            self.roll(segment)?;
        }
        if sync {
            failpoint::hit("journal.before_sync")?;
            self.file.sync()?;
            // Durable, and nobody was told: recovery shows it, and the client asks again.
            failpoint::hit("journal.after_sync")?;
        }
        Ok(())
    }

    fn write(&mut self, run: &mut Run<'_>) -> io::Result<()> {
        failpoint::hit("journal.before_write")?;
        if failpoint::is_armed("journal.torn_write") {
            // Half a write reaches the file: recovery must stop before it and keep what was acknowledged.
            self.write_half(run)?;
            failpoint::hit("journal.torn_write")?;
        }
        self.file.write_at(&mut run.slices, run.offset)?;
        let end = run.offset + run.bytes;
        if self.lazy.is_empty() {
            self.lazy = run.offset..end;
        }
        self.lazy.end = end;
        if self.lazy.end - self.lazy.start >= START_WRITING_BYTES {
            self.file
                .start_writing(self.lazy.start, self.lazy.end - self.lazy.start)?;
            self.lazy = end..end;
        }
        Ok(())
    }

    fn write_half(&self, run: &Run<'_>) -> io::Result<()> {
        let whole: Vec<u8> = run
            .slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        self.file
            .write_at(&mut [IoSlice::new(&whole[..whole.len() / 2])], run.offset)
    }

    /// Seals the open segment and begins the next. A record in the new one proves that the old one is complete on disk.
    fn roll(&mut self, first_lsn: u64) -> io::Result<()> {
        failpoint::hit("journal.before_roll")?;
        self.file.sync()?;
        let header = SegmentHeader {
            first_lsn,
            previous_lsn: first_lsn - 1,
            ..self.header
        };
        self.file = new_segment(&*self.disk, &self.member.dir, &self.spares, &header)?;
        self.header = header;
        self.lazy = 0..0;
        self.member.bell.ring();
        // The new segment is there without a record: recovery takes it for the end of the one before.
        failpoint::hit("journal.after_roll")
    }
}

fn spares_of(member: &Member) -> io::Result<Arc<Spares>> {
    member.spares().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The file of a new segment under its name, durable with its header: a name ending in .seg always has a valid one.
fn new_segment(
    disk: &dyn Disk,
    dir: &Path,
    spares: &Spares,
    header: &SegmentHeader,
) -> io::Result<Arc<dyn DiskFile>> {
    let (path, file) = spares.take()?;
    let mut page = [0; SEGMENT_HEADER as usize];
    let used = header.encode();
    page[..used.len()].copy_from_slice(&used);
    file.write_at(&mut [IoSlice::new(&page)], 0)?;
    file.sync()?;
    disk.rename(&path, &dir.join(file_name(header.first_lsn)))?;
    disk.sync_dir(dir)?;
    Ok(file)
}
