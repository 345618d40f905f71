//! Errors as Python sees them: the one mapping at this border.

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::errors::CoreError as Error;

create_exception!(
    gateway._core,
    CoreError,
    PyException,
    "Base of the core's errors."
);
create_exception!(
    gateway._core,
    Busy,
    CoreError,
    "Nothing was changed; the client tries again."
);
create_exception!(
    gateway._core,
    NotResident,
    CoreError,
    "The inode is not live in the core."
);
create_exception!(
    gateway._core,
    StoreError,
    CoreError,
    "The object store did not do it."
);
create_exception!(
    gateway._core,
    PackGone,
    StoreError,
    "A pack that was there is not: what lived in it lives elsewhere, if it lives."
);
create_exception!(
    gateway._core,
    JournalError,
    CoreError,
    "No journal mirror takes writes, or none can be read."
);
create_exception!(
    gateway._core,
    NewerFormatError,
    JournalError,
    "A later version of this software wrote it."
);
create_exception!(
    gateway._core,
    StaleJournalError,
    JournalError,
    "The mirrors that are there lack what was acknowledged without them."
);
create_exception!(
    gateway._core,
    CorruptError,
    CoreError,
    "Stored bytes do not match their checksum."
);

create_exception!(
    gateway._core,
    SealError,
    CoreError,
    "It is not what was sealed, or the key is lacking."
);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::NotResident(_) => NotResident::new_err(text),
            // Of one that is fenced the client asks again, and meets the owner.
            Error::Busy(_) | Error::Fenced => Busy::new_err(text),
            Error::PackGone(_) => PackGone::new_err(text),
            Error::Store(_) | Error::StoreAway(_) => StoreError::new_err(text),
            Error::Journal(_) => JournalError::new_err(text),
            Error::StaleJournal(_) => StaleJournalError::new_err(text),
            Error::NewerFormat(_) => NewerFormatError::new_err(text),
            Error::Corrupt(_) => CorruptError::new_err(text),
            Error::Misuse(_) | Error::Closed | Error::Cache(_) => CoreError::new_err(text),
            Error::Invalid(_) => PyValueError::new_err(text),
            Error::Stale(_)
            | Error::TooLarge
            | Error::BeyondEnd
            | Error::NoSpace
            | Error::QuotaExceeded
            | Error::Io(_) => PyOSError::new_err((error.errno(), text)),
        }
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // Whoever answers clients goes by errno: "try again", and an I/O error.
    py.get_type::<Busy>().setattr("errno", libc::EAGAIN)?;
    for io in [
        py.get_type::<StoreError>(),
        py.get_type::<JournalError>(),
        py.get_type::<CorruptError>(),
    ] {
        io.setattr("errno", libc::EIO)?;
    }
    module.add("CoreError", py.get_type::<CoreError>())?;
    module.add("Busy", py.get_type::<Busy>())?;
    module.add("NotResident", py.get_type::<NotResident>())?;
    module.add("StoreError", py.get_type::<StoreError>())?;
    module.add("PackGone", py.get_type::<PackGone>())?;
    module.add("JournalError", py.get_type::<JournalError>())?;
    module.add("NewerFormatError", py.get_type::<NewerFormatError>())?;
    module.add("StaleJournalError", py.get_type::<StaleJournalError>())?;
    module.add("SealError", py.get_type::<SealError>())?;
    module.add("CorruptError", py.get_type::<CorruptError>())
}
