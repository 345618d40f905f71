//! Relocation: live extents of a mostly dead pack move to a new one, so that the old one can go.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Batch, BatchInode};
use crate::engine::Engine;
use crate::errors::Result;
use crate::inode::extents::Extent;
use crate::inode::live::Live;
use crate::inode::state::{Source, Taken, TakenPiece};

impl Engine {
    /// Takes those pieces whose extents still point to where the caller says, up to about `max_bytes`; None if there are none.
    pub fn relocate(self: &Arc<Self>, moves: &[(u64, Extent)], max_bytes: u64) -> Result<Option<Batch>> {
        self.journal()?;
        let mut by_inode: BTreeMap<u64, Vec<Extent>> = BTreeMap::new();
        for (inode, extent) in moves {
            by_inode.entry(*inode).or_default().push(*extent);
        }
        let mut batch = Batch::new(self.clone(), true);
        for (inode, extents) in by_inode {
            if batch.taken_bytes >= max_bytes {
                break;
            }
            let Some(live) = self.table.get(inode) else {
                continue;
            };
            let left = max_bytes - batch.taken_bytes;
            if let Some(taken) = take_extents(&live, extents, left, self.clock.monotonic_ns()) {
                batch.taken_bytes += taken.bytes;
                batch.inodes.push(BatchInode {
                    live,
                    taken,
                    splices: Vec::new(),
                });
            }
        }
        Ok((!batch.inodes.is_empty()).then_some(batch))
    }
}

/// The wanted extents as they are now; marks the inode as held. The LSN 0 says that no change is covered.
fn take_extents(live: &Live, mut wanted: Vec<Extent>, max_bytes: u64, monotonic_ns: i64) -> Option<Taken> {
    let mut state = live.state.write();
    if state.gone || state.flushing {
        return None;
    }
    wanted.sort_by_key(|extent| extent.offset);
    let mut taken = Taken {
        lsn: 0,
        monotonic_ns,
        attributes: state.attributes,
        pieces: Vec::new(),
        bytes: 0,
    };
    let mut from = 0;
    for extent in wanted {
        if taken.bytes >= max_bytes && taken.bytes > 0 {
            break;
        }
        let start = extent.offset.max(from);
        for now in state
            .extents
            .range(start, extent.offset.saturating_add(extent.len))
        {
            let pack_offset = extent.pack_offset.saturating_add(now.offset - extent.offset);
            if now.pack == extent.pack && now.pack_offset == pack_offset {
                taken.bytes += now.len;
                let source = Source::Pack {
                    pack: now.pack,
                    pack_offset: now.pack_offset,
                };
                taken.pieces.push(TakenPiece {
                    offset: now.offset,
                    len: now.len,
                    source,
                });
                from = now.end();
            }
        }
    }
    state.flushing = !taken.pieces.is_empty();
    state.flushing.then_some(taken)
}
