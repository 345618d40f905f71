//! What the data path costs without a network: nanoseconds of each operation on one thread, through the C table.
//!
//! `cargo run --release -p caudal-core --no-default-features --example latency [DIRECTORY]`

use std::collections::HashMap;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use _core::attributes::Attributes;
use _core::engine::{Config, Engine};
use _core::flush::take::TakeHow;
use _core::ground::Ground;
use _core::vtable::{CAttributes, Io, OwnedIo};
use bytes::Bytes;

const FILE: u64 = 64 << 20;
const INODE: u64 = 5;

fn engine(directory: &Path) -> Arc<Engine> {
    let (journal, store) = (directory.join("journal"), directory.join("store"));
    for path in [&journal, &store] {
        std::fs::create_dir_all(path).expect("a directory to work in");
    }
    let config = Config {
        fs_id: [1; 16],
        epoch: 1,
        journal: vec![journal],
        segment_bytes: 64 << 20,
        journal_limit_bytes: 4 << 30,
        wait_slots: 100,
        l1_bytes: 256 << 20,
        l2_dir: None,
        l2_bytes: 0,
        readahead_bytes: 4 << 20,
        dirty_memory_bytes: 1 << 30,
        max_inodes: 1000,
        pack_bytes: 8 << 20,
        io_threads: 2,
        store_wait: caudal_blocks::PATIENCE,
        mirrors: Default::default(),
    };
    let url = format!("file://{}", store.display());
    let store = caudal_blocks::open_store(&url, &HashMap::new()).expect("a store");
    let engine = Engine::open(config, Ground::real(store)).expect("an engine");
    engine.start(0).expect("a journal");
    engine
}

fn measure(name: &str, rounds: u64, mut f: impl FnMut(u64)) {
    for round in 0..rounds / 10 {
        f(round);
    }
    let began = Instant::now();
    for round in 0..rounds {
        f(round);
    }
    println!(
        "{name:32} {:8} ns",
        began.elapsed().as_nanos() / u128::from(rounds)
    );
}

/// An offset of a 4 KiB block, scattered over the file.
const fn scattered(round: u64) -> u64 {
    (round.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % (FILE / 4096) * 4096
}

unsafe extern "C" fn nothing(_: *mut c_void, _: i32, _: usize, _: bool) {}

fn read(io: &Io, offset: u64, buffer: &mut [u8]) {
    let iov = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let (mut amount, mut eof) = (0, false);
    // SAFETY: everything outlives the call, which ends at once where all is in memory.
    let code = unsafe {
        (io.read)(
            io.core,
            INODE,
            0,
            offset,
            &iov,
            1,
            &mut amount,
            &mut eof,
            nothing,
            std::ptr::null_mut(),
        )
    };
    assert_eq!((code, amount), (0, buffer.len()));
}

fn write(io: &Io, offset: u64, data: &[u8]) {
    let iov = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    // SAFETY: as above.
    let code = unsafe {
        (io.write)(
            io.core,
            INODE,
            0,
            offset,
            &iov,
            1,
            false,
            0,
            nothing,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(code, 0);
}

fn flush(engine: &Arc<Engine>) {
    let how = TakeHow {
        max_bytes: 64 << 20,
        ..TakeHow::default()
    };
    while let Some(mut batch) = engine.flush_take(&how).expect("a batch") {
        batch.write().expect("packs");
        let lsn = engine
            .journal()
            .expect("a journal")
            .append(1, &[], Bytes::from_static(b"rows"))
            .expect("rows")
            .lsn;
        batch.commit(lsn).expect("a commit");
    }
}

fn main() {
    let directory = std::env::args()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join("caudal-latency"), PathBuf::from);
    let engine = engine(&directory);
    engine
        .activate(
            Attributes {
                inode: INODE,
                ..Attributes::default()
            },
            [],
        )
        .expect("an inode");
    let owned = OwnedIo::new(engine.clone());
    let io = owned.io();
    let (mut small, mut large) = (vec![7u8; 4096], vec![7u8; 1 << 20]);
    measure("write 1M sequential", FILE >> 20, |round| {
        write(io, round << 20, &large)
    });
    measure("read 4K random, dirty", 200_000, |round| {
        read(io, scattered(round), &mut small)
    });
    flush(&engine);
    measure("read 4K random, L1", 400_000, |round| {
        read(io, scattered(round), &mut small)
    });
    measure("read 1M sequential, L1", 2_000, |round| {
        read(io, (round % 64) << 20, &mut large)
    });
    measure("getattributes", 400_000, |_| {
        let mut out = CAttributes::default();
        // SAFETY: the output is ours.
        assert_eq!(unsafe { (io.getattributes)(io.core, INODE, 0, &mut out) }, 0);
    });
    measure("write 4K random", 50_000, |round| {
        write(io, scattered(round), &small)
    });
    measure("read 4K random, mixed", 200_000, |round| {
        read(io, scattered(round), &mut small)
    });
    engine.close();
    drop(std::fs::remove_dir_all(directory));
}
