//! Recovery: every record of the history, in the order of LSNs.

use std::path::PathBuf;

use crate::disk::{Disk, SystemDisk};
use crate::error::{JournalError, ReplayError};
use crate::format::payload_place;
use crate::history::History;
use crate::segment::{Remains, Segment, SegmentReader};
use crate::{Record, Result};

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// LSN before the first record that is kept: everything up to it was trimmed. 0: nothing was.
    pub preceding_lsn: u64,
    /// First LSN that was shown; 0 where nothing was.
    pub first_lsn: u64,
    /// Last LSN of the history, shown or not; `preceding_lsn` where the journal is empty.
    pub last_lsn: u64,
    /// Records shown, and the bytes of their payloads.
    pub records: u64,
    pub bytes: u64,
    /// The last write was cut off; nothing in it was acknowledged.
    pub torn_tail: bool,
    /// What was acknowledged and could not be read in any mirror, where that was accepted; the history ends before it.
    pub lost: Option<JournalError>,
}

/// Shows every record with an LSN of at least `from_lsn` to `show`, in order, and stops at the torn tail.
///
/// Each record comes from the first mirror that has it intact. Errors: [`JournalError::Corrupt`] where no mirror has a
/// record that was acknowledged; [`ReplayError::Callback`] with the error of `show`.
pub fn replay<E>(
    dirs: &[PathBuf],
    fs_id: [u8; 16],
    from_lsn: u64,
    show: &mut dyn FnMut(&Record<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<Replayed, ReplayError<E>> {
    replay_on(&SystemDisk, dirs, fs_id, from_lsn, show)
}

/// As [`replay`], from a disk of the caller's.
pub fn replay_on<E>(
    disk: &dyn Disk,
    dirs: &[PathBuf],
    fs_id: [u8; 16],
    from_lsn: u64,
    show: &mut dyn FnMut(&Record<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<Replayed, ReplayError<E>> {
    replay_with(disk, dirs, fs_id, from_lsn, false, show)
}

/// As [`replay_on`]; with `accept_loss` what is intact before a damage is shown, and the damage is told.
pub fn replay_with<E>(
    disk: &dyn Disk,
    dirs: &[PathBuf],
    fs_id: [u8; 16],
    from_lsn: u64,
    accept_loss: bool,
    show: &mut dyn FnMut(&Record<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<Replayed, ReplayError<E>> {
    let history = History::scan_with(disk, dirs, &fs_id, accept_loss)?;
    let preceding_lsn = history.preceding_lsn();
    let mut replayed = Replayed {
        preceding_lsn,
        last_lsn: preceding_lsn,
        lost: history.lost.clone(),
        ..Replayed::default()
    };
    for segment in &history.segments {
        if segment.last_lsn.is_some_and(|last| last < from_lsn) {
            replayed.last_lsn = segment.last_lsn.unwrap_or(replayed.last_lsn);
            continue;
        }
        let mut reader = SegmentReader::new(segment);
        while let Some(found) = reader.next() {
            let lsn = found.header.lsn;
            replayed.last_lsn = lsn;
            if lsn < from_lsn {
                continue;
            }
            let place = payload_place(segment.header.first_lsn, found.offset);
            show(&Record {
                lsn,
                kind: found.header.kind,
                payload: found.payload,
                place,
            })
            .map_err(ReplayError::Callback)?;
            if replayed.records == 0 {
                replayed.first_lsn = lsn;
            }
            replayed.records += 1;
            replayed.bytes += found.payload.len() as u64;
        }
        match check_end(segment, &mut reader) {
            Ok(remains) => replayed.torn_tail = remains.torn,
            Err(lost) if accept_loss => {
                replayed.lost = Some(whole_loss(lost, &history));
                break;
            }
            Err(lost) => return Err(whole_loss(lost, &history).into()),
        }
    }
    Ok(replayed)
}

/// A loss reaches to the end of the history: nothing behind it can be applied.
fn whole_loss(lost: JournalError, history: &History) -> JournalError {
    let end = history
        .segments
        .last()
        .map_or(0, |newest| newest.last_lsn.unwrap_or(newest.header.first_lsn - 1));
    match lost {
        JournalError::Corrupt {
            path,
            offset,
            first_lost,
            last_lost,
        } => JournalError::Corrupt {
            path,
            offset,
            first_lost,
            last_lost: last_lost.max(end),
        },
        other => other,
    }
}

/// Whether a segment may end where its reader stopped: all of it that later ones build on was there, and nothing behind a
/// bad record proves that the record had been durable.
pub fn check_end(segment: &Segment, reader: &mut SegmentReader<'_>) -> Result<Remains> {
    let next_lsn = reader.next_lsn();
    let (last_lost, remains) = match segment.last_lsn {
        Some(last) => (last, Remains::default()),
        None => {
            let remains = reader.remains();
            (remains.durable_lsn, remains)
        }
    };
    if next_lsn <= last_lost {
        return Err(JournalError::Corrupt {
            path: segment
                .sources
                .first()
                .map(|source| source.path.clone())
                .unwrap_or_default(),
            offset: reader.offset(),
            first_lost: next_lsn,
            last_lost,
        });
    }
    Ok(remains)
}
