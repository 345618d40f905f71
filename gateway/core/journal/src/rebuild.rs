//! Rebuilding a mirror while the others serve.
//!
//! 1. Its list of members is replaced by the newest, in which it is not: until the end nobody believes its segments.
//! 2. Sealed segments that it lacks are copied from healthy mirrors, slowly.
//! 3. It joins at a segment switch: every later record goes to it too, though nobody counts on it.
//! 4. What was sealed meanwhile is copied, what was trimmed meanwhile goes.
//! 5. A list with it is written to all mirrors: from then on it is healthy.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use caudal_base::failpoint;

use crate::disk::{Disk, DiskFile};
use crate::error::{JournalError, Result};
use crate::history::History;
use crate::journal::Shared;
use crate::level;
use crate::member::Member;
use crate::members::{self, Entry, Members, MirrorId, Said};
use crate::mirrors::Change;
use crate::segment::{Segment, SegmentReader, file_name, parse_file_name};
use crate::spares::Spares;

/// Bytes copied between two pauses that are as long as the copy took, and at least `PAUSE`: at most 100 MB/s.
const PAUSE: Duration = Duration::from_millis(10);
/// A copy is synced so often, lest a sync at its end holds up the disk that commits wait for.
const SYNC_BYTES: u64 = 8 << 20;

/// What a mirror is called in lists of members, as it lies now.
pub fn entry(shared: &Shared, member: &Member, id: MirrorId) -> io::Result<Entry> {
    Ok(Entry {
        id,
        path: member.dir.clone(),
        site: shared.options.disk.site(&member.dir)?,
    })
}

pub fn open_spares(shared: &Shared, member: &Member) -> io::Result<Arc<Spares>> {
    Spares::open(shared.options.disk.clone(), &member.dir, shared.segment_bytes).map(Arc::new)
}

/// Rebuilds a lost mirror; it is healthy when this returns without an error.
pub fn run(shared: &Arc<Shared>, member: &Arc<Member>) -> Result<()> {
    let disk = &*shared.options.disk;
    prepare(shared, disk, member).map_err(|error| JournalError::io(&member.dir, &error))?;
    let result = fill(shared, disk, member);
    if let Err(error) = &result {
        member.give_up(&error.to_string());
    }
    result
}

/// Makes the directory one that nobody believes, and takes it over.
fn prepare(shared: &Shared, disk: &dyn Disk, member: &Member) -> io::Result<()> {
    disk.create_dir_all(&member.dir)?;
    let id = match members::read(disk, &member.dir)? {
        Said::Members(said) if said.fs_id != shared.fs_id => {
            return Err(io::Error::other("it belongs to another file system"));
        }
        Said::Version(version) => {
            return Err(io::Error::other(format!(
                "its list of members has format {version}, newer than this software knows"
            )));
        }
        Said::Members(said) => said.own,
        Said::Nothing | Said::Damaged => {
            // Refuses a journal of another file system.
            let foreign = History::scan_with(disk, std::slice::from_ref(&member.dir), &shared.fs_id, true);
            if let Err(error @ (JournalError::Foreign { .. } | JournalError::Version { .. })) = foreign {
                return Err(error.into());
            }
            (shared.options.new_id)()
        }
    };
    let list = shared.membership.list();
    members::write(disk, &member.dir, &Members { own: id, ..list })?;
    member.opened(entry(shared, member, id)?, open_spares(shared, member)?);
    Ok(())
}

fn fill(shared: &Arc<Shared>, disk: &dyn Disk, member: &Arc<Member>) -> Result<()> {
    member.rebuild("it is being rebuilt");
    let failed = |error: io::Error| JournalError::io(&member.dir, &error);
    failpoint::hit("journal.before_rebuild").map_err(failed)?;
    let mut have = BTreeSet::new();
    drop_unknown(shared, disk, member, None).map_err(failed)?;
    copy_sealed(shared, disk, member, &mut have, shared.committer.disk_segment())?;
    let Some(spares) = member.spares() else {
        return Err(JournalError::Closed);
    };
    if spares.is_empty() {
        spares.make(&shared.stopping, true).map_err(failed)?;
    }
    wait_for_space(shared)?;
    let joined_at = ask(shared, Change::Join(member.clone()))?;
    // It gets every record from here on; a crash leaves a mirror that is not in its own list.
    failpoint::hit("journal.rebuild_joined").map_err(failed)?;
    copy_sealed(shared, disk, member, &mut have, joined_at)?;
    let _no_trim = shared.trimming.lock();
    // What was trimmed while it was copied goes.
    drop_unknown(shared, disk, member, Some((&have, joined_at))).map_err(failed)?;
    failpoint::hit("journal.rebuild_before_promote").map_err(failed)?;
    ask(shared, Change::Promote(member.key))?;
    failpoint::hit("journal.rebuild_after_promote").map_err(failed)
}

/// Returns the segment that was open when it was done.
fn ask(shared: &Shared, change: Change) -> Result<u64> {
    shared.committer.change(change).map_err(JournalError::Failed)
}

/// A switch needs a new segment in every mirror: none may be lost over it because its disk is full.
fn wait_for_space(shared: &Shared) -> Result<()> {
    while shared.roster.starved().is_some() {
        if shared.stopping.load(Ordering::Relaxed) {
            return Err(JournalError::Closed);
        }
        if shared.options.by_hand {
            return Err(JournalError::Failed("a healthy mirror's disk is full".into()));
        }
        std::thread::sleep(shared.options.timing.look);
    }
    Ok(())
}

/// Copies every kept segment below `end`, the first LSN of one that the mirror gets by itself, unless it has it intact.
fn copy_sealed(
    shared: &Shared,
    disk: &dyn Disk,
    member: &Member,
    have: &mut BTreeSet<u64>,
    end: u64,
) -> Result<()> {
    let healthy: Vec<_> = shared
        .roster
        .healthy()
        .iter()
        .map(|member| member.dir.clone())
        .collect();
    let history = History::scan(disk, &healthy, &shared.fs_id)?;
    let wanted: Vec<&Segment> = history
        .segments
        .iter()
        .filter(|segment| {
            let first_lsn = segment.header.first_lsn;
            first_lsn < end && segment.last_lsn.is_some() && !have.contains(&first_lsn)
        })
        .collect();
    let all = wanted.len() as u64 * shared.segment_bytes;
    member.to_copy_bytes.fetch_add(all, Ordering::Relaxed);
    for segment in wanted {
        if !has_intact(disk, member, segment) {
            match copy(shared, disk, member, segment) {
                // Trimmed meanwhile.
                Err(_) if !shared.committer.keeps(segment.header.first_lsn) => {}
                other => other.map_err(|error| JournalError::io(&member.dir, &error))?,
            }
        }
        have.insert(segment.header.first_lsn);
        member
            .copied_bytes
            .fetch_add(shared.segment_bytes, Ordering::Relaxed);
        failpoint::hit("journal.rebuild_copied").map_err(|error| JournalError::io(&member.dir, &error))?;
    }
    let lacking = shared
        .committer
        .kept()
        .into_iter()
        .find(|kept| kept.first_lsn < end && !have.contains(&kept.first_lsn));
    match lacking {
        Some(kept) => Err(JournalError::Failed(format!(
            "segment {:016x} could not be copied",
            kept.first_lsn
        ))),
        None => Ok(()),
    }
}

/// Whether the mirror's own file of a segment is what the others have.
fn has_intact(disk: &dyn Disk, member: &Member, segment: &Segment) -> bool {
    let path = member.dir.join(file_name(segment.header.first_lsn));
    let Some(own) = Segment::open(disk, &path, segment.header, segment.last_lsn) else {
        return false;
    };
    SegmentReader::alone(&own, 0, segment.last_lsn.unwrap_or(0)) && own.sources[0].file.sync().is_ok()
}

/// Copies one segment, and leaves the disks to commits in between.
fn copy(shared: &Shared, disk: &dyn Disk, member: &Member, segment: &Segment) -> io::Result<()> {
    let mut began = Instant::now();
    let mut unsynced = 0;
    let mut pace = |file: &dyn DiskFile| {
        if shared.stopping.load(Ordering::Relaxed) || member.removed.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        unsynced += level::COPY_BYTES as u64;
        if unsynced >= SYNC_BYTES {
            file.sync()?;
            unsynced = 0;
        }
        if !shared.options.by_hand {
            std::thread::sleep(began.elapsed().max(PAUSE));
            began = Instant::now();
        }
        Ok(())
    };
    level::copy(disk, &member.dir, segment, &mut pace)
}

/// Removes files of segments that the journal does not keep, and of those before the one it joined at that were not copied.
fn drop_unknown(
    shared: &Shared,
    disk: &dyn Disk,
    member: &Member,
    copied: Option<(&BTreeSet<u64>, u64)>,
) -> io::Result<()> {
    for name in disk.list(&member.dir)? {
        let Some(first_lsn) = parse_file_name(&name) else {
            continue;
        };
        let wanted =
            copied.is_none_or(|(have, joined_at)| first_lsn >= joined_at || have.contains(&first_lsn));
        if !(wanted && shared.committer.keeps(first_lsn)) {
            disk.remove(&member.dir.join(&name))?;
        }
    }
    // Names that an earlier failure kept from being durable are so from here on.
    disk.sync_dir(&member.dir)
}
