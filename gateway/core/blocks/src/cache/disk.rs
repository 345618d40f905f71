//! The directory or device of a shelf.
//!
//! It belongs to one file system: pack ids of another one may be the same and mean other bytes. A marker file
//! says whose it is; what belongs to somebody else is thrown away. Every payload is kept with a checksum over its key.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foyer::{
    BlockEngineConfig, Device, DeviceBuilder, Error, FileDeviceBuilder, FsDeviceBuilder, HybridCache,
    HybridCacheBuilder, HybridCachePolicy, PsyncIoEngineConfig, RecoverMode, Spawner, StorageFilter,
};
use tokio::runtime::Handle;

use super::pins::Pins;
use super::stored::Stored;
use super::{BlockKey, raw};
use crate::error::{BlockError, Result};

/// First line of the marker file; a later form of the directory gets another one.
const MARKER_FORM: &str = "caudal-l2 1";
const MARKER: &str = "owner";
const DATA: &str = "data";
/// Written to see whether the disk takes data.
const PROBE: &str = "probe";
const PROBE_BYTES: usize = 4 << 20;
/// A smaller L2 is made this large: it could not hold enough regions to work with.
const MIN_BYTES: u64 = 16 << 20;
/// The directory is divided into about so many regions, each a file; a region is what is evicted at once.
const REGIONS: u64 = 512;
const MIN_REGION_BYTES: u64 = 1 << 20;
const MAX_REGION_BYTES: u64 = 1 << 30;
/// A directory keeps the size of its regions when its capacity changes, as long as it has so many.
const MIN_REGIONS: u64 = 12;
const MAX_REGIONS: u64 = 8192;
/// Two buffers of this size gather what is written at once.
const BUFFER_BYTES: usize = 16 << 20;
/// Blocks given at once must fit a buffer, with what is added to each: more would be dropped.
pub const BATCH_BYTES: u64 = 8 << 20;

pub type Disk = HybridCache<BlockKey, Stored>;

/// An engine, the salt of its blocks, and what keeps others from its device.
pub struct Opened {
    pub disk: Disk,
    pub salt: u32,
    pub lock: Option<Arc<File>>,
}

/// What a configured size comes to.
pub fn capacity_bytes(wanted: u64) -> u64 {
    wanted.max(MIN_BYTES)
}

/// Opens the directory or device and reads its index back. `lock`: what an engine before has of the same device.
pub async fn open(
    rt: &Handle,
    dir: &Path,
    capacity_bytes: u64,
    fs_id: [u8; 16],
    pins: &Arc<Pins>,
    lock: Option<Arc<File>>,
) -> Result<Opened> {
    let (at, filter) = (dir.to_owned(), pins.filter());
    let prepared = rt.spawn_blocking(move || prepare(&at, fs_id, capacity_bytes, lock));
    let prepared = prepared
        .await
        .map_err(|error| BlockError::Cache(error.to_string()))??;
    let build = build(
        prepared.device,
        prepared.region_bytes,
        filter,
        Spawner::from(rt.clone()),
    );
    // In a task of its own: what breaks in there must not take the process along.
    let disk = rt
        .spawn(build)
        .await
        .map_err(|error| BlockError::Cache(error.to_string()))??;
    let (salt, lock) = (prepared.salt, prepared.lock);
    Ok(Opened { disk, salt, lock })
}

/// What an engine is built on.
struct Prepared {
    device: Arc<dyn Device>,
    region_bytes: u64,
    salt: u32,
    lock: Option<Arc<File>>,
}

fn prepare(path: &Path, fs_id: [u8; 16], capacity_bytes: u64, lock: Option<Arc<File>>) -> Result<Prepared> {
    if raw::is_device(path) {
        return prepare_device(path, fs_id, capacity_bytes, lock);
    }
    let (data, region_bytes) =
        claim(path, fs_id, capacity_bytes).map_err(|error| cache_io_error(path, &error))?;
    let device = FsDeviceBuilder::new(data)
        .with_capacity(capacity_bytes as usize)
        .build()
        .map_err(cache_error)?;
    Ok(Prepared {
        device,
        region_bytes,
        salt: 0,
        lock: None,
    })
}

fn prepare_device(
    path: &Path,
    fs_id: [u8; 16],
    capacity_bytes: u64,
    lock: Option<Arc<File>>,
) -> Result<Prepared> {
    let (header, lock) = match lock {
        Some(lock) => {
            let found = raw::header(path, fs_id).map_err(|error| cache_io_error(path, &error))?;
            (found.ok_or_else(|| gone(path))?, lock)
        }
        None => {
            let sized = |before: Option<u64>| kept_region_bytes(before, capacity_bytes);
            let claimed = raw::claim(path, fs_id, capacity_bytes, sized)?;
            (claimed.header, Arc::new(claimed.lock))
        }
    };
    // By the descriptor: where the name vanishes meanwhile, no file is made in its place.
    let device = FileDeviceBuilder::new(format!("/proc/self/fd/{}", lock.as_raw_fd()))
        .with_capacity((raw::HEADER_BYTES + capacity_bytes) as usize)
        .with_direct(true)
        .build()
        .map_err(cache_error)?;
    // The engine takes what is left: this part of the device is the header's.
    drop(
        device
            .create_partition(raw::HEADER_BYTES as usize)
            .map_err(cache_error)?,
    );
    Ok(Prepared {
        device,
        region_bytes: header.region_bytes,
        salt: header.salt,
        lock: Some(lock),
    })
}

/// Removes what is in the directory or on the device, if its disk takes data at all.
///
/// An engine may still have the files open and never close them: they are cut first, so that their space is free.
pub fn empty(dir: &Path, fs_id: [u8; 16], capacity_bytes: u64) -> Result<()> {
    let emptied = || -> io::Result<()> {
        if raw::is_device(dir) {
            let header = raw::header(dir, fs_id)?.ok_or(io::ErrorKind::NotFound)?;
            return raw::empty(dir, header.region_bytes, capacity_bytes);
        }
        let data = dir.join(DATA);
        if data.exists() {
            for entry in fs::read_dir(&data)? {
                fs::OpenOptions::new()
                    .write(true)
                    .open(entry?.path())?
                    .set_len(0)?;
            }
            fs::remove_dir_all(&data)?;
        }
        let probe = dir.join(PROBE);
        let took = fs::write(&probe, vec![1; PROBE_BYTES]);
        fs::remove_file(&probe)?;
        took
    };
    emptied().map_err(|error| cache_io_error(dir, &error))
}

/// Removes what a shelf of this file system has put into the directory; nothing of anybody else's.
pub fn remove(dir: &Path, fs_id: [u8; 16]) -> Result<()> {
    let removed = || -> io::Result<()> {
        if raw::is_device(dir) {
            return raw::remove(dir, fs_id);
        }
        if marked_region_bytes(&dir.join(MARKER), fs_id)?.is_some() {
            fs::remove_dir_all(dir.join(DATA))?;
            fs::remove_file(dir.join(MARKER))?;
        }
        Ok(())
    };
    removed().map_err(|error| cache_io_error(dir, &error))
}

/// Whether the directory or device is there, and this file system's.
pub fn is_ours(dir: &Path, fs_id: [u8; 16]) -> Result<()> {
    let found = if raw::is_device(dir) {
        raw::header(dir, fs_id).map(|found| found.is_some())
    } else {
        marked_region_bytes(&dir.join(MARKER), fs_id).map(|found| found.is_some())
    };
    match found {
        Ok(true) => Ok(()),
        Ok(false) => Err(gone(dir)),
        Err(error) => Err(cache_io_error(dir, &error)),
    }
}

fn gone(dir: &Path) -> BlockError {
    BlockError::Cache(format!(
        "{}: what was there is gone, or another file system's",
        dir.display()
    ))
}

fn cache_io_error(dir: &Path, error: &io::Error) -> BlockError {
    BlockError::Cache(format!("{}: {error}", dir.display()))
}

/// What the regions take on the disk: an upper bound of what is cached there.
pub fn taken_bytes(dir: &Path, fs_id: [u8; 16], capacity_bytes: u64) -> u64 {
    if raw::is_device(dir) {
        return raw::taken_bytes(dir, fs_id, capacity_bytes);
    }
    let Ok(entries) = fs::read_dir(dir.join(DATA)) else {
        return 0;
    };
    let sizes = entries.filter_map(|entry| entry.ok()?.metadata().ok());
    sizes.map(|found| found.blocks() * 512).sum()
}

pub fn cache_error(error: Error) -> BlockError {
    BlockError::Cache(error.to_string())
}

/// Size of a region: a power of two, so that a slightly changed capacity keeps what is cached.
fn region_bytes(capacity_bytes: u64) -> u64 {
    let many = (capacity_bytes / REGIONS).next_power_of_two();
    let few = 1 << (capacity_bytes / 16).ilog2();
    many.max(16 << 20)
        .min(few)
        .max(many)
        .clamp(MIN_REGION_BYTES, MAX_REGION_BYTES)
}

/// Regions keep their size as long as the capacity makes a sensible number of them.
fn kept_region_bytes(before: Option<u64>, capacity_bytes: u64) -> u64 {
    before
        .filter(|bytes| (MIN_REGIONS..=MAX_REGIONS).contains(&(capacity_bytes / bytes)))
        .unwrap_or_else(|| region_bytes(capacity_bytes))
}

/// The size of the regions in a directory that is marked as this file system's; None: it is not, or nothing is there.
fn marked_region_bytes(marker: &Path, fs_id: [u8; 16]) -> io::Result<Option<u64>> {
    let found = match fs::read_to_string(marker) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
        Err(error) => return Err(error),
    };
    let region_bytes = found
        .strip_prefix(&marker_head(fs_id))
        .and_then(|rest| rest.trim_end().parse().ok());
    Ok(region_bytes.filter(|bytes| (MIN_REGION_BYTES..=MAX_REGION_BYTES).contains(bytes)))
}

fn marker_head(fs_id: [u8; 16]) -> String {
    let fs_id: String = fs_id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{MARKER_FORM}\n{fs_id}\n")
}

/// Makes the directory, which exists, ours: one that is not there may be a disk that is not mounted.
/// What it held for another file system, or in another form, is removed first. Regions that are there keep their size as long as
/// the capacity makes a sensible number of them; those beyond the capacity are removed.
fn claim(dir: &Path, fs_id: [u8; 16], capacity_bytes: u64) -> io::Result<(PathBuf, u64)> {
    let (path, data) = (dir.join(MARKER), dir.join(DATA));
    let found = marked_region_bytes(&path, fs_id)?;
    let region_bytes = kept_region_bytes(found, capacity_bytes);
    if found != Some(region_bytes) {
        match fs::remove_dir_all(&data) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // The marker is written only when nothing of another owner is left; a crash in between empties it again.
            _ => fs::write(&path, format!("{}{region_bytes}\n", marker_head(fs_id)))?,
        }
        fs::create_dir_all(&data)?;
        return Ok((data, region_bytes));
    }
    fs::create_dir_all(&data)?;
    remove_beyond(&data, capacity_bytes / region_bytes)?;
    Ok((data, region_bytes))
}

/// Regions are files whose names end in their numbers, from 0.
fn remove_beyond(data: &Path, regions: u64) -> io::Result<()> {
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.rsplit('-').next())
            .and_then(|number| number.parse::<u64>().ok());
        if number.is_some_and(|number| number >= regions) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

async fn build(
    device: Arc<dyn Device>,
    region_bytes: u64,
    filter: StorageFilter,
    spawner: Spawner,
) -> Result<Disk> {
    let engine = BlockEngineConfig::new(device)
        .with_block_size(region_bytes as usize)
        .with_buffer_pool_size(BUFFER_BYTES)
        .with_reinsertion_filter(filter)
        .with_submit_queue_size_threshold(BUFFER_BYTES * 2);
    // Memory is L1's; this cache gets none worth mentioning and is used for its disk only.
    HybridCacheBuilder::new()
        .with_name("l2")
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .with_flush_on_close(false)
        .memory(1)
        .with_shards(1)
        .with_weighter(|_: &BlockKey, stored: &Stored| stored.payload.len())
        .storage()
        .with_io_engine_config(PsyncIoEngineConfig::new())
        .with_engine_config(engine)
        .with_recover_mode(RecoverMode::Quiet)
        .with_spawner(spawner)
        .build()
        .await
        .map_err(cache_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_neither_too_many_nor_too_few() {
        for capacity in [MIN_BYTES, 64 << 20, 1 << 30, 100 << 30, 2 << 40] {
            let regions = capacity / region_bytes(capacity);
            assert!((16..=2048).contains(&regions), "{capacity}: {regions}");
        }
    }

    #[test]
    fn the_directory_of_another_file_system_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let (data, _) = claim(dir.path(), [1; 16], MIN_BYTES).unwrap();
        fs::write(data.join("region"), b"x").unwrap();
        claim(dir.path(), [1; 16], MIN_BYTES).unwrap();
        assert!(data.join("region").exists());
        assert!(is_ours(dir.path(), [2; 16]).is_err());
        remove(dir.path(), [2; 16]).unwrap();
        assert!(data.join("region").exists());
        claim(dir.path(), [2; 16], MIN_BYTES).unwrap();
        assert!(!data.join("region").exists());
        is_ours(dir.path(), [2; 16]).unwrap();
        remove(dir.path(), [2; 16]).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_capacity_keeps_what_fits() {
        let dir = tempfile::tempdir().unwrap();
        let (data, region_bytes) = claim(dir.path(), [1; 16], 1 << 30).unwrap();
        for number in 0..(1 << 30) / region_bytes {
            fs::write(data.join(format!("foyer-storage-direct-fs-{number:08}")), b"x").unwrap();
        }
        assert_eq!(claim(dir.path(), [1; 16], 8 << 30).unwrap().1, region_bytes);
        assert_eq!(claim(dir.path(), [1; 16], 512 << 20).unwrap().1, region_bytes);
        let left = fs::read_dir(&data).unwrap().count() as u64;
        assert_eq!(left, (512 << 20) / region_bytes);
    }
}
