//! What a reader of a file will ask for next. A plain state machine, without I/O or clock; one for each inode.
//!
//! **Sequential**: from the third neighbouring read on (the second one at the beginning of a file), a window ahead of the
//! reader is asked for. It begins at 512 KiB or two reads and doubles each time the reader comes near its end. Reads may overtake each other a little, as those of a client that has
//! several on their way do. **Strided**: after three equal steps the read after the next one is asked for.

use std::ops::Range;

/// First window.
const FIRST_WINDOW: u64 = 512 << 10;
/// How far a read may lie off the expected place and still belong to the stream.
const SLACK: u64 = 1 << 20;
/// Equal steps that make a stride.
const STRIDE_STEPS: u32 = 3;
/// Steps between a read and what is asked for because of it.
const STRIDE_DISTANCE: i64 = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stream {
    /// Where the reader is, as far as it got.
    end: u64,
    /// Neighbouring reads so far.
    reads: u32,
    window: u64,
    /// All below this was asked for, or was read.
    asked: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stride {
    last: u64,
    step: i64,
    steps: u32,
}

#[derive(Clone, Debug)]
pub struct Readahead {
    max_window: u64,
    stream: Stream,
    stride: Stride,
    begun: bool,
}

impl Readahead {
    /// `max_bytes` is the largest window; 0 turns read-ahead off.
    #[must_use]
    pub const fn new(max_bytes: u64) -> Self {
        Self {
            max_window: max_bytes,
            stream: Stream {
                end: 0,
                reads: 0,
                window: 0,
                asked: 0,
            },
            stride: Stride {
                last: 0,
                step: 0,
                steps: 0,
            },
            begun: false,
        }
    }

    /// Takes note of a read and returns the range of the file to fetch in advance, if any.
    pub fn on_read(&mut self, offset: u64, len: u64, file_size: u64) -> Option<Range<u64>> {
        if self.max_window == 0 || len == 0 || offset >= file_size {
            return None;
        }
        let end = offset.saturating_add(len).min(file_size);
        let step = offset.wrapping_sub(self.stride.last) as i64;
        self.note_stride(offset, step);
        if self.continues(offset, len) {
            return self.sequential(end, len, file_size);
        }
        // A file that is opened is usually read from its beginning, so that read counts as one of a stream.
        self.stream = Stream {
            end,
            reads: u32::from(offset == 0),
            window: 0,
            asked: end,
        };
        self.begun = true;
        self.strided(offset, len, file_size)
    }

    fn continues(&self, offset: u64, len: u64) -> bool {
        let slack = len.saturating_mul(4).min(SLACK);
        self.begun && offset.abs_diff(self.stream.end) <= slack && !self.repeats_stride()
    }

    /// Small steps of a stride look like a stream with gaps; the gaps are not worth fetching apart.
    const fn repeats_stride(&self) -> bool {
        self.stride.steps >= STRIDE_STEPS && self.stride.step.unsigned_abs() > SLACK
    }

    fn sequential(&mut self, end: u64, len: u64, file_size: u64) -> Option<Range<u64>> {
        let stream = &mut self.stream;
        stream.end = stream.end.max(end);
        stream.reads = stream.reads.saturating_add(1);
        if stream.reads < 2 {
            return None;
        }
        stream.asked = stream.asked.max(stream.end);
        if stream.asked - stream.end > stream.window / 2 {
            return None;
        }
        let first = FIRST_WINDOW.max(len.saturating_mul(2));
        stream.window = stream.window.saturating_mul(2).max(first).min(self.max_window);
        let wanted = stream.asked..stream.end.saturating_add(stream.window).min(file_size);
        if wanted.start >= wanted.end {
            return None;
        }
        stream.asked = wanted.end;
        Some(wanted)
    }

    fn note_stride(&mut self, offset: u64, step: i64) {
        let stride = &mut self.stride;
        stride.steps = if !self.begun || step == 0 {
            0
        } else if step == stride.step {
            stride.steps.saturating_add(1)
        } else {
            1
        };
        stride.step = step;
        stride.last = offset;
    }

    fn strided(&self, offset: u64, len: u64, file_size: u64) -> Option<Range<u64>> {
        if self.stride.steps < STRIDE_STEPS || len > self.max_window {
            return None;
        }
        let ahead = self.stride.step.checked_mul(STRIDE_DISTANCE)?;
        let start = offset.checked_add_signed(ahead)?;
        let end = start.saturating_add(len).min(file_size);
        (start < end).then_some(start..end)
    }
}
