"""Errors of the metadata package: one for clients, four for operators."""

import errno
import os


class FsError(Exception):
    """A file-system operation was refused before anything changed. `errno` says why, as POSIX would."""

    def __init__(self, code: int, detail: str = "") -> None:
        super().__init__(code, detail)
        self.errno = code
        self.detail = detail

    def __str__(self) -> str:
        name = errno.errorcode.get(self.errno, str(self.errno))
        return f"{name}: {self.detail or os.strerror(self.errno)}"


class MetadataError(Exception):
    """The metadata itself cannot be used; the message is for the operator."""


class QuotaError(Exception):
    """A change of limits was refused, and nothing changed. `code` is a word for programs, `hint` says what to do."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class RowsError(MetadataError):
    """A ROWS payload cannot be read: damaged in spite of its checksum, or written by a newer version."""


class NewerFormatError(MetadataError):
    """The database was written by a newer version of this software."""
