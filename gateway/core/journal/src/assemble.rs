//! The first step of a start: which of the configured directories hold the journal, and which lack something.
//!
//! Every mirror has a list of the mirrors that are complete; the newest list decides. A directory that is not in it is
//! never believed, and is rebuilt later. Where the newest list that is known of is not among those found, nothing is started
//! unless the loss is accepted.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::error::{JournalError, Result, Stale};
use crate::history::History;
use crate::level;
use crate::members::{self, Entry, Members, MirrorId, Said};
use crate::segment::parse_file_name;

/// What is known from elsewhere of the newest membership.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The largest epoch that any of metadata database, container and state directory have.
    pub epoch: u64,
    /// Lists that are kept elsewhere.
    pub lists: Vec<Members>,
}

impl Published {
    fn newest_epoch(&self) -> u64 {
        self.newest().map_or(0, |list| list.epoch).max(self.epoch)
    }

    fn newest(&self) -> Option<&Members> {
        self.lists.iter().max_by_key(|list| list.epoch)
    }
}

/// What a directory is to a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds everything that was acknowledged, or nothing was yet.
    Complete,
    /// It takes no part until it has been rebuilt.
    Lost(String),
}

/// One of the configured directories.
#[derive(Clone, Debug)]
pub struct Assembled {
    pub dir: PathBuf,
    pub standing: Standing,
    pub id: Option<MirrorId>,
}

/// All of them, in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Assembly {
    pub mirrors: Vec<Assembled>,
    /// Mirrors of the newest list.
    pub known: Vec<Entry>,
    /// The newest membership epoch; 0: there was none yet.
    pub epoch: u64,
    /// What is started without, where that was accepted.
    pub accepted: Option<Stale>,
}

impl Assembly {
    /// Directories that hold the history.
    #[must_use]
    pub fn dirs(&self) -> Vec<PathBuf> {
        self.mirrors
            .iter()
            .filter(|mirror| mirror.standing == Standing::Complete)
            .map(|mirror| mirror.dir.clone())
            .collect()
    }
}

/// What lies in a directory.
enum Found {
    Unusable(io::Error),
    Empty,
    /// Segments, but no list that could be read.
    Unlisted,
    Listed(Members),
}

/// Looks into all directories; changes nothing. Raises [`JournalError::Stale`] where the newest state is not there, unless
/// `accept_loss`; [`JournalError::Foreign`] and [`JournalError::Version`] for directories that are not ours to touch.
pub fn assemble(
    disk: &dyn Disk,
    dirs: &[PathBuf],
    fs_id: &[u8; 16],
    published: &Published,
    accept_loss: bool,
) -> Result<Assembly> {
    let found: Vec<(PathBuf, Found)> = dirs
        .iter()
        .map(|dir| Ok((dir.clone(), look(disk, dir, fs_id)?)))
        .collect::<Result<_>>()?;
    if let Some(error) = all_unusable(&found) {
        return Err(error);
    }
    let newest = found
        .iter()
        .filter_map(|(_, found)| match found {
            Found::Listed(members) => Some(members),
            _ => None,
        })
        .max_by_key(|members| members.epoch)
        .cloned();
    let mut assembly = match &newest {
        Some(newest) => by_list(&found, newest),
        None => without_list(&found, published),
    };
    let current = newest.as_ref().map_or(u64::MAX, |newest| newest.epoch);
    if assembly.dirs().is_empty() || current < published.newest_epoch() {
        let stale = describe(disk, &found, newest.as_ref(), fs_id, published);
        if !accept_loss {
            return Err(JournalError::Stale(Box::new(stale)));
        }
        believe_anyway(&mut assembly, &found, newest.as_ref());
        assembly.accepted = Some(stale);
    }
    Ok(assembly)
}

fn look(disk: &dyn Disk, dir: &Path, fs_id: &[u8; 16]) -> Result<Found> {
    let names = match disk.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Empty),
        Err(error) => return Ok(Found::Unusable(error)),
    };
    let said = match members::read(disk, dir) {
        Ok(said) => said,
        Err(error) => return Ok(Found::Unusable(error)),
    };
    let path = dir.join(members::FILE);
    match said {
        Said::Members(members) if members.fs_id != *fs_id => Err(JournalError::Foreign {
            path,
            why: "it belongs to another file system".into(),
        }),
        Said::Members(members) => Ok(Found::Listed(members)),
        Said::Version(version) => Err(JournalError::Version { path, version }),
        Said::Nothing | Said::Damaged => {
            if !names.iter().any(|name| parse_file_name(name).is_some()) {
                return Ok(Found::Empty);
            }
            match History::scan_with(disk, &[dir.to_owned()], fs_id, true) {
                Err(error @ (JournalError::Foreign { .. } | JournalError::Version { .. })) => Err(error),
                _ => Ok(Found::Unlisted),
            }
        }
    }
}

fn all_unusable(found: &[(PathBuf, Found)]) -> Option<JournalError> {
    let mut first = None;
    for (dir, found) in found {
        match found {
            Found::Unusable(error) => {
                first.get_or_insert_with(|| JournalError::io(dir, error));
            }
            _ => return None,
        }
    }
    first
}

fn assembled(found: &[(PathBuf, Found)], standing: impl Fn(&PathBuf, &Found) -> Standing) -> Vec<Assembled> {
    let one = |(dir, found): &(PathBuf, Found)| Assembled {
        dir: dir.clone(),
        standing: standing(dir, found),
        id: match found {
            Found::Listed(members) => Some(members.own),
            _ => None,
        },
    };
    found.iter().map(one).collect()
}

fn by_list(found: &[(PathBuf, Found)], newest: &Members) -> Assembly {
    let mirrors = assembled(found, |dir, found| match found {
        Found::Listed(members) if newest.has(&members.own) => Standing::Complete,
        Found::Listed(_) => Standing::Lost("others went on without it".into()),
        Found::Unlisted => Standing::Lost("its list of members is missing or damaged".into()),
        Found::Empty if newest.entries.iter().any(|entry| entry.path == *dir) => {
            Standing::Lost("it is empty".into())
        }
        Found::Empty => Standing::Lost("it is new".into()),
        Found::Unusable(error) => Standing::Lost(error.to_string()),
    });
    Assembly {
        mirrors,
        known: newest.entries.clone(),
        epoch: newest.epoch,
        accepted: None,
    }
}

/// No directory has a list: a journal that begins, one of a version that kept none, or one whose list was damaged.
fn without_list(found: &[(PathBuf, Found)], published: &Published) -> Assembly {
    let segments = found.iter().any(|(_, found)| matches!(found, Found::Unlisted));
    let known = published.newest().map_or(Vec::new(), |list| list.entries.clone());
    let unpublished = published.newest_epoch() == 0;
    let mirrors = assembled(found, |dir, found| match found {
        Found::Unusable(error) => Standing::Lost(error.to_string()),
        Found::Unlisted if unpublished || known.iter().any(|entry| entry.path == *dir) => Standing::Complete,
        Found::Unlisted => Standing::Lost("its list of members is missing or damaged".into()),
        Found::Empty | Found::Listed(_) if !segments && unpublished => Standing::Complete,
        Found::Empty | Found::Listed(_) => Standing::Lost("it is empty".into()),
    });
    Assembly {
        mirrors,
        known,
        epoch: 0,
        accepted: None,
    }
}

/// The loss is accepted: the newest of what is there counts, or nothing where nothing is.
fn believe_anyway(assembly: &mut Assembly, found: &[(PathBuf, Found)], newest: Option<&Members>) {
    if !assembly.dirs().is_empty() {
        return;
    }
    let unlisted = found.iter().any(|(_, found)| matches!(found, Found::Unlisted));
    for (mirror, (_, found)) in assembly.mirrors.iter_mut().zip(found) {
        let best = match (newest, found) {
            (Some(newest), Found::Listed(members)) => members.epoch == newest.epoch,
            (None, Found::Unlisted) => true,
            (None, Found::Empty) => !unlisted,
            _ => false,
        };
        if best {
            mirror.standing = Standing::Complete;
        }
    }
}

fn describe(
    disk: &dyn Disk,
    found: &[(PathBuf, Found)],
    newest: Option<&Members>,
    fs_id: &[u8; 16],
    published: &Published,
) -> Stale {
    let dirs: Vec<PathBuf> = found
        .iter()
        .filter(|(_, found)| matches!(found, Found::Listed(_) | Found::Unlisted))
        .map(|(dir, _)| dir.clone())
        .collect();
    // Lists of before a member was dropped still name those that went on.
    let last = published.newest().or(newest);
    let holders = last.map_or(&[][..], |list| &list.entries);
    Stale {
        end_lsn: level::end_of(disk, &dirs, fs_id),
        found_epoch: newest.map_or(0, |newest| newest.epoch),
        found_at_s: newest.map_or(0, |newest| newest.written_at_s),
        newest_epoch: published.newest_epoch().max(last.map_or(0, |list| list.epoch)),
        newest_at_s: published.newest().map_or(0, |list| list.written_at_s),
        holders: holders
            .iter()
            .map(|entry| entry.path.clone())
            .filter(|path| !dirs.contains(path))
            .collect(),
        found: dirs,
    }
}
