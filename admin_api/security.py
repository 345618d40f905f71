"""Who calls, and what they may: roles, secrets and their hashes, the limit on logins that fail."""

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

TOKEN_PREFIX: Final = "caudal"  # noqa: S105  (what tokens begin with)
FAILURES: Final = 5
FAILURES_WINDOW_S: Final = 300.0
MAX_WATCHED: Final = 10_000
# RFC 9106's second choice with less memory: the service has 150 MiB in all.
_hasher: Final = PasswordHasher(time_cost=3, memory_cost=19 * 1024, parallelism=1)
# One hash at a time: many logins at once must not take the machine's memory.
_hashing: Final = threading.Lock()
_nobody: Final = _hasher.hash(secrets.token_hex(16))


class Role(StrEnum):
    """Viewers read; operators also flush and drop caches; admins also manage users and tokens."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request: `user:NAME`, `token:ID` or `local:root`. csrf_hash: only of a session of the page."""

    name: str
    role: Role
    address: str
    csrf_hash: str | None = None


def hash_password(password: str) -> str:
    with _hashing:
        return _hasher.hash(password)


def password_matches(password_hash: str | None, password: str) -> bool:
    """Takes as long for users who do not exist (None)."""
    with _hashing:
        try:
            _hasher.verify(password_hash or _nobody, password)
        except (Argon2Error, InvalidHashError):
            return False
    return password_hash is not None


def digest(secret: str) -> str:
    """How random secrets are kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


def same(first: str, second: str) -> bool:
    """Takes as long wherever they differ."""
    return hmac.compare_digest(first.encode(), second.encode())


def new_token() -> tuple[str, str, str]:
    """A token's public id, its secret, and the whole as it is shown once."""
    public_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return public_id, secret, f"{TOKEN_PREFIX}_{public_id}_{secret}"


def split_token(text: str) -> tuple[str, str] | None:
    """Public id and secret of a token; None for anything else."""
    prefix, _, rest = text.partition("_")
    public_id, _, secret = rest.partition("_")
    return (public_id, secret) if prefix == TOKEN_PREFIX and public_id and secret else None


class LoginLimit:
    """At most FAILURES failed logins of one name, and of one address, within FAILURES_WINDOW_S. Bounded memory."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, keys: tuple[str, ...], now_s: float) -> float:
        """How long a login has to wait; 0: it may be tried."""
        with self._lock:
            waits = [self._wait_of(key, now_s) for key in keys]
        return max(waits, default=0.0)

    def _wait_of(self, key: str, now_s: float) -> float:
        times = self._failures.get(key)
        while times and times[0] <= now_s - FAILURES_WINDOW_S:
            times.popleft()
        if times is not None and len(times) >= FAILURES:
            return times[0] + FAILURES_WINDOW_S - now_s
        return 0.0

    def failed(self, keys: tuple[str, ...], now_s: float) -> None:
        with self._lock:
            for key in keys:
                times = self._failures.setdefault(key, deque(maxlen=FAILURES))
                times.append(now_s)
                self._failures.move_to_end(key)
            while len(self._failures) > MAX_WATCHED:
                self._failures.popitem(last=False)
