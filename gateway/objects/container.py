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


@dataclass(frozen=True, slots=True)
class Root:
    """The root object's bytes and the tag by which a swap recognises this very version."""

    data: bytes
    etag: str


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

    def swap_root(self, data: bytes, etag: str | None) -> str:
        """Puts the root object in place of the version `etag` (None: where there is none) and returns its new
        tag. Durable on return.

        Raises RootChangedError where another version is there. A retry inside may meet its own success and
        raise it too: compare what is there with what was to be put.
        """
        ...

    def close(self) -> None:
        """Lets go of connections."""
        ...
