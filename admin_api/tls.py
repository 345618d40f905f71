"""The certificate that the service makes for itself, until it is given another."""

import datetime
import ipaddress
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_DAYS: Final = 825
RENEW_DAYS: Final = 30


def ensure(directory: Path, hostname: str, now: Callable[[], datetime.datetime]) -> tuple[Path, Path]:
    """Certificate and key (PEM) in the directory: those that are there, or new ones where there are none, or they
    end within RENEW_DAYS. A crash between the two files leaves a pair that does not fit: it is made anew.
    """
    certificate_file, key_file = directory / "tls.crt", directory / "tls.key"
    if not _usable(certificate_file, key_file, now()):
        certificate, key = _make(hostname, now())
        for file, data in ((key_file, key), (certificate_file, certificate)):
            _write(file, data)
    return certificate_file, key_file


def _usable(certificate_file: Path, key_file: Path, now: datetime.datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return False
    fits = certificate.public_key() == key.public_key()
    return fits and certificate.not_valid_after_utc - now > datetime.timedelta(days=RENEW_DAYS)


def _make(hostname: str, now: datetime.datetime) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    # A common name has at most 64 characters.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (hostname or "caudal")[:64])])
    names: list[x509.GeneralName] = [
        x509.DNSName(one) for one in dict.fromkeys((hostname or "caudal", "localhost"))
    ]
    names += [x509.IPAddress(ipaddress.ip_address(one)) for one in ("127.0.0.1", "::1")]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), secret


def _write(file: Path, data: bytes) -> None:
    temporary = file.with_suffix(file.suffix + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(file)
