"""What Azure says of this machine: the instance metadata service, its user data and tags as configuration.

User data counts that begins with the line `#caudal-config`; TOML follows, with the keys of caudal.toml and a table
`environment`. Tags are `caudal-store`, `caudal-export`, `caudal-clients`, `caudal-storage-account`, `caudal-client-id`.
Everybody on the machine can read both, so no secret is taken from there.
"""

import base64
import binascii
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from appliance.firstboot.instance_service import InstanceError, Service
from gateway.errors import ConfigError

URL_VARIABLE: Final = "CAUDAL_METADATA_URL"
AZURE_URL: Final = "http://169.254.169.254"
ASSET_TAG: Final = Path("/sys/class/dmi/id/chassis_asset_tag")
_AZURE_TAG: Final = "7783-7084-3265-9085-8269-3286-77"
_INSTANCE: Final = "/metadata/instance?api-version=2021-08-01&extended=true"
HEAD: Final = "#caudal-config"
TAG: Final = "caudal-"
# Who may write tags is often not who may log in: what they say is no more than where files are, and for whom.
TAG_KEYS: Final = ("store", "export", "clients")
TAG_VARIABLES: Final = {"storage-account": "AZURE_STORAGE_ACCOUNT", "client-id": "AZURE_CLIENT_ID"}
VARIABLES: Final = (
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_BLOB_ENDPOINT",
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_AUTHORITY_HOST",
)


@dataclass(slots=True)
class Told:
    """keys: values of the configuration, with the place that they come from. environment: variables for the server."""

    keys: dict[str, tuple[object, str]] = field(default_factory=dict[str, tuple[object, str]])
    environment: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])


def service_url(env: Mapping[str, str], asset_tag: Path = ASSET_TAG) -> str | None:
    """Where the metadata service is: as the environment says (empty: nowhere), else at Azure's address in Azure."""
    if (given := env.get(URL_VARIABLE)) is not None:
        return given.strip().rstrip("/") or None
    try:
        tag = asset_tag.read_text().strip()
    except OSError:
        return None
    return AZURE_URL if tag == _AZURE_TAG else None


def ask(service: Service) -> Told:
    """What user data and tags say. Raises InstanceError where the service does not answer, ConfigError for a mistake."""
    status, body = service.wait(_INSTANCE, "the instance metadata service")
    if status != 200:
        raise InstanceError(
            f"the instance metadata service refuses to answer ({status})",
            f"it is asked at {service.url}; is that Azure's?",
        )
    try:
        compute = cast("dict[str, Any]", msgspec.json.decode(body))["compute"]
        user_data: object = compute.get("userData") or ""
        tags: list[dict[str, object]] = compute.get("tagsList") or []
        pairs = [(str(one["name"]), str(one["value"])) for one in tags]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise InstanceError(
            "the instance metadata service answers something else than JSON with `compute`",
            f"it is asked at {service.url}; is that Azure's?",
        ) from error
    told = Told()
    _from_tags(pairs, told)
    _from_user_data(user_data, told)
    return told


def _from_tags(tags: list[tuple[str, str]], told: Told) -> None:
    for name, value in tags:
        # Azure keeps the case of a tag's name and does not tell two by it.
        key = name.lower()
        if not key.startswith(TAG):
            continue
        key = key.removeprefix(TAG)
        if key in TAG_KEYS:
            told.keys[key] = (value, f"tag {name}")
        elif key in TAG_VARIABLES:
            told.environment[TAG_VARIABLES[key]] = value.strip()
        else:
            known = ", ".join(f"{TAG}{one}" for one in (*TAG_KEYS, *TAG_VARIABLES))
            told.notes.append(f"the tag {name} means nothing here; known are {known}")


def _from_user_data(encoded: object, told: Told) -> None:
    place = "the user data of the instance"
    try:
        text = base64.b64decode(str(encoded), validate=True).decode()
    except (binascii.Error, ValueError):
        # Somebody else's: an archive, a script in another encoding.
        return
    head, _, rest = text.partition("\n")
    if head.strip() != HEAD:
        return
    try:
        found = tomllib.loads(rest)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{place} is not valid TOML after {HEAD}: {error}", 'texts need quotes: store = "az://box"'
        ) from error
    environment = found.pop("environment", {})
    if not isinstance(environment, dict):
        raise ConfigError(f"environment is no table (in {place})", "as: [environment]")
    for name, value in cast("dict[str, object]", environment).items():
        if name not in VARIABLES:
            raise ConfigError(
                f"{name} is not taken from {place}",
                f"known are {', '.join(VARIABLES)}; secrets belong into /etc/caudal/environment,"
                " since everybody on the machine can read user data",
            )
        told.environment[name] = str(value)
    told.keys |= {key: (value, place) for key, value in found.items()}
