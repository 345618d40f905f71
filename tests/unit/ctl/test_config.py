"""Configuration: what is accepted, what is refused and with which words, and which source wins."""

from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.config import Config
from gateway.config_values import GIB, KIB, MIB, human
from gateway.errors import ConfigError


def load(**flags: object) -> Config:
    return config.load(flags=flags)


GOOD: list[tuple[str, object, object]] = [
    ("nfs_port", 2050, 2050),
    ("nfs_port", "2050", 2050),
    ("nlm_port", 0, 0),
    ("nlm_port", "0", 0),
    ("l1_bytes", "512MiB", 512 * MIB),
    ("l1_bytes", "1.5GiB", 3 * GIB // 2),
    ("l1_bytes", "1G", GIB),
    ("l1_bytes", "100MB", 100_000_000),
    ("l1_bytes", 64 * MIB, 64 * MIB),
    ("l2_bytes", 0, 0),
    ("l2_bytes", "65536 KiB", 64 * MIB),
    ("flush_age_s", "500ms", 0.5),
    ("flush_age_s", 2, 2.0),
    ("gc_grace_s", "10m", 600.0),
    ("gc_grace_s", "1h", 3600.0),
    ("squash", "ROOT", "root"),
    ("manage_gids", True, True),
    ("manage_gids", "yes", True),
    ("manage_gids", "False", False),
    ("clients", "10.1.2.3/8", ("10.0.0.0/8",)),
    ("clients", "10.0.0.1, ::1  *.example.com", ("10.0.0.1", "::1", "*.example.com")),
    ("clients", ["@trusted", "*"], ("@trusted", "*")),
    ("clients", ["fd00::1/64,build-7"], ("fd00::/64", "build-7")),
    ("journal", "/a/j,/b/j", (Path("/a/j"), Path("/b/j"))),
    ("journal", ["/a/j"], (Path("/a/j"),)),
    ("store", "az://team-files", "az://team-files"),
    ("store", "az://team-files/a/b/", "az://team-files/a/b"),
    ("store", "file:///srv/../srv/box", "file:///srv/box"),
    ("export", "data//x/", "/data/x"),
    ("export", "/", "/"),
    ("log_level", "debug", "debug"),
]


@pytest.mark.parametrize(("key", "given", "expected"), GOOD)
def test_accepts(key: str, given: object, expected: object) -> None:
    if key == "export" and given == "data//x/":
        given = "/data//x/"
    assert getattr(load(**{key: given}), key) == expected


BAD: list[tuple[str, object, str]] = [
    ("nfs_port", 0, "1 to 65535"),
    ("nfs_port", 65536, "1 to 65535"),
    ("nfs_port", "http", "1 to 65535"),
    ("nfs_port", True, "1 to 65535"),
    ("nfs_port", 20.5, "1 to 65535"),
    ("nlm_port", -1, "1 to 65535"),
    ("l1_bytes", "12 parsecs", "512MiB"),
    ("l1_bytes", "ib", "512MiB"),
    ("l1_bytes", "", "512MiB"),
    ("l1_bytes", 1, "16MiB"),
    ("l1_bytes", -5, "16MiB"),
    ("pack_bytes", "1GiB", "64MiB"),
    ("flush_age_s", "soon", "10m"),
    ("flush_age_s", -1, "0 to 3600"),
    ("flush_age_s", float("nan"), "0 to 3600"),
    ("squash", "some", "none, root, all"),
    ("manage_gids", "perhaps", "true or false"),
    ("manage_gids", 1, "true or false"),
    ("clients", [], "networks"),
    ("clients", "10.0.0.0/99", "networks"),
    ("clients", "host;rm", "networks"),
    ("clients", 'x"y', "networks"),
    ("clients", "@", "networks"),
    ("clients", [7], "networks"),
    ("journal", [], "1 to 8"),
    ("journal", {}, "list"),
    ("store", "s3://x", "az://"),
    ("store", "file://relative", "three slashes"),
    ("store", "az://UPPER", "lower-case"),
    ("store", "az://a--b", "lower-case"),
    ("store", "az://box/../x", "slashes"),
    ("store", 'file:///a"b', "another path"),
    ("export", "data", "absolute"),
    ("export", "/a/../b", "absolute"),
    ("export", '/a"b', "absolute"),
    ("state", "a\nb", "another path"),
    ("max_inodes", "many", "whole number"),
    ("log_level", "loud", "debug, info"),
]


@pytest.mark.parametrize(("key", "given", "remedy"), BAD)
def test_refuses_with_key_value_place_and_remedy(key: str, given: object, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**{key: given})
    assert caught.value.message.startswith(f"{key}: ")
    assert f"option {config.option_of(key)}" in caught.value.message
    assert remedy in caught.value.hint


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"nfs_port": 111, "mountd_port": 111}, "nfs_port and mountd_port are both 111"),
        ({"journal": ["/a", "/a/"]}, "twice"),
        ({"journal_limit_bytes": "64MiB"}, "two segments"),
        ({"lease_s": 60}, "shorter than lease_s"),
    ],
)
def test_refuses_what_only_shows_in_the_whole(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(**given)


def test_unknown_keys_are_refused_with_a_suggestion(tmp_path: Path) -> None:
    file = tmp_path / "caudal.toml"
    file.write_text("nfs-prot = 1\n")
    with pytest.raises(ConfigError, match=r"unknown key nfs-prot in .*caudal\.toml") as caught:
        config.load(file)
    assert caught.value.hint == "did you mean nfs_port?"
    with pytest.raises(ConfigError) as caught:
        load(zzz=1)
    assert "config show --all" in caught.value.hint


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "caudal.toml"
    file.write_text('nfs_port = 1001\nmountd_port = 1002\nnlm_port = 1003\nexport = "/file"\n')
    env = {
        "CAUDAL_NFS_PORT": "2001",
        "CAUDAL_MOUNTD_PORT": "2002",
        "CAUDAL_FAILPOINTS": "x=kill",
        "HOME": "/",
    }
    found = config.load(file, env, {"nfs_port": 3001, "store": None})
    assert (found.nfs_port, found.mountd_port, found.nlm_port, found.export) == (3001, 2002, 1003, "/file")
    assert found.squash == "none"
    assert found.explicit == {"nfs_port", "mountd_port", "nlm_port", "export"}


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigError, match="environment variable CAUDAL_NFS_PORT"):
        config.load(env={"CAUDAL_NFS_PORT": "x"})
    with pytest.raises(ConfigError, match="CAUDAL_NFSPORT") as caught:
        config.load(env={"CAUDAL_NFSPORT": "2049"})
    assert "CAUDAL_NFS_PORT" in caught.value.hint
    assert config.load(env={"CAUDAL_SOMETHING_ELSE_ALTOGETHER": "1"}).nfs_port == 2049


@pytest.mark.parametrize("content", [b"store = az://x\n", b"\xff\xfe", b"[[["])
def test_a_broken_file_is_reported_not_raised(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "caudal.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=str(file)):
        config.load(file)
    with pytest.raises(ConfigError, match="does not exist"):
        config.load(tmp_path / "other.toml")


def test_defaults_follow_the_state_directory(tmp_path: Path) -> None:
    found = load(state=str(tmp_path))
    assert found.store == f"file://{tmp_path}/store"
    assert found.journal == (tmp_path / "journal",)
    assert found.l2_dir == tmp_path / "l2"
    assert found.clients == ("127.0.0.1", "::1")
    assert found.l1_bytes >= 64 * MIB
    assert found.l2_bytes <= 8 * GIB


@pytest.mark.parametrize("everything", [False, True])
def test_what_is_written_reads_back_the_same(tmp_path: Path, everything: bool) -> None:
    first = load(
        state=str(tmp_path),
        clients="10.0.0.0/8,*.x",
        journal=["/a/b c", "/d"],
        flush_age_s=0.25,
        l1_bytes="17MiB",
    )
    file = tmp_path / "caudal.toml"
    file.write_text(first.to_toml(everything=everything))
    second = config.load(file)
    assert all(getattr(first, key) == getattr(second, key) for key in config.KEYS)
    assert config.effective(tmp_path) == config.load(file, flags={"state": str(tmp_path)})


def test_the_effective_configuration_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        config.effective(tmp_path)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0B"), (1023, "1023B"), (KIB, "1KiB"), (1536, "1.5KiB"), (64 * MIB, "64MiB"), (1 << 50, "1PiB")],
)
def test_sizes_for_people(number: int, text: str) -> None:
    assert human(number) == text


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(ConfigError, match="together or not at all"):
        load(admin_certificate="/etc/caudal/tls.crt")
    both = load(admin_certificate="/etc/caudal/tls.crt", admin_certificate_key="/etc/caudal/tls.key")
    assert both.admin_certificate_key == Path("/etc/caudal/tls.key")
