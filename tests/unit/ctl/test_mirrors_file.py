"""Mirrors that were taken in and out by hand, over whatever the configuration of a start says."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import mirrors_file
from gateway.config import Config, load
from gateway.errors import Reason, StartError
from gateway.mirrors_file import Changes
from gateway.state import StateDir

A, B, C = (Path(f"/mnt/{name}") for name in "abc")


def config(state: Path, *journal: Path) -> Config:
    return load(flags={"state": str(state), "journal": [str(path) for path in journal]})


def test_what_was_added_and_removed_holds_over_a_configuration_that_does_not_know_of_it(
    tmp_path: Path,
) -> None:
    state = StateDir(tmp_path)
    assert mirrors_file.applied(config(tmp_path, A, B)) == config(tmp_path, A, B)
    mirrors_file.write(state, mirrors_file.read(state).with_added(C, (A, B)))
    assert mirrors_file.applied(config(tmp_path, A, B)).journal == (A, B, C)
    mirrors_file.write(state, mirrors_file.read(state).with_removed(B))
    for given_now in ((A, B), (A, C), (C, A, B)):
        assert set(mirrors_file.applied(config(tmp_path, *given_now)).journal) == {A, C}
    # Without a journal in the configuration, the default is what they come to.
    default = load(flags={"state": str(tmp_path)})
    assert mirrors_file.applied(default).journal == (tmp_path / "journal", C)
    assert "journal" in mirrors_file.applied(default).explicit


def test_a_configuration_of_nothing_but_what_was_removed_means_it() -> None:
    assert Changes().with_removed(A).over((A,)) == (A,)


def test_what_is_configured_is_not_an_addition() -> None:
    """So that taking it out of the configuration still takes it out."""
    assert Changes().with_added(A, (A, B)).added == ()
    assert Changes().with_added(C, (A, B)).with_added(C, (A, B, C)).added == (str(C),)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([A, B, C])), max_size=12))
def test_the_last_word_about_a_mirror_counts(said: list[tuple[bool, Path]]) -> None:
    configured = (A, B)
    changes, model = Changes(), {A: True, B: True, C: False}
    for present, path in said:
        changes = changes.with_added(path, configured) if present else changes.with_removed(path)
        model[path] = present
        assert not set(changes.added) & set(changes.removed)
    expected = {path for path, present in model.items() if present}
    assert set(changes.over(configured)) == (expected or set(configured))


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"format": 1, "added": 3}', b'{"format": 1, "added": ["relative"]}', b"\xff"],
)
def test_a_damaged_file_is_told_and_not_passed_over(tmp_path: Path, text: bytes) -> None:
    mirrors_file.file_of(StateDir(tmp_path)).write_bytes(text)
    with pytest.raises(StartError, match=r"mirrors\.json is damaged") as caught:
        mirrors_file.read(StateDir(tmp_path))
    assert caught.value.reason is Reason.STATE_UNUSABLE


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    mirrors_file.file_of(StateDir(tmp_path)).write_text(json.dumps({"format": 2}))
    with pytest.raises(StartError) as caught:
        mirrors_file.read(StateDir(tmp_path))
    assert caught.value.reason is Reason.NEWER_FORMAT
