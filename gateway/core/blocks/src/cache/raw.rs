//! A block device as a shelf, without a file system: one page of a header, then regions from [`HEADER_BYTES`] on.
//!
//! Nothing that somebody may still need is overwritten: a device is taken when it holds a shelf of this file system, or when blkid
//! finds nothing on it and its first and last mebibyte are zeros, since not all data has a form that blkid knows; and only while
//! nobody else has it open exclusively (as a mount has). What lies in its regions from before, be it another gateway's, carries
//! another salt and is no block of this shelf. docs/formats/cache-settings.md has the form.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;
use std::str::from_utf8;

use crate::error::{BlockError, Result};

/// Before the first region: room for the header, and regions begin at a whole mebibyte.
pub const HEADER_BYTES: u64 = 1 << 20;
const MAGIC: &str = "caudal-shelf ";
const FORM: &str = "1";
const PAGE: usize = 4096;
/// What has to be zeros at both ends of a blank device. A shelf writes nothing but its header into the first.
const END_BYTES: u64 = HEADER_BYTES;
const BLKID: [&str; 3] = ["/usr/sbin/blkid", "/sbin/blkid", "blkid"];
/// blkid's answer where it finds nothing.
const NOTHING: i32 = 2;

/// A page whose place in memory suits reads and writes beside the page cache.
#[repr(align(4096))]
struct Page([u8; PAGE]);

/// What the first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub fs_id: [u8; 16],
    /// Never 0. Blocks of the shelf carry it.
    pub salt: u32,
    pub region_bytes: u64,
}

/// What a first page may be.
#[derive(Debug, PartialEq, Eq)]
enum First {
    Shelf(Header),
    /// A shelf that this version cannot read: why.
    Unreadable(String),
    Other,
}

/// A device that is ours until the lock is dropped.
pub struct Claimed {
    pub header: Header,
    pub lock: File,
}

pub fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device())
}

impl Header {
    fn page(self) -> Box<Page> {
        let fs_id: String = self.fs_id.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!(
            "{MAGIC}{FORM}\n{fs_id}\n{:08x}\n{}\n",
            self.salt, self.region_bytes
        );
        let text = format!("{text}{:08x}\n", crc32c::crc32c(text.as_bytes()));
        let mut page = Box::new(Page([0; PAGE]));
        page.0[..text.len()].copy_from_slice(text.as_bytes());
        page
    }
}

fn parse(page: &[u8]) -> First {
    if !page.starts_with(MAGIC.as_bytes()) {
        return First::Other;
    }
    let end = page.iter().position(|byte| *byte == 0).unwrap_or(page.len());
    let lines: Vec<&str> = from_utf8(&page[..end]).unwrap_or_default().split('\n').collect();
    let form = lines.first().and_then(|line| line.strip_prefix(MAGIC));
    if form.is_some_and(|form| form != FORM) {
        return First::Unreadable("a shelf in the form of another version".to_owned());
    }
    parse_lines(&lines).map_or_else(
        || First::Unreadable("a shelf whose header is damaged".to_owned()),
        First::Shelf,
    )
}

fn parse_lines(lines: &[&str]) -> Option<Header> {
    let [form, fs_id, salt, region_bytes, crc, ""] = lines else {
        return None;
    };
    let text = format!("{form}\n{fs_id}\n{salt}\n{region_bytes}\n");
    if *crc != format!("{:08x}", crc32c::crc32c(text.as_bytes())) || fs_id.len() != 32 {
        return None;
    }
    let header = Header {
        fs_id: u128::from_str_radix(fs_id, 16).ok()?.to_be_bytes(),
        salt: u32::from_str_radix(salt, 16).ok()?,
        region_bytes: region_bytes.parse().ok()?,
    };
    (header.salt != 0 && header.region_bytes > 0).then_some(header)
}

fn open(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT | flags)
        .open(path)
}

fn first(file: &File) -> io::Result<First> {
    let mut page = Box::new(Page([0; PAGE]));
    file.read_exact_at(&mut page.0, 0)?;
    Ok(parse(&page.0))
}

/// Takes the device, if it may be taken. `region_bytes` says how large regions are, given what they were. A crash in between leaves it
/// blank, or a shelf without blocks.
pub fn claim(
    path: &Path,
    fs_id: [u8; 16],
    capacity_bytes: u64,
    region_bytes: impl Fn(Option<u64>) -> u64,
) -> Result<Claimed> {
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(libc::EBUSY) => refused(
            path,
            "is in use: mounted, or a part of something else",
            "unmount it",
        ),
        _ => refused(path, &error.to_string(), "see the kernel's log"),
    };
    let mut lock = open(path, libc::O_EXCL).map_err(failed)?;
    let size = lock.seek(SeekFrom::End(0)).map_err(failed)?;
    if HEADER_BYTES + capacity_bytes > size {
        let short = format!("holds {size} bytes, fewer than the shelf's {capacity_bytes} and {HEADER_BYTES}");
        return Err(refused(path, &short, "give a smaller size"));
    }
    let ours = match first(&lock).map_err(failed)? {
        First::Shelf(header) if header.fs_id == fs_id => Some(header),
        First::Shelf(_) => return Err(held(path, "a shelf of another file system")),
        First::Unreadable(what) => return Err(held(path, &what)),
        First::Other => {
            signature(path)?;
            if !ends_are_zeros(&lock, size).map_err(failed)? {
                return Err(held(
                    path,
                    "data of an unknown kind (one of its ends is not zeros)",
                ));
            }
            None
        }
    };
    let wanted = region_bytes(ours.map(|header| header.region_bytes));
    if let Some(header) = ours.filter(|header| header.region_bytes == wanted) {
        return Ok(Claimed { header, lock });
    }
    let header = Header {
        fs_id,
        salt: rand::random_range(1..=u32::MAX),
        region_bytes: wanted,
    };
    let claimed = || -> io::Result<()> {
        forget(&lock, size)?;
        clear(&lock, wanted, capacity_bytes)?;
        lock.write_all_at(&header.page().0, 0)?;
        lock.sync_data()
    };
    claimed().map_err(failed)?;
    Ok(Claimed { header, lock })
}

/// Where the last whole pages of a device begin that count as its end.
const fn tail(size: u64) -> u64 {
    size / PAGE as u64 * PAGE as u64 - END_BYTES
}

/// Places of the pages of one end.
fn pages(from: u64) -> impl Iterator<Item = u64> {
    (from..from + END_BYTES).step_by(PAGE)
}

fn ends_are_zeros(file: &File, size: u64) -> io::Result<bool> {
    let mut page = Box::new(Page([0; PAGE]));
    for at in pages(0).chain(pages(tail(size))) {
        file.read_exact_at(&mut page.0, at)?;
        if page.0.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a shelf blank: its end first, while the header still says whose the device is. A crash in between leaves a shelf that lost
/// some blocks, which their checksums show; after it no region is read any more, whatever it holds.
fn forget(file: &File, size: u64) -> io::Result<()> {
    let zeros = Box::new(Page([0; PAGE]));
    for at in pages(tail(size)) {
        file.write_all_at(&zeros.0, at)?;
    }
    file.sync_data()?;
    file.write_all_at(&zeros.0, 0)?;
    file.sync_data()
}

/// Makes every region begin with nothing, so that none of what follows is taken for blocks.
fn clear(file: &File, region_bytes: u64, capacity_bytes: u64) -> io::Result<()> {
    let page = Box::new(Page([0; PAGE]));
    for region in 0..capacity_bytes / region_bytes {
        file.write_all_at(&page.0, HEADER_BYTES + region * region_bytes)?;
    }
    file.sync_data()
}

/// An error where blkid finds anything on the device.
fn signature(path: &Path) -> Result<()> {
    let mut ran = Err(io::Error::from(io::ErrorKind::NotFound));
    for program in BLKID {
        ran = Command::new(program)
            .args(["--probe", "--output", "export"])
            .arg(path)
            .output();
        if ran.is_ok() {
            break;
        }
    }
    let unknown = |why: &str| {
        refused(
            path,
            &format!("what is on it is not known: {why}"),
            "see to blkid",
        )
    };
    let found = ran.map_err(|error| unknown(&format!("blkid (of util-linux): {error}")))?;
    if found.status.code() == Some(NOTHING) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    match (value("TYPE"), value("PTTYPE"), value("LABEL")) {
        (Some(kind), _, Some(label)) => Err(held(path, &format!("{kind} with the label {label}"))),
        (Some(kind), _, None) => Err(held(path, kind)),
        (None, Some(table), _) => Err(held(path, &format!("a partition table ({table})"))),
        // Of a partition blkid also tells where it lies.
        _ if found.status.success() && value("PART_ENTRY_NUMBER").is_some() => Ok(()),
        _ if found.status.success() => Err(held(path, "something that blkid knows")),
        _ => Err(unknown(String::from_utf8_lossy(&found.stderr).trim())),
    }
}

fn held(path: &Path, what: &str) -> BlockError {
    let remedy = "if nothing of that is needed, make both its ends zeros: ";
    let size = open(path, 0).and_then(|mut file| file.seek(SeekFrom::End(0)));
    refused(
        path,
        &format!("it holds {what}, and is left as it is"),
        &format!("{remedy}{}", wiping(path, size.unwrap_or_default())),
    )
}

/// The commands that make a device blank.
fn wiping(path: &Path, size: u64) -> String {
    let device = path.display();
    let pages = END_BYTES / PAGE as u64;
    let zeros = format!("dd if=/dev/zero of={device} bs={PAGE} count={pages}");
    let seek = tail(size.max(HEADER_BYTES)) / PAGE as u64;
    format!("`wipefs --all {device} && {zeros} && {zeros} seek={seek}`")
}

fn refused(path: &Path, why: &str, remedy: &str) -> BlockError {
    BlockError::Cache(format!("{}: {why} ({remedy})", path.display()))
}

/// Empties the regions, if the device takes data at all.
pub fn empty(path: &Path, region_bytes: u64, capacity_bytes: u64) -> io::Result<()> {
    clear(&open(path, 0)?, region_bytes, capacity_bytes)
}

/// The header of a shelf of this file system, from the device itself; None: it holds none.
pub fn header(path: &Path, fs_id: [u8; 16]) -> io::Result<Option<Header>> {
    match first(&open(path, 0)?)? {
        First::Shelf(header) if header.fs_id == fs_id => Ok(Some(header)),
        _ => Ok(None),
    }
}

/// The device is blank again for whoever looks at it; nothing changes where it holds no shelf of this file system.
pub fn remove(path: &Path, fs_id: [u8; 16]) -> io::Result<()> {
    if header(path, fs_id)?.is_some() {
        let mut file = open(path, 0)?;
        let size = file.seek(SeekFrom::End(0))?;
        forget(&file, size)?;
    }
    Ok(())
}

/// What the regions take that hold anything.
pub fn taken_bytes(path: &Path, fs_id: [u8; 16], capacity_bytes: u64) -> u64 {
    let Ok(Some(Header { region_bytes, .. })) = header(path, fs_id) else {
        return 0;
    };
    let Ok(file) = open(path, 0) else { return 0 };
    let mut page = Box::new(Page([0; PAGE]));
    let regions = (0..capacity_bytes / region_bytes).filter(|region| {
        let at = HEADER_BYTES + region * region_bytes;
        file.read_exact_at(&mut page.0, at).is_ok() && page.0.iter().any(|byte| *byte != 0)
    });
    regions.count() as u64 * region_bytes
}

#[cfg(test)]
#[path = "raw_test.rs"]
mod tests;
