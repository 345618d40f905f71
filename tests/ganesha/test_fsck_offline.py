"""fsck of a file system that nobody serves: after an orderly stop, and after everything was killed."""

from collections.abc import Callable

import pytest

from tests.support.caudal import Caudal

# Neither flush nor checkpoint comes before the end: all is in the journal.
OPTIONS = ("--flush-age-s", "1h", "--checkpoint-interval-s", "1h")


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_what_only_the_journal_holds_is_checked_too(caudal: Callable[..., Caudal], killed: bool) -> None:
    server = caudal(options=OPTIONS).start()
    with server.connect() as client:
        client.mkdir("/folder")
        client.write_file("/folder/file", b"x" * 300_000)
    if killed:
        server.kill_everything()
    else:
        server.stop()
    for _ in range(2):
        said = server.cli("fsck", "--deep", "--json")
        assert '"clean": true' in said
        # The root, the folder and the file.
        assert '"inodes": 3' in said
    server.start()
    with server.connect() as client:
        assert client.read_file("/folder/file") == b"x" * 300_000
