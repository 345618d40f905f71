"""JSON files with a format number that the server keeps in the state directory."""

from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import ControlError, Reason, StartError
from gateway.state import unusable

DAMAGED = (msgspec.MsgspecError, ValueError, KeyError, TypeError, RecursionError, ControlError)
"""What reading such a file, or checking what it held, raises where it is damaged."""


def read_fields(path: Path, known_format: int, remedy: str) -> dict[str, Any] | None:
    """The fields of a file; None where there is none. Raises StartError for a newer or damaged one. remedy: of damaged()."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(path.parent, error) from error
    try:
        fields: dict[str, Any] = msgspec.json.decode(text)
        version = int(fields["format"])
    except DAMAGED as error:
        raise damaged(path, remedy) from error
    if version > known_format:
        raise StartError(
            f"{path} was written by a newer version (format {version}; this one knows {known_format})",
            "install that version or a later one",
            Reason.NEWER_FORMAT,
        )
    return fields


def damaged(path: Path, remedy: str) -> StartError:
    """remedy: what to do where no copy is left."""
    return StartError(
        f"{path} is damaged",
        f"put back its copy from a backup of the state directory; or remove it, and {remedy}",
        Reason.STATE_UNUSABLE,
    )
