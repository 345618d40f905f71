"""The gateway's figures for Prometheus. Names and meanings: docs/admin.md."""

from collections.abc import Iterable
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MIRROR_HEALTHY: Final = "healthy"
STORE_STATES: Final = ("ok", "throttled", "unreachable", "failing", "refused")

# Name, help, and where the figure stands in the status.
GAUGES: Final = (
    ("caudal_journal_bytes", "Bytes that the journal takes.", "journal.bytes"),
    ("caudal_journal_limit_bytes", "Most that the journal may take.", "journal.limit_bytes"),
    (
        "caudal_journal_oldest_unflushed_seconds",
        "Age of the oldest write not in the store.",
        "journal.oldest_unflushed_s",
    ),
    ("caudal_dirty_bytes", "Written bytes that are not in the store yet.", "flush.dirty_bytes"),
    ("caudal_dirty_inodes", "Files with such bytes.", "flush.dirty_inodes"),
    ("caudal_cache_pinned_blocks", "Blocks that are pinned.", "cache.pinned_blocks"),
    ("caudal_namespace_inodes", "Files and directories.", "namespace.inodes"),
    ("caudal_namespace_bytes", "Bytes of all files.", "namespace.bytes"),
    ("caudal_quotas", "Directories with limits.", "quotas.trees"),
    ("caudal_quotas_over_soft", "Of these, above a soft limit.", "quotas.over_soft"),
    ("caudal_quotas_nearly_full", "Of these, above nine tenths of a hard limit.", "quotas.nearly_full"),
    ("caudal_quotas_full", "Of these, at a hard limit.", "quotas.full"),
)
COUNTERS: Final = (
    ("caudal_journal_commits", "Group commits of the journal.", "journal.commits"),
    ("caudal_reads", "Reads by clients.", "io.reads"),
    ("caudal_writes", "Writes by clients.", "io.writes"),
    ("caudal_commits", "Commits by clients.", "io.commits"),
    ("caudal_cache_bad_blocks", "Blocks whose checksum was wrong.", "cache.bad_blocks"),
    ("caudal_cache_unreadable_blocks", "Blocks that could not be read.", "cache.unreadable_blocks"),
    ("caudal_store_received_bytes", "Bytes read from the store.", "objects.get_bytes"),
    ("caudal_store_sent_bytes", "Bytes written to the store.", "objects.put_bytes"),
    ("caudal_store_errors", "Requests to the store that failed.", "objects.errors"),
    ("caudal_store_retries", "Requests to the store that were repeated.", "objects.retries"),
)
SHELF_STATES: Final = ("ok", "draining", "full", "failed")
SHELF_GAUGES: Final = (("bytes", "Bytes held."), ("capacity_bytes", "Most bytes held."))
SHELF_COUNTERS: Final = (
    ("hits", "Blocks found."),
    ("errors", "Failures of its disk."),
    ("damaged_blocks", "Blocks that did not fit their checksums any more."),
)
LATENCIES: Final = (
    ("read", "io.read_us"),
    ("write", "io.write_us"),
    ("commit", "io.commit_us"),
    ("journal_commit", "journal.commit_us"),
    ("store_get", "objects.get_us"),
    ("store_put", "objects.put_us"),
)


def at(status: dict[str, Any], path: str) -> float | None:
    """The figure at a dotted path; None where there is none."""
    found: Any = status
    for word in path.split("."):
        found = found.get(word) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return float(found) if isinstance(found, int | float) else None


class _Figures(Collector):
    def __init__(self, status: dict[str, Any], *, up: bool, version: str) -> None:
        self._status = status
        self._up = up
        self._version = version

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("caudal_up", "1 while the gateway answers.", value=float(self._up))
        info = GaugeMetricFamily("caudal_build_info", "The version.", labels=["version"])
        info.add_metric([self._version], 1.0)
        yield info
        # Figures of a gateway that is gone would look like a flat line of good health.
        if self._up:
            yield from self._plain()
            yield from self._latencies()
            yield from self._labelled()

    def _plain(self) -> Iterable[Metric]:
        for name, text, path in GAUGES:
            if (value := at(self._status, path)) is not None:
                yield GaugeMetricFamily(name, text, value=value)
        for name, text, path in COUNTERS:
            if (value := at(self._status, path)) is not None:
                yield CounterMetricFamily(name, text, value=value)

    def _latencies(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "caudal_latency_seconds", "Quantiles since the start.", labels=["operation", "quantile"]
        )
        for operation, path in LATENCIES:
            for word, quantile in (("p50", "0.5"), ("p99", "0.99")):
                if (value := at(self._status, f"{path}_{word}")) is not None:
                    family.add_metric([operation, quantile], value / 1e6)
        yield family

    def _labelled(self) -> Iterable[Metric]:
        status = self._status
        mirrors = GaugeMetricFamily("caudal_mirror_healthy", "1 for a healthy mirror.", labels=["path"])
        for mirror in status.get("journal", {}).get("mirrors", []):
            mirrors.add_metric([mirror["path"]], float(mirror["state"] == MIRROR_HEALTHY))
        yield mirrors
        fullest = GaugeMetricFamily(
            "caudal_quota_used_ratio", "Share of the hard limit that is used, of the fullest.", labels=["id"]
        )
        for tree in status.get("quotas", {}).get("fullest", []):
            fullest.add_metric([str(tree["id"])], tree["share"])
        yield fullest
        state = status.get("store", {}).get("state")
        store = GaugeMetricFamily(
            "caudal_store_state", "1 for the state that the store is in.", labels=["state"]
        )
        for name in STORE_STATES:
            store.add_metric([name], float(name == state))
        yield store
        requests = CounterMetricFamily("caudal_store_requests", "Requests to the store.", labels=["kind"])
        for kind in ("get", "put", "delete", "head", "list"):
            if (value := at(status, f"objects.{kind}s")) is not None:
                requests.add_metric([kind], value)
        yield requests
        for name, text in (
            ("hits", "Blocks found."),
            ("misses", "Blocks not found."),
            ("errors", "Failures."),
        ):
            family = CounterMetricFamily(f"caudal_cache_{name}", text, labels=["tier"])
            for tier in ("l1", "l2"):
                if (value := at(status, f"cache.{tier}.{name}")) is not None:
                    family.add_metric([tier], value)
            yield family
        for name, text in (("bytes", "Bytes held."), ("capacity_bytes", "Most bytes held.")):
            sizes = GaugeMetricFamily(f"caudal_cache_{name}", text, labels=["tier"])
            for tier in ("l1", "l2"):
                if (value := at(status, f"cache.{tier}.{name}")) is not None:
                    sizes.add_metric([tier], value)
            yield sizes
        yield from self._shelves()

    def _shelves(self) -> Iterable[Metric]:
        shelves: list[dict[str, Any]] = self._status.get("cache", {}).get("shelves", [])
        states = GaugeMetricFamily(
            "caudal_shelf_state", "1 for the state that the shelf is in.", labels=["path", "state"]
        )
        for shelf in shelves:
            for state in SHELF_STATES:
                states.add_metric([shelf["path"], state], float(shelf["state"] == state))
        yield states
        for name, text in SHELF_GAUGES:
            family = GaugeMetricFamily(f"caudal_shelf_{name}", text, labels=["path"])
            for shelf in shelves:
                family.add_metric([shelf["path"]], float(shelf[name]))
            yield family
        for name, text in SHELF_COUNTERS:
            counted = CounterMetricFamily(f"caudal_shelf_{name}", text, labels=["path"])
            for shelf in shelves:
                counted.add_metric([shelf["path"]], float(shelf[name]))
            yield counted


def expose(status: dict[str, Any], *, up: bool, version: str) -> bytes:
    """The text that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(_Figures(status, up=up, version=version))
    return generate_latest(registry)
