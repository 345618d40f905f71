//! What befalls a simulated machine: chance from a seed, the step at which it dies, and a digest of all that it did.
//!
//! A step is anything that outlives the process or that somebody outside sees: a change of a disk, a request to a store, a
//! failpoint that is passed. A dead machine's steps all fail, so whatever its code still does has no effect.

use std::fmt;
use std::io;

use parking_lot::Mutex;

struct State {
    random: u64,
    alive: bool,
    steps: u64,
    /// The step at which it dies, and whether that step still takes effect.
    end: Option<(u64, bool)>,
    digest: u64,
    /// Steps in words, where somebody wants them.
    trace: Option<Vec<String>>,
}

/// Shared by all simulated parts of one machine.
pub struct Fate(Mutex<State>);

/// What may come of a step of a live machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Done,
    /// It takes effect, and nobody hears of that.
    Last,
}

const DIGEST_START: u64 = 0xcbf2_9ce4_8422_2325;
const DIGEST_PRIME: u64 = 0x0100_0000_01b3;

struct Digest(u64);

impl fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(DIGEST_PRIME);
        }
        Ok(())
    }
}

impl State {
    fn note(&mut self, what: fmt::Arguments<'_>) {
        let mut digest = Digest(self.digest);
        // Writing into a number cannot fail.
        let _ = fmt::write(&mut digest, what);
        self.digest = digest.0.wrapping_mul(DIGEST_PRIME);
        if let Some(trace) = &mut self.trace {
            trace.push(what.to_string());
        }
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Fate {
    /// The same seed and the same questions give the same answers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(State {
            random: seed,
            alive: true,
            steps: 0,
            end: None,
            digest: DIGEST_START,
            trace: None,
        }))
    }

    /// Takes a step, which is told in words. An error: the machine is dead, or dies now.
    pub fn step(&self, what: fmt::Arguments<'_>) -> io::Result<Step> {
        let mut state = self.0.lock();
        if !state.alive {
            return Err(dead());
        }
        state.steps += 1;
        state.note(what);
        match state.end {
            Some((at, effect)) if at <= state.steps => {
                state.alive = false;
                state.note(format_args!("the machine dies"));
                if effect { Ok(Step::Last) } else { Err(dead()) }
            }
            _ => Ok(Step::Done),
        }
    }

    /// Takes a step that does `f`.
    pub fn act<T>(&self, what: fmt::Arguments<'_>, f: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.step(what)? {
            Step::Done => f(),
            Step::Last => f().and(Err(dead())),
        }
    }

    /// For what has no effect: an error of the dead.
    pub fn check(&self) -> io::Result<()> {
        if self.alive() { Ok(()) } else { Err(dead()) }
    }

    #[must_use]
    pub fn alive(&self) -> bool {
        self.0.lock().alive
    }

    /// Dies at the `after`-th step from now, which takes effect or not.
    pub fn die(&self, after: u64, effect: bool) {
        let mut state = self.0.lock();
        state.end = Some((state.steps + after, effect));
    }

    /// It lives, or lives again.
    pub fn live(&self) {
        let mut state = self.0.lock();
        state.alive = true;
        state.end = None;
    }

    #[must_use]
    pub fn steps(&self) -> u64 {
        self.0.lock().steps
    }

    /// Of all steps so far, in their order.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.0.lock().digest
    }

    /// Something that is no step, but belongs into the digest.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.0.lock().note(what);
    }

    /// Keeps the steps from now on in words.
    pub fn keep_trace(&self) {
        self.0.lock().trace.get_or_insert_default();
    }

    /// The steps in words since the last call.
    #[must_use]
    pub fn take_trace(&self) -> Vec<String> {
        self.0
            .lock()
            .trace
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    #[must_use]
    pub fn random(&self) -> u64 {
        self.0.lock().random()
    }

    /// True with this probability.
    #[must_use]
    pub fn chance(&self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// From 0 up to 1.
    #[must_use]
    pub fn unit(&self) -> f64 {
        (self.random() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn dead() -> io::Error {
    io::Error::other("the machine is dead")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dies_at_the_step_and_stays_dead() {
        for effect in [false, true] {
            let fate = Fate::new(1);
            fate.die(2, effect);
            let mut done = Vec::new();
            for number in 0..4 {
                let acted = fate.act(format_args!("{number}"), || {
                    done.push(number);
                    Ok(())
                });
                assert_eq!(acted.is_ok(), number == 0);
            }
            assert_eq!(done.len(), 1 + usize::from(effect));
            fate.live();
            assert!(fate.step(format_args!("again")).is_ok());
        }
    }

    #[test]
    fn the_same_seed_is_the_same_fate() {
        let run = |seed| {
            let fate = Fate::new(seed);
            let numbers: Vec<u64> = (0..5).map(|_| fate.random()).collect();
            drop(fate.step(format_args!("{numbers:?}")));
            (numbers, fate.digest())
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
