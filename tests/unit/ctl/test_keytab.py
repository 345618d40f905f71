"""Keytabs: what is read in them, what is refused, and that no bytes break the parser."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import kerberos, keytab
from gateway.errors import ControlError, StartError
from gateway.keytab import Entry, KeytabError
from gateway.state import StateDir
from tests.support import keytabs

NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=12)


def test_entries_holes_and_both_places_of_the_version() -> None:
    data = keytabs.keytab(
        keytabs.entry("nfs/a.test", "A.TEST", kvno=300),
        keytabs.hole(30),
        keytabs.entry("host/a.test", "B.TEST", kvno=7, enctype=17, key=b"x" * 16, wide=False),
        keytabs.entry("user", "A.TEST", enctype=99, key=b"?"),
        b"\0\0\0\0",
        b"what follows the end",
    )
    assert keytab.parse(data) == (
        Entry("nfs/a.test", "A.TEST", 300, 18, 1_700_000_000),
        Entry("host/a.test", "B.TEST", 7, 17, 1_700_000_000),
        Entry("user", "A.TEST", 1, 99, 1_700_000_000),
    )
    assert [one.enctype_name for one in keytab.parse(data)][1:] == ["aes128-cts-hmac-sha1-96", "type 99"]
    assert kerberos.check(data).realms == ("A.TEST",)


@given(st.lists(st.tuples(NAMES, NAMES, NAMES, st.integers(0, 2**32 - 1), st.booleans()), max_size=6))
def test_what_was_written_is_read(entries: list[tuple[str, str, str, int, bool]]) -> None:
    data = keytabs.keytab(
        *(keytabs.entry(f"{a}/{b}", realm, kvno=kvno, wide=wide) for a, b, realm, kvno, wide in entries)
    )
    found = keytab.parse(data)
    assert [(one.principal, one.realm) for one in found] == [
        (f"{a}/{b}", realm) for a, b, realm, *_ in entries
    ]
    for one, (*_, kvno, wide) in zip(found, entries, strict=True):
        assert one.kvno == (kvno if wide and kvno else kvno & 0xFF)


@given(st.binary(max_size=200), st.integers(0, 120), st.binary(max_size=8))
def test_no_bytes_break_the_parser(tail: bytes, at: int, other: bytes) -> None:
    good = keytabs.keytab(keytabs.entry("nfs/a.test", "A.TEST"), keytabs.hole(5))
    for data in (tail, b"\x05\x02" + tail, good[:at] + other + good[at + len(other) :], good[:at]):
        try:
            found = keytab.parse(data)
        except KeytabError:
            continue
        assert len(found) <= len(data)
        assert all(one.principal.isprintable() and one.realm.isprintable() for one in found)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "does not begin"),
        (b"\x05\x01", "5.1"),
        (keytabs.SERVER[:-1], "middle"),
        (keytabs.keytab(), "no key of a principal nfs/HOST"),
        (keytabs.keytab(keytabs.entry("host/a", "A")), "no key of a principal nfs/HOST"),
        (keytabs.keytab(keytabs.entry("nfs/a", "A", enctype=23, key=b"k" * 16)), "arcfour-hmac"),
        (keytabs.keytab(keytabs.entry("nfs/a", "A", key=b"short")), "does not fit"),
        (keytabs.keytab(keytabs.entry("nfs/a", "A{\\")), "realm"),
        (keytabs.keytab(keytabs.entry("nfs/a", "A\n[x]")), "control characters"),
        (keytabs.SERVER + keytabs.hole(kerberos.MAX_BYTES), "more than"),
    ],
)
def test_what_a_server_cannot_use_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(ControlError, match=told) as refused:
        kerberos.check(data)
    assert refused.value.code == "invalid"
    assert refused.value.hint or told == "does not begin"


def test_the_kept_one_and_what_follows_from_it(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    assert kerberos.read(state) is None
    kerberos.write_conf(state, None)
    assert "default_realm" not in (state.ganesha / "krb5.conf").read_text()
    assert "Local-Realms" not in (state.ganesha / "idmapd.conf").read_text()
    kerberos.keytab_file(state).write_bytes(keytabs.SERVER)
    kept = kerberos.read(state)
    assert kept is not None
    assert kept.version == kerberos.check(keytabs.SERVER).version != 0
    kerberos.write_conf(state, kept)
    assert "default_realm = CAUDAL.TEST\n" in (state.ganesha / "krb5.conf").read_text()
    assert "Domain = caudal.test\nLocal-Realms = CAUDAL.TEST\n" in (state.ganesha / "idmapd.conf").read_text()
    kerberos.keytab_file(state).write_bytes(b"no keytab")
    with pytest.raises(StartError, match=r"krb5\.keytab"):
        kerberos.read(state)


def test_a_configuration_of_the_operator_holds(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert kerberos.environment(state, None)["KRB5_CONFIG"] == str(state.ganesha / "krb5.conf")
    assert kerberos.environment(state, "/etc/krb5.conf")["KRB5_CONFIG"] == "/etc/krb5.conf"
