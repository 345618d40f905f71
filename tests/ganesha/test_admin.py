"""The admin service beside a real server: TLS, tokens, figures, and what happens when one of the two dies."""

import datetime
import http.server
import json
import os
import signal
import ssl
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from admin_api import tls
from tests.support.caudal import PROGRAM, Caudal, undisturbed
from tests.support.nfs3 import Nfs3
from tests.support.processes import kill, wait_until
from tests.unit.admin_api.test_syslog import Collector


@pytest.fixture(scope="module")
def collector(private_network: None) -> Iterator[Collector]:
    made = Collector()
    yield made
    made.end()


@pytest.fixture(scope="module")
def server(collector: Collector, module_disk_path: Path) -> Iterator[Caudal]:
    options = ("--admin-syslog", f"tcp://127.0.0.1:{collector.server_address[1]}")
    with undisturbed(module_disk_path) as make:
        yield make(admin=True, options=options).start()


def client(server: Caudal, token: str | None = None) -> httpx.Client:
    """Over HTTPS, trusting the certificate that the service made."""
    context = ssl.create_default_context(cafile=str(server.state / "admin/tls.crt"))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = f"https://localhost:{server.admin_port}/v1/"
    return httpx.Client(base_url=address, verify=context, headers=headers, timeout=20)


def token_of(server: Caudal, role: str) -> str:
    return server.cli("token", "create", "--name", "test", "--role", role).splitlines()[-1]


def admin_pid(server: Caudal) -> int:
    return int((server.state / "run/admin.pid").read_text())


def test_up_returned_with_the_service_answering(server: Caudal) -> None:
    with client(server) as nobody:
        assert nobody.get("ping").json() == {"ping": "pong"}
        refused = nobody.get("status")
        assert refused.status_code == 401
        assert refused.headers["content-type"] == "application/problem+json"
        assert "max-age" in refused.headers["strict-transport-security"]
    for name in ("tls.key", "admin.db"):
        assert stat.S_IMODE((server.state / "admin").stat().st_mode) == 0o700, name
        assert (server.state / "admin" / name).exists()
    assert stat.S_IMODE((server.state / "run/admin.sock").stat().st_mode) == 0o600


def test_figures_of_real_work(server: Caudal) -> None:
    with server.connect() as nfs:
        nfs.write_file("/written", b"x" * 65536)
    with client(server, token_of(server, "operator")) as operator:
        begun = operator.post("journal/flush")
        assert begun.status_code == 202, begun.text
        place = begun.headers["location"].removeprefix("/v1/")
        wait_until(lambda: operator.get(place).json()["state"] == "done", "the flush ends")
        assert operator.get("objects").json()["puts"] >= 1
        assert operator.get("journal").json()["mirrors"][0]["state"] == "healthy"
        assert operator.get("health").json()["state"] == "ok"
        text = operator.get("metrics").text
        assert "caudal_up 1.0" in text
        assert "caudal_writes_total" in text
        assert operator.post("cache/drop", json={}).status_code == 204
        keys = {one["key"]: one for one in operator.get("config").json()}
        assert (keys["admin_port"]["value"], keys["admin_port"]["source"]) == (server.admin_port, "given")
        assert keys["pack_bytes"]["source"] == "default"
        assert operator.get("tokens").status_code == 403
        with operator.stream("GET", "events") as events:
            lines = events.iter_lines()
            assert next(lines) == "event: status"
            assert json.loads(next(lines).removeprefix("data: "))["journal"]["bytes"] > 0


def test_samples_and_meter_of_real_work(server: Caudal) -> None:
    before = json.loads(server.cli("meter", "show", "--from", "-1h", "--json"))["quantities"]
    server.cli("export", "add", "counted", "--path", "/", "--allow", "127.0.0.0/8=rw,none")
    with Nfs3(server.nfs_port, "/counted", mountd_port=server.mountd_port) as nfs:
        nfs.write_file("/metered", b"x" * 300_000)
        assert len(nfs.read_file("/metered")) == 300_000

    def metered() -> dict[str, Any]:
        return json.loads(server.cli("meter", "show", "--from", "-1h", "--json"))

    wait_until(
        lambda: metered()["quantities"]["read_bytes"] >= before["read_bytes"] + 300_000, "it is metered"
    )
    found = metered()
    exports = {one["name"]: one for one in found["exports"]}
    assert (exports["counted"]["written_bytes"], exports["counted"]["read_bytes"]) == (300_000, 300_000)
    assert found["cost"] is None
    server.flush()
    server.cli("cache", "drop")
    with Nfs3(server.nfs_port, "/counted", mountd_port=server.mountd_port) as nfs:
        for _ in range(3):
            assert len(nfs.read_file("/metered")) == 300_000

    def hits() -> dict[str, Any]:
        return json.loads(server.cli("cache", "hit-rates", "--export", "counted", "--json"))["total"]

    wait_until(lambda: hits()["store"] > 0 and hits()["l1"] > hits()["store"], "hits are counted by tier")
    assert "hit_rate" in server.cli("cache", "hit-rates")
    server.cli("meter", "prices", "--currency", "EUR", "--set", "vm_hour=3600")
    priced = metered()
    assert priced["cost"] == pytest.approx(priced["quantities"]["up_s"])
    server.cli("export", "remove", "counted")
    with client(server, token_of(server, "viewer")) as viewer:
        shown = viewer.get("samples", params={"series": "written_bytes,used_bytes"}).json()["series"]
        assert sum(point[1] for point in shown["written_bytes"]["points"]) > 0
        assert shown["used_bytes"]["points"][-1][1] >= 300_000
        assert viewer.get("activity/capacity").json()["forecast"] == []


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.signatures.append(self.headers["X-Caudal-Signature"])  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def test_an_alert_of_a_real_gateway_reaches_a_webhook(server: Caudal) -> None:
    hook: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    hook.signatures = []
    thread = threading.Thread(target=hook.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{hook.server_port}/"
        words = ("alert", "target", "add", "ops", "--webhook", url, "--state", str(server.state))
        command = [str(PROGRAM), *words]
        subprocess.run(command, input="a secret of many signs\n", text=True, check=True, capture_output=True)
        assert "took it" in server.cli("alert", "test", "ops")
        # The journal of a file system that was written to is never quite empty.
        server.cli("alert", "set", "journal-full", "--above", "0", "--clear", "0", "--for", "0")
        wait_until(lambda: len(hook.signatures) == 2, "the alert is told")
        fired = json.loads(server.cli("alert", "list", "--firing", "--json"))
        assert [one["rule"] for one in fired] == ["journal-full"]
        server.cli("alert", "set", "journal-full", "--above", "1", "--clear", "0.9", "--clear-for", "0")
        wait_until(lambda: len(hook.signatures) == 3, "and its end")
        server.cli("alert", "target", "remove", "ops")
    finally:
        hook.shutdown()
        thread.join()
        hook.server_close()


def test_the_issuer_by_the_command_line(server: Caudal) -> None:
    state = ("--state", str(server.state))
    refused = server.run("oidc", "set", "--issuer", "https://login.example.com", *state)
    assert "--client-id, --redirect-uri is missing" in refused.stderr
    given = ("--client-id", "c1", "--redirect-uri", "https://nas.example.com:8443/v1/sign-in/callback")
    first = ("oidc", "set", "--issuer", "https://login.example.com", *given)
    assert "no value gives a role" in server.run(*first, *state).stderr
    roles = ("--role", "admin=A", "--role", "admin=B", "--role", "viewer=V")
    server.cli(*first, *roles, "--secret", stdin="a secret\n")
    server.cli("oidc", "set", "--name-claim", "email", "--role", "viewer=", "--role", "operator=O")
    shown = json.loads(server.cli("oidc", "show", "--json"))
    assert shown["has_secret"], "what is not named stays"
    assert (shown["settings"]["client_id"], shown["settings"]["name_claim"]) == ("c1", "email")
    assert shown["settings"]["roles"] == {"admin": ["A", "B"], "operator": ["O"]}
    assert "a secret" not in server.cli("oidc", "show")
    insecure = server.run("oidc", "set", "--issuer", "http://login.example.com", *state)
    assert "give an https:// address" in insecure.stderr
    server.cli("oidc", "remove")
    assert "no issuer is set" in server.cli("oidc", "show")
    assert "no issuer is set" in server.run("oidc", "remove", *state).stderr


def test_the_command_line_over_the_network(server: Caudal) -> None:
    env = {"CAUDAL_TOKEN": token_of(server, "admin")}
    remote = ("--server", f"https://localhost:{server.admin_port}", "--json")
    trusting = (*remote, "--ca-file", str(server.state / "admin/tls.crt"))
    done = server.run("token", "list", *trusting, env=env)
    assert done.returncode == 0, done.stderr
    ids = [one["id"] for one in json.loads(done.stdout)]
    distrusting = server.run("token", "list", *remote, env=env)
    assert distrusting.returncode == 3
    assert "--ca-file" in distrusting.stderr
    server.cli("token", "revoke", ids[-1])
    assert "a valid token is needed" in server.run("health", *trusting, env=env).stderr
    actions = [one["action"] for one in json.loads(server.cli("audit", "list", "--json"))]
    assert actions[0] == "token.revoke"


def test_the_audit_reaches_the_collector(server: Caudal, collector: Collector) -> None:
    def told() -> bool:
        # The first look only notes where the audit stands.
        token_of(server, "viewer")
        return any("token.create" in line for line in collector.got)

    wait_until(told, "a record arrives", interval_s=1)


def test_it_has_no_credential(server: Caudal) -> None:
    names = {
        pair.split(b"=")[0] for pair in Path(f"/proc/{admin_pid(server)}/environ").read_bytes().split(b"\0")
    }
    assert not [name for name in names if name.startswith((b"AZURE", b"CAUDAL"))]


def test_a_killed_service_comes_back_with_what_it_knew(server: Caudal) -> None:
    token = token_of(server, "viewer")
    before = admin_pid(server)
    os.kill(before, signal.SIGKILL)

    def answers() -> bool:
        try:
            with client(server, token) as viewer:
                return viewer.get("health").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(answers, "the service answers again")
    assert admin_pid(server) != before


def test_without_the_gateway_it_reads_and_changes_nothing(server: Caudal) -> None:
    supervisor, gateway = server.pid("supervisor"), server.pid("ganesha")
    assert supervisor is not None
    assert gateway is not None
    with client(server, token_of(server, "admin")) as admin:
        assert admin.get("journal").json()["gateway_down"] is None
        # The supervisor would start it again within a moment.
        os.kill(supervisor, signal.SIGSTOP)
        try:
            kill(gateway)
            wait_until(lambda: admin.get("journal").json()["gateway_down"] is not None, "it notices")
            refused = admin.post("journal/flush")
            assert (refused.status_code, refused.json()["code"]) == (503, "gateway_down")
            assert admin.get("health").json()["read_only"]
            assert "caudal_up 0.0" in admin.get("metrics").text
        finally:
            os.kill(supervisor, signal.SIGCONT)
        wait_until(lambda: admin.get("journal").json()["gateway_down"] is None, "it is back", timeout_s=40)


def test_another_certificate_takes_the_place_of_its_own(server: Caudal, disk_path: Path) -> None:
    certificate, key = tls.ensure(
        disk_path,
        "nas.example",
        lambda: datetime.datetime.now(datetime.UTC),  # noqa: TID251
    )
    files = {"--admin-certificate": certificate, "--admin-certificate-key": key}
    server.cli("down")
    server.options = (*server.options, *(str(word) for pair in files.items() for word in pair))
    server.start()
    served = ssl.get_server_certificate(("localhost", server.admin_port))
    assert served.strip() == certificate.read_text().strip()
