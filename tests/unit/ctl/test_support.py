"""The support bundle: what is in it, and what must not be."""

import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import config, support
from gateway.state import StateDir


def bundle(tmp_path: Path) -> dict[str, str]:
    state = StateDir(tmp_path / "state")
    state.prepare()
    (state.root / "admin").mkdir()
    (state.root / "admin/tls.key").write_text("PRIVATE")
    (state.logs / "gateway.log").write_text(
        "store az://box: AccountKey=abcd1234== refused\nAuthorization: Bearer eyJhbGciOi.x.y\n"
        "https://x.blob.core.windows.net/c?sv=1&sig=SIGNATURE%3D&se=2\ntoken caudal_0123456789abcdef_Secret-Part\n"
        "all is well\n"
    )
    flags = {"state": str(state.root), "admin_database": "postgresql://me:hunter2@db/caudal"}
    target = tmp_path / "b.tar.gz"
    support.write(target, config.load(flags=flags), {"journal": {"bytes": 3}}, 1.8e9)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        support.write(target, config.load(flags=flags), None, 1.8e9)
    found: dict[str, str] = {}
    with tarfile.open(target) as archive:
        for entry in archive:
            file = archive.extractfile(entry)
            assert file is not None
            found[entry.name.removeprefix("caudal-support/")] = file.read().decode()
    return found


def test_it_has_what_helps_and_no_secret(tmp_path: Path) -> None:
    found = bundle(tmp_path)
    assert {"machine.json", "status.json", "config.toml", "disks.json", "log/gateway.log"} <= set(found)
    assert "all is well" in found["log/gateway.log"]
    assert 'admin_database = "postgresql://me:***@db/caudal"' in found["config.toml"]
    whole = "".join(found.values())
    for secret in ("hunter2", "abcd1234", "eyJhbGciOi", "SIGNATURE", "Secret-Part", "PRIVATE"):
        assert secret not in whole, secret


@given(
    st.text(
        alphabet=st.characters(codec="ascii", exclude_characters=" \t\r\n\x0b\x0c\x1c\x1d\x1e\x1f\"'&;,}/@"),
        min_size=4,
    )
)
def test_a_secret_after_its_name_is_hidden_whatever_it_is(secret: str) -> None:
    for text in (
        f"password={secret}",
        f'"client_secret": "{secret}"',
        f"AccountKey={secret}",
        f"://u:{secret}@h",
    ):
        assert secret not in support.redacted(text).replace("***", "") or secret in text.split(secret)[0]
