"""Access tiers of packs in the store: Azure's Hot, Cool and Cold. What is in them reads alike; what it costs differs."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import structlog

from gateway.errors import ControlError

log = structlog.get_logger(__name__)
AT_ONCE: Final = 8
"""Requests under way."""


class TierStore(Protocol):
    """A store that has tiers."""

    def set(self, packs: Sequence[int], tier: str) -> list[int]:
        """Puts packs into a tier (hot, cool, cold) and returns those that are in it now; the others were gone. Raises
        ControlError.
        """
        ...

    def close(self) -> None: ...


def has_tiers(url: str) -> bool:
    return not url.startswith("file:")


def no_tiers(url: str) -> ControlError:
    return ControlError(
        "no_tiers",
        f"the store {url} is a directory, and has no access tiers",
        "tiers are those of Azure Blob Storage: az://CONTAINER",
    )


def pack_key(pack: int) -> str:
    """The name of a pack's blob below the store's prefix."""
    return f"packs/{pack & 0xFF:02x}/{pack:016x}"


def open_tiers(url: str, env: Mapping[str, str]) -> TierStore:
    """Nothing is contacted yet. Raises ControlError (no_tiers), and StartError where there is no usable credential."""
    if not has_tiers(url):
        raise no_tiers(url)
    return AzureTiers(url, env)


class AzureTiers:
    """A container, or a prefix of one."""

    def __init__(self, url: str, env: Mapping[str, str]) -> None:
        # Imported here: the SDK takes a second, and most stewards never set a tier.
        from gateway.objects.azure import service_client
        from gateway.objects.credentials import azure_credentials

        container, _, prefix = url.partition("://")[2].partition("/")
        self._prefix = prefix.strip("/")
        self._service = service_client(azure_credentials(env))
        self._container = self._service.get_container_client(container)

    def set(self, packs: Sequence[int], tier: str) -> list[int]:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="tiers") as pool:
            there = list(pool.map(self._set, packs, [tier] * len(packs)))
        return [pack for pack, is_there in zip(packs, there, strict=True) if is_there]

    def _set(self, pack: int, tier: str) -> bool:
        from azure.core.exceptions import AzureError, ResourceNotFoundError

        key = f"{self._prefix}/{pack_key(pack)}".lstrip("/")
        try:
            self._container.get_blob_client(key).set_standard_blob_tier(tier.capitalize())
        except ResourceNotFoundError:
            return False
        except AzureError as error:
            # The SDK's own text may hold addresses and request dumps: it goes to the log only.
            log.warning("tiers.not_set", pack=pack, tier=tier, exc_info=True)
            raise ControlError(
                "tier_refused",
                f"the store did not put a pack into the tier {tier}",
                "not every account and region has every tier; the steward's log says more",
            ) from error
        return True

    def close(self) -> None:
        self._service.close()
