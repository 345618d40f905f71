//! The thread of one of several mirrors, and what it is asked to do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::batch::Batch;
use crate::disk::Disk;
use crate::format::SegmentHeader;
use crate::member::Member;
use crate::members::Members;
use crate::mirror::Mirror;

/// What a mirror does for a round.
#[derive(Clone)]
pub enum Work {
    /// Begins with this segment.
    Begin(SegmentHeader),
    Round {
        batch: Arc<Batch>,
        sync: bool,
        segment: u64,
    },
    Members(Arc<Members>),
    Nothing,
}

/// Key of the member, and how it went.
pub type Answer = (u64, io::Result<()>);

pub struct Job {
    pub work: Work,
    pub answer: Sender<Answer>,
}

/// A mirror, or one that has yet to begin.
pub struct Seat {
    pub disk: Arc<dyn Disk>,
    pub member: Arc<Member>,
    pub mirror: Option<Mirror>,
}

impl Seat {
    pub fn perform(&mut self, work: &Work) -> io::Result<()> {
        if let Work::Begin(header) = work {
            self.mirror = Some(Mirror::begin(self.disk.clone(), self.member.clone(), *header)?);
            return Ok(());
        }
        let mirror = self.mirror.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        match work {
            Work::Round { batch, sync, segment } => mirror.run(batch, *sync, *segment),
            Work::Members(list) => mirror.write_members(list),
            Work::Begin(_) | Work::Nothing => Ok(()),
        }
    }
}

pub struct Worker {
    jobs: Sender<Job>,
    thread: JoinHandle<Seat>,
}

impl Worker {
    pub fn start(seat: Seat) -> io::Result<Self> {
        let (jobs, inbox) = channel();
        let key = seat.member.key;
        seat.member.occupied.store(true, Ordering::Release);
        let member = seat.member.clone();
        let thread = std::thread::Builder::new()
            .name(format!("journal-mirror{key}"))
            .spawn(move || work(seat, &inbox))
            .inspect_err(|_| member.occupied.store(false, Ordering::Release))?;
        Ok(Self { jobs, thread })
    }

    /// False: its thread has ended.
    pub fn send(&self, job: Job) -> bool {
        self.jobs.send(job).is_ok()
    }

    /// Ends the thread of a mirror that has answered all it was asked; None: it panicked.
    pub fn finish(self) -> Option<Seat> {
        drop(self.jobs);
        self.thread.join().ok()
    }

    /// Whether its thread has ended, so that finishing it does not wait.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Tells that no write of the thread can come any more, however it ends.
struct Leaving(Arc<Member>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.occupied.store(false, Ordering::Release);
        self.0.bell.ring();
    }
}

fn work(mut seat: Seat, inbox: &Receiver<Job>) -> Seat {
    let _leaving = Leaving(seat.member.clone());
    while let Ok(job) = inbox.recv() {
        let result = seat.perform(&job.work);
        let failed = result.is_err();
        drop(job.work);
        // Nobody listens any more where this mirror was too late: it is lost already.
        if job.answer.send((seat.member.key, result)).is_err() || failed {
            break;
        }
    }
    seat
}
