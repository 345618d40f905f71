//! The thread beside each mirror: makes spares and drops what was trimmed while the mirror is healthy, and brings it back when
//! it was lost. One that hangs in its disk keeps no other waiting.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use caudal_base::failpoint;

use crate::MirrorState;
use crate::disk::Disk;
use crate::format::SegmentHeader;
use crate::history::History;
use crate::journal::Shared;
use crate::level;
use crate::member::Member;
use crate::members::{self, Entry, Said};
use crate::mirror::Mirror;
use crate::rebuild;
use crate::segment::{file_name, parse_file_name};

/// Rebuilds that fail are tried again after so many doublings of the usual pause at most.
const MOST_DOUBLINGS: u32 = 5;

pub fn start(shared: &Arc<Shared>, member: &Arc<Member>) -> io::Result<JoinHandle<()>> {
    let (shared, member) = (shared.clone(), member.clone());
    std::thread::Builder::new()
        .name(format!("journal-keep{}", member.key))
        .spawn(move || run(&shared, &member))
}

fn run(shared: &Arc<Shared>, member: &Arc<Member>) {
    let ended = || shared.stopping.load(Ordering::Relaxed) || member.removed.load(Ordering::Relaxed);
    let mut failures = 0;
    while !ended() {
        match see_to(shared, member) {
            Seen::Healthy => failures = 0,
            Seen::Waits => {}
            Seen::Failed => failures += 1,
        }
        if ended() {
            break;
        }
        let look = shared.options.timing.look * (1 << failures.min(MOST_DOUBLINGS));
        member.bell.wait(Some(look));
    }
}

/// How a turn found the mirror.
pub enum Seen {
    Healthy,
    Waits,
    /// It could not be rebuilt.
    Failed,
}

/// One turn with a mirror: what it needs now.
pub fn see_to(shared: &Arc<Shared>, member: &Arc<Member>) -> Seen {
    match member.state() {
        MirrorState::Healthy => {
            tend(shared, member);
            Seen::Healthy
        }
        MirrorState::Rebuilding => Seen::Waits,
        MirrorState::Lost => match bring_back(shared, member) {
            Ok(()) => Seen::Waits,
            Err(Stays::Because(why)) => {
                member.explain(&why);
                Seen::Waits
            }
            Err(Stays::Failed(why)) => {
                member.explain(&why);
                Seen::Failed
            }
        },
    }
}

/// Whether the open segment is still in the mirror's directory. Writes to a file that was removed, or whose disk lies under
/// another one now, succeed, and would not be there after a crash.
fn has_open_segment(shared: &Shared, member: &Member) -> bool {
    let open = || shared.committer.disk_segment();
    let segment = open();
    match shared.options.disk.open(&member.dir.join(file_name(segment))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => segment != open(),
        _ => true,
    }
}

/// Drops what was trimmed, and makes spares whenever a segment was begun.
fn tend(shared: &Shared, member: &Member) {
    let Some(spares) = member.spares() else { return };
    if !has_open_segment(shared, member) {
        member.lose("its files are gone");
        return;
    }
    if let Err(error) = drop_doomed(member) {
        member.lose(&error.to_string());
        return;
    }
    while member.is_healthy() && !shared.stopping.load(Ordering::Relaxed) && spares.wants_more() {
        match spares.make(&shared.stopping, !shared.options.by_hand) {
            Ok(()) => {}
            // Reserving gets stricter until a trim gives room; the disk itself is well.
            Err(_) if spares.starved().is_some() => break,
            Err(error) => member.lose(&error.to_string()),
        }
    }
}

/// Takes the doomed segments out of the journal in one mirror.
pub fn drop_doomed(member: &Member) -> io::Result<()> {
    let Some(spares) = member.spares() else {
        return Ok(());
    };
    member.drop_doomed(
        |first_lsn| match spares.recycle(&member.dir.join(file_name(first_lsn))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
    )
}

/// One attempt with a mirror that is lost; says why it stays so.
fn bring_back(shared: &Arc<Shared>, member: &Arc<Member>) -> Result<(), Stays> {
    if member.occupied.load(Ordering::Acquire) {
        return Err(Stays::Because("it does not answer".into()));
    }
    let disk = &*shared.options.disk;
    if shared.membership.has(member.key) {
        // Either the round that lost it has not told the others yet, or there are none and it is waited for.
        let Some(header) = shared.committer.returns.wanted() else {
            shared.committer.see_losses();
            return Ok(());
        };
        let mirror = revive(shared, member, header).map_err(|error| Stays::Because(error.to_string()))?;
        shared.committer.returns.give(mirror);
        return Ok(());
    }
    if shared.committer.returns.is_halted() {
        let why = "it lacks what was acknowledged without it, and no other mirror is there";
        return Err(Stays::Because(why.into()));
    }
    check_place(shared, disk, member).map_err(Stays::Because)?;
    rebuild::run(shared, member).map_err(|error| Stays::Failed(error.to_string()))
}

/// Why a mirror stays lost.
enum Stays {
    /// The next look may find it otherwise.
    Because(String),
    /// A rebuild failed: the next one comes after a longer pause each time.
    Failed(String),
}

/// Opens a mirror that holds everything that was acknowledged, after checking that it does.
fn revive(shared: &Shared, member: &Arc<Member>, header: SegmentHeader) -> io::Result<Mirror> {
    let disk = &shared.options.disk;
    let gone = |why: &str| Err(io::Error::other(why.to_owned()));
    let own = match members::read(&**disk, &member.dir)? {
        Said::Members(said) if said.fs_id == shared.fs_id => said.own,
        _ => return gone("it does not hold the journal any more: is its disk mounted?"),
    };
    if member.id() != Some(own) {
        return gone("it is another mirror than the one that was lost");
    }
    let dirs = [member.dir.clone()];
    let mut history = History::scan(&**disk, &dirs, &shared.fs_id)?;
    let kept = shared.committer.kept();
    let durable_lsn = shared.committer.durable.lsn();
    let missing = kept.iter().find(|kept| {
        kept.first_lsn <= durable_lsn
            && !history
                .segments
                .iter()
                .any(|segment| segment.header.first_lsn == kept.first_lsn)
    });
    if let Some(kept) = missing {
        return gone(&format!("its segment {:016x} is missing", kept.first_lsn));
    }
    if level::settle(&mut history)? < durable_lsn {
        return gone("it lacks records that were acknowledged");
    }
    failpoint::hit("journal.before_return")?;
    let spares = rebuild::open_spares(shared, member)?;
    let entry = rebuild::entry(shared, member, own)?;
    member.opened(entry, spares);
    Mirror::resume(disk.clone(), member.clone(), header)
}

/// Whether a directory without our files may become the mirror. One that was known lay on a disk; where that is not mounted,
/// the directory in its place is none.
fn check_place(shared: &Shared, disk: &dyn Disk, member: &Member) -> Result<(), String> {
    if member.wanted.load(Ordering::Relaxed) || is_ours(disk, member) {
        return Ok(());
    }
    let known: Option<Entry> = member.entry().or_else(|| shared.known_at(&member.dir));
    let Some(known) = known else {
        return Ok(());
    };
    let (here, exists) = match disk.site(&member.dir) {
        Ok(site) => (site, true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = member.dir.parent().unwrap_or(&member.dir);
            let site = disk
                .site(above)
                .map_err(|error| format!("{}: {error}", above.display()))?;
            (site, false)
        }
        Err(error) => return Err(error.to_string()),
    };
    let own_disk = exists && here.mount_point;
    let same_disk = here.device == known.site.device && !known.site.mount_point;
    if own_disk || same_disk {
        Ok(())
    } else {
        Err(format!(
            "its disk is not mounted ({} lies on another one); if it is meant: caudal journal mirror add {}",
            member.dir.display(),
            member.dir.display()
        ))
    }
}

/// Whether the directory has files of the journal's.
fn is_ours(disk: &dyn Disk, member: &Member) -> bool {
    disk.list(&member.dir).is_ok_and(|names| {
        names
            .iter()
            .any(|name| name == members::FILE || parse_file_name(name).is_some())
    })
}
