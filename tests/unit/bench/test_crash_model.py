"""The crash campaign's own judgement: what it lets pass, and what it must not."""

import json
import random

import pytest

from bench.crash.check import Found, compare, home
from bench.crash.content import PIECE, content, whose
from bench.crash.model import Directory, File, Layer, Model, Record, rebuilt
from bench.crash.operations import Chooser
from bench.crash.plan import STORES, draw
from bench.crash.wire import Facts

OLD, NEW = content(1, 1, 1, 0, 4 * PIECE), content(1, 1, 2, PIECE, 4 * PIECE)
WRITTEN = File(durable=OLD).written(Layer(PIECE, NEW, b"verifier"))


def mixed(*from_new: int) -> bytes:
    """Old pieces, but for some of the new."""
    whole = bytearray(OLD.ljust(5 * PIECE, b"\0"))
    for piece in from_new:
        whole[piece * PIECE : (piece + 1) * PIECE] = NEW[(piece - 1) * PIECE : piece * PIECE]
    return bytes(whole)


@pytest.mark.parametrize("found", [OLD, WRITTEN.newest, mixed(), mixed(2), mixed(1, 4)])
def test_uncommitted_bytes_may_be_missing(found: bytes) -> None:
    assert not WRITTEN.wrong(found, strict=False)
    assert bool(WRITTEN.wrong(found, strict=True)) == (found != WRITTEN.newest)


@pytest.mark.parametrize(
    "found",
    [
        OLD[:-1],
        mixed()[: 5 * PIECE - 1],
        mixed(2)[:PIECE] + bytes(PIECE) + mixed(2)[2 * PIECE :],
        content(2, 1, 1, 0, 4 * PIECE),
        content(1, 1, 1, PIECE, 4 * PIECE),
        content(1, 1, 3, 0, 4 * PIECE),
    ],
    ids=["cut", "a size it never had", "a hole", "foreign", "moved", "never written"],
)
def test_anything_else_is_told(found: bytes) -> None:
    assert WRITTEN.wrong(found, strict=False)


def test_a_commit_ends_the_excuses() -> None:
    assert WRITTEN.committed().wrong(OLD, strict=False)
    assert not WRITTEN.committed().wrong(WRITTEN.newest, strict=False)


def test_a_stable_write_is_there_and_hides_what_is_below() -> None:
    top = Layer(PIECE, content(1, 1, 3, PIECE, PIECE))
    file = WRITTEN.written(top).answered_stable()
    assert not file.wrong(file.newest, strict=False)
    assert file.wrong(mixed(1), strict=False), "the older write came to light again"
    assert file.wrong(OLD, strict=False)


def test_what_was_cut_off_stays_away() -> None:
    file = WRITTEN.truncated(2 * PIECE).truncated(6 * PIECE)
    assert file.wrong(mixed(1, 2, 3).ljust(6 * PIECE, b"\0"), strict=False)
    assert not file.wrong(mixed(1)[: 2 * PIECE].ljust(6 * PIECE, b"\0"), strict=False)


def test_bytes_say_whose_they_are() -> None:
    assert whose(content(3, 14, 15, 1000, 700)[30:]) == "client 3's file 14, generation 15, offset 1024"
    assert whose(bytes(10)) == "zeros"


def worked(seed: int, steps: int) -> tuple[Model, list[str]]:
    """A client's model and log after some acknowledged operations over NFS 4.2."""
    model, lines, chance = Model(1), [], random.Random(seed)
    chooser = Chooser(model)

    def note(record: Record) -> None:
        lines.append(json.dumps(record))
        model.take(record)

    for _ in range(steps):
        record = chooser.next(chance, 42)
        if record["intent"] != "read":
            note(record)
            note({"ack": record["intent"], "verifier": "01"})
    return model, lines


def served(model: Model) -> dict[str, Found]:
    """What a server shows that has just this."""
    found: dict[str, Found] = {}
    for path, number in model.names.items():
        thing = model.things[number]
        handle, links = b"%d" % number, len(model.paths(number))
        if isinstance(thing, Directory):
            found[path] = Found(handle, Facts(2, 0o755, (0, 0), 2, 0, number), None, None)
            continue
        facts = Facts(1, thing.mode or 0o600, thing.owner or (0, 0), links, len(thing.newest), number)
        found[path] = Found(handle, facts, thing.newest, thing.xattrs)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_log_is_enough(seed: int) -> None:
    model, lines = worked(seed, 300)
    again = rebuilt(1, lines)
    assert (again.names, again.things) == (model.names, model.things)
    found = served(model)
    assert not compare(again, found, {}, strict=True)
    victim = max(path for path in found if path != home(1))
    assert compare(again, {path: one for path, one in found.items() if path != victim}, {}, strict=False)
    assert compare(again, {**found, "c1/other": found[victim]}, {}, strict=False)


def test_a_change_under_way_is_whole_or_not_there() -> None:
    model = Model(1)
    for record in (
        {"intent": "mkdir", "path": "c1", "thing": 1},
        {"ack": "mkdir"},
        {"intent": "create", "path": "c1/a", "thing": 2, "mode": 0o644, "exclusive": ""},
        {"ack": "create"},
        {"intent": "rename", "old": "c1/a", "new": "c1/b"},
    ):
        model.take(record)
    before, after = model.candidates()
    assert set(before.names) == {"c1", "c1/a"}
    assert set(after.names) == {"c1", "c1/b"}
    both = {**served(before), **served(after)}
    assert all(compare(one, both, {}, strict=False) for one in (before, after))


@pytest.mark.parametrize("store", STORES)
def test_a_seed_fixes_the_plan(store: str) -> None:
    plans = [draw(5, number, clients=4, store=store) for number in range(1, 1500)]
    assert plans == [draw(5, number, clients=4, store=store) for number in range(1, 1500)]
    assert {plan.death for plan in plans} == {"server", "everything", "failpoint", "nothing"}
    for kind in ("mirror_wiped", "mirror_damaged", "mirror_gone", "mirror_error", "kill_steward", "stopped"):
        assert any(kind in plan.kinds for plan in plans), kind
