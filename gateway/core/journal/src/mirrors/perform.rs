//! One piece of work in every mirror at the same time, and how long it is waited for.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use super::{Active, Mirrors, Runner};
use crate::worker::{Answer, Job, Work};

impl Mirrors {
    /// Has every mirror do its work; those that fail are lost. False: none that rounds count on has done it.
    pub(super) fn perform(&mut self, work: &dyn Fn(&Active) -> Work) -> bool {
        if self.active.len() == 1
            && let active = &mut self.active[0]
            && let todo = work(active)
            && let Runner::Here(seat) = &mut active.runner
        {
            let (key, result) = (seat.member.key, seat.perform(&todo));
            return match result {
                Ok(()) => true,
                Err(error) => {
                    self.lose(key, &error.to_string());
                    false
                }
            };
        }
        self.perform_in_threads(work)
    }

    fn perform_in_threads(&mut self, work: &dyn Fn(&Active) -> Work) -> bool {
        let (answer, answers) = channel();
        // Keys of those that have not answered, and whether rounds count on them.
        let mut waiting: Vec<(u64, bool)> = Vec::new();
        let mut failed = Vec::new();
        let mut done = 0;
        for active in &mut self.active {
            let (key, todo) = (active.member.key, work(active));
            match &mut active.runner {
                Runner::Thread(worker) => {
                    let answer = answer.clone();
                    if worker.send(Job { work: todo, answer }) {
                        waiting.push((key, !active.joining));
                    } else {
                        failed.push((key, "its thread ended".to_owned()));
                    }
                }
                Runner::Here(seat) => match seat.perform(&todo) {
                    Ok(()) => done += 1,
                    Err(error) => failed.push((key, error.to_string())),
                },
            }
        }
        drop(answer);
        for (key, why) in failed {
            self.lose(key, &why);
        }
        done + self.collect(&answers, waiting, done) > 0
    }

    /// Waits for answers; returns how many of those that rounds count on did their work. `done`: others that did.
    fn collect(
        &mut self,
        answers: &Receiver<Answer>,
        mut waiting: Vec<(u64, bool)>,
        mut done: usize,
    ) -> usize {
        let before = done;
        let mut deadline = Instant::now() + self.limit;
        while !waiting.is_empty() {
            // The last one that is left is waited for without limit: there is nothing to go on with.
            let alone = done == 0 && waiting.len() == 1 && waiting[0].1;
            let left = deadline.saturating_duration_since(Instant::now());
            let got = if alone {
                answers.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                answers.recv_timeout(left)
            };
            match got {
                Ok((key, result)) => {
                    let counts = waiting.iter().any(|&(of, counts)| of == key && counts);
                    waiting.retain(|&(of, _)| of != key);
                    match result {
                        Ok(()) => done += usize::from(counts),
                        Err(error) => self.lose(key, &error.to_string()),
                    }
                }
                // All that count are slow: better late than without any mirror.
                Err(RecvTimeoutError::Timeout) if done == 0 && waiting.iter().any(|&(_, counts)| counts) => {
                    deadline = Instant::now() + self.limit;
                }
                Err(error) => {
                    let why = match error {
                        RecvTimeoutError::Timeout => "it did not answer in time",
                        RecvTimeoutError::Disconnected => "its thread ended",
                    };
                    for (key, _) in std::mem::take(&mut waiting) {
                        self.lose(key, why);
                    }
                }
            }
        }
        done - before
    }
}
