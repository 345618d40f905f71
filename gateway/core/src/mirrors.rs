//! The journal's mirrors at a start: which of them count, and how the journal is opened on them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use caudal_journal::members::{Entry, MAX_MIRRORS, Members};
use caudal_journal::{Assembly, Journal, JournalConfig, Options, Published, assemble};
use parking_lot::Mutex;

use crate::engine::Engine;
use crate::errors::{CoreError, Result};

/// What a start knows of the journal's mirrors, and how they are treated.
#[derive(Clone, Debug)]
pub struct MirrorRules {
    /// File that has a copy of the newest list of members: whoever was left behind is known by it.
    pub witness: Option<PathBuf>,
    /// File that remembers where all mirrors lay, those too that the newest list is without: a directory whose disk is not
    /// mounted is known by it.
    pub places: Option<PathBuf>,
    /// The newest membership that others know of.
    pub published: Published,
    /// Go on from what is there, though more was acknowledged.
    pub accept_loss: bool,
    /// A mirror that takes longer is lost where another is left.
    pub wait: Duration,
}

impl Default for MirrorRules {
    fn default() -> Self {
        Self {
            witness: None,
            places: None,
            published: Published::default(),
            accept_loss: false,
            wait: Duration::from_secs(10),
        }
    }
}

impl Engine {
    /// Begins a new journal segment in this epoch, after what was replayed.
    pub fn start(&self, last_lsn_replayed: u64) -> Result<()> {
        let config = JournalConfig {
            mirrors: self.config.journal.clone(),
            fs_id: self.config.fs_id,
            epoch: self.config.epoch,
            segment_bytes: self.config.segment_bytes,
            limit_bytes: self.config.journal_limit_bytes,
            wait_slots: self.config.wait_slots,
        };
        let rules = &self.config.mirrors;
        let (witness, places) = (rules.witness.clone(), Places::open(rules.places.clone()));
        let clock = self.clock.clone();
        let mut options = Options {
            disk: self.disk.clone(),
            by_hand: self.work.is_by_hand(),
            // The figures tell of it.
            on_mirror_lost: Arc::new(|_, _| {}),
            on_members: Arc::new(move |list| {
                crate::witness::keep(witness.as_deref(), list);
                places.learn(list);
            }),
            now_s: Arc::new(move || u64::try_from(clock.now_ns() / 1_000_000_000).unwrap_or(0)),
            new_id: self.new_id.clone(),
            assembly: self.assembly.lock().take(),
            accept_loss: rules.accept_loss,
            ..Options::default()
        };
        options.timing.mirror_limit = rules.wait;
        let journal = Journal::open_with(config, options, last_lsn_replayed)?;
        self.journal
            .set(journal)
            .map_err(|_| CoreError::Misuse("the core was started already"))
    }

    /// Which mirrors hold the journal. Refuses those that were left behind, unless the loss is accepted.
    pub fn assemble(&self) -> Result<Assembly> {
        let rules = &self.config.mirrors;
        let mut published = rules.published.clone();
        let kept = rules.witness.as_deref().and_then(crate::witness::read);
        published
            .lists
            .extend(kept.filter(|list| list.fs_id == self.config.fs_id));
        let dirs = &self.config.journal;
        let mut assembly = assemble(
            &*self.disk,
            dirs,
            &self.config.fs_id,
            &published,
            rules.accept_loss,
        )?;
        let remembered = rules.places.as_deref().and_then(crate::witness::read);
        for entry in remembered.map_or(Vec::new(), |list| list.entries) {
            if dirs.contains(&entry.path) && !assembly.known.iter().any(|known| known.path == entry.path) {
                assembly.known.push(entry);
            }
        }
        Ok(assembly)
    }
}

/// Where mirrors lie and lay, in a file of the form of a list of members.
struct Places {
    path: Option<PathBuf>,
    entries: Mutex<Vec<Entry>>,
}

impl Places {
    fn open(path: Option<PathBuf>) -> Self {
        let known = path.as_deref().and_then(crate::witness::read);
        Self {
            path,
            entries: Mutex::new(known.map_or(Vec::new(), |list| list.entries)),
        }
    }

    /// The mirrors of a list are where it says; the others stay where they were.
    fn learn(&self, list: &Members) {
        let mut entries = self.entries.lock();
        let mut next = list.entries.clone();
        let gone = entries
            .iter()
            .filter(|old| !list.entries.iter().any(|new| new.path == old.path));
        next.extend(gone.take(MAX_MIRRORS.saturating_sub(list.entries.len())).cloned());
        if next != *entries {
            entries.clone_from(&next);
            let known = Members {
                entries: next,
                ..list.clone()
            };
            crate::witness::keep(self.path.as_deref(), &known);
        }
    }
}
