//! Figures of the data path itself; journal, caches and store count their own.

use caudal_base::Histogram;

use crate::activity::Activity;
use crate::audit::Audit;
use crate::export_reads::ExportReads;

/// Time that clients waited, from the call to its completion.
#[derive(Default)]
pub struct IoStats {
    pub read: Histogram,
    pub write: Histogram,
    pub commit: Histogram,
    pub activity: Activity,
    pub exports: ExportReads,
    pub audit: Audit,
}
