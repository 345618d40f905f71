//! The directory of L2 and the form of a block in it.
//!
//! The directory belongs to one file system: pack ids of another one may be the same and mean other bytes. A marker file
//! says whose it is; what belongs to somebody else is thrown away. Every payload is kept with a checksum over its key.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, Code, DeviceBuilder, Error, ErrorKind, FsDeviceBuilder, HybridCache,
    HybridCacheBuilder, HybridCachePolicy, PsyncIoEngineConfig, RecoverMode, Spawner, StorageFilter,
};
use tokio::runtime::Handle;

use super::BlockKey;
use super::pins::Pins;
use crate::error::{BlockError, Result};
use crate::pack::format::{PAYLOAD, block_crc};

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

/// A payload as it lies on the disk.
#[derive(Clone, Debug)]
pub struct Stored {
    pub key: BlockKey,
    pub payload: Bytes,
}

impl Code for BlockKey {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        self.pack.encode(writer)?;
        self.block.encode(writer)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        Ok(Self {
            pack: u64::decode(reader)?,
            block: u32::decode(reader)?,
        })
    }

    fn estimated_size(&self) -> usize {
        12
    }
}

impl Code for Stored {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        self.key.encode(writer)?;
        (self.payload.len() as u32).encode(writer)?;
        block_crc(self.key.pack, self.key.block, &self.payload).encode(writer)?;
        writer.write_all(&self.payload).map_err(Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let key = BlockKey::decode(reader)?;
        let (len, crc) = (u32::decode(reader)?, u32::decode(reader)?);
        let bad = |what: &str| Error::new(ErrorKind::ChecksumMismatch, what);
        if u64::from(len) > PAYLOAD {
            return Err(bad("a cached block has an impossible length"));
        }
        let mut payload = Vec::with_capacity(len as usize);
        reader
            .take(u64::from(len))
            .read_to_end(&mut payload)
            .map_err(Error::io_error)?;
        if payload.len() != len as usize || block_crc(key.pack, key.block, &payload) != crc {
            return Err(bad("a cached block does not fit its checksum"));
        }
        Ok(Self {
            key,
            payload: payload.into(),
        })
    }

    fn estimated_size(&self) -> usize {
        20 + self.payload.len()
    }
}

/// What a configured size comes to.
pub fn capacity_bytes(wanted: u64) -> u64 {
    wanted.max(MIN_BYTES)
}

/// Opens the directory and reads its index back.
pub async fn open(
    rt: &Handle,
    dir: &Path,
    capacity_bytes: u64,
    fs_id: [u8; 16],
    pins: &Arc<Pins>,
) -> Result<Disk> {
    let (at, filter) = (dir.to_owned(), pins.filter());
    let claimed = rt.spawn_blocking(move || claim(&at, fs_id, capacity_bytes));
    let (data, region_bytes) = claimed
        .await
        .map_err(|error| BlockError::Cache(error.to_string()))?
        .map_err(|error| cache_io_error(dir, &error))?;
    let build = build(
        data,
        capacity_bytes,
        region_bytes,
        filter,
        Spawner::from(rt.clone()),
    );
    // In a task of its own: what breaks in there must not take the process along.
    rt.spawn(build)
        .await
        .map_err(|error| BlockError::Cache(error.to_string()))?
}

/// Removes what is in the directory, if its disk takes data at all.
///
/// An engine may still have the files open and never close them: they are cut first, so that their space is free.
pub fn empty(dir: &Path) -> Result<()> {
    let emptied = || -> io::Result<()> {
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
        if marked_region_bytes(&dir.join(MARKER), fs_id)?.is_some() {
            fs::remove_dir_all(dir.join(DATA))?;
            fs::remove_file(dir.join(MARKER))?;
        }
        Ok(())
    };
    removed().map_err(|error| cache_io_error(dir, &error))
}

/// Whether the directory is there, and this file system's.
pub fn is_ours(dir: &Path, fs_id: [u8; 16]) -> Result<()> {
    match marked_region_bytes(&dir.join(MARKER), fs_id) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(BlockError::Cache(format!(
            "{}: what was there is gone, or another file system's",
            dir.display()
        ))),
        Err(error) => Err(cache_io_error(dir, &error)),
    }
}

fn cache_io_error(dir: &Path, error: &io::Error) -> BlockError {
    BlockError::Cache(format!("{}: {error}", dir.display()))
}

/// What the regions in the directory take on its disk: an upper bound of what is cached there.
pub fn taken_bytes(dir: &Path) -> u64 {
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
    let found = marked_region_bytes(&path, fs_id)?
        .filter(|bytes| (MIN_REGIONS..=MAX_REGIONS).contains(&(capacity_bytes / bytes)));
    let Some(region_bytes) = found else {
        let region_bytes = region_bytes(capacity_bytes);
        match fs::remove_dir_all(&data) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // The marker is written only when nothing of another owner is left; a crash in between empties it again.
            _ => fs::write(&path, format!("{}{region_bytes}\n", marker_head(fs_id)))?,
        }
        fs::create_dir_all(&data)?;
        return Ok((data, region_bytes));
    };
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
    data: PathBuf,
    capacity_bytes: u64,
    region_bytes: u64,
    filter: StorageFilter,
    spawner: Spawner,
) -> Result<Disk> {
    let device = FsDeviceBuilder::new(data)
        .with_capacity(capacity_bytes as usize)
        .build()
        .map_err(cache_error)?;
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

    fn encoded() -> Vec<u8> {
        let stored = Stored {
            key: BlockKey { pack: 7, block: 3 },
            payload: Bytes::from(vec![9; 1000]),
        };
        let mut raw = Vec::new();
        stored.encode(&mut raw).unwrap();
        assert_eq!(raw.len(), stored.estimated_size());
        raw
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let back = Stored::decode(&mut &encoded()[..]).unwrap();
        assert_eq!(
            (back.key, &back.payload[..]),
            (BlockKey { pack: 7, block: 3 }, &[9; 1000][..])
        );
    }

    #[test]
    fn nothing_damaged_is_accepted() {
        let raw = encoded();
        for at in 0..raw.len() {
            let mut damaged = raw.clone();
            damaged[at] ^= 0x10;
            assert!(Stored::decode(&mut &damaged[..]).is_err(), "byte {at}");
            assert!(Stored::decode(&mut &raw[..at]).is_err(), "cut to {at}");
        }
    }

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
