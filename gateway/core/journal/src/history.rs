//! Which segments make up the history, of all that lie in the mirrors' directories.
//!
//! The newest segment names the LSN that it follows, the segment that holds that LSN names the next, and so on down. What
//! is not on this way was cut off: a torn tail's segment, or what a mirror wrote that was lost to the node later.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use caudal_base::number::{epoch_of, first_of};

use crate::disk::Disk;
use crate::error::{JournalError, Result};
use crate::format::{BadHeader, SEGMENT_HEADER_USED, SegmentHeader};
use crate::segment::{Segment, Source, file_name, parse_file_name};

/// The segments of the history, oldest first, and the files that are no part of it.
#[derive(Default)]
pub struct History {
    pub segments: Vec<Segment>,
    pub abandoned: Vec<PathBuf>,
    /// What the headers say is missing, where that was accepted: the history ends before it.
    pub lost: Option<JournalError>,
}

/// All files of one first LSN.
#[derive(Default)]
struct Group {
    header: Option<SegmentHeader>,
    sources: Vec<Source>,
    damaged: Vec<PathBuf>,
    dirs: Vec<usize>,
}

impl History {
    /// Reads the headers of all segments. A directory that cannot be read is passed over while another can.
    pub fn scan(disk: &dyn Disk, dirs: &[PathBuf], fs_id: &[u8; 16]) -> Result<Self> {
        Self::scan_with(disk, dirs, fs_id, false)
    }

    /// As [`Self::scan`]; with `accept_loss` a segment that is missing ends the history instead of being an error.
    pub fn scan_with(disk: &dyn Disk, dirs: &[PathBuf], fs_id: &[u8; 16], accept_loss: bool) -> Result<Self> {
        let mut groups: BTreeMap<u64, Group> = BTreeMap::new();
        let mut failure = None;
        let mut readable = 0;
        for (index, dir) in dirs.iter().enumerate() {
            match disk.list(dir) {
                Ok(names) => {
                    readable += 1;
                    for name in names {
                        if let Some(first_lsn) = parse_file_name(&name) {
                            let group = groups.entry(first_lsn).or_default();
                            group.add(disk, index, dir.join(name), first_lsn, fs_id)?;
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => readable += 1,
                Err(error) => failure = Some(JournalError::io(dir, &error)),
            }
        }
        match failure {
            Some(error) if readable == 0 => Err(error),
            _ => Self::chain(groups, accept_loss),
        }
    }

    /// The segments are not all there: an error, or the end of what is left.
    fn loses(&mut self, lost: JournalError, accept_loss: bool) -> Result<()> {
        if !accept_loss {
            return Err(lost);
        }
        self.abandon(0);
        self.lost = Some(lost);
        Ok(())
    }

    /// Ends the history after this LSN.
    pub fn cut(&mut self, last_lsn: u64) {
        let kept = self
            .segments
            .iter()
            .take_while(|segment| segment.header.first_lsn <= last_lsn)
            .count();
        self.abandon(kept);
        if let Some(newest) = self.segments.last_mut() {
            newest.last_lsn = Some(last_lsn);
        }
    }

    fn abandon(&mut self, from: usize) {
        let gone = self.segments.drain(from..);
        self.abandoned
            .extend(gone.flat_map(|segment| segment.sources.into_iter().map(|source| source.path)));
    }

    /// Follows the headers from the newest segment down.
    fn chain(mut groups: BTreeMap<u64, Group>, accept_loss: bool) -> Result<Self> {
        groups.retain(|_, group| !(group.sources.is_empty() && group.damaged.is_empty()));
        let mut history = Self::default();
        let floor = floor(&groups);
        let mut last_lsn = None;
        let mut end = u64::MAX;
        loop {
            let upto = last_lsn.unwrap_or(end);
            if upto < floor || upto == 0 {
                break;
            }
            let Some(first_lsn) = groups
                .range(floor..=upto)
                .next_back()
                .map(|(first_lsn, _)| *first_lsn)
            else {
                break;
            };
            let Some(group) = groups.remove(&first_lsn) else {
                break;
            };
            let lost = |path, first_lost| JournalError::Corrupt {
                path,
                offset: 0,
                first_lost,
                last_lost: upto,
            };
            let Some(header) = group.header else {
                let path = group.damaged.first().cloned().unwrap_or_default();
                history.abandoned.extend(group.damaged);
                history.loses(lost(path, first_lsn), accept_loss)?;
                (last_lsn, end) = (None, first_lsn - 1);
                continue;
            };
            if last_lsn.is_some() && epoch_of(upto) != header.epoch {
                // The epoch's own segments are missing, from its first record on.
                let first_lost = first_of(epoch_of(upto)) + 1;
                let path = group
                    .sources
                    .first()
                    .map(|source| source.path.with_file_name(file_name(first_lost)));
                history.loses(lost(path.unwrap_or_default(), first_lost), accept_loss)?;
                // What this one holds beyond the cut of its own day was acknowledged by nobody.
                (last_lsn, end) = (None, first_lost - 1);
                groups.insert(first_lsn, group);
                continue;
            }
            history.segments.push(Segment {
                header,
                sources: group.sources,
                last_lsn,
            });
            last_lsn = Some(header.previous_lsn);
        }
        history.segments.reverse();
        for group in groups.into_values() {
            history
                .abandoned
                .extend(group.sources.into_iter().map(|source| source.path));
            history.abandoned.extend(group.damaged);
        }
        Ok(history)
    }

    /// LSN before the first record that is kept.
    #[must_use]
    pub fn preceding_lsn(&self) -> u64 {
        self.segments
            .first()
            .map_or(0, |segment| segment.header.previous_lsn)
    }
}

/// First LSN below which no segment belongs to the history.
///
/// The mirrors with the newest segment were healthy to the end, so what none of them has was trimmed. Older files of a
/// mirror that was lost before must not be taken for the beginning of the history.
fn floor(groups: &BTreeMap<u64, Group>) -> u64 {
    let Some(newest) = groups.values().next_back() else {
        return 0;
    };
    groups
        .iter()
        .find(|(_, group)| group.dirs.iter().any(|dir| newest.dirs.contains(dir)))
        .map_or(0, |(first_lsn, _)| *first_lsn)
}

impl Group {
    fn add(
        &mut self,
        disk: &dyn Disk,
        dir: usize,
        path: PathBuf,
        first_lsn: u64,
        fs_id: &[u8; 16],
    ) -> Result<()> {
        match read_header(disk, &path) {
            Ok((source, Ok(header))) => {
                if header.fs_id != *fs_id {
                    return Err(JournalError::Foreign {
                        path,
                        why: "it belongs to another file system".into(),
                    });
                }
                let fits = header.first_lsn == first_lsn && header.previous_lsn < first_lsn;
                if !fits && is_gone(disk, &path) {
                    // Trimmed and used again between opening and reading.
                    return Ok(());
                }
                self.dirs.push(dir);
                if fits && self.header.is_none_or(|known| known == header) {
                    self.header = Some(header);
                    self.sources.push(source);
                } else {
                    self.damaged.push(path);
                }
            }
            Ok((_, Err(BadHeader::Version(version)))) => return Err(JournalError::Version { path, version }),
            // Trimmed since the directory was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok((_, Err(BadHeader::Damaged))) | Err(_) => {
                self.dirs.push(dir);
                self.damaged.push(path);
            }
        }
        Ok(())
    }
}

fn is_gone(disk: &dyn Disk, path: &Path) -> bool {
    disk.open(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

type Header = std::result::Result<SegmentHeader, BadHeader>;

fn read_header(disk: &dyn Disk, path: &Path) -> io::Result<(Source, Header)> {
    let file = disk.open(path)?;
    let mut bytes = [0; SEGMENT_HEADER_USED];
    let got = file.read_at(&mut bytes, 0)?;
    let header = SegmentHeader::decode(&bytes[..got]);
    Ok((
        Source {
            path: path.to_owned(),
            len: file.size()?,
            file,
        },
        header,
    ))
}
