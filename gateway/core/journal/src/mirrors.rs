//! All mirrors together: a round is done when every healthy one has done it; one that fails is dropped while another is left.
//!
//! A single mirror works in the thread that runs the round. Of several each has its own thread, so that they work at the same
//! time and one that does not answer can be left behind.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::MirrorState;
use crate::batch::Batch;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::mirror::Mirror;
use crate::spares::Spares;

/// Told once of each mirror that is lost, with the reason.
pub type OnLost = Arc<dyn Fn(&Path, &str) + Send + Sync>;

/// What other threads see of a mirror.
pub struct Member {
    pub dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    /// None: it could not even be opened.
    pub spares: Option<Arc<Spares>>,
    lost: AtomicBool,
    on_lost: OnLost,
}

impl Member {
    #[must_use]
    pub fn new(dir: PathBuf, disk: Arc<dyn Disk>, spares: Option<Arc<Spares>>, on_lost: OnLost) -> Self {
        Self {
            dir,
            disk,
            spares,
            lost: AtomicBool::new(false),
            on_lost,
        }
    }

    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    #[must_use]
    pub fn state(&self) -> MirrorState {
        if self.is_lost() {
            MirrorState::Lost
        } else {
            MirrorState::Healthy
        }
    }

    pub fn lose(&self, why: &str) {
        if !self.lost.swap(true, Ordering::AcqRel) {
            (self.on_lost)(&self.dir, why);
        }
    }
}

struct Job {
    batch: Arc<Batch>,
    sync: bool,
    answer: Sender<(usize, io::Result<()>)>,
}

struct Worker {
    member: Arc<Member>,
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

enum Runner {
    Here(Box<Mirror>, Arc<Member>),
    InTurn(Vec<(Mirror, Arc<Member>)>),
    Threads(Vec<Worker>),
}

pub struct Mirrors {
    runner: Runner,
    /// How long a mirror may take for a round when another is left.
    limit: Duration,
}

impl Mirrors {
    pub fn start(mirrors: Vec<(Mirror, Arc<Member>)>, limit: Duration) -> io::Result<Self> {
        let mut mirrors = mirrors;
        if mirrors.len() == 1
            && let Some((mirror, member)) = mirrors.pop()
        {
            return Ok(Self {
                runner: Runner::Here(Box::new(mirror), member),
                limit,
            });
        }
        let workers = mirrors.into_iter().enumerate().map(|(index, (mirror, member))| {
            let (jobs, inbox) = channel();
            let thread = std::thread::Builder::new()
                .name(format!("journal-mirror{index}"))
                .spawn(move || work(mirror, index, &inbox))?;
            Ok(Worker { member, jobs, thread })
        });
        Ok(Self {
            runner: Runner::Threads(workers.collect::<io::Result<_>>()?),
            limit,
        })
    }

    /// Without threads: one mirror after the other, and each is waited for.
    #[must_use]
    pub const fn in_turn(mirrors: Vec<(Mirror, Arc<Member>)>) -> Self {
        Self {
            runner: Runner::InTurn(mirrors),
            limit: Duration::MAX,
        }
    }

    /// Does a round in every healthy mirror. Fails only where none is left.
    pub fn run(&mut self, batch: &Arc<Batch>, sync: bool) -> Result<(), JournalError> {
        match &mut self.runner {
            Runner::Here(mirror, member) => {
                if member.is_lost() {
                    return Err(JournalError::Failed("it was lost before".into()));
                }
                mirror.run(batch, sync).map_err(|error| {
                    member.lose(&error.to_string());
                    JournalError::Failed(format!("{}: {error}", member.dir.display()))
                })
            }
            Runner::InTurn(mirrors) => run_in_turn(mirrors, batch, sync),
            Runner::Threads(workers) => run_parallel(workers, batch, sync, self.limit),
        }
    }

    /// Ends the threads of the mirrors; one that hangs in its disk is left alone.
    pub fn stop(self) {
        if let Runner::Threads(workers) = self.runner {
            for worker in workers {
                drop(worker.jobs);
                // A mirror's thread that panicked was reported when its round failed.
                if !worker.member.is_lost() && worker.thread.join().is_err() {
                    worker.member.lose("its thread panicked");
                }
            }
        }
    }
}

fn work(mut mirror: Mirror, index: usize, inbox: &Receiver<Job>) {
    while let Ok(job) = inbox.recv() {
        let result = mirror.run(&job.batch, job.sync);
        let failed = result.is_err();
        drop(job.batch);
        // Nobody listens any more where this mirror was too late: it is lost already.
        if job.answer.send((index, result)).is_err() || failed {
            return;
        }
    }
}

fn run_in_turn(mirrors: &mut [(Mirror, Arc<Member>)], batch: &Batch, sync: bool) -> Result<(), JournalError> {
    let mut done = 0;
    let mut why = "all were lost before".to_owned();
    for (mirror, member) in mirrors.iter_mut().filter(|(_, member)| !member.is_lost()) {
        match mirror.run(batch, sync) {
            Ok(()) => done += 1,
            Err(error) => {
                why = format!("{}: {error}", member.dir.display());
                member.lose(&error.to_string());
            }
        }
    }
    if done > 0 {
        Ok(())
    } else {
        Err(JournalError::Failed(why))
    }
}

fn run_parallel(
    workers: &[Worker],
    batch: &Arc<Batch>,
    sync: bool,
    limit: Duration,
) -> Result<(), JournalError> {
    let (answer, answers) = channel();
    let mut waiting = vec![false; workers.len()];
    let mut done = 0;
    for (index, worker) in workers
        .iter()
        .enumerate()
        .filter(|(_, worker)| !worker.member.is_lost())
    {
        let job = Job {
            batch: batch.clone(),
            sync,
            answer: answer.clone(),
        };
        match worker.jobs.send(job) {
            Ok(()) => waiting[index] = true,
            Err(_) => worker.member.lose("its thread ended"),
        }
    }
    drop(answer);
    let mut why = "all were lost before".to_owned();
    let mut deadline = Instant::now() + limit;
    while waiting.contains(&true) {
        // The last one that is left is waited for without limit: there is nothing to go on with.
        let alone = done == 0 && waiting.iter().filter(|&&waits| waits).count() == 1;
        let left = deadline.saturating_duration_since(Instant::now());
        let got = if alone {
            answers.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            answers.recv_timeout(left)
        };
        match got {
            Ok((index, Ok(()))) => {
                waiting[index] = false;
                done += 1;
            }
            Ok((index, Err(error))) => {
                waiting[index] = false;
                why = format!("{}: {error}", workers[index].member.dir.display());
                workers[index].member.lose(&error.to_string());
            }
            // All are slow: better late than without any mirror.
            Err(RecvTimeoutError::Timeout) if done == 0 => deadline = Instant::now() + limit,
            Err(error) => {
                let text = match error {
                    RecvTimeoutError::Timeout => "it did not answer in time",
                    RecvTimeoutError::Disconnected => "its thread ended",
                };
                for (worker, waits) in workers.iter().zip(&mut waiting).filter(|(_, waits)| **waits) {
                    worker.member.lose(text);
                    *waits = false;
                }
            }
        }
    }
    if done > 0 {
        Ok(())
    } else {
        Err(JournalError::Failed(why))
    }
}
