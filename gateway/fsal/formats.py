"""Before anything is taken or changed: whether a later version wrote what lies here.

The root object and the state directory's identity are looked at by the step that takes the epoch, before it takes one;
packs say their version in their numbers and trailers, and are refused one by one.
"""

from gateway import _core
from gateway.config import Config
from gateway.errors import Reason, StartError
from gateway.metadata import database
from gateway.metadata.errors import NewerFormatError
from gateway.state import StateDir

HINT = "install the version that wrote it, or a later one"


def refuse_newer(state: StateDir, config: Config) -> None:
    """Raises StartError (NEWER_FORMAT) for a journal or a database of a later version."""
    identity = state.read_identity()
    if identity is None:
        return
    journal = [str(path) for path in config.journal]
    try:
        _open_tail(journal, identity.fs_id)
        database.refuse_newer(state.metadata_file)
    except (_core.NewerFormatError, NewerFormatError) as error:
        raise StartError(str(error), HINT, Reason.NEWER_FORMAT) from error


def _open_tail(journal: list[str], fs_id: bytes) -> None:
    """Reads the headers of all segments."""
    try:
        _core.JournalTail(journal, fs_id, 0)
    except _core.NewerFormatError:
        raise
    except (_core.JournalError, _core.CorruptError):
        # What else is wrong with it is for recovery to say.
        return
