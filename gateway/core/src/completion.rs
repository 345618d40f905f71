//! Ends of operations that complete later.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::engine::Engine;
use crate::errors::{CoreError, Result};

/// Whether an operation has ended; a pending one calls its completion once, later, from another thread.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    Done(T),
    Pending,
}

/// Calls the function exactly once: with the result, or with an error when the task that should have brought it is dropped
/// (the runtime was shut down, or the task panicked). A client's request is never left without an answer.
///
/// While it lives it counts as an operation under way.
pub struct Completion<T, D: FnOnce(Result<T>)> {
    done: Option<D>,
    engine: Arc<Engine>,
    result: PhantomData<fn(T)>,
}

impl Engine {
    /// Begins an operation that ends later.
    pub fn later<T, D: FnOnce(Result<T>)>(self: &Arc<Self>, done: D) -> Completion<T, D> {
        self.pending.fetch_add(1, Relaxed);
        Completion {
            done: Some(done),
            engine: self.clone(),
            result: PhantomData,
        }
    }
}

impl<T, D: FnOnce(Result<T>)> Completion<T, D> {
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
            done(Err(if self.engine.check_open().is_err() {
                CoreError::Closed
            } else {
                CoreError::Misuse("the operation was abandoned")
            }));
        }
        self.engine.pending.fetch_sub(1, Relaxed);
    }
}
