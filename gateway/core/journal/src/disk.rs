//! What the journal needs of a disk, and the real one. Tests put one in its place that fails, tears and forgets.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

/// A disk with directories. What was not synced may be lost in any part and any order when power fails: bytes of a file until
/// [`DiskFile::sync`], names of files until [`Disk::sync_dir`].
pub trait Disk: Send + Sync {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Names of the files in a directory, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// A new empty file, or an old one emptied.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// On which disk a directory lies. NotFound: it is not there.
    fn site(&self, dir: &Path) -> io::Result<Site>;
}

/// Where a directory lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Number of the device, which may be another after a restart of the machine.
    pub device: u64,
    /// A file system is mounted there: without it the directory would be an empty one of another disk.
    pub mount_point: bool,
}

/// An open file. Writes and reads may come from several threads at once.
pub trait DiskFile: Send + Sync {
    /// Writes all of the buffers at the offset, one after the other.
    fn write_at(&self, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Reads until the buffer is full or the file ends; returns the bytes read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes the file's bytes and its size durable.
    fn sync(&self) -> io::Result<()>;
    /// Gives the file this size and the disk space for it; says no when the disk is full.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    fn size(&self) -> io::Result<u64>;
    /// Asks the disk to begin writing what is in its cache, without waiting for it.
    fn start_writing(&self, offset: u64, len: u64) -> io::Result<()>;
}

/// The machine's own disks.
pub struct SystemDisk;

struct SystemFile(File);

impl Disk for SystemDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Arc::new(SystemFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        // A reader of another process may not be allowed to write.
        let writable = OpenOptions::new().read(true).write(true).open(path);
        let file = match writable {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path)?,
            other => other?,
        };
        Ok(Arc::new(SystemFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn site(&self, dir: &Path) -> io::Result<Site> {
        let device = fs::metadata(dir)?.dev();
        let above = fs::metadata(dir.join(".."))?.dev();
        Ok(Site {
            device,
            mount_point: device != above,
        })
    }
}

/// Most buffers that one system call takes.
const IOV_MAX: usize = 1024;

impl DiskFile for SystemFile {
    fn write_at(&self, buffers: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        let mut left = buffers;
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let count = left.len().min(IOV_MAX);
            // SAFETY: IoSlice has the layout of iovec, and the slices outlive the call.
            let wrote = unsafe {
                libc::pwritev(
                    self.0.as_raw_fd(),
                    left.as_ptr().cast::<libc::iovec>(),
                    count as libc::c_int,
                    offset as libc::off_t,
                )
            };
            match wrote {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n if n > 0 => {
                    offset += n as u64;
                    IoSlice::advance_slices(&mut left, n as usize);
                }
                _ => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Err(error),
                },
            }
        }
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        // SAFETY: a plain system call on an open descriptor.
        match unsafe { libc::fallocate(self.0.as_raw_fd(), 0, 0, bytes as libc::off_t) } {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                // A file system without it: space comes as it is written.
                error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => self.0.set_len(bytes),
                error => Err(error),
            },
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn start_writing(&self, offset: u64, len: u64) -> io::Result<()> {
        // SAFETY: a plain system call on an open descriptor.
        let code = unsafe {
            libc::sync_file_range(
                self.0.as_raw_fd(),
                offset as libc::off64_t,
                len as libc::off64_t,
                libc::SYNC_FILE_RANGE_WRITE,
            )
        };
        if code == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}
