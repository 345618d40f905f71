//! Reads. All parts in memory: copied at once, without a lock, without the GIL and without allocating. Else the read
//! completes later on a thread of the runtime, and its caller goes on.
//!
//! The parts are resolved under the inode's lock; what they point to never changes (blocks are immutable, dirty bytes
//! are replaced and never rewritten), so the read shows the file as it was at that moment, however long it takes. It may be
//! gone, though, before it was fetched: a flush moves data from the journal, which is trimmed then, and a collection rewrites
//! packs. Then the range is resolved anew, and the read shows the file as it is by now.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use caudal_blocks::{BlockKey, PAYLOAD, Tier};
use smallvec::SmallVec;

use crate::buffers::Buffers;
use crate::completion::Outcome;
use crate::engine::Engine;
use crate::errors::{CoreError, Result};
use crate::export_reads::export;
use crate::inode::dirty::Origin;
use crate::inode::live::Live;
use crate::inode::payload::AttrChange;
use crate::inode::state::{Part, Parts, Source};
use crate::journaled::Reader;

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadDone {
    pub amount: usize,
    pub eof: bool,
}

/// Blocks of a read's pack parts in order; None where L1 lacks one.
type Found = SmallVec<[Option<Bytes>; 8]>;

/// How often a read looks for its data, which a flush or a collection may have moved. Each takes seconds, a look does not.
const LOOKS_MAX: u32 = 4;

/// A range that is read, and what it consists of.
struct Wanted {
    live: Arc<Live>,
    offset: u64,
    parts: Parts,
    result: ReadDone,
}

/// Block numbers that a part of a pack touches.
const fn block_range(pack_offset: u64, len: u64) -> (u32, u32) {
    (
        (pack_offset / PAYLOAD) as u32,
        ((pack_offset + len - 1) / PAYLOAD) as u32,
    )
}

impl Engine {
    /// Reads at `offset` into the buffers. `done` is called for a pending read only.
    pub fn read<D>(
        self: &Arc<Self>,
        inode: u64,
        generation: Option<u64>,
        offset: u64,
        target: Buffers,
        done: D,
    ) -> Result<Outcome<ReadDone>>
    where
        D: FnOnce(Result<ReadDone>) + Send + 'static,
    {
        let began = Instant::now();
        self.check_open()?;
        let passes = self.fence.passes()?;
        let live = self.live(inode, generation)?;
        let mut parts = Parts::new();
        let now_ns = self.clock.now_ns();
        let (result, size, atime_is_due) =
            self.resolve(&live, offset, target.len() as u64, now_ns, &mut parts)?;
        if atime_is_due {
            self.touch_atime(&live, now_ns);
        }
        let (found, complete) = self.look_up(&parts);
        let complete = complete && passes;
        if complete {
            copy_parts(&parts, &found, &[], &target)?;
            self.io.exports.count(export(), Tier::Memory);
            self.io.read.record(began.elapsed());
        } else {
            let wanted = Wanted {
                live: live.clone(),
                offset,
                parts,
                result,
            };
            self.read_later(wanted, found, target, began, done);
        }
        self.read_ahead(&live, offset, result.amount as u64, size);
        Ok(if complete {
            Outcome::Done(result)
        } else {
            Outcome::Pending
        })
    }

    /// What up to `wanted` bytes at an offset consist of now. Returns what the read will bring, the file's size, and whether
    /// its access time is due.
    fn resolve(
        &self,
        live: &Live,
        offset: u64,
        wanted: u64,
        now_ns: i64,
        parts: &mut Parts,
    ) -> Result<(ReadDone, u64, bool)> {
        let state = live.state.read();
        if state.gone {
            return Err(CoreError::NotResident(live.inode));
        }
        let size = state.attributes.size;
        let len = size.saturating_sub(offset).min(wanted);
        if len > 0 {
            state.resolve(offset, len, parts);
        }
        let result = ReadDone {
            amount: len as usize,
            eof: offset.saturating_add(len) >= size,
        };
        Ok((result, size, len > 0 && state.attributes.atime_is_due(now_ns)))
    }

    /// Looks all blocks up in L1; false if anything has to be fetched.
    fn look_up(&self, parts: &Parts) -> (Found, bool) {
        let mut found = Found::new();
        let mut complete = true;
        for part in parts {
            match part.source {
                Source::Pack { pack, pack_offset } => {
                    let (first, last) = block_range(pack_offset, part.len);
                    for block in first..=last {
                        let hit = self.blocks.get_l1(BlockKey { pack, block });
                        complete &= hit.is_some();
                        found.push(hit);
                    }
                }
                Source::Journal { .. } => complete = false,
                Source::Zeros | Source::Memory(_) => {}
            }
        }
        (found, complete)
    }

    fn read_later<D>(
        self: &Arc<Self>,
        mut wanted: Wanted,
        found: Found,
        target: Buffers,
        began: Instant,
        done: D,
    ) where
        D: FnOnce(Result<ReadDone>) + Send + 'static,
    {
        let engine = self.clone();
        let completion = self.later(done);
        let export = export();
        self.handle().spawn(async move {
            // What was begun goes on and fills the cache: the client finds it there when it comes again.
            let bytes = target.len() as u64;
            let fetched = engine.fetch_where_it_is(&mut wanted, bytes, found);
            let fetched = tokio::time::timeout(engine.config.store_wait, fetched)
                .await
                .unwrap_or_else(|_| Err(CoreError::StoreAway("no answer in time".to_owned())));
            let passed = engine.fence.pass().await;
            let answer = passed.and(fetched).and_then(|(found, journaled, source)| {
                copy_parts(&wanted.parts, &found, &journaled, &target)?;
                engine.io.exports.count(export, source);
                Ok(wanted.result)
            });
            engine.io.read.record(began.elapsed());
            completion.finish(answer);
        });
    }

    /// Brings what a read lacks, from where it is: what has gone since it was resolved is looked for again.
    async fn fetch_where_it_is(
        self: &Arc<Self>,
        wanted: &mut Wanted,
        bytes: u64,
        mut found: Found,
    ) -> Result<(Found, Vec<Bytes>, Tier)> {
        for _ in 1..LOOKS_MAX {
            match self.fetch(&wanted.parts, found).await {
                Err(error) if error.is_vanished() => {
                    wanted.parts.clear();
                    let now_ns = self.clock.now_ns();
                    (wanted.result, ..) =
                        self.resolve(&wanted.live, wanted.offset, bytes, now_ns, &mut wanted.parts)?;
                    (found, _) = self.look_up(&wanted.parts);
                }
                other => return other,
            }
        }
        self.fetch(&wanted.parts, found).await
    }

    /// Brings every missing block and journaled piece, all at once.
    async fn fetch(self: &Arc<Self>, parts: &Parts, mut found: Found) -> Result<(Found, Vec<Bytes>, Tier)> {
        let runs = missing_runs(parts, &found);
        let blocks = runs
            .iter()
            .map(|run| self.blocks.get_run_from(run.pack, run.first, run.count));
        let (blocks, journaled) =
            futures::future::join(futures::future::join_all(blocks), self.read_journaled(parts)).await;
        let journaled = journaled?;
        // What is read back from the journal comes from a disk.
        let mut farthest = if journaled.is_empty() {
            Tier::Memory
        } else {
            Tier::Disk
        };
        for (run, got) in runs.iter().zip(blocks) {
            let (got, source) = got?;
            farthest = farthest.max(source);
            for (slot, block) in run.slots.clone().zip(got) {
                found[slot] = Some(block);
            }
        }
        Ok((found, journaled, farthest))
    }

    /// The parts that are only in the journal, in order.
    async fn read_journaled(self: &Arc<Self>, parts: &Parts) -> Result<Vec<Bytes>> {
        let wanted: Vec<(Origin, u32, u64)> = parts
            .iter()
            .filter_map(|part| match part.source {
                Source::Journal { origin, skip } => Some((origin, skip, part.len)),
                _ => None,
            })
            .collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let journal = self.opened_journal()?.clone();
        let read = move || {
            let mut reader = Reader::new(&journal);
            wanted
                .iter()
                .map(|(origin, skip, len)| reader.read(origin, *skip, *len))
                .collect()
        };
        if self.work().is_by_hand() {
            return read();
        }
        self.handle()
            .spawn_blocking(read)
            .await
            .map_err(|e| CoreError::Journal(e.to_string()))?
    }

    /// Moves the access time by a record that nobody waits for; a full or failed journal leaves it as it is.
    fn touch_atime(&self, live: &Live, now_ns: i64) {
        let change = AttrChange {
            inode: live.inode,
            atime_ns: Some(now_ns),
            ..Default::default()
        };
        let room = self.journal().and_then(|journal| self.room(journal, 128));
        if let Ok(room) = room {
            // The access time is advice: a read that could serve its bytes does not fail for it.
            drop(self.append_attributes(live, &change));
            drop(room);
        }
    }

    /// Tells the read-ahead of the inode, and fetches what it expects next. A reader that meets another one skips it.
    fn read_ahead(&self, live: &Live, offset: u64, len: u64, size: u64) {
        if len == 0 {
            return;
        }
        let Some(wanted) = live
            .readahead
            .try_lock()
            .and_then(|mut state| state.on_read(offset, len, size))
        else {
            return;
        };
        self.prefetch(live, wanted.start, wanted.end.min(size));
    }

    /// Begins to fetch what of `[start, end)`, which lies below the size, is in packs and not in memory.
    pub fn prefetch(&self, live: &Live, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let mut parts = Parts::new();
        live.state.read().resolve(start, end - start, &mut parts);
        for part in &parts {
            if let Source::Pack { pack, pack_offset } = part.source {
                let (first, last) = block_range(pack_offset, part.len);
                self.blocks.prefetch(pack, first, last - first + 1);
            }
        }
    }
}

/// Neighbouring blocks of one pack that L1 lacks, and their places in `Found`.
struct Run {
    pack: u64,
    first: u32,
    count: u32,
    slots: std::ops::Range<usize>,
}

fn missing_runs(parts: &Parts, found: &Found) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut slot = 0;
    for part in parts {
        let Source::Pack { pack, pack_offset } = part.source else {
            continue;
        };
        let (first, last) = block_range(pack_offset, part.len);
        for block in first..=last {
            if found[slot].is_none() {
                match runs.last_mut() {
                    Some(run)
                        if run.pack == pack && run.first + run.count == block && run.slots.end == slot =>
                    {
                        run.count += 1;
                        run.slots.end += 1;
                    }
                    _ => runs.push(Run {
                        pack,
                        first: block,
                        count: 1,
                        slots: slot..slot + 1,
                    }),
                }
            }
            slot += 1;
        }
    }
    runs
}

/// Copies all parts to the buffers. An error means that an extent and its pack do not fit each other.
fn copy_parts(parts: &Parts, found: &Found, journaled: &[Bytes], target: &Buffers) -> Result<()> {
    let mut blocks = found.iter().flatten();
    let mut journaled = journaled.iter();
    for part in parts {
        match &part.source {
            Source::Zeros => target.zero(part.at, part.len),
            Source::Memory(bytes) => target.fill(part.at, bytes),
            Source::Journal { .. } => target.fill(part.at, journaled.next().ok_or_else(missing)?),
            Source::Pack { pack, pack_offset } => copy_pack(part, *pack, *pack_offset, &mut blocks, target)?,
        }
    }
    Ok(())
}

fn copy_pack<'a>(
    part: &Part,
    pack: u64,
    pack_offset: u64,
    blocks: &mut impl Iterator<Item = &'a Bytes>,
    target: &Buffers,
) -> Result<()> {
    let (first, last) = block_range(pack_offset, part.len);
    let mut copied = 0;
    for block in first..=last {
        let start = (pack_offset + copied - u64::from(block) * PAYLOAD) as usize;
        let len = (PAYLOAD - start as u64).min(part.len - copied);
        let bytes = blocks
            .next()
            .ok_or_else(missing)?
            .get(start..start + len as usize)
            .ok_or_else(|| {
                CoreError::Corrupt(format!(
                    "an extent passes the end of block {block} of pack {pack:016x}"
                ))
            })?;
        target.fill(part.at + copied, bytes);
        copied += len;
    }
    Ok(())
}

fn missing() -> CoreError {
    CoreError::Corrupt("a read lacks a part that was fetched".to_owned())
}

#[cfg(test)]
#[path = "read_test.rs"]
mod read_test;
