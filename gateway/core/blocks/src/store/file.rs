//! Objects as files of a directory.
//!
//! A put writes a temporary file, syncs it, renames it (which fails where the name is taken) and syncs the directory.
//! After a crash an object is there whole or not at all; a temporary file that is left over is removed when the store is
//! opened a day later or after.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use caudal_base::background;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{ObjectInfo, Store, StoreResult};
use crate::error::StoreError;

/// Directory of files that are being written.
const INCOMING: &str = ".incoming";
const LEFT_OVER_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A directory as an object store.
pub struct FileStore {
    root: Arc<PathBuf>,
    /// Tells this opening's temporary files from those of other ones.
    token: u64,
    counter: AtomicU64,
    durable: Arc<DurableDirs>,
}

/// Directories whose entries are known to be on disk. One that is merely there may be new and not synced yet, if the process
/// that made it died: so each is synced once by every process before it puts anything into it.
#[derive(Default)]
struct DurableDirs(Mutex<HashSet<PathBuf>>);

impl FileStore {
    /// Opens the directory, which has to be there: who took the file system made it, and one that is gone is a disk that is not
    /// mounted, in whose place nothing must be put. `token` is a random number.
    pub fn open(root: &Path, token: u64) -> io::Result<Self> {
        let incoming = root.join(INCOMING);
        match fs::create_dir(&incoming) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        remove_left_over(&incoming, SystemTime::now())?;
        Ok(Self {
            root: Arc::new(fs::canonicalize(root)?),
            token,
            counter: AtomicU64::new(0),
            durable: Arc::default(),
        })
    }

    fn path(&self, key: &str) -> StoreResult<PathBuf> {
        let valid = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('\0');
        if key.split('/').all(valid) {
            Ok(self.root.join(key))
        } else {
            Err(StoreError::Permanent {
                key: key.to_owned(),
                message: "not a valid key".to_owned(),
            })
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        key: &str,
        f: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        match tokio::task::spawn_blocking(f).await {
            Ok(result) => result.map_err(|error| store_error(key, &error)),
            Err(error) => Err(StoreError::Temporary {
                key: key.to_owned(),
                message: error.to_string(),
            }),
        }
    }
}

fn store_error(key: &str, error: &io::Error) -> StoreError {
    let (key, message) = (key.to_owned(), error.to_string());
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::NotFound(key),
        io::ErrorKind::AlreadyExists => StoreError::AlreadyExists(key),
        io::ErrorKind::UnexpectedEof => StoreError::Range(key),
        io::ErrorKind::PermissionDenied => StoreError::Denied { key, message },
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory => StoreError::Permanent { key, message },
        // A bad sector stays bad: whoever reads it must hear of it, and not wait for ever.
        _ if error.raw_os_error() == Some(libc::EIO) => StoreError::Permanent { key, message },
        _ => StoreError::Temporary { key, message },
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

impl DurableDirs {
    /// Makes a directory and those above it, up to `root`, so that they survive a crash.
    fn make(&self, root: &Path, dir: &Path) -> io::Result<()> {
        if dir == root || self.0.lock().contains(dir) {
            return Ok(());
        }
        let parent = dir.parent().ok_or(io::ErrorKind::InvalidInput)?;
        self.make(root, parent)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_dir(parent)?,
        }
        self.0.lock().insert(dir.to_owned());
        Ok(())
    }
}

/// Renames, and fails where there is a file of that name.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let (source, target) = (
        CString::new(from.as_os_str().as_bytes())?,
        CString::new(to.as_os_str().as_bytes())?,
    );
    // SAFETY: both are strings that end in NUL and live through the call.
    let result = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            source.as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Network file systems may not know the flag; a hard link does not replace anything either.
        Some(libc::EINVAL | libc::ENOSYS | libc::ENOTSUP) => fs::hard_link(from, to),
        _ => Err(error),
    }
}

/// Removes temporary files that no put can still be writing.
fn remove_left_over(incoming: &Path, now: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(incoming)? {
        let entry = entry?;
        let old = match entry.metadata() {
            Ok(metadata) => now
                .duration_since(metadata.modified()?)
                .is_ok_and(|age| age > LEFT_OVER_AFTER),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if old {
            ignore_missing(fs::remove_file(entry.path()))?;
        }
    }
    Ok(())
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn write_all(file: &mut File, chunks: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<IoSlice> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
    let mut rest = &mut slices[..];
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn put(temporary: &Path, path: &Path, chunks: &[Bytes]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let renamed = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(temporary)?;
        write_all(&mut file, chunks)?;
        file.sync_all()?;
        rename_new(temporary, path)
    })();
    ignore_missing(fs::remove_file(temporary))?;
    if renamed
        .as_ref()
        .is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists)
    {
        return renamed;
    }
    // Also where the name was there: a put that recognises its own earlier attempt must leave it durable.
    sync_dir(dir)?;
    renamed
}

fn read(path: &Path, range: &Range<u64>, piece: usize) -> io::Result<Vec<Bytes>> {
    let mut file = File::open(path)?;
    let end = range.end.min(file.metadata()?.len());
    if range.start >= end {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.seek(SeekFrom::Start(range.start))?;
    let mut pieces = Vec::with_capacity((end - range.start).div_ceil(piece as u64) as usize);
    let mut at = range.start;
    while at < end {
        let len = (end - at).min(piece as u64);
        // A limited reader read to its end fills the buffer without zeroing it before.
        let mut buffer = Vec::with_capacity(len as usize);
        if ((&file).take(len).read_to_end(&mut buffer)? as u64) < len {
            return Err(io::Error::other("the file became shorter while it was read"));
        }
        at += len;
        pieces.push(Bytes::from(buffer));
    }
    Ok(pieces)
}

fn info(key: String, metadata: &fs::Metadata) -> io::Result<ObjectInfo> {
    let modified_s = metadata
        .modified()?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    Ok(ObjectInfo {
        key,
        bytes: metadata.len(),
        modified_s,
    })
}

/// Adds all files below `dir`; what goes away meanwhile is left out.
fn list(dir: &Path, key: &str, found: &mut Vec<ObjectInfo>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let key = if key.is_empty() {
            name.to_owned()
        } else {
            format!("{key}/{name}")
        };
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => list(&entry.path(), &key, found)?,
            Ok(metadata) => found.push(info(key, &metadata)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What others than root may still write to the disk of a directory.
fn available_bytes(directory: &Path) -> Option<u64> {
    let path = CString::new(directory.as_os_str().as_bytes()).ok()?;
    let mut disk = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in NUL; the struct is filled in where the call succeeds, and read only then.
    let disk = unsafe {
        if libc::statvfs(path.as_ptr(), disk.as_mut_ptr()) != 0 {
            return None;
        }
        disk.assume_init()
    };
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

impl Store for FileStore {
    fn put<'a>(&'a self, key: &'a str, chunks: &'a [Bytes]) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            let path = self.path(key)?;
            let number = self.counter.fetch_add(1, Relaxed);
            let temporary = self
                .root
                .join(INCOMING)
                .join(format!("{:016x}-{number:x}", self.token));
            let chunks = chunks.to_vec();
            let (root, durable) = (self.root.clone(), self.durable.clone());
            self.run(key, move || {
                durable.make(&root, path.parent().unwrap_or(&root))?;
                background::run(|| put(&temporary, &path, &chunks))?
            })
            .await
        })
    }

    fn get_pieces<'a>(
        &'a self,
        key: &'a str,
        range: Range<u64>,
        piece: usize,
    ) -> BoxFuture<'a, StoreResult<Vec<Bytes>>> {
        Box::pin(async move {
            let path = self.path(key)?;
            self.run(key, move || read(&path, &range, piece)).await
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<ObjectInfo>> {
        Box::pin(async move {
            let (path, name) = (self.path(key)?, key.to_owned());
            self.run(key, move || info(name, &fs::metadata(path)?)).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            // The directory is not synced: an object that is back after a crash is deleted again.
            let path = self.path(key)?;
            self.run(key, move || ignore_missing(fs::remove_file(path))).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, StoreResult<Vec<ObjectInfo>>> {
        Box::pin(async move {
            let dir = if prefix.is_empty() {
                self.root.to_path_buf()
            } else {
                self.path(prefix)?
            };
            let name = prefix.to_owned();
            let walk = move || {
                let mut found = Vec::new();
                list(&dir, &name, &mut found)?;
                Ok(found)
            };
            self.run(prefix, walk).await
        })
    }

    fn available_bytes(&self) -> Option<u64> {
        available_bytes(&self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_leftovers_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("left"), b"x").unwrap();
        let now = SystemTime::now();
        remove_left_over(dir.path(), now + LEFT_OVER_AFTER / 2).unwrap();
        assert!(dir.path().join("left").exists());
        remove_left_over(dir.path(), now + LEFT_OVER_AFTER * 2).unwrap();
        assert!(!dir.path().join("left").exists());
    }

    #[test]
    fn a_directory_has_the_room_of_its_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileStore::open(dir.path(), 1).unwrap();
        let bytes = store.available_bytes().unwrap();
        assert!(bytes > 0 && bytes < 1 << 60);
        fs::remove_dir_all(dir.path()).unwrap();
        assert_eq!(store.available_bytes(), None);
    }

    #[test]
    fn a_refused_put_changes_nothing_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (temporary, path) = (dir.path().join("temporary"), dir.path().join("object"));
        put(&temporary, &path, &[Bytes::from_static(b"one")]).unwrap();
        let again = put(&temporary, &path, &[Bytes::from_static(b"two")]);
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert!(!temporary.exists());
    }
}
