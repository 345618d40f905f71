#!/usr/bin/env python3
"""What an appliance costs in a month or for some hours, by size, from Azure's public price list (no account is needed).

    estimate.py REGION [--size Standard_L8as_v3 …] [--hours 730] [--stored-gb 10000] [--journal-gib 256]
                       [--storage-sku Standard_ZRS] [--writes 0] [--reads 0] [--currency USD] [--json]

REGION as Azure writes it (westeurope). Disks and storage are charged while they are there, the machine while it runs:
--hours is how long both are, out of 730 in a month. --writes and --reads: requests of the container. What the price list
lacks is named, and the sum then says that it is too small. Not in it: traffic, the monitor workspace, discounts.
"""

import argparse
import json
import sys
import urllib.parse
import urllib.request
from typing import Any, NamedTuple

PRICES = "https://prices.azure.com/api/retail/prices"
SIZES = ("Standard_L8as_v3", "Standard_L16as_v3", "Standard_L32as_v3")
HOURS_IN_MONTH = 730
PAGES_MAX = 50
TIMEOUT_S = 30
# Premium SSD is charged by the next of these sizes.
TIERS_GIB = {
    4: "P1", 8: "P2", 16: "P3", 32: "P4", 64: "P6", 128: "P10", 256: "P15",
    512: "P20", 1024: "P30", 2048: "P40", 4096: "P50",
}  # fmt: skip
REDUNDANCY = ("Standard_LRS", "Standard_ZRS", "Standard_GZRS")
JOURNAL_DISKS = 2
# Prices of the same machine under other terms.
OTHER_TERMS = ("spot", "low priority", "windows", "dedicated", "cloudservices")


class Part(NamedTuple):
    """One thing that is charged: which prices are its own, and how many of their units it takes."""

    name: str
    conditions: dict[str, str]  # of the price list's filter
    meter: str  # what the meter's name has to be; empty: any that is no spot, low-priority or Windows price
    units: float
    per: dict[str, float]  # units of measure as the list calls them, and how many of ours one is


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


class EstimateError(Exception):
    """What went wrong, for people."""


def parts(arguments: argparse.Namespace, size: str) -> list[Part]:
    months = arguments.hours / HOURS_IN_MONTH
    redundancy = arguments.storage_sku.removeprefix("Standard_")
    tier = TIERS_GIB[min(gib for gib in TIERS_GIB if gib >= arguments.journal_gib)]
    storage = {
        "serviceName": "Storage",
        "productName": "General Block Blob v2",
        "skuName": f"Hot {redundancy}",
    }
    disk = {"serviceName": "Storage", "productName": "Premium SSD Managed Disks", "skuName": f"{tier} ZRS"}
    found = [
        Part(
            "machine",
            {"serviceName": "Virtual Machines", "armSkuName": size},
            "",
            arguments.hours,
            {"1 Hour": 1},
        ),
        Part("journal disks", disk, f"{tier} ZRS Disk", JOURNAL_DISKS * months, {"1/Month": 1}),
        Part(
            "data stored",
            storage,
            f"Hot {redundancy} Data Stored",
            arguments.stored_gb * months,
            {"1 GB/Month": 1},
        ),
        Part(
            "private endpoint",
            {"serviceName": "Virtual Network", "productName": "Virtual Network Private Link"},
            "Standard Private Endpoint",
            arguments.hours,
            {"1 Hour": 1},
        ),
    ]
    for name, meter, amount in (("writes", "Write", arguments.writes), ("reads", "Read", arguments.reads)):
        if amount:
            found.append(
                Part(name, storage, f"Hot {redundancy} {meter} Operations", amount, {"10K": 1e4, "1": 1.0})
            )
    return found


def is_same_place(url: str, base: str) -> bool:
    """Whether both ask one server for one path: Azure's list writes the port of its further pages out."""
    ports = {"https": 443, "http": 80}
    both = [urllib.parse.urlsplit(each) for each in (url, base)]
    first, second = ((one.scheme, one.hostname, one.port or ports.get(one.scheme), one.path) for one in both)
    return first == second


def items(base: str, conditions: dict[str, str], currency: str) -> list[dict[str, Any]]:
    """All prices that fit; raises EstimateError."""
    wanted = " and ".join(f"{key} eq '{value}'" for key, value in conditions.items())
    query = {"api-version": "2023-01-01-preview", "currencyCode": f"'{currency}'", "$filter": wanted}
    url, found = f"{base}?{urllib.parse.urlencode(query)}", []
    for _ in range(PAGES_MAX):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - the price list's address, or the operator's
                page = json.load(answer)
            found += page["Items"]
            following = page.get("NextPageLink")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EstimateError(
                f"the price list does not answer as it should: {error}; see to the way to {base}"
            ) from error
        if not following:
            return found
        if not is_same_place(following, base):
            raise EstimateError(f"the price list goes on elsewhere, at {following[:100]}")
        url = following
    raise EstimateError(f"more than {PAGES_MAX} pages of prices for {wanted}")


def _names(price: dict[str, Any]) -> str:
    return " ".join(str(price.get(key, "")) for key in ("skuName", "productName", "meterName")).lower()


def cost(part: Part, prices: list[dict[str, Any]]) -> float | None:
    """What a part costs; None: the list has no price for it, or several that differ. Prices may come in steps."""
    fitting = [
        one for one in prices if one.get("type") == "Consumption" and one.get("unitOfMeasure") in part.per
    ]
    if part.meter:
        fitting = [one for one in fitting if str(one.get("meterName", "")).lower() == part.meter.lower()]
    else:
        fitting = [one for one in fitting if not any(mark in _names(one) for mark in OTHER_TERMS)]
    if len({one.get("unitOfMeasure") for one in fitting}) != 1:
        return None
    steps = {(float(one.get("tierMinimumUnits") or 0), float(one["retailPrice"])) for one in fitting}
    begins = [begin for begin, _ in sorted(steps)]
    if len(set(begins)) != len(begins) or begins[0] != 0:
        return None
    units, total = part.units / part.per[fitting[0]["unitOfMeasure"]], 0.0
    for (begin, price), end in zip(sorted(steps), [*begins[1:], float("inf")], strict=True):
        total += max(0.0, min(units, end) - begin) * price
    return total


def estimate(arguments: argparse.Namespace, size: str) -> dict[str, float | None]:
    """What each part costs with a machine of this size, as of `cost`."""
    found: dict[str, float | None] = {}
    for part in parts(arguments, size):
        conditions = {"armRegionName": arguments.region, **part.conditions}
        found[part.name] = cost(part, items(arguments.prices, conditions, arguments.currency))
    return found


def show(found: dict[str, dict[str, float | None]], arguments: argparse.Namespace) -> None:
    names = list(next(iter(found.values())))
    say(f"{arguments.region}, {arguments.hours:g} hours, {arguments.currency}")
    say("  ".join(["size".ljust(20), *(name.rjust(16) for name in names), "sum".rjust(12)]))
    for size, costs in found.items():
        known = [value for value in costs.values() if value is not None]
        cells = ["?".rjust(16) if costs[name] is None else f"{costs[name]:16,.2f}" for name in names]
        total = f"{sum(known):,.2f}" + ("" if len(known) == len(names) else "+?")
        say("  ".join([size.ljust(20), *cells, total.rjust(12)]))
    lacking = sorted({name for costs in found.values() for name, value in costs.items() if value is None})
    if lacking:
        say(
            f"No price was found for: {', '.join(lacking)}. Look these up in Azure's calculator; the sum is without them."
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("region")
    parser.add_argument("--size", action="append", default=[])
    parser.add_argument("--journal-gib", type=int, default=256)
    amounts = {"hours": float(HOURS_IN_MONTH), "stored-gb": 10_000.0, "writes": 0.0, "reads": 0.0}
    for name, default in amounts.items():
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--storage-sku", choices=REDUNDANCY, default="Standard_ZRS")
    parser.add_argument("--currency", default="USD")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--prices", default=PRICES, help="another address of the price list")
    arguments = parser.parse_args()
    if not all(letter.isalnum() for letter in arguments.region):
        parser.error(f"{arguments.region!r} is no region: westeurope, eastus2")
    if not 0 < arguments.journal_gib <= max(TIERS_GIB):
        parser.error(f"--journal-gib: from 1 to {max(TIERS_GIB)}")
    if min(arguments.hours, arguments.stored_gb, arguments.writes, arguments.reads) < 0:
        parser.error("amounts cannot be below 0")
    try:
        found = {size: estimate(arguments, size) for size in arguments.size or SIZES}
    except EstimateError as error:
        sys.stderr.write(f"estimate: {error}\n")
        return 1
    if arguments.json:
        say(json.dumps({"currency": arguments.currency, "hours": arguments.hours, "sizes": found}, indent=1))
    else:
        show(found, arguments)
    return 0 if all(value is not None for costs in found.values() for value in costs.values()) else 3


if __name__ == "__main__":
    sys.exit(main())
