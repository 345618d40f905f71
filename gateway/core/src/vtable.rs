//! The data path as C functions: the twin of `pyganesha_io.h`. Nothing unwinds through them, none takes the GIL.

use std::ffi::{CStr, c_int, c_void};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::activity::{Kind, set_caller};
use crate::attributes::Attributes;
use crate::buffers::Buffers;
use crate::completion::Outcome;
use crate::engine::Engine;
use crate::errors::{CoreError, Result};
use crate::operation;
use crate::vtable_sparse::{allocate, deallocate, seek, will_need};
use crate::write::WriteHow;

pub const ABI: u32 = 4;
pub const NAME: &CStr = c"pyganesha.io";
pub const DONE: c_int = 0;
pub const PENDING: c_int = 1;
pub const NOT_RESIDENT: c_int = 2;

/// `struct pyganesha_attributes`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CAttributes {
    pub inode: u64,
    pub generation: u64,
    pub size: u64,
    pub space_used: u64,
    pub change: u64,
    pub atime_ns: i64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
    pub btime_ns: i64,
    pub kind: u32,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev_major: u32,
    pub rdev_minor: u32,
    pub reserved: u32,
}

impl From<Attributes> for CAttributes {
    fn from(a: Attributes) -> Self {
        Self {
            inode: a.inode,
            generation: a.generation,
            size: a.size,
            space_used: a.space_used,
            change: a.change,
            atime_ns: a.atime_ns,
            mtime_ns: a.mtime_ns,
            ctime_ns: a.ctime_ns,
            btime_ns: a.btime_ns,
            kind: a.kind,
            mode: a.mode,
            nlink: a.nlink,
            uid: a.uid,
            gid: a.gid,
            rdev_major: a.rdev_major,
            rdev_minor: a.rdev_minor,
            reserved: 0,
        }
    }
}

/// `pyganesha_done`.
pub type Done = unsafe extern "C" fn(token: *mut c_void, error: c_int, amount: usize, flag: bool);

/// `struct pyganesha_io`.
#[repr(C)]
pub struct Io {
    pub abi: u32,
    pub size: u32,
    pub core: *const c_void,
    pub read: unsafe extern "C" fn(
        core: *const c_void,
        inode: u64,
        generation: u64,
        offset: u64,
        iov: *const libc::iovec,
        iovcnt: c_int,
        amount: *mut usize,
        eof: *mut bool,
        done: Done,
        token: *mut c_void,
    ) -> c_int,
    pub write: unsafe extern "C" fn(
        core: *const c_void,
        inode: u64,
        generation: u64,
        offset: u64,
        iov: *const libc::iovec,
        iovcnt: c_int,
        stable: bool,
        uid: u32,
        done: Done,
        token: *mut c_void,
    ) -> c_int,
    pub commit: unsafe extern "C" fn(core: *const c_void, inode: u64, generation: u64) -> c_int,
    pub getattributes: unsafe extern "C" fn(
        core: *const c_void,
        inode: u64,
        generation: u64,
        out: *mut CAttributes,
    ) -> c_int,
    pub seek: unsafe extern "C" fn(
        core: *const c_void,
        inode: u64,
        generation: u64,
        offset: u64,
        hole: bool,
        found: *mut u64,
        eof: *mut bool,
    ) -> c_int,
    pub allocate: ChangeRange,
    pub deallocate: ChangeRange,
    pub will_need: unsafe extern "C" fn(
        core: *const c_void,
        inode: u64,
        generation: u64,
        offset: u64,
        length: u64,
    ) -> c_int,
    pub begin: unsafe extern "C" fn(core: *const c_void),
    pub settle: unsafe extern "C" fn(core: *const c_void) -> c_int,
    pub caller: unsafe extern "C" fn(core: *const c_void, address: *const libc::sockaddr_storage, uid: u32),
}

pub type ChangeRange = unsafe extern "C" fn(
    core: *const c_void,
    inode: u64,
    generation: u64,
    offset: u64,
    length: u64,
    uid: u32,
) -> c_int;

/// The table and the engine that it points to, which lives as long as the table.
#[repr(C)]
pub struct OwnedIo {
    io: Io,
    engine: Arc<Engine>,
}

// SAFETY: the pointer in the table is to the engine, which is Send and Sync and kept alive by the Arc beside it.
unsafe impl Send for OwnedIo {}

impl OwnedIo {
    #[must_use]
    pub fn new(engine: Arc<Engine>) -> Self {
        let io = Io {
            abi: ABI,
            size: size_of::<Io>() as u32,
            core: Arc::as_ptr(&engine).cast(),
            read,
            write,
            commit,
            getattributes,
            seek,
            allocate,
            deallocate,
            will_need,
            begin,
            settle,
            caller,
        };
        Self { io, engine }
    }

    #[must_use]
    pub const fn io(&self) -> &Io {
        &self.io
    }

    #[must_use]
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }
}

/// The caller's completion function and its argument, on their way to another thread.
struct Answer {
    done: Done,
    token: *mut c_void,
}

// SAFETY: the interface allows the call from any thread; the token is only handed back.
unsafe impl Send for Answer {}

impl Answer {
    fn send(self, result: Result<(usize, bool)>) {
        let (error, amount, flag) = match result {
            Ok((amount, flag)) => (0, amount, flag),
            Err(error) => (-error.errno(), 0, false),
        };
        // SAFETY: called once, as the interface promises; the token is the caller's.
        unsafe { (self.done)(self.token, error, amount, flag) };
    }
}

pub fn code(error: &CoreError) -> c_int {
    match error {
        CoreError::NotResident(_) => NOT_RESIDENT,
        other => -other.errno(),
    }
}

/// Runs a function on the engine behind `core`; a panic becomes -EIO.
///
/// # Safety
/// `core` is the pointer of a live [`Io`].
pub unsafe fn enter(core: *const c_void, f: impl FnOnce(&Arc<Engine>) -> c_int) -> c_int {
    catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the pointer comes from Arc::as_ptr of an Arc that lives; the one made here is never dropped.
        let engine = std::mem::ManuallyDrop::new(unsafe { Arc::from_raw(core.cast::<Engine>()) });
        f(&engine)
    }))
    .unwrap_or(-libc::EIO)
}

/// What comes again is told when it has come to an end.
fn audit(engine: &Engine, is_write: bool, inode: u64, rc: c_int) {
    if rc != NOT_RESIDENT && rc != -libc::EAGAIN {
        let result = if rc == PENDING { -1 } else { -rc };
        engine
            .io
            .audit
            .data(is_write, inode, || engine.clock.now_ns(), result);
    }
}

unsafe extern "C" fn read(
    core: *const c_void,
    inode: u64,
    generation: u64,
    offset: u64,
    iov: *const libc::iovec,
    iovcnt: c_int,
    amount: *mut usize,
    eof: *mut bool,
    done: Done,
    token: *mut c_void,
) -> c_int {
    // SAFETY: the interface's rules: `core` is ours, buffers and outputs are valid, buffers until `done`.
    unsafe {
        enter(core, |engine| {
            let target = Buffers::from_raw(iov, usize::try_from(iovcnt).unwrap_or(0));
            engine.io.activity.note(Kind::Read, inode, target.len() as u64);
            let answer = Answer { done, token };
            let completion = move |result: Result<crate::read::ReadDone>| {
                answer.send(result.map(|read| (read.amount, read.eof)));
            };
            let rc = match engine.read(inode, Some(generation), offset, target, completion) {
                Ok(Outcome::Done(read)) => {
                    amount.write(read.amount);
                    eof.write(read.eof);
                    DONE
                }
                Ok(Outcome::Pending) => PENDING,
                Err(error) => code(&error),
            };
            audit(engine, false, inode, rc);
            rc
        })
    }
}

unsafe extern "C" fn write(
    core: *const c_void,
    inode: u64,
    generation: u64,
    offset: u64,
    iov: *const libc::iovec,
    iovcnt: c_int,
    stable: bool,
    uid: u32,
    done: Done,
    token: *mut c_void,
) -> c_int {
    // SAFETY: as above; the bytes are copied before the call returns.
    unsafe {
        enter(core, |engine| {
            let source = Buffers::from_raw(iov, usize::try_from(iovcnt).unwrap_or(0));
            let len = source.len();
            engine.io.activity.note(Kind::Write, inode, len as u64);
            let answer = Answer { done, token };
            let completion = move |result: Result<u64>| answer.send(result.map(|_| (len, stable)));
            let how = WriteHow { stable, uid };
            let rc = match engine.write(inode, Some(generation), offset, &source, how, completion) {
                Ok(Outcome::Done(_)) => DONE,
                Ok(Outcome::Pending) => PENDING,
                Err(error) => code(&error),
            };
            audit(engine, true, inode, rc);
            rc
        })
    }
}

unsafe extern "C" fn commit(core: *const c_void, inode: u64, generation: u64) -> c_int {
    // SAFETY: `core` is ours.
    unsafe {
        enter(core, |engine| match engine.commit(inode, Some(generation)) {
            Ok(()) => DONE,
            Err(error) => code(&error),
        })
    }
}

unsafe extern "C" fn getattributes(
    core: *const c_void,
    inode: u64,
    generation: u64,
    out: *mut CAttributes,
) -> c_int {
    // SAFETY: `core` is ours, `out` is valid.
    unsafe {
        enter(core, |engine| {
            let live = engine
                .pass_fence()
                .and_then(|()| engine.live(inode, Some(generation)));
            let attributes = live.and_then(|live| {
                let state = live.state.read();
                if state.gone {
                    Err(CoreError::NotResident(inode))
                } else {
                    Ok(state.attributes)
                }
            });
            match attributes {
                Ok(attributes) => {
                    out.write(attributes.into());
                    DONE
                }
                Err(error) => code(&error),
            }
        })
    }
}

unsafe extern "C" fn begin(core: *const c_void) {
    // SAFETY: `core` is ours.
    unsafe {
        enter(core, |engine| {
            operation::begin(engine);
            engine.io.activity.note(Kind::Name, 0, 0);
            DONE
        });
    }
}

unsafe extern "C" fn settle(core: *const c_void) -> c_int {
    // SAFETY: `core` is ours.
    unsafe {
        enter(core, |engine| match operation::settle(engine) {
            Ok(()) => DONE,
            Err(error) => code(&error),
        })
    }
}

unsafe extern "C" fn caller(_core: *const c_void, address: *const libc::sockaddr_storage, uid: u32) {
    // SAFETY: null, or the address of a client in a storage that holds any.
    let client = unsafe { address.as_ref() }.and_then(address_of);
    set_caller(client, uid);
}

fn address_of(address: &libc::sockaddr_storage) -> Option<IpAddr> {
    let raw = std::ptr::from_ref(address);
    // SAFETY: the storage holds, and is aligned for, each kind of address; the family says which one is there.
    unsafe {
        match i32::from(address.ss_family) {
            libc::AF_INET => {
                let address = (*raw.cast::<libc::sockaddr_in>()).sin_addr.s_addr;
                Some(IpAddr::from(address.to_ne_bytes()))
            }
            libc::AF_INET6 => {
                let address = (*raw.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr;
                Some(IpAddr::from(address).to_canonical())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn layouts_are_those_of_the_header() {
        assert_eq!((size_of::<CAttributes>(), align_of::<CAttributes>()), (104, 8));
        assert_eq!(offset_of!(CAttributes, change), 32);
        assert_eq!(offset_of!(CAttributes, kind), 72);
        assert_eq!(offset_of!(CAttributes, rdev_minor), 96);
        assert_eq!((size_of::<Io>(), align_of::<Io>()), (104, 8));
        assert_eq!(offset_of!(Io, core), 8);
        assert_eq!(offset_of!(Io, read), 16);
        assert_eq!(offset_of!(Io, getattributes), 40);
        assert_eq!(offset_of!(Io, seek), 48);
        assert_eq!(offset_of!(Io, will_need), 72);
        assert_eq!(offset_of!(Io, settle), 88);
        assert_eq!(offset_of!(Io, caller), 96);
        assert_eq!(offset_of!(OwnedIo, io), 0);
    }
}
