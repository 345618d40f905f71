"""The example file system, mounted by the kernel's own client over every version of NFS."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ganesha.pyganesha_server import FSALS, MEMFS, ROOT, Rpcbind, Server, native_core
from tests.support import uml

pytestmark = [pytest.mark.ganesha, pytest.mark.kernel]
TREE = ROOT / "gateway/pyganesha/native"


@pytest.fixture(scope="module")
def server(private_network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Rpcbind(), Server(tmp_path_factory.mktemp("kernel"), MEMFS) as running:
        yield running
        assert running.stop() == 0


@pytest.fixture(params=uml.VERSIONS)
def place(request: pytest.FixtureRequest, server: Server, client: uml.Client) -> Iterator[str]:
    """A mounted directory of its own for each version."""
    service, version = server.service, request.param
    # NFS 3 locks take statd on both sides; the tests of the whole system have them.
    options = "nolock" if version == "3" else ""
    with client.mounted(version, service.port, service.export, options, service.mount_port) as point:
        yield f"{point}/{request.node.originalname}-{version}"


def test_a_tree_comes_back_as_it_was(place: str, client: uml.Client) -> None:
    source = Path("/etc/alternatives")
    client.run(f"mkdir {place} && cp -a {TREE} {source} {place}/ && sync")
    client.run(f"diff -r --no-dereference {TREE} {place}/{TREE.name}")
    client.run(f"diff -r --no-dereference {source} {place}/{source.name}")
    listing = "find . -printf '%P %M %U %G %s %l %T@ %n\\n' | grep -v '^ ' | sort | sed 's/ d[^ ]* [^ ]* [^ ]* [0-9]*/ d/'"
    expected = client.run(f"cd {TREE} && {listing}").output
    assert client.run(f"cd {place}/{TREE.name} && {listing}").output == expected
    client.run(f"rm -r {place}")


def test_what_posix_promises(place: str, client: uml.Client) -> None:
    client.run(
        f"""set -e; mkdir {place}; cd {place}
        exec 5<>open; echo one >&5; rm open; echo two >&5; test "$(cat /proc/self/fd/5 | wc -l)" = 2; exec 5>&-
        echo data >file; ln file hard; test "$(stat -c %h hard)" = 2; rm file; test "$(cat hard)" = data
        mkfifo pipe; mknod device c 5 7; test "$(stat -c %F,%t,%T device)" = "character special file,5,7"; test -p pipe
        mkdir -p a/b; test "$(stat -c %h a)" = 3; ! mv a a/b/ 2>/dev/null; ! rmdir a 2>/dev/null; mv a/b c; rmdir a
        truncate -s 1000 hard; test "$(stat -c %s hard)" = 1000; truncate -s 3 hard; test "$(cat hard)" = dat
        touch -d '2001-02-03 04:05:06.123456789' hard; test "$(stat -c %y hard)" = '2001-02-03 04:05:06.123456789 +0000'
        chmod 640 hard; chown 12:34 hard; test "$(stat -c %a,%u,%g hard)" = 640,12,34
        echo x >replaced; echo y >by; mv by replaced; test "$(cat replaced)" = y
        flock -n hard true; ( set -C; ! echo z >hard ) 2>/dev/null; cd /; rm -r {place}"""
    )


def test_a_large_directory_and_a_large_file(place: str, client: uml.Client) -> None:
    client.run(f"mkdir {place} && cd {place} && seq -f f%g 2000 | xargs touch && test $(ls | wc -l) = 2000")
    client.run(f'cd {place} && rm f* && test -z "$(ls -A)"')
    client.run(
        f"dd if=/dev/urandom of=/run/large bs=1M count=20 status=none && cp /run/large {place}/ && sync"
    )
    client.run(
        f"echo 3 >/proc/sys/vm/drop_caches; cmp /run/large {place}/large && rm -r {place} /run/large",
        timeout_s=120,
    )


@pytest.mark.parametrize("version", uml.VERSIONS)
def test_data_that_completes_later(
    private_network: None,
    client: uml.Client,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    version: str,
) -> None:
    modules = native_core(tmp_path_factory.mktemp("modules"))
    with Rpcbind(), Server(tmp_path, f"{FSALS}:Native", str(tmp_path / "counts"), modules) as server:
        service = server.service
        options = "nolock" if version == "3" else ""
        with client.mounted(version, service.port, service.export, options, service.mount_port) as point:
            client.run(
                f"dd if=/dev/urandom of=/run/data bs=1M count=7 status=none && cp /run/data {point}/data && sync"
            )
            client.run(f"echo 3 >/proc/sys/vm/drop_caches; cmp /run/data {point}/data && mkdir {point}/count")
        assert int((tmp_path / "counts").read_text().split()[4]) > 0
        assert server.stop() == 0
