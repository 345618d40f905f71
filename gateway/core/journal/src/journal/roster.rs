//! Mirrors that an operator adds and takes out while the journal is open.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use super::{Journal, Running, wait_ended};
use crate::error::{JournalError, Result};
use crate::member::Member;
use crate::mirrors::Change;
use crate::{Published, assemble, keeper, membership};

/// Made in a directory that is to become a mirror, to see whether that can be done.
const PROBE: &str = "members.probe";

impl Journal {
    /// Takes another mirror in, whatever disk it lies on; it is rebuilt while others serve. False: it was there already.
    pub fn add_mirror(&self, dir: &Path) -> Result<bool> {
        let _one = self.roster_change.lock();
        let shared = &self.shared;
        if let Some(member) = shared.roster.find(dir) {
            member.wanted.store(true, Ordering::Relaxed);
            member.bell.ring();
            return Ok(false);
        }
        if shared.roster.all().len() >= membership::MOST {
            let why = format!("a journal has at most {} mirrors", membership::MOST);
            return Err(JournalError::Misuse(why));
        }
        self.check_new(dir)?;
        let key = shared.keys.fetch_add(1, Ordering::Relaxed);
        let member = Member::new(
            key,
            dir.to_owned(),
            "it is new",
            shared.options.on_mirror_lost.clone(),
        );
        member.wanted.store(true, Ordering::Relaxed);
        let mut running = self.running.lock();
        let Running::Threads(threads) = &mut *running else {
            return Err(JournalError::Closed);
        };
        let busy = |(old, keeper): &(Arc<Member>, JoinHandle<()>)| {
            old.dir == dir && (old.occupied.load(Ordering::Relaxed) || !wait_ended(keeper))
        };
        if threads.keepers.iter().any(busy) {
            let why = format!(
                "{} is not done with its removal yet: its disk does not answer",
                dir.display()
            );
            return Err(JournalError::Misuse(why));
        }
        let thread = keeper::start(shared, &member).map_err(|error| JournalError::io(dir, &error))?;
        threads.keepers.push((member.clone(), thread));
        shared.roster.add(member);
        Ok(true)
    }

    /// Refuses a directory that cannot be written, or holds another journal.
    fn check_new(&self, dir: &Path) -> Result<()> {
        let disk = &*self.shared.options.disk;
        disk.create_dir_all(dir)
            .and_then(|()| disk.create(&dir.join(PROBE)))
            .and_then(|_| disk.remove(&dir.join(PROBE)))
            .map_err(|error| JournalError::io(dir, &error))?;
        let dirs = [dir.to_owned()];
        assemble(disk, &dirs, &self.shared.fs_id, &Published::default(), true).map(drop)
    }

    /// Takes a mirror out; its files stay, and are never believed again. Refused for the last healthy one.
    pub fn remove_mirror(&self, dir: &Path) -> Result<()> {
        let _one = self.roster_change.lock();
        let shared = &self.shared;
        let refused = |why: String| Err(JournalError::Misuse(why));
        let Some(member) = shared.roster.find(dir) else {
            return refused(format!("{} is no mirror of this journal", dir.display()));
        };
        let healthy = shared.roster.healthy();
        if !healthy.iter().any(|other| other.key != member.key) {
            return refused(format!("no other mirror than {} is healthy", dir.display()));
        }
        // Its keeper lets go first, so that it neither joins nor returns meanwhile.
        member.removed.store(true, Ordering::Relaxed);
        if let Err(why) = shared.committer.change(Change::Remove(member.key)) {
            member.removed.store(false, Ordering::Relaxed);
            return refused(format!("{} cannot be taken out: {why}", dir.display()));
        }
        member.bell.ring();
        shared.roster.remove(member.key);
        Ok(())
    }
}
