//! Whether the store does what it is asked, told apart for reads and writes: a container may be read-only, or over its quota.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::StoreError;

/// How the store answered last; the worse one is the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreState {
    #[default]
    Ok,
    /// It wants fewer requests.
    Throttled,
    /// It answers with errors, or not at all.
    Unreachable,
    /// It fails for a reason that does not go by itself: a full or read-only disk, an answer that makes no sense.
    Failing,
    /// It does not let this credential do it.
    Refused,
}

impl StoreState {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Throttled => "throttled",
            Self::Unreachable => "unreachable",
            Self::Failing => "failing",
            Self::Refused => "refused",
        }
    }

    /// That there is no such object, or one already, is an answer of a sound store.
    pub(super) const fn of(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound(_) | StoreError::AlreadyExists(_) | StoreError::Range(_) => Self::Ok,
            StoreError::Throttled { .. } => Self::Throttled,
            StoreError::Temporary { .. } => Self::Unreachable,
            StoreError::Permanent { .. } => Self::Failing,
            StoreError::Denied { .. } => Self::Refused,
        }
    }
}

/// GET, HEAD and listings read; PUT and DELETE write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
}

/// The health of both directions, as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthReport {
    /// The worse of the two.
    pub state: StoreState,
    pub reads: StoreState,
    pub writes: StoreState,
    /// Since `state` is what it is.
    pub lasted: Duration,
    /// The newest failure and its age; it stays when the store is sound again.
    pub last_error: Option<(String, Duration)>,
}

#[derive(Debug)]
struct Known {
    reads: StoreState,
    writes: StoreState,
    since: Instant,
    last_error: Option<(String, Instant)>,
}

#[derive(Debug)]
pub struct Health(Mutex<Known>);

impl Default for Health {
    fn default() -> Self {
        Self(Mutex::new(Known {
            reads: StoreState::Ok,
            writes: StoreState::Ok,
            since: Instant::now(),
            last_error: None,
        }))
    }
}

impl Health {
    /// Takes note of an attempt. An answer of any kind ends an outage for the other direction too.
    pub(super) fn note(&self, direction: Direction, error: Option<&StoreError>) {
        let state = error.map_or(StoreState::Ok, StoreState::of);
        let mut known = self.0.lock();
        if state == StoreState::Ok && known.reads == state && known.writes == state {
            return;
        }
        let now = Instant::now();
        let before = known.reads.max(known.writes);
        let (mine, other) = {
            let Known { reads, writes, .. } = &mut *known;
            match direction {
                Direction::Read => (reads, writes),
                Direction::Write => (writes, reads),
            }
        };
        *mine = state;
        if state == StoreState::Ok && matches!(other, StoreState::Throttled | StoreState::Unreachable) {
            *other = StoreState::Ok;
        }
        if known.reads.max(known.writes) != before {
            known.since = now;
        }
        if let Some(error) = error.filter(|_| state != StoreState::Ok) {
            known.last_error = Some((error.to_string(), now));
        }
    }

    pub fn report(&self) -> HealthReport {
        let known = self.0.lock();
        HealthReport {
            state: known.reads.max(known.writes),
            reads: known.reads,
            writes: known.writes,
            lasted: known.since.elapsed(),
            last_error: known
                .last_error
                .as_ref()
                .map(|(text, at)| (text.clone(), at.elapsed())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> StoreError {
        StoreError::Denied {
            key: "key".to_owned(),
            message: "no".to_owned(),
        }
    }

    fn lost() -> StoreError {
        StoreError::Temporary {
            key: "key".to_owned(),
            message: "gone".to_owned(),
        }
    }

    #[test]
    fn a_refused_write_is_not_forgotten_because_a_read_succeeds() {
        let health = Health::default();
        health.note(Direction::Write, Some(&denied()));
        health.note(Direction::Read, None);
        let report = health.report();
        assert_eq!(
            (report.state, report.reads),
            (StoreState::Refused, StoreState::Ok)
        );
        assert_eq!(report.last_error.unwrap().0, "key: refused: no");
        health.note(Direction::Write, None);
        assert_eq!(health.report().state, StoreState::Ok);
        assert!(health.report().last_error.is_some());
    }

    #[test]
    fn an_answer_ends_an_outage() {
        let health = Health::default();
        health.note(Direction::Read, Some(&lost()));
        health.note(Direction::Write, Some(&lost()));
        assert_eq!(health.report().state, StoreState::Unreachable);
        health.note(Direction::Write, None);
        assert_eq!(health.report().state, StoreState::Ok);
    }

    #[test]
    fn answers_about_objects_are_no_failures() {
        let health = Health::default();
        health.note(Direction::Read, Some(&StoreError::NotFound("key".to_owned())));
        assert_eq!(health.report().state, StoreState::Ok);
        assert_eq!(health.report().last_error, None);
    }
}
