//! Blocking twins of the data path, for callers that are not Ganesha: they wait for the completion themselves.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::buffers::Buffers;
use crate::completion::Outcome;
use crate::engine::Engine;
use crate::errors::{CoreError, Result};
use crate::write::WriteHow;

impl Engine {
    /// Reads up to `len` bytes; fewer at the end of the file only. Not from a thread of the runtime.
    pub fn read_blocking(self: &Arc<Self>, inode: u64, offset: u64, len: usize) -> Result<Vec<u8>> {
        let size = self.attributes(inode).ok_or(CoreError::NotResident(inode))?.size;
        let len = usize::try_from(size.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(len);
        let mut buffer = vec![0; len];
        let target = Buffers::over(buffer.as_mut_ptr(), len);
        let (sender, receiver) = oneshot::channel();
        // The receiver is waited for below, so there is always one.
        let done = move |result| drop(sender.send(result));
        let read = match self.read(inode, None, offset, target, done)? {
            Outcome::Done(read) => read,
            Outcome::Pending => self.work().answer(receiver).unwrap_or(Err(CoreError::Closed))?,
        };
        buffer.truncate(read.amount);
        Ok(buffer)
    }

    /// Writes all of the data; returns the LSN that makes them durable, after waiting for it where `how` says so.
    pub fn write_blocking(
        self: &Arc<Self>,
        inode: u64,
        offset: u64,
        data: &[u8],
        how: WriteHow,
    ) -> Result<u64> {
        let source = Buffers::over(data.as_ptr().cast_mut(), data.len());
        let (sender, receiver) = oneshot::channel();
        let done = move |result| drop(sender.send(result));
        match self.write(inode, None, offset, &source, how, done)? {
            Outcome::Done(lsn) => Ok(lsn),
            Outcome::Pending => self.work().answer(receiver).unwrap_or(Err(CoreError::Closed)),
        }
    }
}
