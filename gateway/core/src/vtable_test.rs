//! The data path as C calls it: threads write, read and commit through the table while a flush takes what they wrote,
//! memory is short, caches are dropped and the journal is trimmed. What a thread reads must be what it wrote.

mod sparse;

use std::collections::HashMap;
use std::ffi::c_void;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};

use crate::attributes::Attributes;
use crate::engine::{Config, Engine};
use crate::flush::take::TakeHow;
use crate::ground::Ground;
use crate::inode::payload::AttrChange;
use crate::vtable::{CAttributes, ChangeRange, DONE, Io, NOT_RESIDENT, OwnedIo, PENDING};

const SPACE: usize = 1 << 20;
const GENERATION: u64 = 7;

pub fn engine(directory: &Path) -> Arc<Engine> {
    let (journal, store) = (directory.join("journal"), directory.join("store"));
    std::fs::create_dir_all(&journal).unwrap();
    std::fs::create_dir_all(&store).unwrap();
    let config = Config {
        fs_id: [1; 16],
        epoch: 1,
        journal: vec![journal],
        segment_bytes: 2 << 20,
        journal_limit_bytes: 256 << 20,
        wait_slots: 100,
        l1_bytes: 1 << 20,
        l2_dir: None,
        l2_bytes: 0,
        readahead_bytes: 1 << 20,
        dirty_memory_bytes: 256 << 10,
        max_inodes: 1000,
        pack_bytes: 1 << 20,
        io_threads: 2,
        store_wait: caudal_blocks::PATIENCE,
        mirrors: Default::default(),
    };
    let store = caudal_blocks::open_store(&format!("file://{}", store.display()), &HashMap::new()).unwrap();
    let engine = Engine::open(config, Ground::real(store)).unwrap();
    engine.start(0).unwrap();
    engine
}

fn activate(engine: &Engine, inode: u64) {
    let attributes = Attributes {
        inode,
        generation: GENERATION,
        mode: 0o644,
        nlink: 1,
        ..Default::default()
    };
    engine.activate(attributes, []).unwrap();
}

/// splitmix64: small, seeded, enough to choose offsets.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

type Answer = (i32, usize, bool);

unsafe extern "C" fn done(token: *mut c_void, error: i32, amount: usize, flag: bool) {
    // SAFETY: the token is the sender of a caller that waits for this answer.
    let sender = unsafe { &*token.cast::<Sender<Answer>>() };
    sender.send((error, amount, flag)).unwrap();
}

/// A caller with one request under way.
struct Client<'a> {
    io: &'a Io,
    inode: u64,
    sender: Box<Sender<Answer>>,
    receiver: Receiver<Answer>,
}

impl<'a> Client<'a> {
    fn new(io: &'a Io, inode: u64) -> Self {
        let (sender, receiver) = channel();
        Self {
            io,
            inode,
            sender: Box::new(sender),
            receiver,
        }
    }

    fn token(&self) -> *mut c_void {
        std::ptr::from_ref(&*self.sender).cast_mut().cast()
    }

    fn read(&self, offset: u64, len: usize) -> (i32, Vec<u8>, bool) {
        let mut buffer = vec![0xee; len];
        let (head, tail) = buffer.split_at_mut(len / 3);
        let iov = [head, tail].map(|b| libc::iovec {
            iov_base: b.as_mut_ptr().cast(),
            iov_len: b.len(),
        });
        let (mut amount, mut eof) = (0, false);
        // SAFETY: buffers, outputs and token outlive the operation, which is waited for.
        let code = unsafe {
            (self.io.read)(
                self.io.core,
                self.inode,
                GENERATION,
                offset,
                iov.as_ptr(),
                2,
                &mut amount,
                &mut eof,
                done,
                self.token(),
            )
        };
        let (code, amount, eof) = match code {
            PENDING => self.receiver.recv().unwrap(),
            code => (code, amount, eof),
        };
        buffer.truncate(amount);
        (code, buffer, eof)
    }

    fn write(&self, offset: u64, data: &[u8], stable: bool) -> i32 {
        let iov = libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        };
        // SAFETY: as above.
        let code = unsafe {
            (self.io.write)(
                self.io.core,
                self.inode,
                GENERATION,
                offset,
                &iov,
                1,
                stable,
                0,
                done,
                self.token(),
            )
        };
        if code == PENDING {
            let (error, amount, _) = self.receiver.recv().unwrap();
            assert!(error != 0 || amount == data.len());
            return error;
        }
        code
    }

    fn size(&self) -> u64 {
        let mut out = CAttributes::default();
        // SAFETY: the output is ours.
        let code = unsafe { (self.io.getattributes)(self.io.core, self.inode, GENERATION, &mut out) };
        assert_eq!(code, DONE);
        out.size
    }

    fn change(&self, function: ChangeRange, offset: u64, length: u64, uid: u32) -> i32 {
        // SAFETY: no pointers but the core.
        unsafe { function(self.io.core, self.inode, GENERATION, offset, length, uid) }
    }

    fn seek(&self, offset: u64, hole: bool) -> (i32, u64, bool) {
        let (mut found, mut eof) = (u64::MAX, false);
        // SAFETY: the outputs are ours.
        let code = unsafe {
            (self.io.seek)(
                self.io.core,
                self.inode,
                GENERATION,
                offset,
                hole,
                &mut found,
                &mut eof,
            )
        };
        (code, found, eof)
    }

    fn commit(&self) -> i32 {
        // SAFETY: no pointers but the core.
        unsafe { (self.io.commit)(self.io.core, self.inode, GENERATION) }
    }
}

fn write_and_read(engine: &Engine, io: &Io, inode: u64, rounds: usize) {
    let client = Client::new(io, inode);
    let mut random = Random(inode);
    let mut model: Vec<u8> = Vec::new();
    for round in 0..rounds {
        let (offset, len) = (random.below(SPACE), 1 + random.below(60_000));
        match random.below(20) {
            0 => {
                let size = Some(offset as u64);
                let change = AttrChange {
                    inode,
                    size,
                    ctime_ns: Some(1),
                    ..Default::default()
                };
                engine
                    .append_attributes(&engine.live(inode, None).unwrap(), &change)
                    .unwrap();
                model.resize(offset, 0);
            }
            1 => assert_eq!(client.commit(), DONE),
            2 => {
                let end = model.len().min(offset + len);
                assert_eq!(client.change(io.deallocate, offset as u64, len as u64, 0), DONE);
                model.get_mut(offset..end).unwrap_or_default().fill(0);
            }
            3 => {
                assert_eq!(client.change(io.allocate, offset as u64, len as u64, 0), DONE);
                model.resize(model.len().max(offset + len), 0);
            }
            4 => seek_agrees(&client, &model, offset),
            5..=9 => {
                let data = vec![round as u8 | 1; len];
                assert_eq!(client.write(offset as u64, &data, round % 16 == 0), DONE);
                model.resize(model.len().max(offset + len), 0);
                model[offset..offset + len].fill(round as u8 | 1);
            }
            _ => {
                let (code, got, eof) = client.read(offset as u64, len);
                let end = model.len().min(offset + len);
                let expected = model.get(offset.min(end)..end).unwrap();
                assert_eq!(code, DONE);
                assert!(got == expected, "round {round}: read at {offset} of {len}");
                assert_eq!(eof, offset + len >= model.len());
                assert_eq!(client.size(), model.len() as u64);
            }
        }
    }
}

/// What is written is never zero: where the model has another byte there are data, and nowhere else.
fn seek_agrees(client: &Client<'_>, model: &[u8], offset: usize) {
    for hole in [false, true] {
        let (code, found, eof) = client.seek(offset as u64, hole);
        if offset >= model.len() {
            assert_eq!(code, -libc::ENXIO);
            continue;
        }
        let expected = model[offset..].iter().position(|byte| (*byte == 0) == hole);
        let expected = expected.map_or(model.len(), |at| offset + at);
        assert_eq!(
            (code, found),
            (DONE, expected as u64),
            "hole {hole} from {offset}"
        );
        assert_eq!(eof, expected == model.len());
    }
}

fn flush_all_the_time(engine: &Arc<Engine>, stop: &AtomicBool) {
    let mut round = 0u64;
    while !stop.load(Relaxed) {
        round += 1;
        let how = TakeHow {
            max_bytes: 300_000 * (round % 4),
            ..Default::default()
        };
        if let Some(mut batch) = engine.flush_take(&how).unwrap() {
            batch.write().unwrap();
            if round.is_multiple_of(5) {
                continue;
            }
            let journal = engine.journal().unwrap();
            let lsn = journal.append(1, b"rows", bytes::Bytes::new()).unwrap().lsn;
            batch.commit(lsn).unwrap();
        }
        if round.is_multiple_of(7) {
            engine.cache_drop(true, true).unwrap();
            engine.trim(engine.journal().unwrap().durable_lsn()).unwrap();
        }
    }
}

#[test]
fn threads_read_what_they_wrote_while_everything_moves() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path());
    let owned = OwnedIo::new(engine.clone());
    let stop = AtomicBool::new(false);
    let start = Barrier::new(4);
    for inode in 1..=4 {
        activate(&engine, inode);
    }
    // SAFETY of sharing: the table is plain pointers to functions, and the engine is Sync.
    struct Shared<'a>(&'a Io);
    unsafe impl Sync for Shared<'_> {}
    let io = Shared(owned.io());
    std::thread::scope(|scope| {
        let flusher = scope.spawn(|| flush_all_the_time(&engine, &stop));
        let writers: Vec<_> = (1..=4)
            .map(|inode| {
                let (io, engine, start) = (&io, &engine, &start);
                scope.spawn(move || {
                    start.wait();
                    write_and_read(engine, io.0, inode, 400);
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Relaxed);
        flusher.join().unwrap();
    });
    let summary = engine.dirty_summary();
    for inode in 1..=4 {
        engine.forget(inode);
    }
    assert!(summary.bytes >= summary.memory_bytes);
    let summary = engine.dirty_summary();
    assert_eq!(
        (summary.bytes, summary.memory_bytes, summary.inodes),
        (0, 0, 0),
        "the totals end where they began"
    );
    engine.close();
}

#[test]
fn errors_come_as_codes() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path());
    let owned = OwnedIo::new(engine.clone());
    let client = Client::new(owned.io(), 5);
    assert_eq!(client.read(0, 10).0, NOT_RESIDENT);
    assert_eq!(client.write(0, b"x", false), NOT_RESIDENT);
    assert_eq!(client.commit(), NOT_RESIDENT);
    engine
        .activate(
            Attributes {
                inode: 5,
                generation: 6,
                ..Default::default()
            },
            [],
        )
        .unwrap();
    assert_eq!(client.write(0, b"x", false), -libc::ESTALE);
    engine.forget(5);
    activate(&engine, 5);
    assert_eq!(client.write(i64::MAX as u64, b"x", false), -libc::EFBIG);
    assert_eq!(client.write(u64::MAX, b"x", false), -libc::EFBIG);
    assert_eq!(client.write(0, b"", true), DONE);
    assert_eq!(client.write(0, b"hello", true), DONE);
    assert_eq!(client.read(1, 100), (DONE, b"ello".to_vec(), true));
    assert_eq!(client.read(u64::MAX, 100), (DONE, Vec::new(), true));
    // The next server answers; nobody's data is lost meanwhile.
    engine.close();
    assert_eq!(client.write(0, b"x", false), -libc::EAGAIN);
    assert_eq!(client.read(0, 10).0, -libc::EAGAIN);
    assert_eq!(client.commit(), -libc::EAGAIN);
}

#[test]
fn an_operation_that_is_abandoned_is_answered_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path());
    let (sender, receiver) = channel();
    let answer =
        |sender: Sender<bool>| move |result: crate::errors::Result<u32>| sender.send(result.is_ok()).unwrap();
    engine.later(answer(sender.clone())).finish(Ok(1));
    drop(engine.later(answer(sender.clone())));
    engine.later(answer(sender)).cancel();
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [true, false]);
    assert_eq!(engine.pending.load(Relaxed), 0);
    engine.close();
}
