"""What clients can see, against the model; and what fsck says."""

from collections.abc import Iterator

from gateway._core import Busy, CorruptError, NotResident, StoreError
from gateway.data import fsck
from gateway.metadata.attributes import ROOT_INODE, Attributes
from gateway.metadata.namespace import Namespace
from tests.simulation.machine import Life, Machine
from tests.simulation.model import DIRECTORY, REGULAR, ROOT, SYMLINK, Node, Tree

STORE_TROUBLE = (StoreError, Busy, CorruptError)
"""What a read may end in while the store misbehaves."""


class Numbers:
    """Which numbers the system gave to what: each is given once, for ever."""

    def __init__(self) -> None:
        self._inodes: dict[int, int] = {ROOT: ROOT_INODE}
        self._nodes: dict[int, int] = {ROOT_INODE: ROOT}
        self._cookies: dict[tuple[int, int], bytes] = {}
        self._states: dict[tuple[int, int], object] = {}

    def give(self, node: int, inode: int) -> None:
        known = self._inodes.setdefault(node, inode)
        assert known == inode, f"what was inode {known} is inode {inode}"
        owner = self._nodes.setdefault(inode, node)
        assert owner == node, f"inode {inode} was given to something else before"

    def inode(self, node: int) -> int:
        return self._inodes[node]

    def known(self, node: int) -> bool:
        return node in self._inodes

    def cookie(self, directory: int, cookie: int, name: bytes) -> None:
        before = self._cookies.setdefault((directory, cookie), name)
        assert before == name, (
            f"cookie {cookie:#x} of inode {directory} was {before!r}'s, and now is {name!r}'s"
        )

    def state(self, inode: int, change: int, state: object) -> None:
        """A change attribute stands for one state: a client that saw it before keeps what it read then."""
        before = self._states.setdefault((inode, change), state)
        assert before == state, f"change {change:#x} of inode {inode} stood for {before}, and now for {state}"


def verify(machine: Machine, tree: Tree, numbers: Numbers, *, store_is_well: bool) -> None:
    """The whole tree, names, attributes and bytes. AssertionError says what differs."""
    life = machine.life
    found: set[int] = set()
    for directory in list(tree.numbers(DIRECTORY)):
        _directory(life.namespace, tree, directory, numbers)
    for number, node in tree.nodes.items():
        if node.orphan and not numbers.known(number):
            # Made, unlinked and lost sight of by a crash: nobody can ask for it.
            continue
        inode = numbers.inode(number)
        found.add(inode)
        _attributes(life.namespace.getattr(inode), node, inode, numbers)
        xattrs = {name: life.namespace.getxattr(inode, name) for name in life.namespace.listxattr(inode)}
        assert xattrs == node.xattrs, f"extended attributes of inode {inode} are {xattrs}, not {node.xattrs}"
        if node.kind == SYMLINK:
            assert life.namespace.readlink(inode) == node.data
        elif node.kind == REGULAR:
            _bytes(life, inode, node, store_is_well=store_is_well)
    orphans = sum(node.orphan for node in tree.nodes.values())
    assert len(life.namespace.orphans()) == orphans, "inodes without a name"
    _limits(life.namespace, tree, numbers)
    count = life.namespace.statfs().inodes
    assert count == len(tree.nodes), f"{count} inodes are counted, {len(tree.nodes)} are there"


def _limits(namespace: Namespace, tree: Tree, numbers: Numbers) -> None:
    """What limits count is what files have allocated, written a moment ago or not, and all that is below."""
    known = [number for number in tree.nodes if numbers.known(number)]
    expected = {numbers.inode(number): [0, 0] for number in known if tree.nodes[number].limited}
    for inode in {numbers.inode(number) for number in known} | set(namespace.orphans()):
        found = namespace.getattr(inode)
        at = inode
        while at != ROOT_INODE:
            at = namespace.row(at).parent
            if at in expected:
                expected[at][0] += found.space_used if found.kind == REGULAR else 0
                expected[at][1] += 1
    counted = {op.dir: [use.bytes, use.inodes] for op, use in namespace.quota_list(0, 1000)}
    assert counted == expected, f"limits count {counted}, there are {expected}"


def _directory(namespace: Namespace, tree: Tree, number: int, numbers: Numbers) -> None:
    node = tree.nodes[number]
    inode = numbers.inode(number)
    seen: dict[bytes, int] = {}
    last = 2
    for name, cookie, attributes in _entries(namespace, inode):
        assert cookie > last, f"cookies of inode {inode} do not rise"
        last = cookie
        numbers.cookie(inode, cookie, name)
        seen[name] = attributes.inode
    assert sorted(seen) == sorted(node.entries), (
        f"inode {inode} has the names {sorted(seen)}, not {sorted(node.entries)}"
    )
    for name, child in node.entries.items():
        numbers.give(child, seen[name])
        assert namespace.lookup(inode, name).inode == seen[name]


def _entries(namespace: Namespace, inode: int) -> Iterator[tuple[bytes, int, Attributes]]:
    after = 0
    while page := namespace.readdir(inode, after, 3):
        yield from ((entry.name, entry.cookie, entry.attributes) for entry in page)
        after = page[-1].cookie


def _attributes(found: Attributes, node: Node, inode: int, numbers: Numbers) -> None:
    seen = {
        "generation": found.generation,
        "kind": found.kind,
        "mode": found.mode,
        "nlink": found.nlink,
        "uid": found.uid,
        "gid": found.gid,
        "size": found.size,
        "mtime_ns": found.mtime_ns,
        "ctime_ns": found.ctime_ns,
        "change": found.change,
    }
    differs = {
        name: (value, getattr(node, name)) for name, value in seen.items() if value != getattr(node, name)
    }
    assert not differs, f"attributes of inode {inode} are, and should be: {differs}"
    numbers.state(inode, found.change, (found.mode, found.nlink, found.size, found.mtime_ns, hash(node.data)))


def _bytes(life: Life, inode: int, node: Node, *, store_is_well: bool) -> None:
    try:
        found = read(life, inode, 0, len(node.data) + 10, store_is_well=store_is_well)
    except STORE_TROUBLE:
        if store_is_well:
            raise
        return
    if found != node.data:
        at = next(
            (at for at, pair in enumerate(zip(found, node.data, strict=False)) if pair[0] != pair[1]), None
        )
        raise AssertionError(
            f"inode {inode} has {len(found)} bytes, not {len(node.data)}; they differ from offset {at} on"
        )


def read(life: Life, inode: int, offset: int, length: int, *, store_is_well: bool) -> bytes:
    """As a server and its client read: one loads the file where it is not live, the other comes again if told to.

    What was fetched ahead while the store was ill may end badly after that, so once more than usual.
    """
    for attempt in range(4):
        assert life.namespace.load(inode), f"inode {inode} is gone"
        try:
            return life.core.read(inode, offset, length)
        except NotResident:
            pass
        except StoreError:
            if not store_is_well or attempt == 3:
                raise
    raise AssertionError(f"inode {inode} cannot be read")


def check_database(machine: Machine) -> None:
    """fsck, deep, of a file system that is settled."""
    with machine.database.reader() as connection:
        report = fsck.check(connection, machine.life.core, deep=True, settled=True, progress=lambda _: None)
    assert report.clean, "fsck: " + "; ".join(problem.text for problem in report.problems[:5])
