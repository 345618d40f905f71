"""Credentials of Azure Blob Storage, from the variables that Azure's own tools use.

In order: AZURE_STORAGE_CONNECTION_STRING (with a key or a shared access signature;
`UseDevelopmentStorage=true` is Azurite), else AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY,
AZURE_STORAGE_SAS_TOKEN or the default credential (managed identity, service principal, Azure CLI). One parser
serves both readers, the SDK here and the native core, so that they never disagree.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from gateway.errors import Reason, StartError

CONNECTION_STRING: Final = "AZURE_STORAGE_CONNECTION_STRING"
ACCOUNT_VARIABLES: Final = ("AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME")
KEY_VARIABLES: Final = ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY")
SAS_VARIABLES: Final = ("AZURE_STORAGE_SAS_TOKEN",)
ENDPOINT_VARIABLES: Final = ("AZURE_STORAGE_BLOB_ENDPOINT",)

# Azurite's account is the same everywhere and protects nothing.
AZURITE_ACCOUNT: Final = "devstoreaccount1"
AZURITE_KEY: Final = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
AZURITE_PORT: Final = 10000

# What the default credential reads from the environment, by the names that the native core gives it.
IDENTITY_OPTIONS: Final = {
    "AZURE_CLIENT_ID": "azure_storage_client_id",
    "AZURE_CLIENT_SECRET": "azure_storage_client_secret",
    "AZURE_TENANT_ID": "azure_storage_tenant_id",
    "AZURE_AUTHORITY_HOST": "azure_storage_authority_host",
    "AZURE_FEDERATED_TOKEN_FILE": "azure_federated_token_file",
    "AZURE_USE_AZURE_CLI": "azure_use_azure_cli",
}


@dataclass(frozen=True, slots=True)
class AzureCredentials:
    """An account's endpoint, and a key, a shared access signature, or neither for the default credential."""

    account: str
    endpoint: str
    key: str | None = field(default=None, repr=False)
    sas: str | None = field(default=None, repr=False)
    identity: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def core_options(self) -> dict[str, str]:
        """The same for the native core's client."""
        options = {"azure_storage_account_name": self.account}
        if self.endpoint != _endpoint("https", self.account, "core.windows.net"):
            options["azure_storage_endpoint"] = self.endpoint
        if self.endpoint.startswith("http://"):
            options["azure_allow_http"] = "true"
        if self.key is not None:
            options["azure_storage_account_key"] = self.key
        elif self.sas is not None:
            options["azure_storage_sas_key"] = self.sas
        else:
            options.update(self.identity)
        return options


def azure_credentials(env: Mapping[str, str]) -> AzureCredentials:
    """The credentials that the environment holds. Raises StartError for none, or for one that cannot be
    right.
    """
    if text := env.get(CONNECTION_STRING, "").strip():
        return parse_connection_string(text)
    account = _first(env, ACCOUNT_VARIABLES)
    if not account:
        raise _refused(
            "no credential for Azure Blob Storage was found",
            f"set {CONNECTION_STRING}, or {ACCOUNT_VARIABLES[0]} for the default Azure credential",
        )
    endpoint = _first(env, ENDPOINT_VARIABLES) or _endpoint("https", _account(account), "core.windows.net")
    key = _first(env, KEY_VARIABLES)
    sas = _first(env, SAS_VARIABLES)
    identity = {option: env[name] for name, option in IDENTITY_OPTIONS.items() if env.get(name)}
    return AzureCredentials(
        account, endpoint.rstrip("/"), _key(key), _sas(sas) if not key else None, identity
    )


def parse_connection_string(text: str) -> AzureCredentials:
    """The credentials in a connection string. Raises StartError where parts are missing or malformed."""
    parts: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        name, found, value = part.partition("=")
        if not found:
            raise _refused(f"{CONNECTION_STRING} is malformed: a part has no `=`", _COPY)
        parts[name.strip().lower()] = value.strip()
    if parts.get("usedevelopmentstorage", "").lower() == "true":
        proxy = parts.get("developmentstorageproxyuri", "http://127.0.0.1").rstrip("/")
        return AzureCredentials(AZURITE_ACCOUNT, f"{proxy}:{AZURITE_PORT}/{AZURITE_ACCOUNT}", AZURITE_KEY)
    endpoint = parts.get("blobendpoint", "").rstrip("/")
    name = parts.get("accountname") or _account_of(endpoint)
    if not name:
        raise _refused(f"{CONNECTION_STRING} names no account", _COPY)
    account = _account(name)
    if not endpoint:
        protocol = parts.get("defaultendpointsprotocol", "https").lower()
        endpoint = _endpoint(protocol, account, parts.get("endpointsuffix", "core.windows.net"))
    if not re.match(r"https?://[^/]", endpoint):
        raise _refused(f"{CONNECTION_STRING} has an endpoint that is not a URL", _COPY)
    key = _key(parts.get("accountkey"))
    sas = None if key else _sas(parts.get("sharedaccesssignature"))
    if key is None and sas is None:
        raise _refused(
            f"{CONNECTION_STRING} holds neither AccountKey nor SharedAccessSignature",
            f"{_COPY}; for a managed identity set {ACCOUNT_VARIABLES[0]} alone",
        )
    return AzureCredentials(account, endpoint, key, sas)


_COPY: Final = (
    "copy the whole connection string from the portal or `az storage account show-connection-string`"
)


def _first(env: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((env[name].strip() for name in names if env.get(name, "").strip()), None)


def _endpoint(protocol: str, account: str, suffix: str) -> str:
    return f"{protocol}://{account}.blob.{suffix}"


def _account_of(endpoint: str) -> str | None:
    """The account that an endpoint's host (or, for emulators, path) names."""
    split = urlsplit(endpoint)
    if split.path.strip("/"):
        return split.path.strip("/").split("/")[0]
    return split.hostname.split(".")[0] if split.hostname else None


def _account(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,62}", name):
        raise _refused(
            f"{name!r} is not the name of a storage account", "give 3 to 24 lower-case letters and digits"
        )
    return name


def _key(text: str | None) -> str | None:
    if not text:
        return None
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused("the key of the storage account is not base64", _COPY) from error
    return text


def _sas(text: str | None) -> str | None:
    if not text:
        return None
    token = text.removeprefix("?")
    if "sig=" not in token:
        raise _refused(
            "the shared access signature has no sig= part", "copy the whole token, with its signature"
        )
    return token


def _refused(message: str, hint: str) -> StartError:
    return StartError(message, hint, Reason.STORE_REFUSED)
