"""Logging: JSON lines in files, and never a reason to fail."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from gateway import log


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_records_of_ours_and_of_libraries_are_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "log" / "x.log"
    file = log.configure("info", path)
    structlog.get_logger().debug("unseen")
    structlog.get_logger().info("seen", path=tmp_path)
    logging.getLogger("library").warning("odd %s", "thing")
    try:
        raise ValueError("inside")
    except ValueError:
        structlog.get_logger().exception("failed")
    file.close()
    first, second, third = lines(path)
    assert (first["event"], first["level"], first["path"]) == ("seen", "info", str(tmp_path))
    assert (second["event"], second["logger"]) == ("odd thing", "library")
    assert "ValueError: inside" in str(third["exception"])


def test_a_full_disk_costs_lines_and_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    log.configure("info", stream=stream)
    full = True

    def write(text: str) -> int:
        if full:
            raise OSError(28, "No space left on device")
        return io.StringIO.write(stream, text)

    monkeypatch.setattr(stream, "write", write)
    structlog.get_logger().info("one")
    structlog.get_logger().info("two")
    full = False
    structlog.get_logger().info("three")
    structlog.get_logger().info("four")
    said = stream.getvalue()
    assert "one" not in said
    assert '"lines": 2' in said
    assert said.index("log.lost") < said.index("three") < said.index("four")
    assert said.count("log.lost") == 1
    stream.close()
    structlog.get_logger().info("five")
