//! Limits on what clients read and write: token buckets by server, export and client.
//!
//! A request is charged by what it asks for. Where a bucket holds less than that, the request has to wait until it is
//! refilled, after those that were charged before it; who would have to wait longer than [`MAX_WAIT`] is not charged and
//! comes again. Nothing here waits itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

/// An address of a client; IPv4 in its mapped form.
pub type Address = [u8; 16];

/// Who has waited so long would rather hear that the server is busy.
pub const MAX_WAIT: Duration = Duration::from_secs(5);
/// Addresses with a bucket of their own under one rule; beyond it the idle ones are forgotten, which have full credit anyway.
const MAX_CLIENTS: usize = 10_000;

/// What may pass a second; zero: any amount. `burst`: for how long it may pass at once what was not used before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub read_bytes_s: f64,
    pub write_bytes_s: f64,
    pub ops_s: f64,
    pub burst_s: f64,
}

/// To whom a rule applies. Each client of a network has the rates for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Server,
    Export(u16),
    Clients { network: Address, prefix: u8 },
}

#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub scope: Scope,
    pub rates: Rates,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Now,
    Later(Duration),
    Again,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: f64,
    most: f64,
    held: f64,
    at_ns: u64,
}

impl Bucket {
    fn new(rate: f64, burst_s: f64, now_ns: u64) -> Self {
        // At least a thousandth of a second's worth, or nothing would ever pass without waiting.
        let most = rate * burst_s.max(0.001);
        Self {
            rate,
            most,
            held: most,
            at_ns: now_ns,
        }
    }

    fn fill(&mut self, now_ns: u64) {
        let passed_s = now_ns.saturating_sub(self.at_ns) as f64 / 1e9;
        self.held = (self.held + passed_s * self.rate).min(self.most);
        self.at_ns = self.at_ns.max(now_ns);
    }

    /// Takes an amount, into debt if need be; returns how long until the debt is paid.
    fn take(&mut self, amount: f64, now_ns: u64) -> Duration {
        if self.rate <= 0.0 {
            return Duration::ZERO;
        }
        self.fill(now_ns);
        self.held -= amount;
        if self.held >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.held / self.rate).unwrap_or(Duration::MAX)
    }

    fn give_back(&mut self, amount: f64) {
        self.held = (self.held + amount).min(self.most);
    }
}

/// The buckets of one client, export or server under one rule.
#[derive(Debug)]
struct Buckets {
    read: Bucket,
    write: Bucket,
    ops: Bucket,
}

impl Buckets {
    fn new(rates: Rates, now_ns: u64) -> Self {
        Self {
            read: Bucket::new(rates.read_bytes_s, rates.burst_s, now_ns),
            write: Bucket::new(rates.write_bytes_s, rates.burst_s, now_ns),
            ops: Bucket::new(rates.ops_s, rates.burst_s, now_ns),
        }
    }

    const fn bytes_of(&mut self, is_read: bool) -> &mut Bucket {
        if is_read { &mut self.read } else { &mut self.write }
    }

    fn take(&mut self, is_read: bool, bytes: f64, now_ns: u64) -> Duration {
        let wait = self.bytes_of(is_read).take(bytes, now_ns);
        wait.max(self.ops.take(1.0, now_ns))
    }

    fn give_back(&mut self, is_read: bool, bytes: f64) {
        self.bytes_of(is_read).give_back(bytes);
        self.ops.give_back(1.0);
    }

    fn is_idle(&mut self, now_ns: u64) -> bool {
        [&mut self.read, &mut self.write, &mut self.ops]
            .into_iter()
            .all(|bucket| {
                bucket.fill(now_ns);
                bucket.held >= bucket.most
            })
    }
}

/// What a rule did.
#[derive(Debug, Default)]
pub struct Counts {
    pub passed: AtomicU64,
    pub delayed: AtomicU64,
    pub delayed_ns: AtomicU64,
    pub refused: AtomicU64,
}

#[derive(Debug)]
struct Held {
    rule: Rule,
    counts: Counts,
    whole: Arc<Mutex<Buckets>>,
    clients: Mutex<HashMap<Address, Arc<Mutex<Buckets>>>>,
}

impl Held {
    fn applies(&self, export: u16, client: &Address) -> bool {
        match self.rule.scope {
            Scope::Server => true,
            Scope::Export(id) => id == export,
            Scope::Clients { network, prefix } => is_in(client, &network, prefix),
        }
    }

    fn buckets(&self, client: &Address, now_ns: u64) -> Arc<Mutex<Buckets>> {
        if !matches!(self.rule.scope, Scope::Clients { .. }) {
            return self.whole.clone();
        }
        let mut clients = self.clients.lock();
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(client) {
            clients.retain(|_, buckets| !buckets.lock().is_idle(now_ns));
            if clients.len() >= MAX_CLIENTS {
                clients.clear();
            }
        }
        clients
            .entry(*client)
            .or_insert_with(|| Arc::new(Mutex::new(Buckets::new(self.rule.rates, now_ns))))
            .clone()
    }
}

/// Whether the first `prefix` bits are the same.
fn is_in(client: &Address, network: &Address, prefix: u8) -> bool {
    let shift = 128 - u32::from(prefix.min(128));
    let difference = u128::from_be_bytes(*client) ^ u128::from_be_bytes(*network);
    difference.checked_shr(shift).unwrap_or(0) == 0
}

/// The rules in force. For any number of threads.
#[derive(Default)]
pub struct Limits {
    any: AtomicBool,
    held: RwLock<Arc<Vec<Held>>>,
}

impl Limits {
    /// Replaces all rules. Whoever waits goes on waiting; buckets begin full.
    pub fn set(&self, rules: &[Rule], now_ns: u64) {
        let held = rules
            .iter()
            .map(|rule| Held {
                rule: *rule,
                counts: Counts::default(),
                whole: Arc::new(Mutex::new(Buckets::new(rule.rates, now_ns))),
                clients: Mutex::default(),
            })
            .collect::<Vec<_>>();
        self.any.store(!held.is_empty(), Relaxed);
        *self.held.write() = Arc::new(held);
    }

    #[inline]
    pub fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// Charges a request. Of the rules for clients the first that names this one holds; all others that apply do.
    pub fn admit(&self, export: u16, client: &Address, is_read: bool, bytes: u64, now_ns: u64) -> Verdict {
        if !self.any() {
            return Verdict::Now;
        }
        let all = self.held.read().clone();
        let bytes = bytes as f64;
        let mut wait = Duration::ZERO;
        let mut charged: Vec<(&Held, Arc<Mutex<Buckets>>)> = Vec::new();
        let mut client_seen = false;
        for held in all.iter().filter(|held| held.applies(export, client)) {
            if matches!(held.rule.scope, Scope::Clients { .. }) && std::mem::replace(&mut client_seen, true) {
                continue;
            }
            let buckets = held.buckets(client, now_ns);
            wait = wait.max(buckets.lock().take(is_read, bytes, now_ns));
            charged.push((held, buckets));
        }
        if wait > MAX_WAIT {
            for (held, buckets) in &charged {
                buckets.lock().give_back(is_read, bytes);
                held.counts.refused.fetch_add(1, Relaxed);
            }
            return Verdict::Again;
        }
        for (held, _) in &charged {
            held.counts.passed.fetch_add(1, Relaxed);
            if !wait.is_zero() {
                held.counts.delayed.fetch_add(1, Relaxed);
                held.counts
                    .delayed_ns
                    .fetch_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX), Relaxed);
            }
        }
        if wait.is_zero() {
            Verdict::Now
        } else {
            Verdict::Later(wait)
        }
    }

    /// Counts of each rule, in the order in which they were set: passed, delayed, refused, nanoseconds of delays.
    pub fn counts(&self) -> Vec<[u64; 4]> {
        let all = self.held.read().clone();
        all.iter()
            .map(|held| {
                let counts = &held.counts;
                [
                    counts.passed.load(Relaxed),
                    counts.delayed.load(Relaxed),
                    counts.refused.load(Relaxed),
                    counts.delayed_ns.load(Relaxed),
                ]
            })
            .collect()
    }
}
