"""The effective configuration: what the operator's file says, and for the rest what this machine has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from appliance.firstboot.data_disks import SHELF
from appliance.firstboot.layout import Layout
from gateway import config as configuration
from gateway.config import Config
from gateway.config_cache import MIN_SHELF_BYTES, Shelf
from gateway.config_values import GIB, MIB, to_toml
from gateway.errors import ConfigError

# A port of its own for the firewall to let through.
NLM_PORT: Final = 32803
_JOURNAL_SHARE: Final = 0.5
_SHELF_SHARE: Final = 0.9
_SEGMENTS_MIN: Final = 4


def read(file: Path, below: Mapping[str, tuple[object, str]] | None = None) -> Config:
    """The operator's file, over what the instance's metadata says (`below`). Raises ConfigError, also for none of them."""
    if file.exists():
        return configuration.load(file, below=below)
    if below:
        return configuration.load(below=below)
    raise ConfigError(
        f"there is no {file} yet",
        "bring it by user data (a write_files entry of cloud-init), or write it and wait half a minute",
    )


def derived(
    given: Config, layout: Layout, mounts: Mapping[str, Path], sizes: Mapping[str, int], memory_bytes: int
) -> dict[str, object]:
    """Values for keys that the operator did not give.

    mounts: where each label's disk is mounted, or would be; sizes: bytes of its file system, of those that are there.
    A mirror whose disk is away is named like the others: the server shows it as lost, and takes it back when it returns.
    """
    journals = [use.label for use in layout.journals]
    everything = sorted([*journals, *layout.missing])
    found: dict[str, object] = {
        "journal": tuple(mounts[label] / "journal" for label in everything),
        "journal_limit_bytes": _rounded(min(sizes[label] for label in journals) * _JOURNAL_SHARE),
        "nlm_port": NLM_PORT,
        "l1_bytes": l1_bytes(memory_bytes),
        **_shelves(given, layout, mounts, sizes),
    }
    found["segment_bytes"] = _segment(int(str(found["journal_limit_bytes"])))
    if layout.store is not None:
        found["store"] = f"file://{mounts[layout.store.label] / 'files'}"
    return {key: value for key, value in found.items() if key not in given.explicit}


def _shelves(
    given: Config, layout: Layout, mounts: Mapping[str, Path], sizes: Mapping[str, int]
) -> dict[str, object]:
    """Each cache disk as a shelf. Where the operator says how much the cache on disk holds in all, it is on the first."""
    dirs = {use.label: mounts[use.label] / SHELF for use in layout.shelves}
    if "l2_bytes" in given.explicit and dirs:
        return {"l2_dir": next(iter(dirs.values()))}
    if {"shelf", "l2_dir", "l2_bytes"} & given.explicit:
        return {}
    room = {label: _rounded(sizes[label] * _SHELF_SHARE) for label in dirs}
    shelves = tuple(
        Shelf(path, room[label]) for label, path in dirs.items() if room[label] >= MIN_SHELF_BYTES
    )
    return {"shelf": shelves, "l2_bytes": 0}


def l1_bytes(memory_bytes: int) -> int:
    """A third of the memory where there is enough for all else; little machines keep the general rule, an eighth."""
    share = memory_bytes // 3 if memory_bytes >= 4 * GIB else memory_bytes // 8
    return max(64 * MIB, share // MIB * MIB)


def _rounded(number: float) -> int:
    return int(number) // MIB * MIB


def _segment(limit_bytes: int) -> int:
    """The usual 64 MiB; less where the journal could not hold some of them."""
    segment = 64 * MIB
    while segment > 4 * MIB and limit_bytes < _SEGMENTS_MIN * segment:
        segment //= 2
    return segment


def text(given: Config, values: Mapping[str, object]) -> str:
    """The effective file. The admin service is a unit of its own in the appliance, so the server starts none."""
    own = {"admin_certificate", "admin_certificate_key"}
    keys = dict(values) | {key: getattr(given, key) for key in given.explicit - own} | {"admin_port": 0}
    lines = [f"{key} = {to_toml(keys[key])}\n" for key in configuration.KEYS if key in keys]
    head = "# Written by first boot at each boot; /etc/caudal/caudal.toml is the file to change.\n"
    return head + "".join(lines)
