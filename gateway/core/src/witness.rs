//! A copy of the journal's newest list of members, beside the mirrors: a mirror that was left behind is known by it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use caudal_journal::members::Members;

/// The list is on its way to others too; acknowledgements wait for this copy no longer, whatever its disk does.
const PATIENCE: Duration = Duration::from_secs(2);

/// The list of a file; None where there is none, or nothing of use.
#[must_use]
pub fn read(path: &Path) -> Option<Members> {
    fs::read(path).ok().and_then(|bytes| Members::decode(&bytes).ok())
}

/// Keeps a list. Where that fails, others have it a little later; so nothing is said.
pub fn keep(path: Option<&Path>, list: &Members) {
    let Some(path) = path.map(Path::to_owned) else {
        return;
    };
    let bytes = list.encode();
    let (done, wait) = channel();
    let write = move || drop(done.send(replace(&path, &bytes)));
    if std::thread::Builder::new()
        .name("journal-witness".into())
        .spawn(write)
        .is_ok()
    {
        drop(wait.recv_timeout(PATIENCE));
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
