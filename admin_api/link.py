"""The gateway, as the service sees it: its last status, whether it answers, and changes that it is asked for."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from admin_api.problems import Problem
from gateway.errors import ControlError, NotRunningError

FRESH_S: Final = 0.5
YOUNG_S: Final = 2.0
"""Who must not wait takes a status of this age; the sampler brings one every second."""
STATUS_TIMEOUT_S: Final = 2.0
ASK_TIMEOUT_S: Final = 30.0


class Client(Protocol):
    """What the service needs of gateway.control.ControlClient."""

    def call(self, op: str, **fields: object) -> Any: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """A status and how old it is. `why`: why there is no newer one; None while the gateway answers."""

    status: dict[str, Any]
    age_s: float
    why: str | None


class GatewayLink:
    """For any number of threads. connect: a client with a time limit in seconds (None: none)."""

    def __init__(self, connect: Callable[[float | None], Client], monotonic_s: Callable[[], float]) -> None:
        self._connect = connect
        self._monotonic_s = monotonic_s
        self._client = connect(STATUS_TIMEOUT_S)
        self._lock = threading.Lock()
        self._status: dict[str, Any] | None = None
        self._at_s = 0.0
        self._tried_s = -FRESH_S
        self._why: str | None = None
        # What the fields above say, for who cannot wait for the lock; None where it has to be asked for.
        self._latest: tuple[dict[str, Any], float, float, str | None] | None = None

    def recent(self) -> Known | None:
        """The last status where it is at most YOUNG_S old and nothing was changed since; else None. Waits for nobody."""
        latest = self._latest
        if latest is None:
            return None
        status, at_s, tried_s, why = latest
        now_s = self._monotonic_s()
        return Known(status, max(0.0, now_s - at_s), why) if now_s - tried_s < YOUNG_S else None

    def known(self) -> Known:
        """The status, asked for unless the last is fresh; what was known last when the gateway does not answer.

        Raises Problem (503) where nothing was ever known.
        """
        # One asks, the others wait for its answer.
        with self._lock:
            now_s = self._monotonic_s()
            if now_s - self._tried_s >= FRESH_S:
                self._ask()
                now_s = self._tried_s = self._monotonic_s()
            if self._status is None:
                raise gateway_down(self._why or "")
            self._latest = (self._status, self._at_s, self._tried_s, self._why)
            return Known(self._status, max(0.0, now_s - self._at_s), self._why)

    def _ask(self) -> None:
        try:
            found = self._client.call("status")
        except (NotRunningError, ControlError) as error:
            self._client.close()
            self._why = error.message
            return
        self._status = cast("dict[str, Any]", found)
        self._at_s = self._monotonic_s()
        self._why = None

    def check(self) -> None:
        """Raises Problem (503) unless the gateway answers now: changes are not left to chance."""
        self._call(STATUS_TIMEOUT_S, "ping")

    def ask(self, op: str, **fields: object) -> Any:
        """What the gateway answers, which changes nothing that figures show. Raises Problem as `change` does."""
        return self._call(ASK_TIMEOUT_S, op, **fields)

    def change(self, op: str, timeout_s: float | None, **fields: object) -> Any:
        """Has the gateway do something. Raises Problem: 503 when it is down, 409 when it refused."""
        self.check()
        try:
            return self._call(timeout_s, op, **fields)
        finally:
            # Who made a change sees it in the next figures, and so does who does not know whether they made it. The lock
            # waits for a status that was asked for before.
            with self._lock:
                self._tried_s = self._monotonic_s() - FRESH_S
                self._latest = None

    def _call(self, timeout_s: float | None, op: str, **fields: object) -> Any:
        client = self._connect(timeout_s)
        try:
            return client.call(op, **fields)
        except NotRunningError as error:
            raise gateway_down(error.message) from error
        except ControlError as error:
            raise Problem(409, error.code, error.message, error.hint) from error
        finally:
            client.close()

    def close(self) -> None:
        with self._lock:
            self._client.close()


def gateway_down(why: str) -> Problem:
    """The problem of everything that needs a gateway while none answers."""
    return Problem(
        503,
        "gateway_down",
        f"the gateway does not answer, so nothing can be changed: {why}"
        if why
        else "the gateway does not answer",
        "it is started again by itself; `caudal status` and the logs say more",
        {"Retry-After": "5"},
    )
