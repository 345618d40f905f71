//! Writing a batch: its pieces go into packs one after the other, and full packs are put while the next ones are built.

use std::sync::Arc;

use bytes::Bytes;
use caudal_base::{background, failpoint};
use caudal_blocks::{BlockError, PAYLOAD, Pack, PackBuilder, put_pack};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{Batch, BatchInode, BatchPack, Stage};
use crate::engine::Engine;
use crate::errors::{CoreError, Result};
use crate::inode::extents::Extent;
use crate::inode::state::{Source, TakenPiece};
use crate::journaled::Reader;

/// Packs put at once by one batch.
const CONCURRENT_PUTS: usize = 4;
/// A piece is rather split than a pack left this much short of its target.
const SPLIT_FROM: u64 = 256 << 10;
/// Blocks fetched at once for a relocation.
const FETCH_BLOCKS: u32 = 16;

impl Batch {
    /// Builds and puts the packs. Not from a thread of the runtime.
    pub fn write(&mut self) -> Result<()> {
        if self.stage != Stage::Taken || !self.packs.is_empty() {
            return Err(CoreError::Misuse("the batch was written already"));
        }
        self.engine.check_open()?;
        let mut writer = PackWriter::new(self.engine.clone());
        let journal = self.engine.journal()?.clone();
        let built = background::run(|| self.build(&mut writer, &mut Reader::new(&journal)))
            .unwrap_or_else(|error| Err(error.into()));
        // What was started is waited for even after an error: an abandoned put could end after the batch.
        let put = writer.finish(built.is_ok());
        built?;
        self.packs = put?;
        self.stage = Stage::Written;
        Ok(())
    }

    fn build(&mut self, writer: &mut PackWriter, journal: &mut Reader<'_>) -> Result<()> {
        for inode in &mut self.inodes {
            if let Err(error) = build_inode(inode, writer, journal) {
                // What a deleted inode left in the journal may be trimmed already; nobody misses it.
                if !inode.live.state.read().gone {
                    return Err(error);
                }
                inode.splices.clear();
            }
        }
        Ok(())
    }
}

fn build_inode(inode: &mut BatchInode, writer: &mut PackWriter, journal: &mut Reader<'_>) -> Result<()> {
    inode.splices.clear();
    for piece in &inode.taken.pieces {
        let (offset, splices) = (piece.offset, &mut inode.splices);
        match &piece.source {
            Source::Zeros => splices.extend(inode.live.state.read().hole_splice(offset, piece.len)),
            Source::Memory(bytes) => writer.add_bytes(inode.live.inode, offset, bytes, splices)?,
            Source::Journal { origin, skip } => {
                let bytes = journal.read(origin, *skip, piece.len)?;
                writer.add_bytes(inode.live.inode, offset, &bytes, splices)?;
            }
            Source::Pack { pack, pack_offset } => {
                writer.add_pack(inode.live.inode, piece, *pack, *pack_offset, splices)?;
            }
        }
    }
    Ok(())
}

struct PackWriter {
    engine: Arc<Engine>,
    builder: Option<PackBuilder>,
    id: u64,
    live_bytes: u64,
    slots: Arc<Semaphore>,
    puts: Vec<JoinHandle<Result<BatchPack>>>,
}

impl PackWriter {
    fn new(engine: Arc<Engine>) -> Self {
        let slots = Arc::new(Semaphore::new(CONCURRENT_PUTS));
        Self {
            engine,
            builder: None,
            id: 0,
            live_bytes: 0,
            slots,
            puts: Vec::new(),
        }
    }

    /// Copies an extent out of another pack.
    fn add_pack(
        &mut self,
        inode: u64,
        piece: &TakenPiece,
        pack: u64,
        pack_offset: u64,
        splices: &mut Vec<Extent>,
    ) -> Result<()> {
        let mut copied = 0;
        while copied < piece.len {
            let at = pack_offset + copied;
            let first = (at / PAYLOAD) as u32;
            let last = ((pack_offset + piece.len - 1) / PAYLOAD) as u32;
            let count = (last - first + 1).min(FETCH_BLOCKS);
            let blocks = self.fetch(pack, first, count)?;
            for (block, bytes) in (first..).zip(blocks) {
                let start = (pack_offset + copied - u64::from(block) * PAYLOAD) as usize;
                let len = (PAYLOAD - start as u64).min(piece.len - copied);
                let bytes = bytes.get(start..start + len as usize).ok_or_else(|| {
                    CoreError::Corrupt(format!(
                        "an extent passes the end of block {block} of pack {pack:016x}"
                    ))
                })?;
                self.add_bytes(inode, piece.offset + copied, bytes, splices)?;
                copied += len;
            }
        }
        Ok(())
    }

    /// On threads of the runtime: this one's are of low priority.
    fn fetch(&self, pack: u64, first: u32, count: u32) -> Result<Vec<Bytes>> {
        let blocks = self.engine.blocks.clone();
        let fetched = self
            .engine
            .handle()
            .spawn(async move { blocks.get_run(pack, first, count).await });
        Ok(self
            .engine
            .block_on(fetched)?
            .map_err(|e| CoreError::Store(e.to_string()))??)
    }

    /// Adds data of a file, split where a pack gets full.
    fn add_bytes(&mut self, inode: u64, offset: u64, bytes: &[u8], splices: &mut Vec<Extent>) -> Result<()> {
        let target = self.engine.config.pack_bytes;
        let mut rest = bytes;
        let mut offset = offset;
        while !rest.is_empty() {
            let used = self.builder.as_ref().map_or(0, PackBuilder::len);
            let room = target.saturating_sub(used);
            if used > 0 && (room == 0 || (room < SPLIT_FROM && room < rest.len() as u64)) {
                self.put()?;
                continue;
            }
            let (head, tail) = rest.split_at(rest.len().min(room.max(1) as usize));
            let (id, pack_offset) = self.append(inode, offset, head)?;
            push_splice(
                splices,
                Extent {
                    offset,
                    len: head.len() as u64,
                    pack: id,
                    pack_offset,
                },
            );
            offset += head.len() as u64;
            rest = tail;
        }
        Ok(())
    }

    fn append(&mut self, inode: u64, offset: u64, bytes: &[u8]) -> Result<(u64, u64)> {
        let builder = match &mut self.builder {
            Some(builder) => builder,
            empty => {
                self.id = self.engine.next_pack();
                self.live_bytes = 0;
                let lsn = self.engine.journal().map_or(0, |journal| journal.last_lsn());
                empty.insert(PackBuilder::of(self.id, lsn, self.engine.store.keys())?)
            }
        };
        self.live_bytes += bytes.len() as u64;
        Ok((self.id, builder.add(inode, offset, bytes)))
    }

    /// Sends the pack that is being built on its way; waits while too many are.
    fn put(&mut self) -> Result<()> {
        let Some(builder) = self.builder.take() else {
            return Ok(());
        };
        failpoint::hit("flush.before_put")?;
        let pack = builder.finish();
        let live_bytes = self.live_bytes;
        let slots = self.slots.clone();
        let permit = self
            .engine
            .block_on(slots.acquire_owned())?
            .map_err(|_| CoreError::Misuse("closed"))?;
        let store = self.engine.store.clone();
        self.puts.push(self.engine.handle().spawn(async move {
            let result = put_pack(store.as_ref(), &pack).await;
            drop(permit);
            result.map_err(|e: BlockError| CoreError::from(e))?;
            let Pack {
                id, blocks, bytes, ..
            } = pack;
            Ok(BatchPack {
                id,
                bytes,
                live_bytes,
                blocks,
            })
        }));
        Ok(())
    }

    /// Puts the last pack and waits for all of them.
    fn finish(mut self, complete: bool) -> Result<Vec<BatchPack>> {
        let last = if complete { self.put() } else { Ok(()) };
        let puts = std::mem::take(&mut self.puts);
        let results = self.engine.block_on(futures::future::join_all(puts))?;
        last?;
        let packs = results
            .into_iter()
            .map(|joined| joined.map_err(|e| CoreError::Store(e.to_string()))?)
            .collect::<Result<Vec<_>>>()?;
        failpoint::hit("flush.after_put")?;
        Ok(packs)
    }
}

/// Adds a splice, as one with the last where they are neighbours in file and pack.
fn push_splice(splices: &mut Vec<Extent>, new: Extent) {
    match splices.last_mut() {
        Some(last)
            if last.pack == new.pack
                && last.end() == new.offset
                && last.pack_offset + last.len == new.pack_offset =>
        {
            last.len += new.len;
        }
        _ => splices.push(new),
    }
}
