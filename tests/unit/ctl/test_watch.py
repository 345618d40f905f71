"""What the core only counts is told in the log, once for each change."""

from typing import Any

from structlog.testing import capture_logs

from gateway.fsal.watch import Watch


def figures(state: str = "ok", bad: int = 0, unreadable: int = 0, off: str | None = None) -> dict[str, Any]:
    shelves = [
        {"path": "/a", "state": "failed" if off else "ok", "why": off},
        {"path": "/b", "state": "ok", "why": None},
    ]
    store = {"state": state, "reads": state, "writes": "ok", "last_error": "GET was answered 503"}
    cache = {
        "bad_blocks": bad,
        "unreadable_blocks": unreadable,
        "last_bad": "pack 1 block 2",
        "l2": {"off": off},
        "shelves": shelves,
    }
    return {"store": store, "cache": cache}


def test_changes_are_told_once() -> None:
    seen = [
        figures(),
        figures("unreachable"),
        figures("unreachable"),
        figures("refused", bad=1),
        figures(bad=2, unreadable=1, off="full"),
        figures(bad=2, unreadable=1, off="full"),
        figures(bad=2, unreadable=1),
    ]
    watch = Watch(iter(seen).__next__)
    with capture_logs() as lines:
        for _ in seen:
            watch.look()
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("store.trouble", "warning"),
        ("store.trouble", "warning"),
        ("block.fetched_again", "warning"),
        ("store.ok", "info"),
        ("block.unreadable", "error"),
        ("l2.off", "warning"),
        ("shelf.trouble", "warning"),
        ("l2.on", "info"),
        ("shelf.ok", "info"),
    ]
    assert lines[0]["error"] == "GET was answered 503"
    assert lines[4]["error"] == "pack 1 block 2"
