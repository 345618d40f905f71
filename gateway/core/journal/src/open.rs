//! Opening: every mirror is brought to the same history, gets the new epoch's first segment, and the threads start.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use caudal_base::number;
use parking_lot::Mutex;

use crate::committer::Committer;
use crate::durable::Slots;
use crate::error::{JournalError, Result};
use crate::format::{SEGMENT_HEADER, SegmentHeader};
use crate::history::History;
use crate::journal::{Journal, Running, Threads};
use crate::level;
use crate::mirror::Mirror;
use crate::mirrors::{Member, Mirrors};
use crate::room::Room;
use crate::segment::parse_file_name;
use crate::spares::{Bell, Spares};
use crate::state::{Kept, Start};
use crate::{JournalConfig, Options};

/// A segment holds at least this beside its header.
const MIN_SEGMENT_BYTES: u64 = 2 * SEGMENT_HEADER;

pub fn open(config: &JournalConfig, options: Options, last_lsn_replayed: u64) -> Result<Journal> {
    check(config, last_lsn_replayed)?;
    let mut history = History::scan(&*options.disk, &config.mirrors, &config.fs_id)?;
    let was_empty = history.segments.is_empty();
    let end_lsn = level::settle(&mut history)?;
    if !was_empty && end_lsn != last_lsn_replayed {
        let why =
            format!("the journal ends at LSN {end_lsn:#x}, what was replayed at {last_lsn_replayed:#x}");
        return Err(JournalError::Misuse(why));
    }
    let header = SegmentHeader {
        fs_id: config.fs_id,
        epoch: config.epoch,
        first_lsn: number::first_of(config.epoch) + 1,
        previous_lsn: last_lsn_replayed,
    };
    let bell = Arc::new(Bell::default());
    let (mirrors, members) = begin_all(config, &options, &history, header, &bell)?;
    let kept: VecDeque<Kept> = history.segments.iter().map(kept).collect();
    let used = kept.iter().map(|kept| kept.bytes).sum::<u64>() + SEGMENT_HEADER;
    let start = Start {
        fs_id: config.fs_id,
        segment_bytes: config.segment_bytes,
        first_lsn: header.first_lsn,
        previous_lsn: last_lsn_replayed,
        kept,
    };
    let mirrors = if options.by_hand {
        Mirrors::in_turn(mirrors)
    } else {
        Mirrors::start(mirrors, options.timing.mirror_limit).map_err(thread_failed)?
    };
    let room = Room::new(config.limit_bytes, used);
    let committer = Arc::new(Committer::new(start, room, mirrors, options.timing));
    let stopping = Arc::new(AtomicBool::new(false));
    let running = if options.by_hand {
        // Whoever asks for a callback does the round.
        committer.callbacks.stop();
        Running::ByHand
    } else {
        let threads = start_threads(&committer, &members, &bell, &stopping).map_err(thread_failed)?;
        bell.ring();
        Running::Threads(threads)
    };
    Ok(Journal {
        committer,
        members,
        slots: Slots::new(config.wait_slots),
        bell,
        stopping,
        segment_bytes: config.segment_bytes,
        running: Mutex::new(running),
        files: Mutex::new(HashMap::new()),
        trimming: Mutex::new(()),
    })
}

fn check(config: &JournalConfig, last_lsn_replayed: u64) -> Result<()> {
    let misuse = |why: String| Err(JournalError::Misuse(why));
    if config.mirrors.is_empty() {
        return misuse("a journal needs at least one mirror".into());
    }
    if config.segment_bytes < MIN_SEGMENT_BYTES {
        return misuse(format!("a segment has at least {MIN_SEGMENT_BYTES} bytes"));
    }
    if !(1..=number::MAX_EPOCH).contains(&config.epoch) || number::epoch_of(last_lsn_replayed) >= config.epoch
    {
        return misuse(format!(
            "epoch {} does not follow LSN {last_lsn_replayed:#x}",
            config.epoch
        ));
    }
    Ok(())
}

fn kept(segment: &crate::segment::Segment) -> Kept {
    Kept {
        first_lsn: segment.header.first_lsn,
        last_lsn: segment.last_lsn.unwrap_or(segment.header.first_lsn),
        bytes: segment.sources.iter().map(|source| source.len).max().unwrap_or(0),
    }
}

fn thread_failed(error: io::Error) -> JournalError {
    JournalError::Failed(format!("no thread could be started: {error}"))
}

type Begun = (Vec<(Mirror, Arc<Member>)>, Vec<Arc<Member>>);

/// Begins the new segment in every mirror; one that cannot is lost while another can.
fn begin_all(
    config: &JournalConfig,
    options: &Options,
    history: &History,
    header: SegmentHeader,
    bell: &Arc<Bell>,
) -> Result<Begun> {
    let mut mirrors = Vec::new();
    let mut members = Vec::new();
    let mut failures = Vec::new();
    let mut failure = None;
    for dir in &config.mirrors {
        let new_member = |spares| {
            Arc::new(Member::new(
                dir.clone(),
                options.disk.clone(),
                spares,
                options.on_mirror_lost.clone(),
            ))
        };
        match begin(config, options, history, header, dir, bell) {
            Ok((mirror, spares)) => {
                let member = new_member(Some(spares));
                mirrors.push((mirror, member.clone()));
                members.push(member);
            }
            Err(error) => {
                let member = new_member(None);
                failures.push((member.clone(), error.to_string()));
                members.push(member);
                failure = Some(error);
            }
        }
    }
    if let (true, Some(error)) = (mirrors.is_empty(), failure) {
        return Err(error);
    }
    for (member, why) in failures {
        member.lose(&why);
    }
    Ok((mirrors, members))
}

fn begin(
    config: &JournalConfig,
    options: &Options,
    history: &History,
    header: SegmentHeader,
    dir: &Path,
    bell: &Arc<Bell>,
) -> Result<(Mirror, Arc<Spares>)> {
    let disk = &options.disk;
    let failed = |error: io::Error| JournalError::io(dir, &error);
    disk.create_dir_all(dir).map_err(failed)?;
    level::level(&**disk, dir, history, config.mirrors.len() == 1)?;
    let first_lsn = history
        .segments
        .first()
        .map_or(0, |segment| segment.header.first_lsn);
    let abandoned: Vec<&PathBuf> = history
        .abandoned
        .iter()
        .filter(|path| path.parent() == Some(dir))
        .collect();
    let (older, newer): (Vec<&PathBuf>, Vec<&PathBuf>) = abandoned.into_iter().partition(|path| {
        name_of(path)
            .and_then(parse_file_name)
            .is_some_and(|lsn| lsn < first_lsn)
    });
    // Files from before the history go first: beside the new segment they would pass for its beginning.
    remove_all(options, dir, &older).map_err(failed)?;
    let spares = Arc::new(Spares::open(disk.clone(), dir, config.segment_bytes).map_err(failed)?);
    if spares.is_empty() {
        spares.make(&AtomicBool::new(false), false).map_err(failed)?;
    }
    let after_roll = {
        let bell = bell.clone();
        Box::new(move || bell.ring())
    };
    let mirror = Mirror::begin(disk.clone(), dir, spares.clone(), header, after_roll).map_err(failed)?;
    // Those after its end only now: without the new header they still say where the history ends.
    remove_all(options, dir, &newer).map_err(failed)?;
    Ok((mirror, spares))
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

fn remove_all(options: &Options, dir: &Path, paths: &[&PathBuf]) -> io::Result<()> {
    for path in paths {
        options.disk.remove(path)?;
    }
    if paths.is_empty() {
        Ok(())
    } else {
        options.disk.sync_dir(dir)
    }
}

fn start_threads(
    committer: &Arc<Committer>,
    members: &[Arc<Member>],
    bell: &Arc<Bell>,
    stopping: &Arc<AtomicBool>,
) -> io::Result<Threads> {
    let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.into()).spawn(body)
    };
    let writer = committer.clone();
    let caller = committer.clone();
    let (members, bell, stopping) = (members.to_vec(), bell.clone(), stopping.clone());
    Ok(Threads {
        committer: spawn("journal-commit", Box::new(move || writer.run()))?,
        callbacks: spawn(
            "journal-done",
            Box::new(move || {
                caller
                    .callbacks
                    .run(&caller.durable, || caller.state.lock().end.clone())
            }),
        )?,
        spares: spawn(
            "journal-spares",
            Box::new(move || keep_spares(&members, &bell, &stopping)),
        )?,
    })
}

/// Makes spares where there are too few; a mirror that cannot is lost. `gently`: see [`Spares::make`].
pub fn make_spares(members: &[Arc<Member>], stopping: &AtomicBool, gently: bool) {
    for member in members {
        let Some(spares) = &member.spares else { continue };
        while !member.is_lost() && !stopping.load(Ordering::Relaxed) && spares.wants_more() {
            match spares.make(stopping, gently) {
                Ok(()) => {}
                // Reserving gets stricter until a trim gives room; the disk itself is well.
                Err(_) if spares.starved().is_some() => break,
                Err(error) => member.lose(&error.to_string()),
            }
        }
    }
}

/// Body of the thread that makes spares whenever a segment was begun or trimmed.
fn keep_spares(members: &[Arc<Member>], bell: &Bell, stopping: &AtomicBool) {
    while !stopping.load(Ordering::Relaxed) {
        make_spares(members, stopping, true);
        if !stopping.load(Ordering::Relaxed) {
            bell.wait();
        }
    }
}
