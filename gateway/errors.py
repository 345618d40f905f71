"""Errors that an operator sees: each says what happened, and what to do about it.

They are few, because what matters to a caller is what to do next. A message is one sentence without a
trailing full stop and never holds a secret or a debug dump; the cause is chained and goes to the log.
"""

from enum import IntEnum, StrEnum


class Exit(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    DAMAGED = 4


class Reason(StrEnum):
    """Why a server does not start; stable words for scripts and tests."""

    FAILED = "failed"
    PORT_TAKEN = "port_taken"
    STATE_IN_USE = "state_in_use"
    STATE_UNUSABLE = "state_unusable"
    NEWER_FORMAT = "newer_format"
    STORE_UNREACHABLE = "store_unreachable"
    STORE_REFUSED = "store_refused"
    STORE_FOREIGN = "store_foreign"
    OWNED = "owned"
    NO_SPACE = "no_space"
    KEY_UNUSABLE = "key_unusable"
    KEY_MISSING = "key_missing"
    KEY_WRONG = "key_wrong"
    GANESHA_MISSING = "ganesha_missing"
    FSAL_MISSING = "fsal_missing"
    NOT_PERMITTED = "not_permitted"
    TIMED_OUT = "timed_out"


class CaudalError(Exception):
    """Base of what may be shown to a user. `hint` says what to do, or is empty."""

    exit_code: Exit = Exit.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(CaudalError):
    """The configuration is wrong; nothing was started or changed."""

    exit_code = Exit.USAGE


class StartError(CaudalError):
    """The server does not start, for a reason that an operator can act on."""

    def __init__(self, message: str, hint: str = "", reason: Reason = Reason.FAILED) -> None:
        super().__init__(message, hint)
        self.reason = reason


class FencedError(CaudalError):
    """The server has ended because another one took its file system over."""


class NotRunningError(CaudalError):
    """The command needs a running server, and none answers for this state directory."""

    exit_code = Exit.NOT_RUNNING


BUSY = "busy"
"""Code of a ControlError: the server has too many connections just now."""
STORE_AWAY = "store_away"
"""Code of a ControlError: the object store did not do it; the same may succeed later."""


class ControlError(CaudalError):
    """A running server refused or failed an operation. `code` is one word for programs."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code
