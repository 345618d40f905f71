//! All mirrors together: a round is done when every healthy one has done it, and the list of those that have is in all of them.
//!
//! A single mirror works in the thread that runs the round. Of several each has its own thread, so that they work at the same
//! time and one that does not answer can be left behind. Nothing is acknowledged without a mirror before the others have a list
//! without it: a mirror that was left behind is known by its older list. Where none is left the round waits. By hand, all work
//! in turn in the thread that runs the round, and where none is left the journal ends.

mod perform;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::MirrorState;
use crate::batch::Batch;
use crate::disk::Disk;
use crate::error::JournalError;
use crate::format::SegmentHeader;
use crate::member::Member;
use crate::membership::Membership;
use crate::mirror::Mirror;
use crate::returns::Returns;
use crate::worker::{Seat, Work, Worker};

/// What is to change among the mirrors; done by a round, so that no write is under way meanwhile.
pub enum Change {
    /// It takes part from the segment on that the round ends in, which is empty. Rounds do not count on it yet.
    Join(Arc<Member>),
    /// It has caught up: rounds count on it.
    Promote(u64),
    /// An operator takes it out.
    Remove(u64),
}

/// A change and who is told how it went: the segment that was open then, or why it was not done.
pub type Asked = (Change, Sender<Result<u64, String>>);

/// What a round brings to the disks.
pub struct Round {
    pub batch: Arc<Batch>,
    pub sync: bool,
    /// The segment that is open at its end.
    pub segment: u64,
}

enum Runner {
    Here(Box<Seat>),
    Thread(Worker),
}

/// A mirror that rounds go to.
struct Active {
    member: Arc<Member>,
    runner: Runner,
    /// Rounds do not count on it: it lacks something still.
    joining: bool,
}

pub struct Mirrors {
    active: Vec<Active>,
    disk: Arc<dyn Disk>,
    /// How long a mirror may take for a round when another is left.
    limit: Duration,
    by_hand: bool,
    membership: Arc<Membership>,
    returns: Arc<Returns>,
    /// Header of the epoch's first segment.
    first: SegmentHeader,
    /// The segment that is open after the last round.
    segment: u64,
    /// What no sync has covered yet: written again where the only mirror returns, whose disk may have forgotten it.
    unsynced: Vec<Arc<Batch>>,
    /// The newest list names just those that rounds count on.
    settled: bool,
}

impl Mirrors {
    /// Takes over the mirrors that have the epoch's first segment and the list that `membership` has.
    pub fn start(
        mirrors: Vec<Mirror>,
        (disk, by_hand): (Arc<dyn Disk>, bool),
        limit: Duration,
        (membership, returns): (Arc<Membership>, Arc<Returns>),
        first: SegmentHeader,
    ) -> Self {
        let mut all = Self {
            active: Vec::new(),
            disk,
            limit,
            by_hand,
            membership,
            returns,
            first,
            segment: first.first_lsn,
            unsynced: Vec::new(),
            settled: true,
        };
        for mirror in mirrors {
            all.seat(mirror);
        }
        all.arrange();
        all
    }

    /// Those that rounds count on.
    fn complete(&self) -> impl Iterator<Item = &Active> {
        self.active.iter().filter(|active| !active.joining)
    }

    fn seat(&mut self, mirror: Mirror) {
        let member = mirror.member.clone();
        let seat = Seat {
            disk: self.disk.clone(),
            member: member.clone(),
            mirror: Some(mirror),
        };
        self.active.push(Active {
            member,
            runner: Runner::Here(Box::new(seat)),
            joining: false,
        });
    }

    /// A single mirror works here, several in threads of their own, unless by hand.
    fn arrange(&mut self) {
        let alone = self.active.len() == 1 || self.by_hand;
        for active in std::mem::take(&mut self.active) {
            let Active {
                member,
                runner,
                joining,
            } = active;
            let runner = match runner {
                Runner::Here(seat) if !alone => Worker::start(*seat)
                    .map(Runner::Thread)
                    .map_err(|error| error.to_string()),
                Runner::Thread(worker) if alone && !joining => worker
                    .finish()
                    .map(|seat| Runner::Here(Box::new(seat)))
                    .ok_or_else(|| "its thread panicked".to_owned()),
                other => Ok(other),
            };
            match runner {
                Ok(runner) => self.active.push(Active {
                    member,
                    runner,
                    joining,
                }),
                Err(why) => {
                    self.settled &= joining;
                    member.lose(&why);
                }
            }
        }
    }

    /// Does a round in every healthy mirror, and the changes with it. Waits while there is none; fails when the journal is closed.
    pub fn run(&mut self, round: &Round, changes: Vec<Asked>) -> Result<(), JournalError> {
        self.drop_lost();
        let mut joining = Vec::new();
        let mut answers = Vec::new();
        for (change, answer) in changes {
            match self.begin_change(change, &mut joining) {
                Ok(key) => answers.push((key, answer)),
                Err(why) => drop(answer.send(Err(why))),
            }
        }
        let header = self.header_of(round.segment);
        let took = self.perform(&|active| {
            if joining.contains(&active.member.key) {
                Work::Begin(header)
            } else {
                Work::Round {
                    batch: round.batch.clone(),
                    sync: round.sync,
                    segment: round.segment,
                }
            }
        });
        let well = took && self.settle();
        if !(round.batch.is_empty() || round.sync && well) {
            self.unsynced.push(round.batch.clone());
        }
        if !well {
            self.wait_for_one(round.segment)?;
        } else if round.sync {
            self.unsynced.clear();
        }
        if self.segment != round.segment {
            // Rolling has synced what went before.
            self.segment = round.segment;
            self.unsynced
                .retain(|batch| batch.last_segment() >= round.segment);
        }
        for (key, answer) in answers {
            drop(answer.send(self.outcome(key).map(|()| round.segment)));
        }
        Ok(())
    }

    /// Returns the key of the member that has to be there at the end for the change to have worked; None: it is gone.
    fn begin_change(&mut self, change: Change, joining: &mut Vec<u64>) -> Result<Option<u64>, String> {
        match change {
            Change::Join(member) => {
                let key = member.key;
                if member.removed.load(Ordering::Relaxed) {
                    return Err("it was taken out".into());
                }
                let seat = Seat {
                    disk: self.disk.clone(),
                    member: member.clone(),
                    mirror: None,
                };
                let runner = if self.by_hand {
                    Runner::Here(Box::new(seat))
                } else {
                    let worker = Worker::start(seat).map_err(|error| error.to_string())?;
                    Runner::Thread(worker)
                };
                self.active.push(Active {
                    member,
                    runner,
                    joining: true,
                });
                self.arrange();
                joining.push(key);
                Ok(Some(key))
            }
            Change::Promote(key) => {
                let active = self.active.iter_mut().find(|active| active.member.key == key);
                let active = active.ok_or("it was lost again")?;
                active.joining = false;
                self.settled = false;
                Ok(Some(key))
            }
            Change::Remove(key) => {
                if !self.complete().any(|active| active.member.key != key) {
                    return Err("it is the last healthy mirror".into());
                }
                self.active.retain(|active| active.member.key != key);
                self.settled = false;
                Ok(None)
            }
        }
    }

    fn outcome(&self, key: Option<u64>) -> Result<(), String> {
        match key {
            Some(key) if !self.active.iter().any(|active| active.member.key == key) => {
                Err("it was lost again".into())
            }
            _ => Ok(()),
        }
    }

    fn header_of(&self, segment: u64) -> SegmentHeader {
        if segment == self.first.first_lsn {
            return self.first;
        }
        SegmentHeader {
            first_lsn: segment,
            previous_lsn: segment - 1,
            ..self.first
        }
    }

    /// Brings the list of those that rounds count on to all of them; false: there is none left.
    fn settle(&mut self) -> bool {
        while !self.settled {
            self.arrange();
            let members: Vec<_> = self
                .complete()
                .filter_map(|active| Some((active.member.key, active.member.entry()?)))
                .collect();
            let (keys, entries): (Vec<_>, Vec<_>) = members.into_iter().unzip();
            if keys.is_empty() {
                return false;
            }
            let list = Arc::new(self.membership.next(entries));
            self.settled = true;
            self.perform(&|active| {
                if active.joining {
                    Work::Nothing
                } else {
                    Work::Members(list.clone())
                }
            });
            if self.settled {
                self.membership.record((*list).clone(), keys);
                for active in self.complete() {
                    if active.member.state() == MirrorState::Rebuilding {
                        active.member.heal();
                    }
                }
            }
        }
        true
    }

    /// No mirror is left. Waits until one is there again that holds everything, and writes to it what is not durable.
    fn wait_for_one(&mut self, segment: u64) -> Result<(), JournalError> {
        if self.by_hand {
            return Err(JournalError::Failed("all mirrors were lost".into()));
        }
        loop {
            let start = self
                .unsynced
                .first()
                .and_then(|batch| batch.first_segment())
                .map_or(self.segment, |first| first.min(self.segment));
            let mut mirror = self.returns.wait(self.header_of(start))?;
            let member = mirror.member.clone();
            match self.write_again(&mut mirror, segment) {
                Ok(()) => {
                    member.rebuild("it is there again");
                    self.seat(mirror);
                }
                Err(error) => {
                    member.explain(&error.to_string());
                    continue;
                }
            }
            self.settled = false;
            if self.settle() {
                self.unsynced.clear();
                self.returns.over();
                return Ok(());
            }
        }
    }

    fn write_again(&self, mirror: &mut Mirror, segment: u64) -> io::Result<()> {
        for batch in &self.unsynced {
            let last = batch.last_segment();
            mirror.run(batch, false, last)?;
        }
        mirror.run(&Batch::default(), true, segment)
    }

    /// Goes on without a mirror.
    fn lose(&mut self, key: u64, why: &str) {
        let Some(at) = self.active.iter().position(|active| active.member.key == key) else {
            return;
        };
        let gone = self.active.remove(at);
        if !gone.joining {
            self.settled = false;
        }
        // Its thread ends by itself, when its disk lets it.
        let member = gone.member.clone();
        drop(gone);
        member.lose(why);
    }

    /// Goes on without those that were lost for a reason that came up beside the rounds.
    fn drop_lost(&mut self) {
        let lost: Vec<_> = self
            .active
            .iter()
            .filter(|active| active.member.state() == MirrorState::Lost)
            .map(|active| active.member.key)
            .collect();
        for key in lost {
            self.lose(key, "it was lost");
        }
    }

    /// Ends the threads of the mirrors; one that hangs in its disk is left alone.
    pub fn stop(self) {
        for active in self.active {
            if let Runner::Thread(worker) = active.runner
                && (active.member.is_healthy() || worker.has_ended())
                && worker.finish().is_none()
            {
                active.member.lose("its thread panicked");
            }
        }
    }
}
