"""Configuration from anywhere: whatever a file, the environment or options hold is read, or refused with a ConfigError."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway import config
from gateway.config import KEYS
from gateway.config_values import to_toml
from gateway.errors import ConfigError

WORDS = st.sampled_from([
    "", " ", "0", "-1", "1", "1e999", "nan", "inf", "-inf", "1" * 400, "1e400 GiB", "0x10", "9" * 30 + "T", "1_0", "١",
    "true", "False", "none", "10.0.0.0/8", "::1/129", "1.2.3.4/-1", "@", "*", "@x y", "host_1", "/", "//", "/a/../..", "~",
    "~nobody/x", "a\0b", "/a\0b", "file://", "file:///", "file:///%00", "az://", "az://box/\u0000", "az://UPPER", "az://[::1",
    "http://[", "\ud800", "\n", "1h1", "5 m", "1 ms ", "∞",
])  # fmt: skip
TEXTS = WORDS | st.text(max_size=20)
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**63, -(2**70), 10**400])
VALUES = st.recursive(
    TEXTS | NUMBERS | st.booleans() | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
KEY = st.sampled_from([*KEYS]) | st.text(max_size=8)


def loaded(
    file: Path | None = None, env: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> None:
    """Anything but a ConfigError fails the test. What was taken can be written down."""
    with contextlib.suppress(ConfigError):
        assert config.load(file, env, flags).to_toml(everything=True)


@given(st.dictionaries(KEY, VALUES, max_size=4))
@example({"flush_age_s": 10**400})
@example({"nfs_port": 10**5000})
@example({"l1_bytes": "1" * 5000})
@example({"l1_bytes": "1" * 400 + ".5GiB"})
@example({"state": "x" * 300})
@example({"journal": ["/x" * 3000]})
@example({"l2_dir": "~there-is-no-such-user/x"})
@example({"state": "\ud800"})
@settings(max_examples=400, deadline=None)
def test_any_options(given_options: dict[str, object]) -> None:
    loaded(None, None, given_options)


@given(st.dictionaries(st.sampled_from([*KEYS]), TEXTS, max_size=4))
@settings(max_examples=200, deadline=None)
def test_any_environment(values: dict[str, str]) -> None:
    loaded(None, {f"CAUDAL_{key.upper()}": value for key, value in values.items()})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "caudal.toml"


@given(data=st.binary(max_size=200))
@example(data=b"[" * 5000)
@example(data=b"a = " + b"[" * 5000)
@example(data=b"a." * 2000 + b"b = 1")
@example(data=b"nfs_port = " + b"1" * 5000)
@settings(max_examples=200, deadline=None)
def test_any_file(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    loaded(file)


@given(st.dictionaries(KEY.filter(str.isidentifier), VALUES, max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_toml(file: Path, values: dict[str, object]) -> None:
    lines: list[str] = []
    for key, value in values.items():
        # What TOML has no form for is left out.
        with contextlib.suppress(TypeError, ValueError, UnicodeError):
            lines.append(f"{key} = {to_toml(value)}")
    with contextlib.suppress(UnicodeError):
        file.write_text("\n".join(lines), encoding="utf-8")
        loaded(file)
