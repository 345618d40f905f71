"""The state directory: where everything of one file system stands on this machine.

caudal.toml     what `caudal up` was given; the other processes read it
exports.json shares.json limits.json mirrors.json krb5.keytab    what was set while it served; the last: keys in Kerberos
fs.json         file system id and format version; whoever finds a newer version stops
owner.json      by what this directory knows the lease and the root object as its own
fenced.json     who took the file system over from this directory, until it is served here again
lock            held (flock) by the supervisor and, inherited, by the processes that it started
journal/ store/ l2/ metadata.db     journal mirror, default store, disk cache, database
ganesha/        ganesha.conf and what it takes in, recovery records of NFS clients, the last server epoch
admin/          database and certificate of the admin service
run/            sockets, pids and logs (run/log/*.log); may be removed while nothing runs
"""

import errno
import fcntl
import json
import os
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from gateway.errors import Reason, StartError

FORMAT: Final = 1


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replaces a file so that after a crash it holds either the old bytes or the new ones, and the new ones
    once this returned.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which file system a state directory belongs to. `started`: its store has known it at least once."""

    fs_id: bytes
    started: bool = False
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class OwnFacts:
    """What a state directory remembers of its ownership. place: where it stood then. lease_id: a UUID. tokens: those that
    the root object may have if nobody else was the owner since.
    """

    place: str
    lease_id: str
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StateDir:
    """Paths and small files of a state directory."""

    root: Path

    @property
    def config_file(self) -> Path:
        return self.root / "caudal.toml"

    @property
    def identity_file(self) -> Path:
        return self.root / "fs.json"

    @property
    def exports_file(self) -> Path:
        return self.root / "exports.json"

    @property
    def audit(self) -> Path:
        """The audit of file operations: who did what, so no part of a support bundle."""
        return self.root / "audit"

    @property
    def tiering_file(self) -> Path:
        return self.root / "tiering.json"

    @property
    def limits_file(self) -> Path:
        return self.root / "limits.json"

    @property
    def exports_conf(self) -> Path:
        """Ganesha's form of exports.json, which its configuration includes."""
        return self.ganesha / "exports.conf"

    @property
    def shares_file(self) -> Path:
        return self.root / "shares.json"

    @property
    def owner_file(self) -> Path:
        return self.root / "owner.json"

    @property
    def cache_file(self) -> Path:
        """What was changed of the cache while it served: gateway.cache.settings."""
        return self.root / "cache.json"

    @property
    def fenced_file(self) -> Path:
        return self.root / "fenced.json"

    @property
    def members_file(self) -> Path:
        """The core's copy of the newest list of journal mirrors."""
        return self.root / "journal.members"

    @property
    def accept_loss_file(self) -> Path:
        """Asks the next start to go on from what the journal still holds."""
        return self.run / "accept-loss"

    @property
    def take_over_file(self) -> Path:
        """There while a start is to take the file system from another owner."""
        return self.run / "take-over"

    @property
    def lock_file(self) -> Path:
        return self.root / "lock"

    @property
    def metadata_file(self) -> Path:
        return self.root / "metadata.db"

    @property
    def ganesha(self) -> Path:
        return self.root / "ganesha"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.run / "log"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def admin(self) -> Path:
        """What the admin service owns: its database and certificate."""
        return self.root / "admin"

    @property
    def admin_socket(self) -> Path:
        return self.run / "admin.sock"

    @property
    def start_error_file(self) -> Path:
        return self.run / "start-error.json"

    @property
    def nfs_file(self) -> Path:
        """What is served, for `caudal status`: written by the supervisor."""
        return self.run / "nfs.json"

    def pid_file(self, process: str) -> Path:
        return self.run / f"{process}.pid"

    def prepare(self) -> None:
        """Makes the directories that do not exist yet. Raises StartError where it may not."""
        try:
            for directory in (self.root, self.ganesha, self.run, self.logs):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(self.root, error) from error

    def read_identity(self) -> Identity | None:
        """The file system's identity, None for a directory not in use yet. Raises StartError for a newer or
        broken one.
        """
        try:
            text = self.identity_file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unusable(self.root, error) from error
        try:
            return _parse_identity(text)
        except (ValueError, KeyError, TypeError) as error:
            raise StartError(
                f"{self.identity_file} is damaged",
                "put back the copy of this file that a backup of the state directory has",
                Reason.STATE_UNUSABLE,
            ) from error

    def write_identity(self, identity: Identity) -> None:
        """Writes fs.json; the file system's directory is durable when this returns."""
        fields = {"format": identity.format, "fs_id": identity.fs_id.hex(), "started": identity.started}
        text = json.dumps(fields) + "\n"
        write_atomically(self.identity_file, text.encode())

    def read_own_facts(self) -> OwnFacts | None:
        """What is remembered of the ownership, None where it never had it. Raises StartError for a newer or broken file."""
        try:
            fields: Any = json.loads(self.owner_file.read_bytes())
            if int(fields["format"]) > FORMAT:
                raise _newer(int(fields["format"]))
            tokens = tuple(str(token) for token in fields["tokens"])
            return OwnFacts(str(fields["place"]), str(uuid.UUID(fields["lease_id"])), tokens)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unusable(self.root, error) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StartError(
                f"{self.owner_file} is damaged",
                "put back its copy from a backup of the state directory; or remove it, and start with --take-over",
                Reason.STATE_UNUSABLE,
            ) from error

    def write_own_facts(self, own: OwnFacts) -> None:
        """Writes owner.json; durable when this returns. Raises StartError where the disk refuses."""
        fields = {"format": FORMAT, "place": own.place, "lease_id": own.lease_id, "tokens": own.tokens}
        try:
            write_atomically(self.owner_file, (json.dumps(fields) + "\n").encode())
        except OSError as error:
            raise unusable(self.root, error) from error

    def fenced_by(self) -> str | None:
        """The owner that took the file system from this directory, in an operator's words; None where none did."""
        try:
            fields: Any = json.loads(self.fenced_file.read_bytes())
            return str(fields["by"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def write_fenced(self, by: str) -> None:
        """Leaves who took the file system over, for `caudal status` and the supervisor, which does not start again."""
        write_atomically(self.fenced_file, (json.dumps({"by": by}) + "\n").encode())

    def lock(self) -> int:
        """Takes the directory for this process and the ones it starts; returns the descriptor that holds it.

        Raises StartError (STATE_IN_USE) while another server has it.
        """
        try:
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable(self.root, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise unusable(self.root, error) from error
            pid = self.owner()
            raise StartError(
                f"a server is already running on {self.root}" + (f" (process {pid})" if pid else ""),
                f"stop it with `caudal down --state {self.root}`, or choose another --state",
                Reason.STATE_IN_USE,
            ) from None
        return descriptor

    def is_locked(self) -> bool:
        """Whether a server has the directory."""
        try:
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def wait_unlocked(self, timeout_s: float, sleep: Callable[[float], None] = time.sleep) -> bool:
        """Waits until no server has the directory; False when one still has it after the time."""
        deadline = time.monotonic() + timeout_s
        while self.is_locked():
            if time.monotonic() >= deadline:
                return False
            sleep(0.05)
        return True

    def owner(self) -> int | None:
        """The process to stop: the supervisor, else one that outlived it. Only processes that hold the lock
        count, so that a stale pid file never points at a stranger.
        """
        for name in ("supervisor", "ganesha", "steward", "admin"):
            try:
                pid = int(self.pid_file(name).read_text())
            except (OSError, ValueError):
                continue
            if self._holds_lock(pid):
                return pid
        return None

    def _holds_lock(self, pid: int) -> bool:
        try:
            lock = self.lock_file.stat()
            with os.scandir(f"/proc/{pid}/fd") as entries:
                return any(_is_same(entry, lock) for entry in entries)
        except OSError:
            return False

    def write_start_error(self, error: Exception) -> None:
        """Leaves the reason why a start failed for `caudal up` to tell. Called by gateway.fsal inside
        Ganesha.
        """
        message = (
            error.message if isinstance(error, StartError) else f"the file system did not start: {error}"
        )
        hint = error.hint if isinstance(error, StartError) else f"the logs in {self.logs} say more"
        reason = error.reason if isinstance(error, StartError) else Reason.FAILED
        text = json.dumps({"message": message, "hint": hint, "reason": reason})
        write_atomically(self.start_error_file, text.encode())

    def read_start_error(self) -> StartError | None:
        """The reason left by write_start_error, if there is one."""
        try:
            found: Any = json.loads(self.start_error_file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            return StartError(f"the file system did not start; {self.start_error_file} is broken: {error}")
        if not isinstance(found, dict):
            return StartError("the file system did not start", f"the logs in {self.logs} say more")
        fields = cast("dict[str, object]", found)
        word = fields.get("reason")
        reason = Reason(word) if isinstance(word, str) and word in list(Reason) else Reason.FAILED
        return StartError(
            str(fields.get("message", "the file system did not start")), str(fields.get("hint", "")), reason
        )


def _is_same(entry: os.DirEntry[str], file: os.stat_result) -> bool:
    try:
        return os.path.samestat(entry.stat(), file)
    except OSError:
        return False  # It was closed meanwhile.


def unusable(root: Path, error: OSError) -> StartError:
    """The StartError for a state directory that the operating system refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StartError(
            f"there is no space left on the disk of {root}",
            "make room, or choose another --state",
            Reason.NO_SPACE,
        )
    why = os.strerror(error.errno) if error.errno else str(error)
    return StartError(
        f"the state directory {root} cannot be used: {why}",
        "check the path and its permissions, or choose another --state",
        Reason.STATE_UNUSABLE,
    )


def _newer(version: int) -> StartError:
    return StartError(
        f"the state directory was written by a newer version (format {version}; this one knows {FORMAT})",
        "install that version or a later one",
        Reason.NEWER_FORMAT,
    )


def _parse_identity(text: bytes) -> Identity:
    fields: Any = json.loads(text)
    version = int(fields["format"])
    if version > FORMAT:
        raise _newer(version)
    fs_id = bytes.fromhex(fields["fs_id"])
    if len(fs_id) != 16:
        raise ValueError("a file system id has 16 bytes")
    return Identity(fs_id, bool(fields["started"]), version)
