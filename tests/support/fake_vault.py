"""A key of Azure Key Vault, and the managed identity that asks for it: their REST over HTTPS on loopback, with real RSA.

Nothing of Azure runs here; what it answers follows the published REST (get key, wrapkey and unwrapkey of api-version 7; App
Service's identity endpoint for tokens). The SDK that talks to it is the one in use, with its checks of the challenge and the
certificate.
"""

import base64
import datetime
import ipaddress
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

TOKEN = "a-token-of-the-machine"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class FakeVault:
    """Serves while the context lasts. `refuse`: the status that all operations with keys get."""

    def __init__(self, directory: Path) -> None:
        self._certificate = directory / "vault.pem"
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.refuse: int | None = None
        self.versions: dict[str, rsa.RSAPrivateKey] = {}
        self.asked: list[str] = []
        self.new_version()

    def new_version(self) -> str:
        """As a rotation in the vault does; the older versions go on unwrapping."""
        name = f"{len(self.versions) + 1:032x}"
        self.versions[name] = rsa.generate_private_key(65537, 2048)
        return name

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/keys/caudal"

    @property
    def env(self) -> dict[str, str]:
        """For a program that finds its identity and the vault here."""
        return {
            "IDENTITY_ENDPOINT": f"https://127.0.0.1:{self.port}/identity",
            "IDENTITY_HEADER": "secret",
            "REQUESTS_CA_BUNDLE": str(self._certificate),
        }

    def __enter__(self) -> Self:
        vault = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                vault._answer(self, {})

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                vault._answer(self, json.loads(self.rfile.read(length) or b"{}"))

            def log_message(self, format: str, *args: object) -> None:
                """Tells nobody."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_certificate(self._certificate))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """From then on nobody listens there."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _answer(self, request: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        path = urlsplit(request.path).path.strip("/").split("/")
        self.asked.append(path[-1])
        if path == ["identity"]:
            good = request.headers.get("X-IDENTITY-HEADER") == "secret"
            token = {"access_token": TOKEN, "expires_on": "4102444800", "token_type": "Bearer"}
            _reply(request, 200 if good else 401, token if good else {})
        elif request.headers.get("Authorization") != f"Bearer {TOKEN}":
            # The SDK accepts a challenge only for a domain that the vault's address ends with.
            challenge = f'Bearer authorization="https://127.0.0.1:{self.port}/tenant", resource="https://0.0.1:{self.port}"'
            _reply(request, 401, {}, {"WWW-Authenticate": challenge})
        elif self.refuse:
            _reply(request, self.refuse, {"error": {"code": "Refused", "message": "the vault refuses"}})
        else:
            _reply(request, *self._operation(path, body))

    def _operation(self, path: list[str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        _, name, *rest = path
        action = rest.pop() if rest and rest[-1].endswith("key") else "get"
        version = rest[0] if rest else list(self.versions)[-1]
        key = self.versions.get(version)
        if name != "caudal" or key is None:
            return 404, {"error": {"code": "KeyNotFound", "message": "no such key"}}
        kid = f"{self.url}/{version}"
        public = key.public_key()
        if action == "get":
            numbers = public.public_numbers()
            jwk = {
                "kid": kid,
                "kty": "RSA",
                "key_ops": ["wrapKey", "unwrapKey"],
                "n": _text(numbers.n.to_bytes(256)),
                "e": _text(numbers.e.to_bytes(3)),
            }
            return 200, {"key": jwk, "attributes": {"enabled": True}}
        value = base64.urlsafe_b64decode(body["value"] + "==")
        try:
            done = public.encrypt(value, OAEP) if action == "wrapkey" else key.decrypt(value, OAEP)
        except ValueError:
            return 400, {"error": {"code": "BadParameter", "message": "the value cannot be unwrapped"}}
        return 200, {"kid": kid, "value": _text(done)}


def _reply(
    request: BaseHTTPRequestHandler, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
) -> None:
    data = json.dumps(body).encode()
    request.send_response(status)
    for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _certificate(path: Path) -> Path:
    """One for 127.0.0.1, with its key, in a file; made once."""
    if path.exists():
        return path
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
