//! What is asked for in advance.

use caudal_blocks::Readahead;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Reads one after the other; returns all that was asked for.
fn stream(readahead: &mut Readahead, from: u64, to: u64, len: u64, size: u64) -> Vec<std::ops::Range<u64>> {
    (from..to)
        .step_by(len as usize)
        .filter_map(|at| readahead.on_read(at, len, size))
        .collect()
}

#[test]
fn a_stream_is_asked_for_without_gaps_or_repeats() {
    let mut readahead = Readahead::new(8 * MIB);
    let asked = stream(&mut readahead, 0, 64 * MIB, 128 * KIB, 64 * MIB);
    assert_eq!(asked.first().unwrap().start, 256 * KIB, "from the second read on");
    assert!(
        asked.windows(2).all(|pair| pair[0].end == pair[1].start),
        "{asked:?}"
    );
    assert_eq!(asked.last().unwrap().end, 64 * MIB);
}

#[test]
fn the_window_doubles_up_to_its_limit() {
    let mut readahead = Readahead::new(4 * MIB);
    let (mut at, mut windows) = (0, Vec::new());
    while at < 64 * MIB {
        if let Some(asked) = readahead.on_read(at, 128 * KIB, 1 << 40) {
            windows.push(asked.end - (at + 128 * KIB));
        }
        at += 128 * KIB;
    }
    assert_eq!(windows[..4], [512 * KIB, MIB, 2 * MIB, 4 * MIB]);
    assert!(windows.iter().all(|window| *window <= 4 * MIB));
}

#[test]
fn a_reader_finds_all_but_its_first_reads_asked_for() {
    let mut readahead = Readahead::new(8 * MIB);
    let mut asked_until = 0;
    for at in (10 * MIB..40 * MIB).step_by(MIB as usize) {
        if at > 12 * MIB {
            assert!(asked_until >= at + MIB, "{at}: {asked_until}");
        }
        if let Some(asked) = readahead.on_read(at, MIB, 1 << 40) {
            asked_until = asked.end;
        }
    }
}

#[test]
fn reads_that_overtake_each_other_are_one_stream() {
    let mut readahead = Readahead::new(8 * MIB);
    let mut asked = 0;
    for pair in 0..32u64 {
        for at in [2 * pair + 1, 2 * pair] {
            asked += readahead
                .on_read(at * 256 * KIB, 256 * KIB, 1 << 40)
                .map_or(0, |range| range.end - range.start);
        }
    }
    assert!(asked >= 15 * MIB, "{asked}");
}

#[test]
fn nothing_is_asked_beyond_the_end() {
    let mut readahead = Readahead::new(8 * MIB);
    let asked = stream(&mut readahead, 0, MIB, 64 * KIB, MIB + 5);
    assert_eq!(asked.last().unwrap().end, MIB + 5);
    assert_eq!(readahead.on_read(MIB, 100, MIB + 5), None);
    assert_eq!(readahead.on_read(2 * MIB, 100, MIB + 5), None);
}

#[test]
fn random_reads_ask_for_nothing() {
    let mut readahead = Readahead::new(8 * MIB);
    let mut random = crate::support::Random(5);
    for _ in 0..10_000 {
        let at = random.below(1 << 28) * 4096;
        assert_eq!(readahead.on_read(at, 4096, 1 << 41), None);
    }
}

#[test]
fn a_stride_is_followed_both_ways() {
    for (first, step) in [(0i64, 10 * MIB as i64), (1 << 34, -(7 * MIB as i64))] {
        let mut readahead = Readahead::new(8 * MIB);
        let asked: Vec<_> = (0..8)
            .map(|n| readahead.on_read((first + n * step) as u64, 64 * KIB, 1 << 40))
            .collect();
        assert!(asked[..3].iter().all(Option::is_none), "{asked:?}");
        for (n, asked) in (0i64..).zip(asked).skip(3) {
            let start = (first + (n + 2) * step) as u64;
            assert_eq!(asked, Some(start..start + 64 * KIB), "read {n} of step {step}");
        }
    }
}

#[test]
fn a_seek_begins_a_new_stream() {
    let mut readahead = Readahead::new(8 * MIB);
    stream(&mut readahead, 0, 16 * MIB, 128 * KIB, 1 << 40);
    let asked = stream(&mut readahead, 1 << 30, (1 << 30) + MIB, 128 * KIB, 1 << 40);
    assert_eq!(
        asked.first().unwrap(),
        &((1 << 30) + 384 * KIB..(1 << 30) + 896 * KIB)
    );
}

#[test]
fn it_can_be_turned_off_and_takes_any_numbers() {
    let mut off = Readahead::new(0);
    assert!(stream(&mut off, 0, MIB, 4096, MIB).is_empty());
    let mut random = crate::support::Random(9);
    let mut readahead = Readahead::new(u64::MAX);
    for _ in 0..10_000 {
        let (offset, len, size) = (
            random.next() >> random.below(64),
            random.next() >> random.below(64),
            random.next(),
        );
        if let Some(asked) = readahead.on_read(offset, len, size) {
            assert!(asked.start < asked.end && asked.end <= size);
        }
    }
}
