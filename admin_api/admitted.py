"""Who was let in a moment ago: their next requests need neither a query of the database nor a thread that does it."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import structlog

from admin_api.security import Principal, digest

log = structlog.get_logger(__name__)
KEPT_S: Final = 60.0
"""What somebody changes in the database behind the service's back holds for requests after so long at most."""
RENEWED_S: Final = 5.0
"""Who comes again after so long is looked up again, beside the request."""
MAX_KEPT: Final = 1000


@dataclass(frozen=True, slots=True)
class Admission:
    """Somebody, and until when: seconds since 1970; None: for ever."""

    principal: Principal
    expires_s: float | None = None


@dataclass(slots=True)
class _Kept:
    admission: Admission
    since_s: float
    being_renewed: bool = False


class Admitted:
    """For the thread of the event loop. A credential is kept as its hash, and with the address that it came from.

    An admission that was looked up before a change and comes after it is not kept: `era` tells. So nobody comes in with what
    a request took away once that is answered.
    """

    def __init__(self, now_s: Callable[[], float], monotonic_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._renewals: set[asyncio.Task[Any]] = set()
        self.era = 0

    @staticmethod
    def key(credential: str, address: str) -> str:
        return digest(f"{address} {credential}")

    def find(self, key: str) -> Principal | None:
        kept = self._kept.get(key)
        if kept is None or self._monotonic_s() - kept.since_s >= KEPT_S:
            return None
        expires_s = kept.admission.expires_s
        return kept.admission.principal if expires_s is None or expires_s > self._now_s() else None

    def is_due(self, key: str) -> bool:
        """Whether the caller is to look up again whom find() found; true once."""
        kept = self._kept.get(key)
        due = kept is not None and not kept.being_renewed and self._monotonic_s() - kept.since_s >= RENEWED_S
        if due and kept is not None:
            kept.being_renewed = True
        return due

    def keep(self, key: str, admission: Admission | None, era: int) -> None:
        """What was looked up, None for nobody. era: as it was before that."""
        if era != self.era:
            return
        if admission is None:
            self._kept.pop(key, None)
            return
        self._kept[key] = _Kept(admission, self._monotonic_s())
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def renew(self, lookup: Coroutine[Any, Any, object]) -> None:
        """Looks somebody up beside the request. Where that fails, the admission ends with its time."""
        task = asyncio.get_running_loop().create_task(lookup)
        self._renewals.add(task)
        task.add_done_callback(self._renewed)

    def _renewed(self, task: asyncio.Task[Any]) -> None:
        self._renewals.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("admission.not_renewed", why=str(error)[:300])

    def forget(self) -> None:
        """Users, tokens or sessions may have changed."""
        self.era += 1
        self._kept.clear()
