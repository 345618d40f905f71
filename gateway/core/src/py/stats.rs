//! Figures as nested plain dicts.

use std::sync::atomic::Ordering::Relaxed;

use caudal_base::Histogram;
use caudal_blocks::TierStats;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::block_cache;
use super::types::dict;
use crate::engine::Engine;

fn us(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

fn add_latency(dict: &Bound<'_, PyDict>, name: &str, histogram: &Histogram) -> PyResult<()> {
    dict.set_item(format!("{name}s"), histogram.count())?;
    // Beside the count it tells how long requests took of late, by what both grew by.
    dict.set_item(format!("{name}_us_sum"), us(histogram.sum_ns()))?;
    dict.set_item(format!("{name}_us_p50"), us(histogram.quantile_ns(0.5)))?;
    dict.set_item(format!("{name}_us_p99"), us(histogram.quantile_ns(0.99)))
}

pub fn collect<'py>(py: Python<'py>, engine: &Engine) -> PyResult<Bound<'py, PyDict>> {
    dict(py, |all| {
        all.set_item("cache", cache(py, engine)?)?;
        all.set_item("store", store(py, engine)?)?;
        all.set_item("objects", objects(py, engine)?)?;
        all.set_item("journal", journal(py, engine)?)?;
        all.set_item("dirty", dirty(py, engine)?)?;
        all.set_item("io", io(py, engine)?)?;
        all.set_item(
            "inodes",
            dict(py, |d| d.set_item("resident", engine.table.len()))?,
        )
    })
}

fn journal<'py>(py: Python<'py>, engine: &Engine) -> PyResult<Bound<'py, PyDict>> {
    dict(py, |d| {
        let Ok(journal) = engine.journal() else {
            return Ok(());
        };
        let stats = journal.stats();
        let mirrors = PyList::empty(py);
        for mirror in &stats.mirrors {
            mirrors.append(dict(py, |m| {
                m.set_item("path", &mirror.path)?;
                m.set_item("state", mirror.state.name())?;
                m.set_item("why", &mirror.why)?;
                m.set_item("since_s", mirror.since.as_secs_f64())?;
                m.set_item("copied_bytes", mirror.copied_bytes)?;
                m.set_item("losses", mirror.losses)?;
                m.set_item("last_loss", &mirror.last_loss)?;
                m.set_item("to_copy_bytes", mirror.to_copy_bytes)
            })?)?;
        }
        let mended = PyList::empty(py);
        for (path, segments) in &stats.mended {
            mended.append(dict(py, |m| {
                m.set_item("path", path)?;
                m.set_item("segments", segments)
            })?)?;
        }
        d.set_item("mended", mended)?;
        d.set_item("membership", stats.membership_epoch)?;
        d.set_item("halted", stats.halted)?;
        d.set_item("mirrors", mirrors)?;
        d.set_item("bytes", stats.bytes)?;
        d.set_item("limit_bytes", engine.config.journal_limit_bytes)?;
        d.set_item("segments", stats.segments)?;
        d.set_item("commits", stats.commits)?;
        d.set_item("commit_us_p50", us(stats.commit_p50_ns))?;
        d.set_item("commit_us_p99", us(stats.commit_p99_ns))?;
        d.set_item("oldest_lsn", stats.oldest_lsn)?;
        d.set_item("durable_lsn", journal.durable_lsn())?;
        d.set_item("last_lsn", journal.last_lsn())
    })
}

fn dirty<'py>(py: Python<'py>, engine: &Engine) -> PyResult<Bound<'py, PyDict>> {
    let summary = engine.dirty_summary();
    dict(py, |d| {
        d.set_item("bytes", summary.bytes)?;
        d.set_item("memory_bytes", summary.memory_bytes)?;
        d.set_item("inodes", summary.inodes)?;
        d.set_item("oldest_age_s", summary.oldest_age_s)?;
        d.set_item("oldest_lsn", summary.oldest_lsn)
    })
}

fn io<'py>(py: Python<'py>, engine: &Engine) -> PyResult<Bound<'py, PyDict>> {
    dict(py, |d| {
        add_latency(d, "read", &engine.io.read)?;
        add_latency(d, "write", &engine.io.write)?;
        add_latency(d, "commit", &engine.io.commit)
    })
}

fn cache<'py>(py: Python<'py>, engine: &Engine) -> PyResult<Bound<'py, PyDict>> {
    let stats = engine.blocks.stats();
    dict(py, |d| {
        d.set_item("l1", tier(py, &stats.l1)?)?;
        d.set_item("l2", tier(py, &stats.l2)?)?;
        d.set_item("shelves", block_cache::shelves(py, &stats.shelves)?)?;
        d.set_item("pinned_blocks", stats.pinned_blocks)?;
        d.set_item("bad_blocks", stats.bad_blocks)?;
        d.set_item("unreadable_blocks", stats.unreadable_blocks)?;
        d.set_item("last_bad", &stats.last_bad)?;
        d.set_item("prefetched_blocks", stats.prefetched_blocks)?;
        d.set_item("fetched_again", stats.fetched_again)?;
        d.set_item("raised_again", stats.raised_again)?;
        d.set_item("in_flight", stats.in_flight)
    })
}

fn tier<'py>(py: Python<'py>, stats: &TierStats) -> PyResult<Bound<'py, PyDict>> {
    dict(py, |d| {
        d.set_item("hits", stats.hits)?;
        d.set_item("misses", stats.misses)?;
        d.set_item("bytes", stats.bytes)?;
        d.set_item("capacity_bytes", stats.capacity_bytes)?;
        d.set_item("errors", stats.errors)?;
        d.set_item("off", &stats.off)
    })
}

/// Whether the store does what it is asked, and what it said last when it did not.
fn store<'py>(py: Python<'py>, engine: &Engine) -> PyResult<Bound<'py, PyDict>> {
    dict(py, |d| {
        let Some(stats) = engine.store.stats() else {
            return Ok(());
        };
        let report = stats.health.report();
        d.set_item("state", report.state.name())?;
        d.set_item("since_s", report.lasted.as_secs_f64())?;
        d.set_item("reads", report.reads.name())?;
        d.set_item("writes", report.writes.name())?;
        let (error, age_s) = report
            .last_error
            .map_or((None, None), |(text, age)| (Some(text), Some(age.as_secs_f64())));
        d.set_item("last_error", error)?;
        d.set_item("last_error_age_s", age_s)
    })
}

fn objects<'py>(py: Python<'py>, engine: &Engine) -> PyResult<Bound<'py, PyDict>> {
    dict(py, |d| {
        let Some(stats) = engine.store.stats() else {
            return Ok(());
        };
        for (name, counter) in [
            ("gets", &stats.gets),
            ("puts", &stats.puts),
            ("deletes", &stats.deletes),
            ("heads", &stats.heads),
            ("lists", &stats.lists),
            ("get_bytes", &stats.get_bytes),
            ("put_bytes", &stats.put_bytes),
            ("errors", &stats.errors),
            ("retries", &stats.retries),
        ] {
            d.set_item(name, counter.load(Relaxed))?;
        }
        for (name, histogram) in [("get", &stats.get), ("put", &stats.put)] {
            d.set_item(format!("{name}_us_p50"), us(histogram.quantile_ns(0.5)))?;
            d.set_item(format!("{name}_us_p99"), us(histogram.quantile_ns(0.99)))?;
        }
        Ok(())
    })
}
