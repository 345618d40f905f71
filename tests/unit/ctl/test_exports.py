"""Exports beside the configuration's: what is taken, kept and rendered, and what happens when Ganesha refuses."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import exports, kerberos
from gateway.errors import ControlError, StartError
from gateway.fsal.exports import Exports
from gateway.metadata.attributes import DIRECTORY
from gateway.state import Identity, StateDir
from tests.support import keytabs

SPEC = {"name": "a", "path": "/x", "pseudo": "/a", "rules": [{"clients": ["10.1.2.3/8", "@hosts"]}]}


class Names:
    """A namespace in which every path is a directory."""

    def lookup(self, _directory: int, name: bytes) -> Any:
        return SimpleNamespace(inode=len(name) + 1)

    def getattr(self, inode: int) -> Any:
        return SimpleNamespace(inode=inode, kind=DIRECTORY)


class Server:
    """Exports over a Ganesha that makes and drops what its configuration names. refuses: what it says instead."""

    def __init__(self, root: Path) -> None:
        self.state = StateDir(root)
        self.state.prepare()
        self.state.write_identity(Identity(bytes(range(16))))
        self.refuses = ""
        self.closed = 0
        self.start()

    def start(self) -> None:
        config: Any = SimpleNamespace(
            state=self.state.root,
            manage_gids=False,
            export="/data",
            clients=("::1",),
            squash="none",
            audit="off",
        )
        names: Any = Names()
        self.exports = Exports(config, names, self.reload, self.close)
        self.serving = {1}
        self.exports.opened(1)

    def reload(self) -> str:
        if self.refuses:
            return self.refuses
        wanted = {1, *map(int, re.findall(r"Export_Id = (\d+)", self.state.exports_conf.read_text()))}
        for number in wanted - self.serving:
            self.exports.opened(number)
        for number in self.serving - wanted:
            self.exports.closed(number)
        self.serving = wanted
        return ""

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_what_was_added_is_there_after_a_restart_under_its_number(server: Server) -> None:
    first = server.exports.add({"export": SPEC})
    server.exports.add({"export": {**SPEC, "name": "b", "pseudo": "/b"}})
    server.exports.remove({"name": "a", "version": 1})
    server.start()
    server.exports.opened(3)
    assert [one["name"] for one in server.exports.list({})] == ["main", "b"]
    # Handles of the one that went must not come under the rules of another.
    assert server.exports.add({"export": SPEC})["id"] == first["id"] + 2


def test_a_refused_change_leaves_all_as_it_was(server: Server) -> None:
    server.exports.add({"export": SPEC})
    before = server.state.exports_conf.read_text()
    server.refuses = "no"
    for ask in (
        lambda: server.exports.add({"export": {**SPEC, "name": "b", "pseudo": "/b"}}),
        lambda: server.exports.set({"name": "a", "changes": {"read_only": True}}),
        lambda: server.exports.remove({"name": "a"}),
    ):
        with pytest.raises(ControlError, match="stay as they were"):
            ask()
        assert server.state.exports_conf.read_text() == before
        assert [one.version for one in exports.read(server.state).exports] == [1]


def test_the_file_system_closes_with_its_last_export(server: Server) -> None:
    made = server.exports.add({"export": SPEC})
    server.exports.closed(1)
    assert not server.closed
    server.exports.closed(made["id"])
    assert server.closed == 1


def test_read_only_takes_writing_from_every_rule(server: Server) -> None:
    server.exports.add({"export": SPEC})
    server.exports.set({"name": "a", "version": 1, "changes": {"read_only": True}})
    text = server.state.exports_conf.read_text()
    assert "Clients = 10.0.0.0/8, @hosts;" in text
    assert "Access_Type = RO;" in text
    assert "RW" not in text


@pytest.mark.parametrize("text", [b"{", b'{"format": 1, "exports": 3}', b"[]", b'{"format": "x"}', b"\xff"])
def test_a_damaged_file_is_told(server: Server, text: bytes) -> None:
    server.state.exports_file.write_bytes(text)
    with pytest.raises(StartError, match="damaged"):
        exports.read(server.state)


def test_a_newer_file_is_refused(server: Server) -> None:
    server.state.exports_file.write_text(json.dumps({"format": 3}))
    with pytest.raises(StartError, match="newer version"):
        exports.read(server.state)


texts = st.text(max_size=20)


@given(
    st.fixed_dictionaries(
        {
            "name": texts | st.just("n"),
            "path": texts | st.just("/p"),
            "pseudo": texts.map("/".__add__) | texts,
            "rules": st.lists(
                st.fixed_dictionaries({"clients": st.lists(texts | st.just("10.0.0.0/8"), max_size=3)}),
                max_size=2,
            ),
            "security": st.lists(texts | st.just("sys"), max_size=2),
        }
    )
)
def test_whatever_is_asked_for_is_refused_or_can_stand_in_the_configuration(fields: dict[str, Any]) -> None:
    try:
        wanted = exports.parse(fields)
    except ControlError:
        return
    text = exports.block(exports.Export(**{**wanted_fields(wanted), "id": 2}), 1, manage_gids=False)
    assert text.count('"') == 8
    bare = re.sub('"[^"]*"', "", text)
    assert bare.count("{") == bare.count("}") == 2 + len(wanted.rules)


def wanted_fields(wanted: exports.Wanted) -> dict[str, Any]:
    return {name: getattr(wanted, name) for name in wanted.__struct_fields__}


def test_kerberos_and_its_keytab_hold_each_other(tmp_path: Path) -> None:
    server = Server(tmp_path)
    asked = {"export": {**SPEC, "security": ["krb5i", "krb5p"]}}
    with pytest.raises(ControlError, match="krb5i, krb5p needs a keytab") as refused:
        server.exports.add(asked)
    assert "caudal kerberos keytab" in refused.value.hint
    server.exports.add({"export": SPEC})
    change = {"name": "a", "version": None, "changes": {"security": ["sys", "krb5"]}}
    with pytest.raises(ControlError, match="krb5 needs a keytab"):
        server.exports.set(change)
    ran: list[str] = []
    server.exports.while_none_needs_kerberos(lambda: ran.append("before"))
    kerberos.keytab_file(server.state).write_bytes(keytabs.SERVER)
    server.exports.set(change)
    assert "SecType = sys, krb5;" in server.state.exports_conf.read_text()
    with pytest.raises(ControlError, match="ask for Kerberos: a") as refused:
        server.exports.while_none_needs_kerberos(lambda: ran.append("while"))
    assert (refused.value.code, ran) == ("in_use", ["before"])
    # A keytab that is lost takes nothing from an export but those who sign in.
    kerberos.keytab_file(server.state).unlink()
    server.exports.set({**change, "changes": {"read_only": True}})
    server.exports.set({**change, "changes": {"security": ["sys"]}})
    server.exports.while_none_needs_kerberos(lambda: ran.append("after"))
    assert ran == ["before", "after"]
