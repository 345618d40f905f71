"""The policy by which packs that nobody reads go into cheaper access tiers, and the file that keeps it."""

from typing import Final

import msgspec

from gateway import kept_file
from gateway.errors import ControlError
from gateway.state import StateDir, write_atomically

REMEDY: Final = "set the policy anew"
FORMAT: Final = 1
MAX_DAYS: Final = 3650
MAX_BYTES: Final = 1 << 40


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Days without a read of the store after which packs of at least min_pack_bytes go into a tier; None: never into it.
    Enabled, it is carried out once a day by itself. version: counts its changes.
    """

    enabled: bool = False
    cool_after_days: int | None = 30
    cold_after_days: int | None = None
    min_pack_bytes: int = 1 << 20
    version: int = 0


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of tiering.json."""

    policy: Policy
    format: int = FORMAT


def wrong(message: str, hint: str = "") -> ControlError:
    return ControlError("invalid", message, hint)


def parse(fields: object) -> Policy:
    """What was asked for, checked. Raises ControlError (invalid)."""
    try:
        policy = msgspec.convert(fields, Policy)
    except msgspec.ValidationError as error:
        raise wrong(f"the policy is not understood: {error}") from None
    for name in ("cool_after_days", "cold_after_days"):
        days = getattr(policy, name)
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise wrong(f"{name}: {days} is out of range", f"give 1 to {MAX_DAYS} days, or null for never")
    cool, cold = policy.cool_after_days, policy.cold_after_days
    if cool is not None and cold is not None and cold <= cool:
        raise wrong("packs cannot be cold before they are cool", "give a larger cold_after_days")
    if policy.enabled and cool is None and cold is None:
        raise wrong("the policy does nothing", "give cool_after_days or cold_after_days, or disable it")
    if not 0 <= policy.min_pack_bytes <= MAX_BYTES:
        raise wrong(f"min_pack_bytes: {policy.min_pack_bytes} is out of range", f"give 0 to {MAX_BYTES}")
    return policy


def read(state: StateDir) -> Policy:
    """What is kept. Raises StartError for a newer or damaged file."""
    fields = kept_file.read_fields(state.tiering_file, FORMAT, REMEDY)
    if fields is None:
        return Policy()
    try:
        return parse(msgspec.to_builtins(msgspec.convert(fields, Kept).policy))
    except kept_file.DAMAGED as error:
        raise kept_file.damaged(state.tiering_file, REMEDY) from error


def write(state: StateDir, policy: Policy) -> None:
    """Keeps it; durable when this returns."""
    text = msgspec.json.format(msgspec.json.encode(Kept(policy)), indent=1)
    write_atomically(state.tiering_file, text + b"\n")
