"""Keys that lie in a key file only as Azure Key Vault has wrapped them: whoever has the file alone cannot read anything.

The vault's RSA key never leaves it; it wraps and unwraps 32 bytes by RSA-OAEP with SHA-256 (RFC 8017, 7.1). It is asked at
a start and at a rotation, by the default credential: the managed identity, a service principal or the Azure CLI.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from gateway.errors import Reason, StartError

if TYPE_CHECKING:
    from azure.keyvault.keys.crypto import CryptographyClient

ALGORITHM: Final = "RSA-OAEP-256"
CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 10
RETRIES: Final = 2
_URL: Final = re.compile(r"https://[^/\s?#@]+/keys/[0-9A-Za-z-]+(/[0-9A-Za-z]+)?/?", re.ASCII)
_FORM: Final = "give the key's URL, https://NAME.vault.azure.net/keys/KEY"


@dataclass(frozen=True, slots=True)
class Wrapped:
    """32 bytes as the vault's key wrapped them. `url` names the key and its version."""

    url: str
    algorithm: str
    data: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """What `str` has made; None for anything else."""
        match text.split():
            case [url, algorithm, data] if _URL.fullmatch(url) and algorithm == ALGORITHM:
                try:
                    return cls(url, algorithm, base64.b64decode(data, validate=True))
                except binascii.Error:
                    return None
            case _:
                return None

    def __str__(self) -> str:
        return f"{self.url} {self.algorithm} {base64.b64encode(self.data).decode()}"

    @property
    def key(self) -> str:
        """The URL of the vault's key without its version."""
        return "/".join(self.url.split("/")[:5])


def check_url(url: str) -> str:
    """The URL of a vault's key, as it is used. Raises StartError."""
    if not _URL.fullmatch(url):
        raise StartError(f"{url!r} is no key of Azure Key Vault", _FORM, Reason.KEY_UNUSABLE)
    return url.rstrip("/")


def wrap(secret: bytes, url: str) -> Wrapped:
    """Has the vault's key wrap a secret; by its current version where the URL names none. Raises StartError."""
    from azure.core.exceptions import AzureError

    try:
        with _client(check_url(url)) as client:
            done = client.wrap_key(_algorithm(ALGORITHM), secret)
    except (AzureError, ValueError) as error:
        raise _refused(url, "wrap", error) from error
    # What comes back names the version, which unwrapping needs.
    named = done.key_id or url
    if not _URL.fullmatch(named):
        raise _refused(url, "wrap", ValueError(f"it answered with the key {named!r}"))
    return Wrapped(named.rstrip("/"), ALGORITHM, done.encrypted_key)


def unwrap(wrapped: Wrapped) -> bytes:
    """Has the vault unwrap a secret. Raises StartError, which says what is wrong with the vault."""
    from azure.core.exceptions import AzureError

    try:
        with _client(wrapped.url) as client:
            return client.unwrap_key(_algorithm(wrapped.algorithm), wrapped.data).key
    except (AzureError, ValueError) as error:
        raise _refused(wrapped.url, "unwrap", error) from error


def _client(url: str) -> "CryptographyClient":
    # Imported here: they take half a second, and most key files need no vault.
    from azure.identity import DefaultAzureCredential
    from azure.keyvault.keys.crypto import CryptographyClient

    return CryptographyClient(
        url,
        DefaultAzureCredential(),
        connection_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retry_total=RETRIES,
    )


def _algorithm(name: str):
    from azure.keyvault.keys.crypto import KeyWrapAlgorithm

    return KeyWrapAlgorithm(name)


def _refused(url: str, action: str, error: Exception) -> StartError:
    from azure.core.exceptions import (
        ClientAuthenticationError,
        HttpResponseError,
        ResourceNotFoundError,
        ServiceRequestError,
        ServiceResponseError,
    )

    match error:
        case ResourceNotFoundError():
            hint = "restore the key or the vault (both are kept after a deletion), or correct the URL"
        case ClientAuthenticationError():
            hint = "give this machine a managed identity, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET"
        case ServiceRequestError() | ServiceResponseError():
            hint = "check the network to the vault, its firewall and private endpoint, then start again"
        case HttpResponseError() if error.status_code == 403:
            hint = f"grant the identity the permission to {action} keys (role: Key Vault Crypto Service Encryption User)"
        case _:
            hint = "look at the key in the vault: it must be an RSA key, enabled, and not expired"
    why = str(error).strip().partition("\n")[0].rstrip(".")
    return StartError(f"Azure Key Vault does not {action} with {url}: {why}", hint, Reason.KEY_UNUSABLE)
