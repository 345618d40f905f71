"""What a client may find, after all that it did: a plain model of its files, changed by the records of its log and by
nothing else, so that it can be made again from the log.

A client does one thing after the other, and nobody else touches what is its own. So of all its changes at most one is under
way when its server dies: what it finds must be as before that change or as after it. Bytes that were written UNSTABLE may be
missing after a crash, piece by piece, until a COMMIT; all else must be there.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from bench.crash.content import PIECE, content, whose

Record = dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """Written since the last COMMIT. `verifier`: what the server answered with; empty while it has not answered."""

    offset: int
    data: bytes
    verifier: bytes = b""

    @property
    def end(self) -> int:
        return self.offset + len(self.data)

    def without(self, start: int, end: int) -> Iterator["Layer"]:
        """What is left of it outside of a range."""
        if self.offset < start:
            yield replace(self, data=self.data[: start - self.offset])
        if self.end > end:
            first = max(end, self.offset)
            yield replace(self, offset=first, data=self.data[first - self.offset :])


def overlay(below: bytes, layer: Layer) -> bytes:
    """The bytes of a file after a write."""
    padded = below.ljust(layer.offset, b"\0")
    return padded[: layer.offset] + layer.data + padded[layer.end :]


@dataclass(frozen=True)
class File:
    """`durable`: what must be there whatever happens; `layers`: what may be on top of it. Attributes that are None are not
    known.
    """

    durable: bytes = b""
    layers: tuple[Layer, ...] = ()
    mode: int | None = None
    owner: tuple[int, int] | None = None
    xattrs: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def newest(self) -> bytes:
        """Its bytes when nothing was lost."""
        whole = self.durable
        for layer in self.layers:
            whole = overlay(whole, layer)
        return whole

    def written(self, layer: Layer) -> "File":
        return replace(self, layers=(*self.layers, layer))

    def answered(self, verifier: bytes) -> "File":
        """The server has the last write, and may lose it until a COMMIT."""
        return replace(self, layers=(*self.layers[:-1], replace(self.layers[-1], verifier=verifier)))

    def answered_stable(self) -> "File":
        """The last write is durable; what was below it can no longer come to light."""
        last = self.layers[-1]
        rest = tuple(piece for layer in self.layers[:-1] for piece in layer.without(last.offset, last.end))
        return replace(self, durable=overlay(self.durable, last), layers=rest)

    def committed(self) -> "File":
        return replace(self, durable=self.newest, layers=())

    def truncated(self, size: int) -> "File":
        kept = tuple(piece for layer in self.layers for piece in layer.without(size, 1 << 62))
        return replace(self, durable=self.durable[:size].ljust(size, b"\0"), layers=kept)

    def wrong(self, found: bytes, *, strict: bool) -> str:
        """What is wrong with the bytes that were read; empty where nothing is. strict: nothing may be lost."""
        if strict or not self.layers:
            return difference(self.newest, found)
        sizes = {len(self.durable), *(max(len(self.durable), layer.end) for layer in self.layers)}
        if len(found) not in sizes:
            return f"{len(found)} bytes, where it may have {sorted(sizes)}"
        marks = {0, len(self.durable), len(found)}
        for layer in self.layers:
            marks |= {layer.offset, layer.end}
            marks |= set(range(layer.offset - layer.offset % PIECE + PIECE, layer.end, PIECE))
        edges = sorted(mark for mark in marks if mark <= len(found))
        for start, end in pairwise(edges):
            have = found[start:end]
            if have == self.durable[start:end].ljust(end - start, b"\0"):
                continue
            covering = (layer for layer in self.layers if layer.offset <= start and end <= layer.end)
            if not any(have == layer.data[start - layer.offset : end - layer.offset] for layer in covering):
                return f"at {start}: {whose(have)}, where {whose(self.durable[start:end])} or newer was due"
        return ""


@dataclass(frozen=True)
class Directory:
    """A directory; its entries are in the model's names."""


Thing = File | Directory


@dataclass(frozen=True)
class Change:
    """What a record does: paths and things that are other ones afterwards (None: gone)."""

    names: Mapping[str, int | None] = field(default_factory=dict)
    things: Mapping[int, Thing] = field(default_factory=dict)


class Model:
    """One client's files. Paths have no leading slash; `names` has directories too, things are numbered as they are made."""

    def __init__(self, client: int) -> None:
        self.client = client
        self.names: dict[str, int] = {}
        self.things: dict[int, Thing] = {}
        self.pending: Change | None = None
        self._last: Record = {}

    def file(self, number: int) -> File:
        thing = self.things[number]
        assert isinstance(thing, File)
        return thing

    def paths(self, number: int) -> list[str]:
        return [path for path, other in self.names.items() if other == number]

    def candidates(self) -> list["Model"]:
        """What may be the case: this, and this with the change that is under way."""
        if self.pending is None:
            return [self]
        after = Model(self.client)
        after.names, after.things = dict(self.names), dict(self.things)
        after.change(self.pending)
        return [self, after]

    def take(self, record: Record) -> list[int]:
        """Does what a record of the log says; returns the numbers of the things that are gone for good."""
        if "intent" in record:
            self._last = record
            if record["intent"] == "write":
                # From here on its bytes may be found, whether or not an answer comes.
                number = record["thing"]
                data = content(self.client, number, record["generation"], record["offset"], record["length"])
                self.things[number] = self.file(number).written(Layer(record["offset"], data))
            else:
                self.pending = change_of(self, record)
            return []
        if "settled" in record:
            done, self.pending = self.pending, None
            return self.change(done) if done and record["settled"] == "after" else []
        if "sent_again" in record:
            self.things[record["sent_again"]] = self.file(record["sent_again"]).committed()
            return []
        return self._acknowledged(record) if "ack" in record else []

    def _acknowledged(self, record: Record) -> list[int]:
        kind = self._last["intent"]
        if kind == "write":
            file = self.file(self._last["thing"])
            durable = self._last["stable"]
            now = file.answered_stable() if durable else file.answered(bytes.fromhex(record["verifier"]))
            self.things[self._last["thing"]] = now
            return []
        done, self.pending = self.pending, None
        return self.change(done) if done else []

    def change(self, change: Change) -> list[int]:
        for path, number in change.names.items():
            if number is None:
                self.names.pop(path, None)
            else:
                self.names[path] = number
        self.things.update(change.things)
        if not change.names:
            return []
        named = set(self.names.values())
        gone = [number for number in self.things if number not in named]
        for number in gone:
            del self.things[number]
        return gone


def rebuilt(client: int, log: Iterable[str]) -> Model:
    """The model that the lines of a client's log add up to."""
    model = Model(client)
    for line in log:
        model.take(json.loads(line))
    return model


def change_of(model: Model, record: Record) -> Change:
    """What an operation other than a write changes."""
    kind = record["intent"]
    if kind == "create":
        file = File(mode=record["mode"])
        return Change({record["path"]: record["thing"]}, {record["thing"]: file})
    if kind == "mkdir":
        return Change({record["path"]: record["thing"]}, {record["thing"]: Directory()})
    if kind in {"unlink", "rmdir"}:
        return Change({record["path"]: None})
    if kind == "link":
        return Change({record["path"]: record["thing"]})
    if kind == "rename":
        return Change(_renamed(model.names, record["old"], record["new"]))
    file = model.file(record["thing"])
    if kind == "commit":
        file = file.committed()
    elif kind == "truncate":
        file = file.truncated(record["size"])
    elif kind == "chmod":
        file = replace(file, mode=record["mode"])
    elif kind == "chown":
        file = replace(file, owner=(record["uid"], record["gid"]))
    elif kind == "setxattr":
        value = content(model.client, record["thing"], record["generation"], 0, record["length"])
        file = replace(file, xattrs={**file.xattrs, record["name"]: value})
    elif kind == "removexattr":
        rest = {name: value for name, value in file.xattrs.items() if name != record["name"]}
        file = replace(file, xattrs=rest)
    else:
        raise ValueError(f"the log has a record of no known kind: {record}")
    return Change(things={record["thing"]: file})


def _renamed(names: Mapping[str, int], old: str, new: str) -> dict[str, int | None]:
    """The names that change, those below a directory with it."""
    moved: dict[str, int | None] = {}
    for path, number in names.items():
        if path == old or path.startswith(old + "/"):
            moved[path] = None
            moved[new + path[len(old) :]] = number
    return moved


def difference(expected: bytes, found: bytes) -> str:
    """How two contents differ, in a line; empty where they do not."""
    if expected == found:
        return ""
    pairs = zip(expected, found, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(found)))
    return (
        f"{len(found)} bytes for {len(expected)}, other ones from {at} on: {whose(found[at : at + PIECE])} "
        f"for {whose(expected[at : at + PIECE])}"
    )
