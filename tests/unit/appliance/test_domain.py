"""Membership in a domain: the operator's table, what Samba is told, the record, and what stands against a join."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import smb_join
from appliance.firstboot import domain, smb, smb_files
from appliance.firstboot.domain import Domain, Member
from appliance.firstboot.host import Paths
from appliance.smb_join import JoinError, Membership, Said
from gateway.errors import CaudalError, ConfigError

TABLE = '[domain]\nrealm = "Corp.Example"\n'
MEMBER = Member("CORP.EXAMPLE", "CORP", "FILES")
INFO = """\
LDAP server: 10.0.0.4
LDAP server name: dc1.corp.example
Server time: Sun, 29 Nov 2026 14:58:50 UTC
KDC server: 10.0.0.4
Server time offset: {offset}
"""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    for each in ("etc/caudal", "run/caudal", "var/lib/caudal"):
        (tmp_path / each).mkdir(parents=True)
    return Paths(tmp_path)


def read(paths: Paths, text: str) -> smb.Smb:
    paths.smb_config.write_text(text)
    found = smb.read(paths.smb_config)
    assert found is not None
    return found


def test_a_table_with_a_realm_is_enough(paths: Paths) -> None:
    assert read(paths, TABLE).domain == Domain("CORP.EXAMPLE", "CORP")
    more = 'workgroup = "OLD"\nname = "files"\ndns = ["10.0.0.4", "fd00::4"]\nou = "A/B"\n'
    more += "first_id = 200000\nlast_id = 300000"
    expected = Domain("CORP.EXAMPLE", "OLD", "FILES", ("10.0.0.4", "fd00::4"), "A/B", 200000, 300000)
    assert read(paths, TABLE + more).domain == expected


@pytest.mark.parametrize(
    "text",
    [
        'domain = "CORP.EXAMPLE"',
        "[domain]",
        '[domain]\nrealm = "CORP"',
        '[domain]\nrealm = "CORP.EXAMPLE\\n[global]"',
        "[domain]\nrealm = 3",
        TABLE + 'kdc = "10.0.0.4"',
        TABLE + 'workgroup = ""',
        TABLE + 'name = "a-name-that-is-too-long"',
        TABLE + 'name = "A B"',
        TABLE + 'dns = "10.0.0.4"',
        TABLE + 'dns = ["dc1.corp.example"]',
        TABLE + 'ou = "A\\nB"',
        TABLE + "first_id = 20000",
        TABLE + "first_id = true",
        TABLE + "last_id = 4294967295",
        TABLE + "first_id = 1000000\nlast_id = 1000001",
        'workgroup = "X"\n' + TABLE,
    ],
)
def test_a_mistake_is_told_with_what_to_do(paths: Paths, text: str) -> None:
    with pytest.raises(ConfigError) as told:
        read(paths, text)
    assert str(paths.smb_config) in told.value.message
    assert told.value.hint


@given(st.dictionaries(st.sampled_from(sorted(domain.KEYS)), st.text() | st.integers() | st.lists(st.text())))
def test_no_table_gets_a_line_of_its_own_into_sambas_file(table: dict[str, object]) -> None:
    try:
        found = domain.checked(table, Path("smb.toml"))
    except ConfigError:
        return
    lines = domain.settings(found, MEMBER).splitlines()
    expected = domain.settings(Domain("CORP.EXAMPLE", found.workgroup), MEMBER).splitlines()
    assert [line.partition(" = ")[0] for line in lines] == [line.partition(" = ")[0] for line in expected]


def test_ids_of_local_users_of_builtin_groups_and_of_the_domain_do_not_meet() -> None:
    low, high = domain.OTHER_IDS
    assert 60000 < low < high < domain.LOWEST_FIRST_ID
    text = domain.settings(Domain("CORP.EXAMPLE", "CORP"), MEMBER)
    assert "idmap config CORP : backend = rid\n" in text
    assert "idmap config CORP : range = 1000000-1999999999\n" in text
    assert f"min domain uid = {domain.LOWEST_FIRST_ID}\n" in text, (
        "who has a number of OTHER_IDS is not let in"
    )


def test_only_a_membership_of_this_very_domain_counts(paths: Paths) -> None:
    wanted = read(paths, TABLE)
    member, notes = smb_files.write(paths, paths.state, wanted)
    assert member is None
    assert "caudal-smb-join" in notes[0]
    assert "server role = standalone server" in paths.smb_effective.read_text()
    domain.keep(paths.state, MEMBER)
    assert domain.record(paths.state).stat().st_mode & 0o777 == 0o600
    assert smb_files.write(paths, paths.state, wanted) == (MEMBER, [])
    text = paths.smb_effective.read_text()
    assert "netbios name = FILES\n" in text
    assert "standalone" not in text
    assert "default_realm = CORP.EXAMPLE" in paths.smb_krb5_conf.read_text()
    member, notes = smb_files.write(
        paths, paths.state, read(paths, TABLE.replace("Corp.Example", "corp.other"))
    )
    assert (member, "it is one of CORP.EXAMPLE" in notes[0]) == (None, True)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"format": 2}', b'"x"', b'{"format": "x"}', b"\xff"]
)
def test_a_record_that_cannot_be_read_is_told_and_local_users_are_served(
    paths: Paths, content: bytes
) -> None:
    (paths.state / "samba").mkdir()
    domain.record(paths.state).write_bytes(content)
    member, notes = smb_files.write(paths, paths.state, read(paths, TABLE))
    assert (member, len(notes)) == (None, 1)
    with pytest.raises(ConfigError):
        domain.member(paths.state)


def test_the_resolver_is_told_of_the_domains_servers_and_forgets_them(tmp_path: Path) -> None:
    file = tmp_path / "resolved.conf.d/caudal-domain.conf"
    one = Domain("CORP.EXAMPLE", "CORP", dns=("10.0.0.4", "10.0.0.5"))
    assert not domain.configure_resolver(None, file)
    assert domain.configure_resolver(one, file)
    assert "DNS=10.0.0.4 10.0.0.5\nDomains=~corp.example\n" in file.read_text()
    assert not domain.configure_resolver(one, file)
    assert domain.configure_resolver(Domain("CORP.EXAMPLE", "CORP"), file)
    assert not file.exists()


def test_the_host_name_becomes_the_machines_name_where_it_can() -> None:
    one = Domain("CORP.EXAMPLE", "CORP")
    assert domain.wanted(one, lambda: "gate.corp.example").name == "GATE"
    with pytest.raises(ConfigError, match="GATEWAY-OF-THE-SECOND-FLOOR") as told:
        domain.wanted(one, lambda: "gateway-of-the-second-floor")
    assert 'name = "FILES"' in told.value.hint


def test_what_net_prints_is_understood() -> None:
    assert smb_join.controllers("10.0.0.4:389\n[fd00::4]:389\n10.0.0.4:389\n") == ["10.0.0.4", "fd00::4"]
    assert smb_join.controllers("no such thing: 389\n") == []
    assert smb_join.skew_s(INFO.format(offset=-3601)) == -3601
    # What it prints where the controller says nothing.
    assert smb_join.skew_s("Server time: Thu, 01 Jan 1970 00:00:00 UTC\nServer time offset: 0\n") is None


@given(st.text())
def test_whatever_net_prints_is_no_crash(text: str) -> None:
    smb_join.controllers(text)
    smb_join.skew_s(text)
    assert smb_join.explained(text)


class Net:
    """Samba's program with answers of the test; the words of each call are kept."""

    def __init__(self, **answers: Said) -> None:
        self.answers = {
            "lookup": Said(0, "10.0.0.3:389\n10.0.0.4:389\n"),
            "info": Said(0, INFO.format(offset=0)),
            "workgroup": Said(0, "Workgroup: CORP\n"),
            **answers,
        }
        self.calls: list[tuple[str, ...]] = []
        self.passwords: list[str] = []

    def __call__(self, words: Sequence[str], password: str) -> Said:
        self.calls.append(tuple(words))
        self.passwords.append(password)
        return next((said for key, said in self.answers.items() if key in words[:3]), Said(0, ""))


def membership(paths: Paths, net: Net, shut: Sequence[str] = ("10.0.0.3",), more: str = "") -> Membership:
    share = read(paths, f'{TABLE}name = "FILES"\n{more}')
    smb_files.write(paths, paths.state, share)
    return Membership(paths, share, net, lambda address, _: address not in shut, lambda _: "10.0.0.9")


def test_a_join_keeps_the_record_and_serves_by_it(paths: Paths) -> None:
    net = Net()
    one = membership(paths, net, more='ou = "Servers/Files"')
    assert one.join("admin", "secret word") == MEMBER
    assert domain.member(paths.state) == MEMBER
    assert "security = ads" in paths.smb_effective.read_text()
    (join,) = (call for call in net.calls if "join" in call)
    assert join[-3:] == ("-U", "admin", "createcomputer=Servers/Files")
    assert not any("secret" in word for call in net.calls for word in call), "words are seen by everybody"
    assert "files.corp.example" in one.register(MEMBER)
    # The first controller does not answer: what is asked of one is asked of the other.
    assert all("10.0.0.3" not in call for call in net.calls)
    assert "10.0.0.4 answers" in one.show()
    one.leave("admin", "secret word")
    assert domain.member(paths.state) is None
    assert "standalone" in paths.smb_effective.read_text()


@pytest.mark.parametrize(
    ("net", "shut", "message", "hint"),
    [
        (Net(lookup=Said(255, "")), (), "DNS knows no domain controller", "dns = ["),
        (Net(), ("10.0.0.3", "10.0.0.4"), "answers: 10.0.0.3, 10.0.0.4", "open the way"),
        (Net(info=Said(0, INFO.format(offset=301))), (), "301 s behind", "chronyc"),
        (Net(info=Said(0, INFO.format(offset=-301))), (), "301 s ahead of", "chronyc"),
        (
            Net(info=Said(255, "nothing of the kind")),
            (),
            "does not say what time",
            "is it a domain controller",
        ),
        (Net(workgroup=Said(0, "Workgroup: OLD\n")), (), "is OLD, not CORP", 'workgroup = "OLD"'),
        (Net(join=Said(255, "Failed: LOGON_FAILURE")), (), "LOGON_FAILURE", "password is wrong"),
        (Net(testjoin=Said(255, "Join to domain is not valid")), (), "does not hold", "log"),
    ],
)
def test_what_stands_against_a_join_leaves_no_membership(
    paths: Paths, net: Net, shut: Sequence[str], message: str, hint: str
) -> None:
    one = membership(paths, net, shut)
    with pytest.raises(JoinError) as told:
        one.join("admin", "secret")
    assert message in told.value.message
    assert hint in told.value.hint
    assert not domain.record(paths.state).exists()
    assert "standalone" in paths.smb_effective.read_text()


def test_a_refusal_to_let_go_leaves_the_membership(paths: Paths) -> None:
    one = membership(paths, Net(leave=Said(255, "Insufficient access")))
    with pytest.raises(JoinError, match="no member"):
        one.leave("admin", "secret")
    domain.keep(paths.state, MEMBER)
    with pytest.raises(JoinError, match="leaving failed"):
        one.leave("admin", "secret")
    assert domain.member(paths.state) == MEMBER
    one.forget()
    assert domain.member(paths.state) is None


def test_a_blob_that_is_not_there_is_told(paths: Paths, tmp_path: Path) -> None:
    one = membership(paths, Net())
    with pytest.raises(JoinError, match="is no file"):
        one.join_by_blob(tmp_path / "none")
    (tmp_path / "blob").write_text("x")
    assert one.join_by_blob(tmp_path / "blob") == MEMBER


def test_without_a_domain_in_the_file_there_is_nothing_to_join(paths: Paths) -> None:
    with pytest.raises(CaudalError, match="names no domain"):
        Membership(paths, read(paths, 'share = "data"'), Net())


def test_the_record_is_as_documented(paths: Paths) -> None:
    (paths.state / "samba").mkdir()
    domain.keep(paths.state, MEMBER)
    assert json.loads(domain.record(paths.state).read_bytes()) == {
        "format": 1,
        "realm": "CORP.EXAMPLE",
        "workgroup": "CORP",
        "name": "FILES",
    }
