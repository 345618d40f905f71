//! The `members` file of a mirror: which mirrors hold the whole journal, as of which change of that.
//!
//! Whoever is not in the newest list may lack what was acknowledged, however whole its segments look; docs/formats/journal.md
//! describes the bytes.

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use caudal_base::failpoint;

use crate::disk::{Disk, Site};
use crate::format::{u32_at, u64_at};

pub const FILE: &str = "members";
const NEW_FILE: &str = "members.new";
const MAGIC: [u8; 8] = *b"CAUDALM1";
const VERSION: u32 = 1;
const HEAD: usize = 76;
const ENTRY_HEAD: usize = 32;
/// Mirrors of one journal, at most.
pub const MAX_MIRRORS: usize = 64;
/// Longest path that a list holds; a longer one is cut, which costs no more than a clear message.
const MAX_PATH: usize = 4096;
const MAX_FILE: usize = HEAD + MAX_MIRRORS * (ENTRY_HEAD + MAX_PATH) + 4;

/// Given to a mirror once, at random: a directory under the same path with another id is another mirror.
pub type MirrorId = [u8; 16];

/// One mirror of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: MirrorId,
    pub path: PathBuf,
    /// Where its directory lay.
    pub site: Site,
}

/// A list of the mirrors that hold everything that was acknowledged while it was the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    pub fs_id: [u8; 16],
    /// Owner's epoch in the high bits, counting changes: the newest list has the largest.
    pub epoch: u64,
    /// The mirror whose file this is; zero in a copy that is kept elsewhere. It may not be in the list.
    pub own: MirrorId,
    /// Seconds since 1970.
    pub written_at_s: u64,
    pub entries: Vec<Entry>,
}

/// Why bytes are no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMembers {
    Damaged,
    /// Intact, but of a newer format.
    Version(u32),
}

impl Members {
    /// Whether the mirror whose file this is was in the list when it was written.
    #[must_use]
    pub fn has(&self, id: &MirrorId) -> bool {
        self.entries.iter().any(|entry| entry.id == *id)
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.fs_id);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.own);
        out.extend_from_slice(&self.written_at_s.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for entry in &self.entries {
            let path = entry.path.as_os_str().as_bytes();
            let path = &path[..path.len().min(MAX_PATH)];
            out.extend_from_slice(&entry.id);
            out.extend_from_slice(&entry.site.device.to_le_bytes());
            out.extend_from_slice(&u32::from(entry.site.mount_point).to_le_bytes());
            out.extend_from_slice(&(path.len() as u32).to_le_bytes());
            out.extend_from_slice(path);
        }
        let len = out.len() as u32 + 4;
        out[12..16].copy_from_slice(&len.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadMembers> {
        let head = bytes.get(..16).ok_or(BadMembers::Damaged)?;
        let len = u32_at(head, 12) as usize;
        if head[..8] != MAGIC || !(HEAD + 4..=MAX_FILE).contains(&len) {
            return Err(BadMembers::Damaged);
        }
        let bytes = bytes.get(..len).ok_or(BadMembers::Damaged)?;
        let (body, crc) = bytes.split_at(len - 4);
        if crc32c::crc32c(body) != u32_at(crc, 0) {
            return Err(BadMembers::Damaged);
        }
        match u32_at(body, 8) {
            VERSION => Self::decode_body(body).ok_or(BadMembers::Damaged),
            version => Err(BadMembers::Version(version)),
        }
    }

    fn decode_body(body: &[u8]) -> Option<Self> {
        let count = u32_at(body, 72) as usize;
        let mut rest = &body[HEAD..];
        let mut entries = Vec::new();
        for _ in 0..count.min(MAX_MIRRORS + 1) {
            let head = rest.get(..ENTRY_HEAD)?;
            let len = u32_at(head, 28) as usize;
            let path = rest.get(ENTRY_HEAD..ENTRY_HEAD.checked_add(len)?)?;
            entries.push(Entry {
                id: array_at(head, 0),
                site: Site {
                    device: u64_at(head, 16),
                    mount_point: u32_at(head, 24) != 0,
                },
                path: PathBuf::from(OsString::from_vec(path.to_vec())),
            });
            rest = &rest[ENTRY_HEAD + len..];
        }
        (rest.is_empty() && entries.len() == count && count <= MAX_MIRRORS).then(|| Self {
            fs_id: array_at(body, 16),
            epoch: u64_at(body, 32),
            own: array_at(body, 40),
            written_at_s: u64_at(body, 56),
            entries,
        })
    }
}

fn array_at(bytes: &[u8], at: usize) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&bytes[at..at + 16]);
    out
}

/// What a directory says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Nothing,
    Damaged,
    Version(u32),
    Members(Members),
}

/// Reads the file in a directory. Errors are those of the disk; a directory that is not there says nothing.
pub fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Said> {
    let file = match disk.open(&dir.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Said::Nothing),
        other => other?,
    };
    let mut bytes = vec![0; (file.size()? as usize).min(MAX_FILE)];
    let got = file.read_at(&mut bytes, 0)?;
    Ok(match Members::decode(&bytes[..got]) {
        Ok(members) => Said::Members(members),
        Err(BadMembers::Damaged) => Said::Damaged,
        Err(BadMembers::Version(version)) => Said::Version(version),
    })
}

/// Replaces the file in a directory, durably: after a crash it holds the old list or the new one.
pub fn write(disk: &dyn Disk, dir: &Path, members: &Members) -> io::Result<()> {
    // Nothing is acknowledged on this list's account yet: after a crash the old one holds.
    failpoint::hit("journal.before_members")?;
    let path = dir.join(NEW_FILE);
    let file = disk.create(&path)?;
    file.write_at(&mut [IoSlice::new(&members.encode())], 0)?;
    file.sync()?;
    disk.rename(&path, &dir.join(FILE))?;
    disk.sync_dir(dir)?;
    // Other mirrors may still have the old one: the newest list that any of them has is what counts.
    failpoint::hit("journal.after_members")
}
