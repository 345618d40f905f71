//! Recovery with Python as the owner of the rows.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::convert::{ExtentTuple, attributes_from, extent_from};
use super::types::{build, types};
use crate::attributes::Attributes;
use crate::engine::Engine;
use crate::inode::extents::Extent;
use crate::replay::{Failure, Flushed, Report, Rows};

struct Callbacks<'py> {
    on_rows: Bound<'py, PyAny>,
    load: Bound<'py, PyAny>,
}

impl Rows for Callbacks<'_> {
    type Error = PyErr;

    fn apply(&mut self, lsn: u64, payload: &[u8]) -> PyResult<Vec<Flushed>> {
        let answer = self
            .on_rows
            .call1((lsn, PyBytes::new(self.on_rows.py(), payload)))?;
        answer
            .try_iter()?
            .map(|item| {
                let (inode, taken_lsn, splices): (u64, u64, Vec<ExtentTuple>) = item?.extract()?;
                Ok(Flushed {
                    inode,
                    taken_lsn,
                    splices: splices.into_iter().map(extent_from).collect(),
                })
            })
            .collect()
    }

    fn load(&mut self, inode: u64) -> PyResult<Option<(Attributes, Vec<Extent>)>> {
        let answer = self.load.call1((inode,))?;
        if answer.is_none() {
            return Ok(None);
        }
        let (attributes, extents): (Bound<'_, PyAny>, Vec<ExtentTuple>) = answer.extract()?;
        Ok(Some((
            attributes_from(&attributes)?,
            extents.into_iter().map(extent_from).collect(),
        )))
    }
}

/// The report as a named tuple.
pub fn report_to<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyAny>> {
    build(
        py,
        &types(py)?.replay_report,
        (
            report.first_lsn,
            report.last_lsn,
            report.records,
            report.bytes,
            report.rows,
            report.skipped,
            report.torn_tail,
            report.preceding_lsn,
            report.lost.as_deref(),
        ),
    )
}

/// Replays with the GIL held: it is the callbacks that take the time, and nothing is served yet.
pub fn run(
    engine: &Engine,
    from_lsn: u64,
    on_rows: Bound<'_, PyAny>,
    load: Bound<'_, PyAny>,
) -> PyResult<Report> {
    engine
        .replay(from_lsn, &mut Callbacks { on_rows, load })
        .map_err(|failure| match failure {
            Failure::Rows(error) => error,
            Failure::Core(error) => error.into(),
        })
}
