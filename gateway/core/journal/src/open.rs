//! Opening: every mirror is brought to the same history, gets the new epoch's first segment, and the threads start.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use caudal_base::number;
use parking_lot::Mutex;

use crate::assemble::{Assembly, Published, Standing, assemble};
use crate::committer::Committer;
use crate::durable::Slots;
use crate::error::{JournalError, Result};
use crate::format::{SEGMENT_HEADER, SegmentHeader};
use crate::history::History;
use crate::journal::{Journal, Running, Shared, Threads};
use crate::level;
use crate::member::{Member, Roster};
use crate::members::{Entry, MirrorId};
use crate::membership::Membership;
use crate::mirror::Mirror;
use crate::mirrors::Mirrors;
use crate::returns::Returns;
use crate::room::Room;
use crate::segment::parse_file_name;
use crate::spares::Spares;
use crate::state::{Kept, Start};
use crate::{JournalConfig, Options, keeper};

/// A segment holds at least this beside its header.
const MIN_SEGMENT_BYTES: u64 = 2 * SEGMENT_HEADER;

pub fn open(config: &JournalConfig, options: Options, last_lsn_replayed: u64) -> Result<Journal> {
    check(config, last_lsn_replayed)?;
    let disk = options.disk.clone();
    let assembly = match &options.assembly {
        Some(assembly) => assembly.clone(),
        None => {
            let published = Published::default();
            assemble(
                &*disk,
                &config.mirrors,
                &config.fs_id,
                &published,
                options.accept_loss,
            )?
        }
    };
    let history = read_history(config, &options, &assembly, last_lsn_replayed)?;
    let first = SegmentHeader {
        fs_id: config.fs_id,
        epoch: config.epoch,
        first_lsn: number::first_of(config.epoch) + 1,
        previous_lsn: last_lsn_replayed,
    };
    let membership = Arc::new(Membership::new(
        config.fs_id,
        config.epoch,
        options.now_s.clone(),
        options.on_members.clone(),
    ));
    let start = Opening {
        config,
        options: &options,
        history: &history,
        first,
    };
    let begun = start.begin_all(&assembly, &membership)?;
    let kept: VecDeque<Kept> = history.segments.iter().map(kept).collect();
    let used = kept.iter().map(|kept| kept.bytes).sum::<u64>() + SEGMENT_HEADER;
    let returns = Arc::new(Returns::default());
    let places = (membership.clone(), returns.clone());
    let limit = options.timing.mirror_limit;
    let mirrors = Mirrors::start(begun.mirrors, (disk, options.by_hand), limit, places, first);
    let room = Room::new(config.limit_bytes, used);
    let state = Start {
        fs_id: config.fs_id,
        segment_bytes: config.segment_bytes,
        first_lsn: first.first_lsn,
        previous_lsn: last_lsn_replayed,
        kept,
    };
    let shared = Arc::new(Shared {
        committer: Arc::new(Committer::new(state, room, mirrors, returns, &options)),
        keys: AtomicU64::new(begun.members.len() as u64),
        roster: Roster::new(begun.members),
        membership,
        fs_id: config.fs_id,
        segment_bytes: config.segment_bytes,
        known: assembly.known,
        mended: begun.mended,
        stopping: AtomicBool::new(false),
        trimming: Mutex::new(()),
        options,
    });
    let running = if shared.options.by_hand {
        // Whoever asks for a callback does the round.
        shared.committer.callbacks.stop();
        Running::ByHand
    } else {
        let threads = start_threads(&shared).map_err(thread_failed)?;
        shared.roster.ring();
        Running::Threads(threads)
    };
    Ok(Journal {
        shared,
        slots: Slots::new(config.wait_slots),
        running: Mutex::new(running),
        files: Mutex::new(HashMap::new()),
        roster_change: Mutex::new(()),
    })
}

/// The history that was replayed, ended where the replay did.
fn read_history(
    config: &JournalConfig,
    options: &Options,
    assembly: &Assembly,
    last_lsn_replayed: u64,
) -> Result<History> {
    let dirs = assembly.dirs();
    let mut history = History::scan_with(&*options.disk, &dirs, &config.fs_id, options.accept_loss)?;
    if options.accept_loss {
        history.cut(last_lsn_replayed);
        return Ok(history);
    }
    let was_empty = history.segments.is_empty();
    let end_lsn = level::settle(&mut history)?;
    if !was_empty && end_lsn != last_lsn_replayed {
        let why =
            format!("the journal ends at LSN {end_lsn:#x}, what was replayed at {last_lsn_replayed:#x}");
        return Err(JournalError::Misuse(why));
    }
    Ok(history)
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

/// What the mirrors are begun with.
struct Opening<'a> {
    config: &'a JournalConfig,
    options: &'a Options,
    history: &'a History,
    first: SegmentHeader,
}

#[derive(Default)]
struct Begun {
    mirrors: Vec<Mirror>,
    /// All of the configuration, in its order.
    members: Vec<Arc<Member>>,
    mended: Vec<(PathBuf, Vec<u64>)>,
}

impl Opening<'_> {
    /// Begins the new segment in every mirror that is complete, and brings the new list of members to them; one that cannot is lost
    /// while another can.
    fn begin_all(&self, assembly: &Assembly, membership: &Membership) -> Result<Begun> {
        let mut begun = Begun::default();
        for (key, found) in assembly.mirrors.iter().enumerate() {
            let why = match &found.standing {
                Standing::Complete => "it is being opened",
                Standing::Lost(why) => why,
            };
            let told = self.options.on_mirror_lost.clone();
            begun
                .members
                .push(Member::new(key as u64, found.dir.clone(), why, told));
        }
        let failure = self.begin_those(&mut begun, assembly, &Standing::Complete)?;
        if begun.mirrors.is_empty() {
            // Those that are complete can be read, but not written: another takes over what they have.
            let others = |standing: &Standing| *standing != Standing::Complete;
            if assembly.mirrors.iter().any(|found| others(&found.standing)) {
                drop(self.begin_those(&mut begun, assembly, &Standing::Lost(String::new()))?);
            }
        }
        self.write_list(&mut begun, membership);
        match failure {
            Some(error) if begun.mirrors.is_empty() => return Err(error),
            _ if begun.mirrors.is_empty() => {
                return Err(JournalError::Failed("none could be written".into()));
            }
            _ => {}
        }
        for member in begun.members.iter().filter(|member| !member.is_healthy()) {
            member.report();
        }
        Ok(begun)
    }

    /// Begins those of a kind; returns the last failure.
    fn begin_those(
        &self,
        begun: &mut Begun,
        assembly: &Assembly,
        kind: &Standing,
    ) -> Result<Option<JournalError>> {
        let mut failure = None;
        for (found, member) in assembly.mirrors.iter().zip(begun.members.clone()) {
            if std::mem::discriminant(&found.standing) != std::mem::discriminant(kind) {
                continue;
            }
            let alone = assembly.dirs().len() == 1 && *kind == Standing::Complete;
            match self.begin(&member, found.id, alone) {
                Ok((mirror, mended)) => {
                    begun.mirrors.push(mirror);
                    if !mended.is_empty() {
                        begun.mended.push((member.dir.clone(), mended));
                    }
                }
                Err(error @ (JournalError::Foreign { .. } | JournalError::Version { .. })) => {
                    return Err(error);
                }
                Err(error) => {
                    member.explain(&error.to_string());
                    failure = Some(error);
                }
            }
        }
        Ok(failure)
    }

    /// Writes the new list to all that have begun, until all in it have it.
    fn write_list(&self, begun: &mut Begun, membership: &Membership) {
        while !begun.mirrors.is_empty() {
            let entries = begun
                .mirrors
                .iter()
                .filter_map(|mirror| mirror.member.entry())
                .collect();
            let list = membership.next(entries);
            let before = begun.mirrors.len();
            begun.mirrors.retain(|mirror| {
                let wrote = mirror.write_members(&list);
                wrote
                    .map_err(|error| mirror.member.explain(&error.to_string()))
                    .is_ok()
            });
            if begun.mirrors.len() == before {
                let keys = begun.mirrors.iter().map(|mirror| mirror.member.key).collect();
                membership.record(list, keys);
                begun.mirrors.iter().for_each(|mirror| mirror.member.heal());
                return;
            }
        }
    }

    fn begin(&self, member: &Arc<Member>, id: Option<MirrorId>, alone: bool) -> Result<(Mirror, Vec<u64>)> {
        let (options, dir) = (self.options, &member.dir);
        let disk = &options.disk;
        let failed = |error: io::Error| JournalError::io(dir, &error);
        disk.create_dir_all(dir).map_err(failed)?;
        let mended = level::level(&**disk, dir, self.history, alone)?;
        let first_lsn = self
            .history
            .segments
            .first()
            .map_or(0, |segment| segment.header.first_lsn);
        let (older, newer): (Vec<PathBuf>, Vec<PathBuf>) = self
            .no_part_of_history(dir)
            .map_err(failed)?
            .into_iter()
            .partition(|path| {
                name_of(path)
                    .and_then(parse_file_name)
                    .is_some_and(|lsn| lsn < first_lsn)
            });
        // Files from before the history go first: beside the new segment they would pass for its beginning.
        remove_all(options, dir, &older).map_err(failed)?;
        let segment_bytes = self.config.segment_bytes;
        let spares = Arc::new(Spares::open(disk.clone(), dir, segment_bytes).map_err(failed)?);
        if spares.is_empty() {
            spares.make(&AtomicBool::new(false), false).map_err(failed)?;
        }
        let entry = Entry {
            id: id.unwrap_or_else(|| (options.new_id)()),
            path: dir.clone(),
            site: disk.site(dir).map_err(failed)?,
        };
        member.opened(entry, spares);
        let mirror = Mirror::begin(disk.clone(), member.clone(), self.first).map_err(failed)?;
        // Those after its end only now: without the new header they still say where the history ends.
        remove_all(options, dir, &newer).map_err(failed)?;
        Ok((mirror, mended))
    }

    /// Segment files of a directory that the history does not have.
    fn no_part_of_history(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let names = self.options.disk.list(dir)?;
        let part = |lsn: u64| {
            let mut segments = self.history.segments.iter();
            segments.any(|segment| segment.header.first_lsn == lsn)
        };
        Ok(names
            .iter()
            .filter(|name| parse_file_name(name).is_some_and(|lsn| !part(lsn)))
            .map(|name| dir.join(name))
            .collect())
    }
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

fn remove_all(options: &Options, dir: &Path, paths: &[PathBuf]) -> io::Result<()> {
    for path in paths {
        options.disk.remove(path)?;
    }
    if paths.is_empty() {
        Ok(())
    } else {
        options.disk.sync_dir(dir)
    }
}

fn start_threads(shared: &Arc<Shared>) -> io::Result<Threads> {
    let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.into()).spawn(body)
    };
    let writer = shared.committer.clone();
    let caller = shared.committer.clone();
    let keepers = shared.roster.all().into_iter().map(|member| {
        let thread = keeper::start(shared, &member)?;
        Ok((member, thread))
    });
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
        keepers: keepers.collect::<io::Result<_>>()?,
    })
}
