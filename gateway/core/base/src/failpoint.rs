//! Named points at which a test can kill the process, fail a step or slow it down.
//!
//! They are compiled in always, because what is tested must be what is shipped; an unarmed one costs one relaxed load.
//! `CAUDAL_FAILPOINTS="journal.before_sync=kill@3;pack.before_put=error;pack.before_put=sleep:50"` arms them: the third
//! time the first is reached the process dies by SIGKILL, the second returns an error each time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// What an armed failpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL to this process: nothing is flushed, no destructor runs.
    Kill,
    /// The step fails with an I/O error.
    Error,
    /// The step is late by so many milliseconds.
    Sleep(u64),
}

#[derive(Debug)]
struct Armed {
    action: Action,
    /// Hits left before it acts; then it acts once, or for ever where `every` is set.
    countdown: u64,
    every: bool,
}

static ANY: AtomicBool = AtomicBool::new(false);
static ARMED: OnceLock<Mutex<HashMap<String, Armed>>> = OnceLock::new();

/// Told of every failpoint that is passed; its error fails the step.
pub type Watch = Arc<dyn Fn(&str) -> std::io::Result<()> + Send + Sync>;

static WATCH: Mutex<Option<Watch>> = Mutex::new(None);

/// From now on every failpoint of the process is told to the watch; None: to nobody.
pub fn watch(watch: Option<Watch>) {
    let map = table().lock().unwrap_or_else(PoisonError::into_inner);
    let any = watch.is_some() || !map.is_empty();
    *WATCH.lock().unwrap_or_else(PoisonError::into_inner) = watch;
    ANY.store(any, Ordering::Release);
}

fn table() -> &'static Mutex<HashMap<String, Armed>> {
    ARMED.get_or_init(|| Mutex::new(HashMap::new()))
}

/// Arms failpoints from the text form; see the module. Returns what could not be understood.
pub fn arm(spec: &str) -> Result<(), String> {
    let mut map = table().lock().unwrap_or_else(PoisonError::into_inner);
    for part in spec.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, what) = part
            .split_once('=')
            .ok_or_else(|| format!("{part}: expected NAME=ACTION"))?;
        let (what, count) = match what.split_once('@') {
            Some((what, count)) => (
                what,
                Some(count.parse::<u64>().map_err(|e| format!("{part}: {e}"))?),
            ),
            None => (what, None),
        };
        let action = match what.split_once(':') {
            None if what == "kill" => Action::Kill,
            None if what == "error" => Action::Error,
            Some(("sleep", ms)) => Action::Sleep(ms.parse().map_err(|e| format!("{part}: {e}"))?),
            _ => return Err(format!("{part}: the action is kill, error or sleep:MILLISECONDS")),
        };
        map.insert(
            name.to_owned(),
            Armed {
                action,
                countdown: count.unwrap_or(1).max(1),
                every: count.is_none(),
            },
        );
    }
    ANY.store(!map.is_empty(), Ordering::Release);
    Ok(())
}

/// Disarms all of them.
pub fn disarm_all() {
    let mut map = table().lock().unwrap_or_else(PoisonError::into_inner);
    map.clear();
    let watched = WATCH.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    ANY.store(watched, Ordering::Release);
}

/// Arms what the environment asks for; called once when the core is loaded.
pub fn arm_from_env() -> Result<(), String> {
    std::env::var("CAUDAL_FAILPOINTS").map_or(Ok(()), |spec| arm(&spec))
}

/// Passes the failpoint `name`. Returns an error where the point is armed to fail the step.
#[inline]
pub fn hit(name: &str) -> std::io::Result<()> {
    if ANY.load(Ordering::Relaxed) {
        slow(name)
    } else {
        Ok(())
    }
}

/// Whether the point is armed at all; for steps that do half of something before they die.
#[must_use]
pub fn is_armed(name: &str) -> bool {
    ANY.load(Ordering::Relaxed)
        && table()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(name)
}

#[cold]
fn slow(name: &str) -> std::io::Result<()> {
    let watch = WATCH.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(watch) = watch {
        watch(name)?;
    }
    let action = {
        let mut map = table().lock().unwrap_or_else(PoisonError::into_inner);
        let Some(armed) = map.get_mut(name) else {
            return Ok(());
        };
        if armed.countdown == 0 {
            return Ok(());
        }
        armed.countdown -= 1;
        if armed.countdown > 0 {
            return Ok(());
        }
        if armed.every {
            armed.countdown = 1;
        }
        armed.action
    };
    match action {
        Action::Kill => {
            // SAFETY: plain system calls without memory arguments.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            loop {
                std::thread::park();
            }
        }
        Action::Error => Err(std::io::Error::other(format!("failpoint {name}"))),
        Action::Sleep(ms) => {
            std::thread::sleep(Duration::from_millis(ms));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_on_the_hit_that_was_asked_for_and_only_then() {
        arm("t.third=error@3").unwrap();
        let seen: Vec<bool> = (0..5).map(|_| hit("t.third").is_err()).collect();
        assert_eq!(seen, [false, false, true, false, false]);
    }

    #[test]
    fn without_a_count_it_acts_every_time() {
        arm("t.every=error").unwrap();
        assert!(hit("t.every").is_err() && hit("t.every").is_err());
        assert!(hit("t.other").is_ok());
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for bad in ["x", "x=explode", "x=kill@many", "x=sleep:long"] {
            assert!(arm(bad).is_err(), "{bad}");
        }
    }
}
