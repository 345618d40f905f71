"""The image as it boots: first boot on blank disks, what runs as whom, clients, the admin service."""

import hashlib
import json
import os
import random
import re
import shlex
import ssl
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
import testinfra.host

from gateway import sqlite
from tests.image.lock_programs import HOLD, TRY
from tests.support import keytabs, netns, uml
from tests.support.appliance import Appliance
from tests.support.metadata_service import MetadataService, document
from tests.support.processes import wait_until

pytestmark = pytest.mark.timeout(1500)
takes_minutes = pytest.mark.skipif(
    os.environ.get("TEST_VERSIONS") != "all", reason="takes minutes: make test-all"
)
# User-mode Linux has no nftables: test_firewall looks at the rules.
NOT_HERE = {"nftables.service"}
PARTS = ("", "-smb", "-smb-shares", "-winbind", "-admin", "-firstboot", "-first-token", "-mirrors", "-disk")
OURS = tuple(f"caudal{part}.service" for part in PARTS)
# sshd, rpcbind, NFS, mountd, lock manager, status monitor, admin service; on the loopback resolved's two.
TCP_PORTS = {22, 111, 445, 2049, 20048, 32803, 32765, 8443}
USER, PASSWORD = "ada", "correct-horse"
# What clients are let in a tag says, the rest user data: as Azure's instance metadata brings them.
USER_DATA = '#caudal-config\nexport = "/data"\nlease_s = 15\ngrace_s = 15\n'
TAGS = {"caudal-clients": "192.168.0.0/16", "caudal-export": "/other"}


@pytest.fixture(scope="module")
def appliance(appliances: Callable[..., Appliance]) -> Iterator[Appliance]:
    """Two journal disks of one size and a larger one for the files, all blank at its first boot. Nothing is configured but
    by instance metadata.
    """
    one = appliances(config="")
    one.put("etc/caudal/smb.toml", "")
    one.disks = [one.new_disk("j0", 1024), one.new_disk("j1", 1024), one.new_disk("files", 2048)]
    with MetadataService(one.gateway) as azure:
        azure.instance = [(503, b""), (200, document(USER_DATA, TAGS))]
        one.put("etc/caudal/environment", f"CAUDAL_METADATA_URL={azure.url}\n", 0o600)
        one.start().wait_serving()
        # Until SMB and the first token are there, too; units that fail are a test's to tell.
        one.ssh("systemctl is-system-running --wait", timeout_s=300, check=False)
        yield one


@pytest.fixture(scope="module")
def host(appliance: Appliance) -> testinfra.host.Host:
    """The same for testinfra."""
    config = appliance.work / "ssh_config"
    options = dict(word.split("=", 1) for word in appliance.ssh_options if "=" in word)
    lines = [f"Host {appliance.address}", "  User root", f"  IdentityFile {appliance.work / 'key'}"]
    config.write_text("\n".join([*lines, *(f"  {name} {value}" for name, value in options.items())]) + "\n")
    return testinfra.get_host(f"ssh://root@{appliance.address}", ssh_config=str(config))


@pytest.fixture(scope="module")
def client(private_network: None, appliance: Appliance) -> Iterator[uml.Client]:
    """A kernel client in another subnet, which reaches the appliance through this side."""
    netns.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    with uml.Client() as running:
        running.run(f"ip route add default via {running.server_address}")
        running.server_address = appliance.address
        yield running


def test_first_boot_completed(appliance: Appliance) -> None:
    setup: dict[str, Any] = json.loads(appliance.ssh("cat /run/caudal/setup.json"))
    assert (setup["ready"], setup["problems"], setup["notes"]) == (True, [], [])
    labels = appliance.ssh("lsblk -no NAME,LABEL,MOUNTPOINTS | sort").split("\n")
    found = {line.split()[0]: line.split()[1:] for line in labels if len(line.split()) > 2}
    assert (
        found["ubdb"][:2] == ["caudal-journal0", "/var/lib/caudal"] or "/srv/caudal/journal0" in found["ubdb"]
    )
    assert found["ubdc"] == ["caudal-journal1", "/srv/caudal/journal1"]
    assert found["ubdd"] == ["caudal-store", "/srv/caudal/store"]


def test_instance_metadata_is_configuration(appliance: Appliance) -> None:
    assert appliance.ssh("test -e /etc/caudal/caudal.toml || echo none").strip() == "none"
    effective = tomllib.loads(appliance.ssh("cat /run/caudal/caudal.toml"))
    assert (effective["export"], effective["clients"][0]) == ("/data", "192.168.0.0/16")
    assert appliance.ssh("stat -c '%a %s' /run/caudal/environment").split() == ["600", "0"]


def test_nothing_failed(host: testinfra.host.Host) -> None:
    failed = host.check_output("systemctl list-units --failed --plain --no-legend --no-pager")
    assert {line.split()[0] for line in failed.splitlines()} <= NOT_HERE


def test_what_runs_and_what_does_not(host: testinfra.host.Host) -> None:
    for name in (
        "caudal",
        "caudal-admin",
        "caudal-smb",
        "chrony",
        "ssh",
        "rpcbind",
        "rpc-statd",
        "systemd-resolved",
    ):
        assert host.service(name).is_running, name
    for name in ("nftables", "caudal-firstboot", "caudal-admin", "unattended-upgrades"):
        assert host.service(name).is_enabled, name
    for name in ("nfs-ganesha", "smbd", "nmbd", "winbind"):
        assert not host.service(name).is_running, name


def test_only_the_ports_that_are_meant_to_be_open_are(host: testinfra.host.Host) -> None:
    listening = host.check_output("ss -Hltn").splitlines()
    outside = [line.split()[3] for line in listening if not re.search(r"127\.|\[::1\]", line.split()[3])]
    assert {int(address.rsplit(":", 1)[1]) for address in outside} == TCP_PORTS


def test_users_and_permissions(host: testinfra.host.Host) -> None:
    (admin,) = host.check_output("ps -o args= -u caudal-admin").splitlines()
    assert "caudal-admin --settings" in admin
    for path, user, group, mode in (
        ("/var/lib/caudal", "root", "root", 0o711),
        ("/var/lib/caudal/run", "root", "caudal-admin", 0o750),
        ("/var/lib/caudal/run/control.sock", "root", "caudal-admin", 0o660),
        ("/var/lib/caudal/run/log", "root", "root", 0o700),
        ("/var/lib/caudal/admin", "caudal-admin", "caudal-admin", 0o700),
        ("/etc/caudal/admin-token", "root", "root", 0o600),
        ("/srv/caudal/journal0", "root", "root", 0o700),
        ("/srv/caudal/journal1", "root", "root", 0o700),
    ):
        file = host.file(path)
        assert (file.user, file.group, file.mode) == (user, group, mode), path
    # The admin service sees neither files nor journal.
    for path in ("/srv/caudal/journal0", "/srv/caudal/store", "/var/lib/caudal/fs.json"):
        assert (
            host.run(f"setpriv --reuid caudal-admin --clear-groups --regid caudal-admin ls {path}/").rc != 0
        ), path


def test_the_units_are_locked_in(host: testinfra.host.Host) -> None:
    """The server's own exposure is explained in docs/appliance.md; it stays below the bound as well."""
    words = host.check_output(f"systemd-analyze security --no-pager {' '.join(OURS)}")
    scores = dict(re.findall(r"level for (\S+): (\d+\.\d)", words))
    assert set(scores) == set(OURS)
    assert {unit: score for unit, score in scores.items() if float(score) > 3.0} == {}


def test_versions(host: testinfra.host.Host) -> None:
    version = host.package("caudal").version
    for name in ("caudal-admin", "caudal-appliance"):
        assert host.package(name).version == version
    assert host.check_output("caudal version") == f"caudal {version.split('+')[0]}"
    assert host.package("nfs-ganesha").version.startswith("4.3")
    assert host.file("/etc/debian_version").content_string.startswith("12.")


def test_databases_go_by_the_library_that_the_package_brings(host: testinfra.host.Host) -> None:
    """Not by the distribution's, which may lose what was committed; nor by both in one process."""
    ask = "from gateway import sqlite; print(sqlite.DRIVER.sqlite_version)"
    version = host.check_output(f'/usr/lib/caudal/bin/python -c "{ask}"')
    assert tuple(map(int, version.split("."))) >= sqlite.SAFE_FROM
    for process in ("ganesha.nfsd", "gateway.steward", "caudal-admin"):
        maps = host.check_output(f"cat /proc/$(pgrep --oldest --full {process})/maps")
        assert "/site-packages/pysqlite3/" in maps, process
        assert "libsqlite3" not in maps, process


def test_time_logs_and_upgrades(host: testinfra.host.Host) -> None:
    assert host.check_output("date +%Z") == "UTC"
    assert host.check_output("systemctl show -p ActiveState --value chrony") == "active"
    assert "256M" in host.check_output(
        "systemd-analyze cat-config systemd/journald.conf | grep ^SystemMaxUse"
    )
    assert host.run("logrotate --debug /etc/logrotate.d/caudal").rc == 0
    assert "1" in host.check_output("apt-config dump APT::Periodic::Unattended-Upgrade")
    assert host.sysctl("net.ipv4.tcp_slow_start_after_idle") == 0
    assert host.sysctl("vm.dirty_bytes") == 134217728
    assert not host.run(
        "grep -hE 'Traceback|ERROR|CRIT' /var/lib/caudal/run/log/*.log /var/log/caudal-admin/*.log"
    ).stdout


def test_nobody_gets_in_by_a_password(host: testinfra.host.Host) -> None:
    effective = host.check_output("sshd -T")
    assert "passwordauthentication no" in effective
    assert "kbdinteractiveauthentication no" in effective
    assert host.check_output("passwd --status root").split()[1] == "L"


def test_the_admin_service_answers_over_tls_with_the_first_token(appliance: Appliance) -> None:
    token = appliance.ssh("cat /etc/caudal/admin-token").strip()
    certificate = appliance.ssh("cat /var/lib/caudal/admin/tls.crt")
    context = ssl.create_default_context(cadata=certificate)
    # The certificate is for the machine's name; its address comes by the test's network.
    context.check_hostname = False
    request = urllib.request.Request(
        f"https://{appliance.address}:8443/v1/health", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        health = json.loads(answer.read())
    assert health["state"] == "ok", health
    with urllib.request.urlopen(f"https://{appliance.address}:8443/", context=context, timeout=30) as page:
        assert b'<div id="app">' in page.read(), "the package brings the dashboard along"
    assert appliance.ssh("caudal health").strip()


@pytest.mark.parametrize("version", uml.DISTINCT if len(uml.DISTINCT) > 2 else ("3", "4.1", "4.2"))
def test_a_kernel_client_works_on_it(appliance: Appliance, client: uml.Client, version: str) -> None:
    with client.mounted(version, 2049, "/data", mountd_port=20048) as point:
        client.run(
            f"mkdir {point}/v{version} && cp -a /etc/apt {point}/v{version}/ && diff -r /etc/apt {point}/v{version}/apt"
        )
        client.run(f"cd {point}/v{version} && touch locked && flock -n locked true && rm locked")


@pytest.fixture(scope="module")
def smb(appliance: Appliance, client: uml.Client) -> str:
    """The share, mounted by the kernel client; returns the mount point."""
    appliance.ssh(f"echo '{PASSWORD}' | caudal-smb-user add {USER}")
    uid = appliance.ssh(f"id -u {USER}").strip()
    # A module that another one asks for is not found by the kernel itself: the client's modules lie elsewhere.
    modules = "cifs md4 md5 hmac sha256_generic sha512_generic cmac aes_generic ctr ghash_generic ccm gcm ecb"
    client.run(f"for m in {modules}; do modprobe -q -d {client.work} $m; done; mkdir -p /mnt/smb")
    # Neither client believes what it remembers: what is asked here is what the servers say.
    options = f"username={USER},password={PASSWORD},vers=3.1.1,seal,uid={uid},actimeo=0"
    point = client.mount("4.2", 2049, "/data", "actimeo=0,lookupcache=none")
    client.run(
        f"mkdir {point}/smb && chown {uid} {point}/smb && mkdir -p /mnt/both && mount --bind {point}/smb /mnt/both"
    )
    client.run(f"mount -t cifs -o {options} //{appliance.address}/data /mnt/smb")
    return "/mnt/smb/smb"


def test_smb_clients_write_what_nfs_clients_read_and_the_reverse(client: uml.Client, smb: str) -> None:
    client.run(f"cp -r /etc/apt {smb}/tree && diff -r /etc/apt /mnt/both/tree")
    client.run(f"echo one >/mnt/both/file && chmod 666 /mnt/both/file && cat {smb}/file", timeout_s=30)
    client.run(f'echo two >>{smb}/file && test "$(cat /mnt/both/file)" = "$(printf \'one\\ntwo\')"')
    client.run(
        f"mv {smb}/file {smb}/moved && test -e /mnt/both/moved && ! test -e /mnt/both/file && rm /mnt/both/moved"
    )
    client.run(f"! test -e {smb}/moved")


def test_names_of_smb_clients_know_no_case(appliance: Appliance, client: uml.Client, smb: str) -> None:
    client.run(f"echo x >{smb}/Mixed.Txt")
    assert smbclient(appliance, "get smb/mIXED.tXT -") == "x"


def test_dos_attributes_are_kept(appliance: Appliance, client: uml.Client, smb: str) -> None:
    client.run(f"echo x >{smb}/hidden")
    smbclient(appliance, "setmode smb/hidden +h")
    assert "H" in smbclient(appliance, "ls smb/hidden").split("\n")[0].split()[1]


def test_a_lock_of_one_protocol_is_met_by_the_other(client: uml.Client, smb: str) -> None:
    client.run(f"echo x >{smb}/locked")
    for holder, other in ((smb, "/mnt/both"), ("/mnt/both", smb)):
        held = client.start_command(HOLD.format(path=f"{holder}/locked"))
        wait_until(lambda held=held: "held" in held.output() or held.done(), "the lock is held", 60)
        refused = client.run(TRY.format(path=f"{other}/locked", wait_s=0), check=False)
        assert "got it" not in refused.output, f"{holder} holds it"
        # POSIX allows either.
        assert "Resource temporarily unavailable" in refused.output or "Permission denied" in refused.output
        client.run("touch /tmp/release")
        held.wait()
        found = client.run(TRY.format(path=f"{other}/locked", wait_s=60), timeout_s=90)
        print(f"\na lock on {holder}, released: {other} {found.output.strip()} s")


def test_nobody_gets_in_without_the_password_or_without_encryption(appliance: Appliance, smb: str) -> None:
    for options in (["-U", f"{USER}%wrong-password"], ["-N"], ["-U", f"{USER}%{PASSWORD}", "-m", "SMB2_10"]):
        words = ["smbclient", *options, f"//{appliance.address}/data", "-c", "ls"]
        assert subprocess.run(words, capture_output=True, check=False).returncode != 0, options


def test_a_share_is_there_a_moment_after_it_was_made_and_gone_after_its_end(
    appliance: Appliance, smb: str
) -> None:
    def is_there() -> bool:
        words = ["smbclient", "-U", f"{USER}%{PASSWORD}", f"//{appliance.address}/team", "-c", "ls"]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    assert not is_there()
    appliance.ssh("caudal share add Team --path /smb")
    wait_until(is_there, "Samba has the share", 30)
    appliance.ssh("caudal share remove team")
    wait_until(lambda: not is_there(), "Samba has the share no longer", 30)
    assert "ActiveState=failed" not in appliance.ssh(
        "systemctl show -p ActiveState caudal-smb-shares.service"
    )


def smbclient(appliance: Appliance, command: str) -> str:
    words = ["smbclient", "-U", f"{USER}%{PASSWORD}", f"//{appliance.address}/data", "-c", command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


# What the kernel holds for the loopback mount and has not got rid of, in KiB, twice a second: the largest is kept.
WATCH = """most=0; while sleep 0.5; do
now=$(awk '/^(Dirty|Writeback):/ { sum += $2 } END { print sum }' /proc/meminfo)
[ "$now" -le "$most" ] || { most=$now; echo "$most" >/run/dirty; }
done"""
HOG = "import sys, time; held = bytearray(int(sys.argv[1])); held[::4096] = bytes([1]) * len(held[::4096]); time.sleep(600)"
DIRTY_BYTES = 128 << 20


@takes_minutes
def test_memory_that_runs_short_under_smb_load_stops_nobody(
    appliance: Appliance, client: uml.Client, smb: str, tmp_path: Path
) -> None:
    """A machine that mounts its own server: dirty pages are bounded, and the server keeps the memory to write them back."""
    server = "systemctl show -p NRestarts,ExecMainPID caudal caudal-smb; pgrep ganesha"
    before = appliance.ssh(server)
    available_kib = int(appliance.ssh("awk '/^MemAvailable:/ { print $2 }' /proc/meminfo"))
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(random.Random(1).randbytes(48 << 20) * 4)
    appliance.start_unit("watch", f"sh -c {shlex.quote(WATCH)}")
    hog_bytes = max(0, available_kib - (48 << 10)) << 10
    appliance.start_unit("hog", f"-p OOMScoreAdjust=1000 python3 -c {shlex.quote(HOG)} {hog_bytes}")
    try:
        smbclient(appliance, f"put {source} smb/squeezed; get smb/squeezed {copy}")
        client.run("stat /mnt/both/squeezed && echo x >/mnt/both/meanwhile", timeout_s=60)
    finally:
        appliance.ssh("systemctl stop watch hog", check=False)
    with source.open("rb") as ours, copy.open("rb") as theirs:
        assert hashlib.file_digest(ours, "sha256").digest() == hashlib.file_digest(theirs, "sha256").digest()
    assert appliance.ssh(server) == before, "nobody was killed"
    assert int(appliance.ssh("cat /run/dirty")) << 10 <= DIRTY_BYTES * 1.25
    client.run("rm /mnt/both/squeezed")


@takes_minutes
def test_a_keytab_comes_to_the_server_and_goes(appliance: Appliance, tmp_path: Path) -> None:
    file = tmp_path / "keytab"
    file.write_bytes(keytabs.SERVER)
    appliance.copy_in(file, "/run/keytab")
    appliance.ssh("caudal kerberos keytab /run/keytab && rm /run/keytab", timeout_s=200)
    appliance.wait_serving()
    assert "nfs/server.test" in appliance.ssh("caudal kerberos show")
    assert appliance.ssh("stat -c '%a %U' /var/lib/caudal/krb5.keytab").split() == ["600", "root"]
    appliance.ssh("caudal kerberos remove", timeout_s=200)
    appliance.wait_serving()


@takes_minutes
def test_a_server_that_hangs_is_killed_and_clients_go_on(appliance: Appliance, client: uml.Client) -> None:
    ask = "systemctl show -p NRestarts --value caudal"
    before = int(appliance.ssh(ask))
    with client.mounted("4.2", 2049, "/data") as point:
        client.run(f"echo before >{point}/hangs && sync {point}/hangs")
        appliance.ssh("pkill -STOP ganesha.nfsd")
        going_on = client.start_command(f"echo after >>{point}/hangs && sync {point}/hangs")
        begun_s = time.monotonic()
        wait_until(lambda: int(appliance.ssh(ask)) > before, "the watchdog has it killed", 240, 1)
        appliance.wait_serving()
        print(f"\nappliance: {time.monotonic() - begun_s:.0f} s from a server that hangs to serving files")
        going_on.wait(timeout_s=240)
        client.run(f'test "$(cat {point}/hangs)" = "$(printf \'before\\nafter\')" && rm {point}/hangs')


@takes_minutes
def test_files_and_mounts_outlive_a_reboot_and_a_power_cut(appliance: Appliance, client: uml.Client) -> None:
    point = client.mount("4.2", 2049, "/data")
    client.run(f"mkdir {point}/kept; cp -a /etc/apt {point}/kept/; sync {point}/kept/apt/* || true")
    appliance.reboot()
    appliance.wait_serving()
    client.run(f"diff -r /etc/apt {point}/kept/apt", timeout_s=120)
    # Each name is told only after its reply; what was told has to be there.
    load = client.start_command(
        f"i=0; while [ $i -lt 600 ]; do i=$((i+1)); echo $i >{point}/kept/n$i && echo $i; done; true"
    )
    wait_until(lambda: len(load.output().splitlines()) > 100, "a hundred files are made", 60)
    appliance.power_off()
    told = [int(line) for line in load.output().split()[:-1]]
    appliance.start()
    appliance.wait_serving()
    load.wait(timeout_s=280)
    client.run(
        f"for i in {' '.join(map(str, told))}; do test -e {point}/kept/n$i || exit 1; done", timeout_s=120
    )
    client.run(
        f"test $(ls {point}/kept | grep -c ^n) = 600; diff -r /etc/apt {point}/kept/apt", timeout_s=120
    )
    client.unmount(point)
