"""SMB shares: what is taken, kept and rendered, what a crash leaves, and whose connections end."""

import json
import subprocess
from errno import ENOENT
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.firstboot import smb
from appliance.smb_shares import Applier, closes
from gateway import smb_shares
from gateway.errors import ControlError, StartError
from gateway.fsal import smb_shares as keeper
from gateway.fsal.smb_shares import SmbShares
from gateway.metadata.attributes import DIRECTORY
from gateway.metadata.errors import FsError
from gateway.smb_shares import Kept, Samba, Share
from gateway.state import StateDir

SPEC = {"name": "Team", "path": "/team"}
SAMBA = Samba("/srv/smb", "data", "required", "/run/samba/smbd.pid")


class Names:
    """A namespace in which every path is a directory, but for those with a part `gone`."""

    def lookup(self, _directory: int, name: bytes) -> Any:
        if name == b"gone":
            raise FsError(ENOENT)
        return SimpleNamespace(inode=2)

    def getattr(self, inode: int) -> Any:
        return SimpleNamespace(inode=inode, kind=DIRECTORY)


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    made = StateDir(tmp_path)
    made.prepare()
    return made


def with_samba(state: StateDir) -> StateDir:
    smb_shares.samba_file(state).write_bytes(msgspec.json.encode(SAMBA))
    return state


def shares_of(state: StateDir) -> SmbShares:
    names: Any = Names()
    return SmbShares(state, names, lambda _: True)


def add(shares: SmbShares, **fields: object) -> dict[str, Any]:
    return shares.add({"share": {**SPEC, **fields}})


def test_what_was_added_is_there_after_a_restart_and_in_sambas_file(state: StateDir) -> None:
    shares = shares_of(with_samba(state))
    assert add(shares)["serving"]
    changed = shares.set({"name": "tEAM", "version": 1, "changes": {"read_only": True, "users": ["ada"]}})
    assert (changed["version"], changed["name"]) == (2, "Team")
    smb_shares.conf_file(state).unlink()
    listed = shares_of(state).list({})
    assert [(one["name"], one["configured"]) for one in listed["items"]] == [("data", True), ("Team", False)]
    text = smb_shares.conf_file(state).read_text()
    assert "[Team]\n\tcopy = data\n\tpath = /srv/smb/team\n\tread only = yes\n" in text
    shares.remove({"name": "team", "version": 2})
    assert "[" not in smb_shares.conf_file(state).read_text()


def test_without_samba_shares_are_kept_and_it_is_said(state: StateDir) -> None:
    shares = shares_of(state)
    assert not add(shares)["serving"]
    listed = shares.list({})
    assert (listed["set_up"], listed["running"], len(listed["items"])) == (False, False, 1)
    assert "not set up on this machine" in listed["why"]
    assert not smb_shares.conf_file(state).exists()
    # Another image finds them.
    assert shares_of(with_samba(state)).list({})["items"][1]["serving"]
    assert "[Team]" in smb_shares.conf_file(state).read_text()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": "DATA"}, "there is a share data"),
        ({"name": "tEAM"}, "there is a share Team"),
        ({"name": "Global"}, "another use"),
        ({"name": "IPC$"}, "another use"),
        ({"name": "a:b"}, "SMB forbids :"),
        ({"name": "a]\n[b"}, "cannot be the name"),
        ({"name": "a%U"}, "cannot be the name"),
        ({"name": ""}, "cannot be the name"),
        ({"name": "x", "path": "team"}, "no path"),
        ({"name": "x", "path": "/a/../b"}, "no path"),
        ({"name": "x", "path": "/a\\"}, "cannot be shared"),
        ({"name": "x", "path": "/%H"}, "cannot be shared"),
        ({"name": "x", "path": "/a\n[global]"}, "cannot be shared"),
        ({"name": "x", "path": "/gone"}, "no directory"),
        ({"name": "x", "comment": "a\\"}, "cannot be a comment"),
        ({"name": "x", "users": ['a" "b']}, "cannot be a user"),
        ({"name": "x", "users": ["+all"]}, "cannot be a user"),
        ({"name": "x", "encrypt": "off"}, "not understood"),
    ],
)
def test_what_cannot_be_shared_is_refused_and_changes_nothing(
    state: StateDir, fields: dict[str, Any], told: str
) -> None:
    shares = shares_of(with_samba(state))
    add(shares)
    before = smb_shares.conf_file(state).read_bytes()
    with pytest.raises(ControlError, match=told) as refused:
        add(shares, **fields)
    assert refused.value.hint or "not understood" in told
    assert smb_shares.conf_file(state).read_bytes() == before


def test_the_configured_share_is_changed_where_it_is_configured(state: StateDir) -> None:
    shares = shares_of(with_samba(state))
    for ask in (
        lambda: shares.remove({"name": "Data"}),
        lambda: shares.set({"name": "data", "changes": {"read_only": True}}),
    ):
        with pytest.raises(ControlError, match="configured") as refused:
            ask()
        assert "smb.toml" in refused.value.hint
    with pytest.raises(ControlError, match="no share"):
        shares.remove({"name": "none"})
    add(shares)
    with pytest.raises(ControlError, match="name cannot be changed"):
        shares.set({"name": "team", "changes": {"name": "other"}})


def test_a_share_whose_directory_went_is_told_and_can_be_changed(state: StateDir) -> None:
    smb_shares.write(state, Kept(shares=(Share("Team", "/gone/x"),)))
    shares = shares_of(with_samba(state))
    found = shares.list({})["items"][1]
    assert (found["serving"], "no directory" in found["why"]) == (False, True)
    shares.set({"name": "Team", "version": 1, "changes": {"comment": "c"}})


def test_a_share_that_smb_toml_names_too_gives_way(state: StateDir) -> None:
    smb_shares.write(state, Kept(shares=(Share("DATA", "/x"),)))
    found = shares_of(with_samba(state)).list({})["items"][1]
    assert (found["serving"], "smb.toml" in found["why"]) == (False, True)
    assert "[DATA]" not in smb_shares.conf_file(state).read_text()


def test_a_crash_between_the_files_is_mended_by_the_start(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = shares_of(with_samba(state))

    def die(name: str) -> None:
        raise RuntimeError(name)

    monkeypatch.setattr(keeper, "failpoint", die)
    with pytest.raises(RuntimeError, match=r"shares\.after_file"):
        add(shares)
    assert "[Team]" not in smb_shares.conf_file(state).read_text()
    shares_of(state)
    assert "[Team]" in smb_shares.conf_file(state).read_text()


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"\xff",
        b'{"format": 1, "shares": 3}',
        b'{"format": 1, "shares": [{"name": "a", "path": "/x\\n[global]"}]}',
        b'{"format": 1, "shares": [{"name": "a", "path": "/"}, {"name": "A", "path": "/"}]}',
    ],
)
def test_a_damaged_file_is_told(state: StateDir, text: bytes) -> None:
    state.shares_file.write_bytes(text)
    with pytest.raises(StartError, match="damaged"):
        smb_shares.read(state)


def test_a_newer_file_is_refused(state: StateDir) -> None:
    state.shares_file.write_text(json.dumps({"format": 2}))
    with pytest.raises(StartError, match="newer version"):
        smb_shares.read(state)


def test_whether_samba_runs_is_seen_by_its_process(tmp_path: Path) -> None:
    samba = msgspec.structs.replace(SAMBA, pid_file=str(tmp_path / "pid"))
    assert not keeper.runs(samba, tmp_path)
    (tmp_path / "pid").write_text("7\n")
    assert not keeper.runs(samba, tmp_path)
    (tmp_path / "7").mkdir()
    (tmp_path / "7/comm").write_text("smbd\n")
    assert keeper.runs(samba, tmp_path)


texts = st.text(max_size=12) | st.text('ab \t\n\\%"[];#=/$é', max_size=8)


@given(st.lists(st.tuples(texts, texts, texts, texts, st.booleans()), min_size=10, max_size=40))
@settings(max_examples=25, deadline=None)
def test_whatever_is_asked_for_is_refused_or_is_what_samba_understands(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[str, str, str, str, bool]]
) -> None:
    taken: dict[str, Share] = {}
    for number, (name, path, user, comment, flag) in enumerate(asked):
        # Each field alone as it came, so that most shares have one that is strange and nothing that hides it.
        for fields in ({"name": name}, {"path": f"/{path}"}, {"users": [user]}, {"comment": comment}):
            spec = {"name": f"s{number}", "path": "/p", "read_only": flag, "hidden": flag, **fields}
            try:
                wanted = smb_shares.parse(spec)
            except ControlError:
                continue
            taken.setdefault(smb_shares.key(wanted.name), Share(**msgspec.structs.asdict(wanted)))
    taken.pop("data", None)
    understood = parsed_by_samba(tmp_path_factory.mktemp("samba"), tuple(taken.values()))
    assert set(understood) == {"global", "data"} | {share.name for share in taken.values()}
    for share in taken.values():
        section = understood[share.name]
        assert section["path"] == "/srv/smb" + share.path.rstrip("/")
        assert section.get("read only", "Yes") == ("Yes" if share.read_only else "No")
        assert section.get("browseable", "Yes") == ("No" if share.hidden else "Yes")
        assert section.get("comment", "") == share.comment
        assert section.get("valid users", "").replace('"', "") == " ".join(share.users)
        assert section["vfs objects"] == understood["data"]["vfs objects"]
        assert section["oplocks"] == "No"


def parsed_by_samba(folder: Path, shares: tuple[Share, ...]) -> dict[str, dict[str, str]]:
    """What Samba reads out of first boot's file and ours."""
    state = StateDir(folder)
    smb_shares.write_conf(state, Kept(shares=shares), SAMBA)
    file = folder / "smb.conf"
    (folder / "cache").mkdir(exist_ok=True)
    text = smb.configuration(smb.Smb(), Path("/srv/smb"), folder)
    file.write_text(text.replace("/run/samba", str(folder)))
    done = subprocess.run(["testparm", "-s", str(file)], capture_output=True, text=True, check=True)
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in done.stdout.split("\n"):
        if line.startswith("["):
            section = found.setdefault(line[1:-1], {})
        elif " = " in line:
            name, _, value = line.strip().partition(" = ")
            section[name] = value
    return found


users = st.lists(st.sampled_from(["a", "b"]), unique=True).map(tuple)
some_shares = st.lists(
    st.builds(
        Share,
        name=st.sampled_from(["a", "A", "b", "c"]),
        path=st.sampled_from(["/x", "/y"]),
        read_only=st.booleans(),
        users=users,
        comment=st.sampled_from(["", "c"]),
    ),
    unique_by=lambda share: smb_shares.key(share.name),
).map(tuple)


@given(some_shares, some_shares)
def test_connections_end_where_less_is_allowed_and_nowhere_else(
    before: tuple[Share, ...], after: tuple[Share, ...]
) -> None:
    def rights(share: Share) -> set[tuple[str, str, str]]:
        """All that somebody may at a share, by a plain list."""
        who = share.users or ("a", "b", "somebody else")
        what = ("read",) if share.read_only else ("read", "write")
        return {(one, share.path, each) for one in who for each in what}

    ended = set(closes(Kept(shares=before), Kept(shares=after)))
    now = {smb_shares.key(share.name): rights(share) for share in after}
    assert ended == {
        share.name for share in before if not rights(share) <= now.get(smb_shares.key(share.name), set())
    }


def test_samba_is_told_until_it_has_what_is_kept(state: StateDir, tmp_path: Path) -> None:
    said: list[tuple[str, ...]] = []

    def control(*words: str) -> None:
        said.append(words)
        if len(said) == 1:
            # Somebody removes the share while Samba reads.
            smb_shares.write(state, Kept())

    smb_shares.write(state, Kept(shares=(Share("Team", "/team"),)))
    applier = Applier(state, tmp_path / "remembered", control, lambda _: None)
    applier.remember()
    smb_shares.write(state, Kept(shares=(Share("Team", "/team", comment="c", version=2),)))
    applier.apply()
    assert said == [("reload-config",), ("reload-config",), ("close-share", "Team"), ("reload-config",)]
    said.clear()
    applier.apply()
    assert said == [("reload-config",)]
