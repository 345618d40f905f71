"""Keeps the owner's lease: renews it, and tells the core's fence how each attempt ended.

A server whose store does not answer goes on (what it acknowledges is in its journal), unless it is told to be strict;
one that learns of another owner ends at once.
"""

import threading
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from gateway.errors import StartError
from gateway.objects.ownership import ContestedError, OwnershipLostError

log = structlog.get_logger(__name__)

RENEWALS_PER_LEASE: Final = 3
RETRY_S: Final = 2.0
# Between attempts of which the last one failed, however many replies wait.
LEAST_PAUSE_S: Final = 0.25
# How long replies go on from the beginning of an attempt that was not answered: for longer than that attempt and the next
# one take, so that in an outage nobody waits, and after a pause of the process everybody does.
GO_ON_S: Final = 20.0


class Renewable(Protocol):
    """What is kept: `gateway.objects.ownership.Ownership`."""

    def renew(self) -> None: ...


class FencePort(Protocol):
    """The core's fence: `gateway._core.Fence`."""

    def attempt(self) -> None: ...
    def renewed(self, lease_s: float) -> None: ...
    def unanswered(self, go_on_s: float) -> None: ...
    def contested(self) -> None: ...
    def lost(self) -> None: ...
    def wake(self) -> None: ...
    def wait_wanted(self, timeout_s: float) -> bool: ...


class LeaseKeeper:
    """A thread that keeps a lease of `lease_s` seconds. on_lost is called once, in it, after the fence is closed."""

    def __init__(
        self,
        ownership: Renewable,
        fence: FencePort,
        *,
        lease_s: int,
        strict: bool,
        on_lost: Callable[[OwnershipLostError], None],
    ) -> None:
        self._ownership, self._fence = ownership, fence
        self._lease_s, self._strict, self._on_lost = lease_s, strict, on_lost
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self.trouble: str | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; an attempt that is under way is waited for. The fence stays as it is."""
        self._stop.set()
        self._fence.wake()
        self._thread.join()

    def turn(self) -> float | None:
        """One attempt; returns the pause until the next one in seconds, None where there is to be none."""
        self._fence.attempt()
        try:
            self._ownership.renew()
        except OwnershipLostError as lost:
            self._fence.lost()
            self._on_lost(lost)
            return None
        except ContestedError as error:
            self._fence.contested()
            self._tell(str(error) or "somebody else holds the lease")
        except StartError as error:
            self._unanswered(error.message)
        except Exception as error:
            # Whatever it was, nobody said that the file system is another one's.
            log.exception("lease.attempt_failed")
            self._unanswered(repr(error))
        else:
            self._fence.renewed(self._lease_s)
            self._tell(None)
            return self._lease_s / RENEWALS_PER_LEASE
        return RETRY_S

    def _unanswered(self, why: str) -> None:
        self._fence.unanswered(0.0 if self._strict else GO_ON_S)
        self._tell(why)

    def _tell(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            if trouble is None:
                log.info("lease.renewed_again", was=self.trouble)
            else:
                log.warning("lease.not_renewed", why=trouble)
        self.trouble = trouble

    def _run(self) -> None:
        while not self._stop.is_set():
            pause_s = self.turn()
            if pause_s is None:
                return
            if self.trouble is not None:
                self._stop.wait(LEAST_PAUSE_S)
            self._fence.wait_wanted(pause_s)
