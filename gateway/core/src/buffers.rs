//! The caller's buffers: `struct iovec` arrays of C, read and written without keeping references to them.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// A list of buffers. Copying it copies the list, not the bytes, so it outlives the caller's array for a read that
/// completes later; the buffers themselves stay valid until then by the interface's rule.
#[derive(Clone)]
pub struct Buffers(SmallVec<[libc::iovec; 2]>);

// SAFETY: the buffers belong to one operation; whoever holds it is the only one to touch them.
unsafe impl Send for Buffers {}
// SAFETY: shared references only read the list.
unsafe impl Sync for Buffers {}

impl Buffers {
    /// # Safety
    /// `iov` points to `count` valid iovecs, whose memory is valid until the operation completes.
    #[must_use]
    pub unsafe fn from_raw(iov: *const libc::iovec, count: usize) -> Self {
        if count == 0 || iov.is_null() {
            return Self(SmallVec::new());
        }
        // SAFETY: the caller's promise.
        Self(SmallVec::from_slice(unsafe {
            std::slice::from_raw_parts(iov, count)
        }))
    }

    /// Buffers over one slice, which must stay valid and untouched until the operation completes.
    #[must_use]
    pub fn over(base: *mut u8, len: usize) -> Self {
        Self(SmallVec::from_slice(&[libc::iovec {
            iov_base: base.cast(),
            iov_len: len,
        }]))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|v| v.iov_len).fold(0, usize::saturating_add)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies `data` to the offset `at` in the buffers; what does not fit is left out.
    pub fn fill(&self, at: u64, data: &[u8]) {
        let mut data = data;
        self.each(at, data.len() as u64, |base, len| {
            let (head, rest) = data.split_at(len);
            // SAFETY: `each` gives ranges inside the buffers; `head` is not part of them.
            unsafe { std::ptr::copy_nonoverlapping(head.as_ptr(), base, len) };
            data = rest;
        });
    }

    /// Zeroes `len` bytes at the offset `at`.
    pub fn zero(&self, at: u64, len: u64) {
        self.each(at, len, |base, len| {
            // SAFETY: `each` gives ranges inside the buffers.
            unsafe { std::ptr::write_bytes(base, 0, len) };
        });
    }

    /// Copies everything out, once.
    #[must_use]
    pub fn gather(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.len());
        for v in self.0.iter().filter(|v| v.iov_len > 0) {
            // SAFETY: the buffers are valid and nobody writes to them during the operation.
            out.extend_from_slice(unsafe { std::slice::from_raw_parts(v.iov_base.cast::<u8>(), v.iov_len) });
        }
        out.freeze()
    }

    fn each(&self, at: u64, len: u64, mut f: impl FnMut(*mut u8, usize)) {
        let mut skip = at;
        let mut left = len;
        for v in &self.0 {
            let have = v.iov_len as u64;
            if skip >= have {
                skip -= have;
                continue;
            }
            let here = left.min(have - skip);
            if here == 0 {
                return;
            }
            // SAFETY: skip is inside this buffer.
            f(
                unsafe { v.iov_base.cast::<u8>().add(skip as usize) },
                here as usize,
            );
            skip = 0;
            left -= here;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_and_zeroes_across_buffers() {
        let (mut a, mut b) = ([9u8; 3], [9u8; 4]);
        let iov = [
            libc::iovec {
                iov_base: a.as_mut_ptr().cast(),
                iov_len: 3,
            },
            libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            },
            libc::iovec {
                iov_base: b.as_mut_ptr().cast(),
                iov_len: 4,
            },
        ];
        // SAFETY: the arrays outlive the buffers.
        let buffers = unsafe { Buffers::from_raw(iov.as_ptr(), 3) };
        assert_eq!(buffers.len(), 7);
        buffers.fill(2, &[1, 2, 3]);
        buffers.zero(5, 99);
        assert_eq!(&buffers.gather()[..], [9, 9, 1, 2, 3, 0, 0]);
    }
}
