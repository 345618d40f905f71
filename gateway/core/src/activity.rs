//! Who uses what most: one operation in some is noted, with its file and client, in a buffer that no other thread waits for.
//! Somebody empties the buffers now and then into sketches of bounded size, whose figures fade.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

/// One operation in so many is noted, on average.
const RATE: u32 = 8;
/// Threads share so many buffers, of so many notes each; of what comes beyond that between two looks every n-th stays.
const BUFFERS: usize = 16;
const NOTES: usize = 256;
/// Files and clients that a sketch tells apart.
const TOLD_APART: usize = 512;
/// A figure's weight after this time is half.
const HALF_LIFE_S: f64 = 30.0;
/// Bytes that weigh as much as an operation where a sketch has to choose what to keep.
const BYTES_PER_OPERATION: f64 = 65_536.0;
/// What fell below this many operations a second is forgotten.
const FAINT: f64 = 0.01;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    /// A name operation, or attributes that the core did not have: of no file in particular.
    Name,
}

/// One noted operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Note {
    pub kind: Kind,
    pub inode: u64,
    pub client: Option<IpAddr>,
    pub bytes: u64,
}

/// Rates, in operations and bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub reads: f64,
    pub writes: f64,
    pub names: f64,
    pub read_bytes: f64,
    pub written_bytes: f64,
    /// Operations that may be another one's, which was forgotten for this: the figures are too high by so much at most.
    pub error: f64,
}

impl Rates {
    fn weight(&self) -> f64 {
        self.reads
            + self.writes
            + self.names
            + (self.read_bytes + self.written_bytes) / BYTES_PER_OPERATION
            + self.error
    }

    fn add(&mut self, note: &Note, times: f64) {
        let bytes = note.bytes as f64 * times;
        match note.kind {
            Kind::Read => {
                self.reads += times;
                self.read_bytes += bytes;
            }
            Kind::Write => {
                self.writes += times;
                self.written_bytes += bytes;
            }
            Kind::Name => self.names += times,
        }
    }

    fn fade(&mut self, share: f64) {
        for figure in [
            &mut self.reads,
            &mut self.writes,
            &mut self.names,
            &mut self.read_bytes,
            &mut self.written_bytes,
            &mut self.error,
        ] {
            *figure *= share;
        }
    }
}

/// The heaviest of any number of keys, in bounded memory: a new key takes the place of the lightest, and its weight as error
/// (Metwally's space-saving).
pub struct Sketch<K> {
    known: HashMap<K, Rates>,
    most: usize,
}

impl<K: Copy + Eq + Hash> Sketch<K> {
    pub fn new(most: usize) -> Self {
        Self {
            known: HashMap::new(),
            most,
        }
    }

    fn add(&mut self, key: K, note: &Note, times: f64) {
        if let Some(known) = self.known.get_mut(&key) {
            known.add(note, times);
            return;
        }
        let mut fresh = Rates::default();
        if self.known.len() >= self.most {
            let lightest = self
                .known
                .iter()
                .min_by(|a, b| a.1.weight().total_cmp(&b.1.weight()))
                .map(|(key, rates)| (*key, rates.weight()));
            if let Some((lightest, weight)) = lightest {
                self.known.remove(&lightest);
                fresh.error = weight;
            }
        }
        fresh.add(note, times);
        self.known.insert(key, fresh);
    }

    fn fade(&mut self, share: f64) {
        self.known.retain(|_, rates| {
            rates.fade(share);
            rates.weight() > FAINT
        });
    }

    /// All that are known, the heaviest first.
    pub fn heaviest(&self) -> Vec<(K, Rates)> {
        let mut all: Vec<(K, Rates)> = self.known.iter().map(|(key, rates)| (*key, *rates)).collect();
        all.sort_by(|a, b| b.1.weight().total_cmp(&a.1.weight()));
        all
    }
}

#[derive(Default)]
struct Buffer {
    notes: Vec<Note>,
    /// Noted since the last look, with those that found no room.
    offered: usize,
}

/// What the sketches know.
pub struct Known {
    files: Sketch<u64>,
    clients: Sketch<IpAddr>,
    all: Rates,
    at: Option<Instant>,
}

/// What a look found.
pub struct Found {
    pub files: Vec<(u64, Rates)>,
    pub clients: Vec<(IpAddr, Rates)>,
    pub all: Rates,
    /// Some of the operations since the last look, chosen evenly, and for how many each stands.
    pub sample: Vec<(Note, f64)>,
}

/// One for a core. Notes take no lock that somebody else may hold for longer than it takes to note.
pub struct Activity {
    buffers: [Mutex<Buffer>; BUFFERS],
    known: Mutex<Known>,
}

thread_local! {
    static BUFFER: Cell<usize> = const { Cell::new(usize::MAX) };
    static LEFT: Cell<u32> = const { Cell::new(1) };
    static RANDOM: Cell<u32> = const { Cell::new(0) };
    static CALLER: Cell<(Option<IpAddr>, u32)> = const { Cell::new((None, 0)) };
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Whose operations this thread does from now on.
pub fn set_caller(client: Option<IpAddr>, uid: u32) {
    CALLER.set((client, uid));
}

/// The client and user whose operations this thread does.
#[must_use]
pub fn caller() -> (Option<IpAddr>, u32) {
    CALLER.get()
}

fn buffer_of_thread() -> usize {
    let known = BUFFER.get();
    if known != usize::MAX {
        return known;
    }
    let number = THREADS.fetch_add(1, Relaxed);
    BUFFER.set(number % BUFFERS);
    RANDOM.set(0x9e37_79b9 ^ (number as u32).wrapping_mul(0x85eb_ca6b) | 1);
    number % BUFFERS
}

/// A distance to the next note that is 1 to 2 * RATE - 1, so that no rhythm of the clients meets that of the notes.
fn distance() -> u32 {
    let mut x = RANDOM.get();
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    RANDOM.set(x);
    1 + x % (2 * RATE - 1)
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            buffers: Default::default(),
            known: Mutex::new(Known {
                files: Sketch::new(TOLD_APART),
                clients: Sketch::new(TOLD_APART),
                all: Rates::default(),
                at: None,
            }),
        }
    }
}

impl Activity {
    /// Counts an operation of this thread's caller, if its turn has come.
    #[inline]
    pub fn note(&self, kind: Kind, inode: u64, bytes: u64) {
        let left = LEFT.get() - 1;
        LEFT.set(left);
        if left == 0 {
            self.take_note(kind, inode, bytes);
        }
    }

    #[cold]
    fn take_note(&self, kind: Kind, inode: u64, bytes: u64) {
        let number = buffer_of_thread();
        LEFT.set(distance());
        // Who empties it holds it for a moment: the note is not worth waiting for.
        let Some(mut buffer) = self.buffers[number].try_lock() else {
            return;
        };
        let note = Note {
            kind,
            inode,
            client: CALLER.get().0,
            bytes,
        };
        buffer.offered += 1;
        if buffer.notes.len() < NOTES {
            buffer.notes.push(note);
        } else {
            // Each of those that were offered stays with the same chance.
            let at = ((u64::from(distance_seed()) * buffer.offered as u64) >> 32) as usize;
            if at < NOTES {
                buffer.notes[at] = note;
            }
        }
    }

    /// Empties the buffers into the sketches and tells what they know. Somebody has to call it every few seconds.
    pub fn look(&self, now: Instant) -> Found {
        let mut sample = Vec::new();
        for buffer in &self.buffers {
            let taken = std::mem::take(&mut *buffer.lock());
            let times = f64::from(RATE) * taken.offered as f64 / taken.notes.len().max(1) as f64;
            sample.extend(taken.notes.into_iter().map(|note| (note, times)));
        }
        let mut known = self.known.lock();
        let passed_s = known.at.map_or(0.0, |at| now.duration_since(at).as_secs_f64());
        known.at = Some(now);
        let share = 0.5f64.powf(passed_s / HALF_LIFE_S);
        known.files.fade(share);
        known.clients.fade(share);
        known.all.fade(share);
        // What fades by half in a half-life and gets r a second comes to r / ln 2 * half-life.
        let rate = std::f64::consts::LN_2 / HALF_LIFE_S;
        for (note, times) in &sample {
            known.all.add(note, times * rate);
            if note.kind != Kind::Name {
                known.files.add(note.inode, note, times * rate);
            }
            if let Some(client) = note.client {
                known.clients.add(client, note, times * rate);
            }
        }
        Found {
            files: known.files.heaviest(),
            clients: known.clients.heaviest(),
            all: known.all,
            sample,
        }
    }
}

fn distance_seed() -> u32 {
    distance();
    RANDOM.get()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_heavy_ones_are_found_among_many() {
        let activity = Activity::default();
        let begin = Instant::now();
        activity.look(begin);
        set_caller(Some(IpAddr::from([10, 0, 0, 7])), 0);
        // For two minutes: file 1 is read 500 times a second, file 2 takes most bytes, a hundred thousand others little.
        for second in 0..120u64 {
            for n in 0..1000u64 {
                activity.note(Kind::Read, 1, 4096);
                if n % 2 == 0 {
                    activity.note(Kind::Write, 2, 1 << 20);
                }
                activity.note(Kind::Read, 1000 + (second * 1000 + n), 4096);
            }
            activity.look(begin + Duration::from_secs(second + 1));
        }
        let found = activity.look(begin + Duration::from_secs(120));
        assert!(found.files.len() <= TOLD_APART);
        let mut first: Vec<u64> = found.files[..2].iter().map(|(inode, _)| *inode).collect();
        first.sort_unstable();
        assert_eq!(first, [1, 2]);
        let read = found.files.iter().find(|(inode, _)| *inode == 1).unwrap().1;
        assert!((700.0..1300.0).contains(&read.reads), "{read:?}");
        let written = found.files.iter().find(|(inode, _)| *inode == 2).unwrap().1;
        assert!((3.5e8..7.5e8).contains(&written.written_bytes), "{written:?}");
        assert_eq!(found.clients.len(), 1);
        assert!(
            (1800.0..3200.0).contains(&(found.all.reads + found.all.writes)),
            "{:?}",
            found.all
        );
        set_caller(None, 0);
        let later = activity.look(begin + Duration::from_secs(2000));
        assert!(later.files.is_empty() && later.clients.is_empty());
    }

    #[test]
    fn a_buffer_that_is_full_keeps_an_even_choice() {
        let activity = Activity::default();
        for inode in 0..400_000u64 {
            activity.note(Kind::Read, inode, 1);
        }
        let found = activity.look(Instant::now());
        assert_eq!(found.sample.len(), NOTES);
        let early = found
            .sample
            .iter()
            .filter(|(note, _)| note.inode < 200_000)
            .count();
        assert!(
            (80..176).contains(&early),
            "{early} of {NOTES} from the first half"
        );
        let times: f64 = found.sample.iter().map(|(_, times)| times).sum();
        assert!((360_000.0..440_000.0).contains(&times), "{times}");
    }
}
