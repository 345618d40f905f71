//! What a read was about to fetch is gone when it comes there: it finds the data where they are by now.

use std::sync::Arc;

use bytes::Bytes;
use caudal_blocks::Tier;

use super::{Engine, Parts, Wanted, copy_parts};
use crate::attributes::Attributes;
use crate::buffers::Buffers;
use crate::errors::{CoreError, Result};
use crate::flush::Batch;
use crate::flush::take::TakeHow;
use crate::inode::state::Source;
use crate::vtable_test::engine;
use crate::write::WriteHow;

const INODE: u64 = 5;
const OTHER: u64 = 6;
const LENGTH: usize = 300_000;

fn write(engine: &Arc<Engine>, inode: u64, offset: u64, data: &mut [u8]) {
    let source = Buffers::over(data.as_mut_ptr(), data.len());
    let how = WriteHow {
        stable: false,
        uid: 0,
    };
    engine
        .write(inode, None, offset, &source, how, |result| {
            assert!(result.is_ok())
        })
        .unwrap();
}

fn commit(engine: &Arc<Engine>, mut batch: Batch) -> Vec<u64> {
    batch.write().unwrap();
    let lsn = engine
        .journal()
        .unwrap()
        .append(1, b"rows", Bytes::new())
        .unwrap()
        .lsn;
    batch.commit(lsn).unwrap();
    batch.packs.iter().map(|pack| pack.id).collect()
}

fn flush_all(engine: &Arc<Engine>) {
    let how = TakeHow {
        max_bytes: 64 << 20,
        ..Default::default()
    };
    while let Some(batch) = engine.flush_take(&how).unwrap() {
        commit(engine, batch);
    }
}

/// A file whose bytes are only in the journal, in a segment that is not the last one; and its bytes.
fn journaled(engine: &Arc<Engine>) -> Vec<u8> {
    for inode in [INODE, OTHER] {
        let attributes = Attributes {
            inode,
            mode: 0o644,
            nlink: 1,
            ..Default::default()
        };
        engine.activate(attributes, []).unwrap();
    }
    let mut data: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    write(engine, INODE, 0, &mut data);
    for number in 0..6 {
        write(engine, OTHER, number << 20, &mut vec![1; 1 << 20]);
    }
    crate::spill::run(engine);
    data
}

/// The first half of the file as it is now, ready to be fetched.
fn wanted(engine: &Arc<Engine>) -> Wanted {
    let live = engine.live(INODE, None).unwrap();
    let mut parts = Parts::new();
    let (result, ..) = engine
        .resolve(&live, 0, LENGTH as u64 / 2, 0, &mut parts)
        .unwrap();
    Wanted {
        live,
        offset: 0,
        parts,
        result,
    }
}

fn fetch(engine: &Arc<Engine>, wanted: &mut Wanted) -> Result<(Vec<u8>, Tier)> {
    let (found, _) = engine.look_up(&wanted.parts);
    let fetched = engine.fetch_where_it_is(wanted, LENGTH as u64 / 2, found);
    let (found, journaled, tier) = engine.handle().block_on(fetched)?;
    let mut bytes = vec![0; wanted.result.amount];
    let target = Buffers::over(bytes.as_mut_ptr(), bytes.len());
    copy_parts(&wanted.parts, &found, &journaled, &target)?;
    Ok((bytes, tier))
}

fn once(engine: &Arc<Engine>, wanted: &Wanted) -> CoreError {
    let (found, _) = engine.look_up(&wanted.parts);
    engine
        .handle()
        .block_on(engine.fetch(&wanted.parts, found))
        .unwrap_err()
}

#[test]
fn journaled_data_that_were_flushed_and_trimmed_meanwhile_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path());
    let data = journaled(&engine);
    let mut wanted = wanted(&engine);
    assert!(matches!(wanted.parts[0].source, Source::Journal { .. }));
    flush_all(&engine);
    let journal = engine.journal().unwrap();
    journal.wait_durable(journal.last_lsn()).unwrap();
    assert!(engine.trim(journal.durable_lsn()).unwrap() > 0);
    engine.cache_drop(true, true).unwrap();
    let error = once(&engine, &wanted);
    assert!(error.is_vanished(), "{error}");
    // No client is told that its file is not there.
    assert_eq!(error.errno(), libc::EIO);
    assert_eq!(
        fetch(&engine, &mut wanted).unwrap(),
        (data[..LENGTH / 2].to_vec(), Tier::Store)
    );
    engine.close();
}

#[test]
fn what_lived_in_a_pack_that_was_rewritten_and_deleted_meanwhile_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path());
    let data = journaled(&engine);
    flush_all(&engine);
    engine.cache_drop(true, true).unwrap();
    let mut wanted = wanted(&engine);
    let extents: Vec<_> = wanted.live.state.read().extents.iter().collect();
    let moves: Vec<_> = extents.iter().map(|extent| (INODE, *extent)).collect();
    commit(&engine, engine.relocate(&moves, 64 << 20).unwrap().unwrap());
    for extent in &extents {
        // The second extent of a pack finds it gone already, which is fine.
        engine
            .handle()
            .block_on(crate::packs::delete(&*engine.store, extent.pack))
            .unwrap();
    }
    engine.cache_drop(true, true).unwrap();
    let error = once(&engine, &wanted);
    assert!(error.is_vanished(), "{error}");
    assert_eq!(
        fetch(&engine, &mut wanted).unwrap(),
        (data[..LENGTH / 2].to_vec(), Tier::Store)
    );
    engine.close();
}

#[test]
fn what_is_nowhere_is_an_error_and_what_was_removed_is_stale() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path());
    journaled(&engine);
    flush_all(&engine);
    engine.cache_drop(true, true).unwrap();
    let mut wanted = wanted(&engine);
    for extent in wanted.live.state.read().extents.iter() {
        engine
            .handle()
            .block_on(crate::packs::delete(&*engine.store, extent.pack))
            .unwrap();
    }
    let error = fetch(&engine, &mut wanted).unwrap_err();
    assert!(matches!(error, CoreError::PackGone(_)), "{error}");
    assert_eq!(error.errno(), libc::EIO);
    engine.forget(INODE);
    let error = fetch(&engine, &mut wanted).unwrap_err();
    assert!(matches!(error, CoreError::NotResident(INODE)), "{error}");
    engine.close();
}
