//! What allocate, deallocate and seek refuse, and what they do to attributes.

use super::{Client, activate, engine};
use crate::attributes::Names;
use crate::vtable::{DONE, NOT_RESIDENT, OwnedIo};

#[test]
fn ranges_that_cannot_be_and_modes() {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path());
    let owned = OwnedIo::new(engine.clone());
    let io = owned.io();
    let client = Client::new(io, 5);
    assert_eq!(client.change(io.allocate, 0, 1, 0), NOT_RESIDENT);
    assert_eq!(client.change(io.deallocate, 0, 1, 0), NOT_RESIDENT);
    assert_eq!(client.seek(0, true).0, NOT_RESIDENT);
    activate(&engine, 5);
    assert_eq!(client.seek(0, true).0, -libc::ENXIO);
    let largest = i64::MAX as u64;
    assert_eq!(client.change(io.allocate, largest, 1, 0), -libc::EFBIG);
    assert_eq!(client.change(io.allocate, 1, u64::MAX, 0), -libc::EFBIG);
    assert_eq!(client.change(io.allocate, 1, largest - 1, 0), -libc::ENOSPC);
    assert_eq!(client.size(), 0);
    assert_eq!(client.change(io.allocate, 100, 0, 0), DONE);
    assert_eq!(client.change(io.deallocate, 3, u64::MAX, 0), DONE);
    assert_eq!(client.size(), 0);
    let mode = |mode, uid| {
        let names = Names {
            mode,
            uid: 1,
            gid: 1,
            nlink: 1,
            ctime_ns: 0,
            lsn: 0,
        };
        engine.update_names(5, &names);
        let before = engine.attributes(5).unwrap();
        let mut modes = Vec::new();
        for function in [io.allocate, io.deallocate] {
            engine.update_names(5, &names);
            assert_eq!(client.change(function, 0, 10, uid), DONE);
            modes.push(engine.attributes(5).unwrap().mode);
        }
        let after = engine.attributes(5).unwrap();
        assert!(after.change > before.change && after.mtime_ns > 0 && after.ctime_ns > 0);
        modes
    };
    assert_eq!(mode(0o6755, 0), [0o6755, 0o6755]);
    assert_eq!(mode(0o6755, 7), [0o755, 0o755]);
    assert_eq!(client.size(), 10);
    engine.close();
    assert_eq!(client.change(io.allocate, 0, 1, 0), -libc::EAGAIN);
    assert_eq!(client.seek(0, false).0, -libc::EAGAIN);
}
