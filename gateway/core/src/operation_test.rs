//! Operations of the server's threads, bracketed through the C table.

use crate::inode::payload::KIND_ROWS;
use crate::operation;
use crate::vtable::{DONE, OwnedIo};
use crate::vtable_test::engine;

/// What an operation changed is waited for at its end, whatever it asked for meanwhile; other threads wait when they ask.
#[test]
fn an_operation_waits_when_it_settles() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path());
    let owned = OwnedIo::new(engine.clone());
    let io = owned.io();
    let journal = engine.journal().unwrap();
    let append = || {
        operation::reserve(&engine, 10).unwrap();
        let appended = journal.append(KIND_ROWS, b"rows", bytes::Bytes::new()).unwrap();
        operation::appended(&engine);
        appended.lsn
    };
    // SAFETY: the table's own pointer.
    let (begin, settle) = (
        || unsafe { (io.begin)(io.core) },
        || unsafe { (io.settle)(io.core) },
    );
    let lsn = append();
    operation::wait_durable(&engine, lsn).unwrap();
    assert!(journal.durable_lsn() >= lsn);
    begin();
    let lsn = append();
    operation::wait_durable(&engine, lsn).unwrap();
    assert_eq!(settle(), DONE);
    assert!(journal.durable_lsn() >= lsn);
    // What can never become durable tells who waits: the operation's end, and elsewhere the call.
    begin();
    operation::wait_durable(&engine, append() + 1).unwrap();
    assert!(settle() < 0);
    operation::wait_durable(&engine, append() + 1).unwrap_err();
    engine.close();
}
