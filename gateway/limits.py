"""Limits on what clients read and write: what they are, and the file that keeps them."""

import ipaddress
import re
from typing import Final

import msgspec

from gateway import config_values as values
from gateway import kept_file
from gateway.errors import ControlError
from gateway.state import StateDir, write_atomically

REMEDY: Final = "set its limits anew"
FORMAT: Final = 1
MAX_LIMITS: Final = 500
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
MOST: Final = float(1 << 50)
LONGEST_BURST_S: Final = 3600.0
# What a trial may do: enough to look at everything, too little to run on.
TRIAL_NAME: Final = "trial"
TRIAL_BYTES_S: Final = float(64 << 20)
TRIAL_OPS_S: Final = 2000.0
TRIAL_BURST_S: Final = 10.0

RuleTuple = tuple[str, int, bytes, int, float, float, float, float]
"""What `_core.Limits.set` takes."""


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """export: what goes through it, all clients together. client: an address or network, each address for itself. Neither:
    the whole server. Rates a second, 0 for any; burst_s: for how long unused credit may be used at once.
    """

    name: str
    export: str | None = None
    client: str | None = None
    read_bytes_s: float = 0.0
    write_bytes_s: float = 0.0
    ops_s: float = 0.0
    burst_s: float = 1.0
    version: int = 1


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of limits.json."""

    format: int = FORMAT
    limits: tuple[Limit, ...] = ()


def trial() -> Limit:
    """The safety limiter of a trial."""
    return Limit(
        TRIAL_NAME,
        read_bytes_s=TRIAL_BYTES_S,
        write_bytes_s=TRIAL_BYTES_S,
        ops_s=TRIAL_OPS_S,
        burst_s=TRIAL_BURST_S,
    )


def wrong(message: str, hint: str = "") -> ControlError:
    return ControlError("invalid", message, hint)


def parse(fields: object) -> Limit:
    """What was asked for, checked. Raises ControlError (invalid)."""
    try:
        limit = msgspec.convert(fields, Limit, strict=False)
    except msgspec.ValidationError as error:
        raise wrong(f"the limit is not understood: {error}") from None
    if not NAME.fullmatch(limit.name) or limit.name == TRIAL_NAME:
        raise wrong(f"{limit.name[:70]!r} cannot be a name", "give letters, digits, dots and hyphens")
    if limit.export is not None and limit.client is not None:
        raise wrong("a limit is of an export or of clients", "make two limits: both hold")
    rates = (limit.read_bytes_s, limit.write_bytes_s, limit.ops_s)
    if not all(0 <= rate <= MOST for rate in rates) or not any(rates):
        raise wrong("a limit has at least one rate", "give bytes read, bytes written or requests a second")
    if not 0 <= limit.burst_s <= LONGEST_BURST_S:
        raise wrong(f"burst_s: {limit.burst_s} is out of range", f"give 0 to {LONGEST_BURST_S:g} seconds")
    if limit.client is None:
        return limit
    try:
        network = ipaddress.ip_network(limit.client, strict=False)
    except ValueError:
        raise wrong(f"{limit.client[:60]!r} is no address or network", "give 10.0.0.0/8 or fd00::1") from None
    return msgspec.structs.replace(limit, client=str(network))


def rule_of(limit: Limit, export_id: int | None) -> RuleTuple:
    """The rule of the core; export_id: of the export, where it is one's limit."""
    rates = (limit.read_bytes_s, limit.write_bytes_s, limit.ops_s, limit.burst_s)
    if limit.client is not None:
        network = ipaddress.ip_network(limit.client)
        mapped = network.version == 4
        start = int(network.network_address) | (0xFFFF << 32 if mapped else 0)
        prefix = network.prefixlen + (96 if mapped else 0)
        return ("clients", 0, start.to_bytes(16, "big"), prefix, *rates)
    if export_id is not None:
        return ("export", export_id, bytes(16), 0, *rates)
    return ("server", 0, bytes(16), 0, *rates)


def read(state: StateDir) -> Kept:
    """What is kept. Raises StartError for a newer or damaged file."""
    fields = kept_file.read_fields(state.limits_file, FORMAT, REMEDY)
    if fields is None:
        return Kept()
    try:
        kept = msgspec.convert(fields, Kept)
        for limit in kept.limits:
            parse(msgspec.to_builtins(limit))
    except kept_file.DAMAGED as error:
        raise kept_file.damaged(state.limits_file, REMEDY) from error
    return kept


def write(state: StateDir, kept: Kept) -> None:
    """Keeps it; durable when this returns."""
    write_atomically(state.limits_file, msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")


def rate(text: str) -> float:
    """Bytes a second as people write them: 100MiB. Raises WrongValueError."""
    return float(values.size(0)(text))
