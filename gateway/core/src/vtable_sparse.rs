//! The functions of the C table that deal with holes and advice.

use std::ffi::{c_int, c_void};

use crate::errors::Result;
use crate::inode::seek::Wanted;
use crate::vtable::{DONE, code, enter};

pub unsafe extern "C" fn seek(
    core: *const c_void,
    inode: u64,
    generation: u64,
    offset: u64,
    hole: bool,
    found: *mut u64,
    eof: *mut bool,
) -> c_int {
    let wanted = if hole { Wanted::Hole } else { Wanted::Data };
    // SAFETY: `core` is ours, the outputs are valid.
    unsafe {
        enter(core, |engine| {
            match engine.seek(inode, Some(generation), offset, wanted) {
                Ok(place) => {
                    found.write(place.offset);
                    eof.write(place.eof);
                    DONE
                }
                Err(error) => code(&error),
            }
        })
    }
}

pub unsafe extern "C" fn allocate(
    core: *const c_void,
    inode: u64,
    generation: u64,
    offset: u64,
    length: u64,
    uid: u32,
) -> c_int {
    // SAFETY: `core` is ours.
    unsafe {
        enter(core, |engine| {
            ended(engine.allocate(inode, Some(generation), offset, length, uid))
        })
    }
}

pub unsafe extern "C" fn deallocate(
    core: *const c_void,
    inode: u64,
    generation: u64,
    offset: u64,
    length: u64,
    uid: u32,
) -> c_int {
    // SAFETY: `core` is ours.
    unsafe {
        enter(core, |engine| {
            ended(engine.deallocate(inode, Some(generation), offset, length, uid))
        })
    }
}

pub unsafe extern "C" fn will_need(
    core: *const c_void,
    inode: u64,
    generation: u64,
    offset: u64,
    length: u64,
) -> c_int {
    // SAFETY: `core` is ours.
    unsafe {
        enter(core, |engine| {
            ended(engine.will_need(inode, Some(generation), offset, length))
        })
    }
}

fn ended<T>(result: Result<T>) -> c_int {
    match result {
        Ok(_) => DONE,
        Err(error) => code(&error),
    }
}
