"""What a client finds on the server, and whether it is what its model allows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.crash.model import Directory, File, Model
from bench.crash.wire import Facts, Wire

SHARED = "shared"
_DIRECTORY = 2


@dataclass(frozen=True)
class Found:
    """One path as the server shows it. `content`: None for a directory; `xattrs`: None where the protocol has none."""

    handle: bytes
    facts: Facts
    content: bytes | None
    xattrs: Mapping[str, bytes] | None


def prefix(client: int) -> str:
    """That of the client's names in the directory that all clients share."""
    return f"c{client}-"


def home(client: int) -> str:
    """The client's own directory."""
    return f"c{client}"


def observe(wire: Wire, client: int) -> dict[str, Found]:
    """Everything that is the client's, read through the server, by path. A file with several names is read once."""
    found: dict[str, Found] = {}
    read: dict[int, Found] = {}
    own = home(client)
    if own in wire.names(wire.root):
        _walk(wire, own, wire.lookup(wire.root, own), lambda _: True, found, read)
        found[own] = _look(wire, wire.lookup(wire.root, own), read)
    shared = wire.lookup(wire.root, SHARED)
    _walk(wire, SHARED, shared, lambda name: name.startswith(prefix(client)), found, read)
    return found


def _walk(
    wire: Wire,
    path: str,
    directory: bytes,
    mine: Callable[[str], bool],
    found: dict[str, Found],
    read: dict[int, Found],
) -> None:
    names = [name for name in wire.names(directory) if mine(name)]
    if len(set(names)) != len(names):
        raise AssertionError(f"{path} lists a name twice: {sorted(names)}")
    for name in names:
        one = _look(wire, wire.lookup(directory, name), read)
        found[f"{path}/{name}"] = one
        if one.facts.kind == _DIRECTORY:
            _walk(wire, f"{path}/{name}", one.handle, lambda _: True, found, read)


def _look(wire: Wire, handle: bytes, read: dict[int, Found]) -> Found:
    facts = wire.facts(handle)
    if facts.inode in read:
        return read[facts.inode]
    if facts.kind == _DIRECTORY:
        return Found(handle, facts, None, None)
    one = Found(handle, facts, wire.read(handle), wire.xattrs(handle))
    read[facts.inode] = one
    return one


def compare(
    model: Model, found: Mapping[str, Found], handles: Mapping[int, bytes], *, strict: bool
) -> list[str]:
    """What is wrong, in words; handles: those that the client had, by the model's numbers. strict: nothing may be lost."""
    wrong = [
        f"{path}: is gone ({_named(model, number)})"
        for path, number in sorted(model.names.items())
        if path not in found
    ]
    wrong += [f"{path}: is there, and should not be" for path in sorted(found.keys() - model.names.keys())]
    numbers: dict[int, int] = {}
    for path, number in sorted(model.names.items()):
        if path in found:
            inode = found[path].facts.inode
            if numbers.setdefault(number, inode) != inode:
                wrong.append(f"{path}: is inode {inode}, its other name {numbers[number]}")
    if len(set(numbers.values())) != len(numbers):
        wrong.append(f"two things are one inode: {numbers}")
    looked: set[int] = set()
    for path, number in sorted(model.names.items()):
        if path in found and number not in looked:
            looked.add(number)
            for problem in _problems(model, number, found[path], handles.get(number), strict=strict):
                wrong.append(f"{path}: {problem}")
    return wrong


def _problems(model: Model, number: int, found: Found, handle: bytes | None, *, strict: bool) -> list[str]:
    thing = model.things[number]
    problems: list[str] = []
    if handle is not None and handle != found.handle:
        problems.append(f"its handle was {handle.hex()}, is {found.handle.hex()}")
    if isinstance(thing, Directory) != (found.facts.kind == _DIRECTORY):
        return [*problems, f"is of kind {found.facts.kind}"]
    if not isinstance(thing, File):
        return problems
    assert found.content is not None
    if found.facts.size != len(found.content):
        problems.append(f"GETATTR tells {found.facts.size} bytes, {len(found.content)} can be read")
    if problem := thing.wrong(found.content, strict=strict):
        problems.append(problem)
    if found.facts.nlink != (count := len(model.paths(number))):
        problems.append(f"has {found.facts.nlink} links for {count} names")
    if thing.mode is not None and thing.mode != found.facts.mode:
        problems.append(f"has mode {found.facts.mode:o} for {thing.mode:o}")
    if thing.owner is not None and thing.owner != found.facts.owner:
        problems.append(f"belongs to {found.facts.owner}, not to {thing.owner}")
    if found.xattrs is not None and found.xattrs != thing.xattrs:
        have = {name: len(value) for name, value in found.xattrs.items()}
        due = {name: len(value) for name, value in thing.xattrs.items()}
        problems.append(f"has extended attributes {have} for {due} (bytes of each), or other values")
    return problems


def _named(model: Model, number: int) -> str:
    thing = model.things[number]
    return f"{len(thing.newest)} bytes" if isinstance(thing, File) else "a directory"
