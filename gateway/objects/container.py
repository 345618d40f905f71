"""What the control plane needs of an object store: one small root object that is only ever replaced
conditionally.

The root object says which file system the container (or prefix) belongs to and which epoch owns it.
Everything else in there is written once under names that carry the epoch, so this object is all that two
owners could fight over.
"""

from dataclasses import dataclass
from typing import Final, Protocol

ROOT_KEY: Final = "caudal/root.json"


class RootChangedError(Exception):
    """The condition of a swap did not hold: another root object is there. Read it again."""


class LeaseHeldError(Exception):
    """Somebody else holds the lease, or it was broken and still has time to run."""


class LeaseLostError(Exception):
    """The lease is not this id's any more: it was broken, or ran out and others may have had it."""


@dataclass(frozen=True, slots=True)
class Root:
    """The root object's bytes, the tag by which a swap recognises this very version, and whether a lease on it runs."""

    data: bytes
    etag: str
    leased: bool = False


class RootStore(Protocol):
    """A container, or a prefix of one. Errors that an operator can act on are StartErrors."""

    @property
    def url(self) -> str:
        """The store for people, without secrets."""
        ...

    def create(self) -> None:
        """Makes the container; one that exists is left as it is."""
        ...

    def read_root(self) -> Root | None:
        """The root object; None where there is none, or no container."""
        ...

    def swap_root(self, data: bytes, etag: str | None, lease_id: str | None = None) -> str:
        """Puts the root object in place of the version `etag` (None: where there is none) and returns its new
        tag. Durable on return. While a lease runs only its holder may.

        Raises RootChangedError where another version is there. A retry inside may meet its own success and
        raise it too: compare what is there with what was to be put. Raises LeaseLostError where `lease_id` does
        not hold a lease that runs, LeaseHeldError where none was given and somebody does.
        """
        ...

    def acquire_lease(self, lease_id: str, duration_s: int) -> None:
        """Takes the lease on the root object for 15 to 60 seconds; one that this id (a UUID) holds begins anew.

        Raises LeaseHeldError.
        """
        ...

    def renew_lease(self, lease_id: str) -> None:
        """Lets the lease begin anew, also one that ran out if nobody took it since. Raises LeaseLostError."""
        ...

    def release_lease(self, lease_id: str) -> None:
        """Ends the lease at once. One that is not this id's is left alone."""
        ...

    def break_lease(self, period_s: int) -> None:
        """Takes the lease from whoever holds it: it cannot be renewed any more, and be acquired once what is left of
        it, `period_s` at most, has passed. No lease is no error.
        """
        ...

    def close(self) -> None:
        """Lets go of connections."""
        ...
