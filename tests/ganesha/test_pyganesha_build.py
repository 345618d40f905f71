"""The build's decisions, and the mapping of failures; without Ganesha and without a network."""

import errno
from pathlib import Path

import pytest

from gateway.pyganesha import FsalError, SetAttributes, Status, build, errors, serve


class OtherFailure(Exception):
    """Another package's exception with an errno."""

    def __init__(self, number: object) -> None:
        super().__init__("failed")
        self.errno = number


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (OSError(errno.ENOENT, "gone"), (Status.NOENT, True)),
        (FileExistsError(errno.EEXIST, "there"), (Status.EXIST, True)),
        (FsalError(Status.BADHANDLE), (Status.BADHANDLE, True)),
        (OtherFailure(errno.EAGAIN), (Status.DELAY, True)),
        (OtherFailure("text"), (Status.SERVERFAULT, False)),
        (OSError("without a number"), (Status.SERVERFAULT, False)),
        (KeyError("defect"), (Status.SERVERFAULT, False)),
        (SystemExit(1), (Status.SERVERFAULT, False)),
    ],
)
def test_failures_become_statuses(failure: BaseException, expected: tuple[Status, bool]) -> None:
    assert errors.status_of(failure) == expected


def test_the_table_for_native_code() -> None:
    table = errors.errno_table()
    assert len(table) == 256
    assert (table[0], table[errno.ESTALE], table[errno.EDQUOT]) == (Status.OK, Status.STALE, Status.DQUOT)
    assert table[255] == Status.IO
    assert all(number < len(table) for number in errors.ERRNO_STATUS)


def test_given_attributes() -> None:
    assert SetAttributes(mode=0, size=5).given() == {"mode": 0, "size": 5}
    assert repr(SetAttributes(uid=1)) == "SetAttributes(uid=1)"


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "PACKAGES", ["dpkg", "no-such-package"])
    assert build.missing_packages() == ["no-such-package"]
    monkeypatch.setattr(build.os, "geteuid", lambda: 1000)
    with pytest.raises(build.BuildError, match="apt-get install no-such-package"):
        build.install_packages()


def test_another_ganesha_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "SUPPORTED", "9.9")
    with pytest.raises(build.BuildError, match=r"nfs-ganesha 9\.9 is needed"):
        build.ganesha_version()


def test_a_changed_input_is_built_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "a.c"
    source.write_text("int a;")
    monkeypatch.setattr(build, "sources", lambda: [source])
    before = build.fingerprint(["gcc"])
    assert build.fingerprint(["gcc"]) == before
    assert build.fingerprint(["gcc", "-O3"]) != before
    source.write_text("int b;")
    assert build.fingerprint(["gcc"]) != before


def test_texts_in_the_configuration() -> None:
    assert serve.quoted("plain") == '"plain"'
    assert serve.quoted('say "hello"') == "'say \"hello\"'"
    with pytest.raises(ValueError, match="both kinds of quotes"):
        serve.quoted("both \" and '")
