"""The cost estimate, against a price list on the loopback that answers as Azure's documentation says."""

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import pytest

from appliance.azure import estimate
from tests.support.processes import ROOT

ESTIMATE = ROOT / "appliance/azure/estimate.py"


def price(service: str, meter: str, amount: float, unit: str, **more: object) -> dict[str, Any]:
    return {
        "serviceName": service,
        "meterName": meter,
        "retailPrice": amount,
        "unitOfMeasure": unit,
        "armRegionName": "westeurope",
        "type": "Consumption",
        "tierMinimumUnits": 0.0,
        **more,
    }


def prices() -> list[dict[str, Any]]:
    size = {"armSkuName": "Standard_L8as_v3"}
    disks = {"productName": "Premium SSD Managed Disks", "skuName": "P15 ZRS"}
    hot = {"productName": "General Block Blob v2", "skuName": "Hot ZRS"}
    machine, stored = "Virtual Machines", "Hot ZRS Data Stored"
    return [
        price(machine, "L8as v3 Spot", 0.1, "1 Hour", skuName="L8as v3 Spot", productName="Lasv3", **size),
        price(machine, "L8as v3", 9, "1 Hour", skuName="L8as v3", productName="Lasv3 Series Windows", **size),
        price(machine, "L8as v3", 0.5, "1 Hour", skuName="L8as v3", productName="Lasv3 Series", **size),
        price(
            machine,
            "L8as v3",
            3000,
            "1 Hour",
            skuName="L8as v3",
            productName="Lasv3",
            type="Reservation",
            **size,
        ),
        price("Storage", "P15 ZRS Disk", 60, "1/Month", **disks),
        price("Storage", "P15 ZRS Disk Mount", 4, "1/Month", **disks),
        price("Storage", stored, 0.02, "1 GB/Month", **hot),
        price("Storage", stored, 0.01, "1 GB/Month", **{**hot, "tierMinimumUnits": 50_000.0}),
        price("Storage", "Hot ZRS Write Operations", 0.08, "10K", **hot),
        price(
            "Virtual Network",
            "Standard Private Endpoint",
            0.01,
            "1 Hour",
            productName="Virtual Network Private Link",
        ),
    ]


class PriceList:
    """Answers one price a page; `leads_to`: where its pages go on, if not at itself."""

    def __init__(self) -> None:
        self.items = prices()
        self.broken: bytes | None = None
        self.leads_to = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.answer(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/api/retail/prices"

    def answer(self, path: str) -> bytes:
        if self.broken is not None:
            return self.broken
        query = parse_qs(urlsplit(path).query)
        wanted = dict(re.findall(r"(\w+) eq '([^']*)'", query["$filter"][0]))
        fitting = [
            one for one in self.items if all(one.get(key, "") == value for key, value in wanted.items())
        ]
        skip = int(query.get("$skip", ["0"])[0])
        bare = re.sub(r"&\$skip=\d+", "", path)
        following = f"{self.leads_to or self.url}?{urlsplit(bare).query}&$skip={skip + 1}"
        more = skip + 1 < len(fitting)
        return json.dumps(
            {"Items": fitting[skip : skip + 1], "NextPageLink": following if more else None}
        ).encode()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def price_list() -> Iterator[PriceList]:
    with PriceList() as made:
        yield made


def run(price_list: PriceList, *arguments: str, region: str = "westeurope") -> tuple[int, str, str]:
    command = [ESTIMATE, region, "--prices", price_list.url, "--size", "Standard_L8as_v3", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_each_part_is_charged_by_its_own_price(price_list: PriceList) -> None:
    status, out, _ = run(price_list, "--hours", "73", "--stored-gb", "600000", "--writes", "20000", "--json")
    assert status == 0, out
    found = json.loads(out)["sizes"]["Standard_L8as_v3"]
    # A tenth of a month: 60,000 GB-months, of which the first 50,000 cost twice as much.
    assert found == pytest.approx(
        {
            "machine": 36.5,
            "journal disks": 12.0,
            "data stored": 1100.0,
            "private endpoint": 0.73,
            "writes": 0.16,
        }
    )


def test_the_table_has_sizes_and_their_sums(price_list: PriceList) -> None:
    status, out, _ = run(price_list, "--hours", "730", "--stored-gb", "0")
    assert status == 0
    row = out.splitlines()[2].split()
    assert row == ["Standard_L8as_v3", "365.00", "120.00", "0.00", "7.30", "492.30"]


def test_what_has_no_price_is_named_and_the_sum_says_so(price_list: PriceList) -> None:
    price_list.items = [one for one in price_list.items if "Data Stored" not in one["meterName"]]
    status, out, _ = run(price_list)
    assert status == 3
    assert "No price was found for: data stored" in out
    assert "+?" in out


def test_two_prices_for_one_thing_are_no_price(price_list: PriceList) -> None:
    price_list.items.append({**price_list.items[2], "retailPrice": 0.7})
    status, out, _ = run(price_list, "--json")
    assert (status, json.loads(out)["sizes"]["Standard_L8as_v3"]["machine"]) == (3, None)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"Items": 3}', b"<html>"])
def test_an_answer_that_is_no_price_list_is_an_error(price_list: PriceList, body: bytes) -> None:
    price_list.broken = body
    status, _, told = run(price_list)
    assert status == 1
    assert told.startswith("estimate: the price list does not answer as it should")


def test_it_does_not_follow_the_list_to_another_place(price_list: PriceList) -> None:
    price_list.leads_to = "http://127.0.0.1:1/elsewhere"
    status, _, told = run(price_list)
    assert status == 1
    assert "goes on elsewhere" in told


def test_the_lists_own_pages_are_followed_with_their_port_written_out() -> None:
    base = estimate.PRICES
    page = base.replace("prices.azure.com", "prices.azure.com:443") + "?$skip=100"
    assert estimate.is_same_place(page, base)
    for other in (
        page.replace(":443", ":444"),
        page.replace("https", "http"),
        page.replace("azure.com", "azure.com.example"),
        page.replace("/prices?", "/others?"),
    ):
        assert not estimate.is_same_place(other, base), other


@pytest.mark.parametrize(
    "arguments",
    [["--hours", "-1"], ["--journal-gib", "0"], ["--journal-gib", "5000"], ["--storage-sku", "x"]],
)
def test_amounts_that_cannot_be_are_refused(price_list: PriceList, arguments: list[str]) -> None:
    assert run(price_list, *arguments)[0] == 2
    assert run(price_list, region="west' or '")[0] == 2
