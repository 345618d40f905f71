//! Ends of operations that complete later.

use crate::errors::{CoreError, Result};

/// Whether an operation has ended; a pending one calls its completion once, later, from another thread.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    Done(T),
    Pending,
}

/// Calls the function exactly once: with the result, or with an error when the task that should have brought it is dropped
/// (the runtime was shut down, or the task panicked). A client's request is never left without an answer.
pub struct Completion<T, D: FnOnce(Result<T>)> {
    done: Option<D>,
    result: std::marker::PhantomData<fn(T)>,
}

impl<T, D: FnOnce(Result<T>)> Completion<T, D> {
    pub const fn new(done: D) -> Self {
        Self {
            done: Some(done),
            result: std::marker::PhantomData,
        }
    }

    /// The caller gets its answer another way.
    pub fn cancel(mut self) {
        self.done = None;
    }

    pub fn finish(mut self, result: Result<T>) {
        if let Some(done) = self.done.take() {
            done(result);
        }
    }
}

impl<T, D: FnOnce(Result<T>)> Drop for Completion<T, D> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(CoreError::Misuse("the operation was abandoned")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn answers_once_whatever_happens() {
        let calls = Cell::new((0, false));
        let count = |result: Result<u32>| calls.set((calls.get().0 + 1, result.is_ok()));
        Completion::new(count).finish(Ok(1));
        assert_eq!(calls.get(), (1, true));
        drop(Completion::new(count));
        assert_eq!(calls.get(), (2, false));
    }
}
