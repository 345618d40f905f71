"""The file `clients` of a journal mirror: Ganesha's recovery records, which are names of directories and of files without
content. docs/formats/journal.md describes it.
"""

import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, cast

NAME: Final = "clients"
FORMAT: Final = 1
MAX_BYTES: Final = 64 << 20


def collect(root: Path) -> list[str]:
    """Paths of all records below a recovery root, relative to it; directories end in a slash."""
    found: list[str] = []
    for top in sorted(root.glob("v4*")):
        paths = (top, *sorted(top.rglob("*")))
        found.extend(str(path.relative_to(root)) + ("/" if path.is_dir() else "") for path in paths)
    return found


def encode(fs_id: bytes, records: Iterable[str]) -> bytes:
    """One line of JSON and the checksum of it in the next."""
    body = json.dumps({"format": FORMAT, "fs_id": fs_id.hex(), "records": list(records)}).encode()
    return body + b"\n%08x\n" % zlib.crc32(body)


def decode(data: bytes, fs_id: bytes) -> list[str] | None:
    """The records; None where the bytes are damaged, of another file system or of a newer version."""
    body, _, rest = data.partition(b"\n")
    if rest.strip() != b"%08x" % zlib.crc32(body):
        return None
    try:
        fields: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    found = cast("dict[str, object]", fields)
    records = found.get("records")
    if found.get("format") != FORMAT or found.get("fs_id") != fs_id.hex() or not isinstance(records, list):
        return None
    names = [str(name) for name in cast("list[object]", records)]
    return names if all(_is_below(name) for name in names) else None


def _is_below(name: str) -> bool:
    parts = Path(name).parts
    return name.startswith("v4") and ".." not in parts and "\0" not in name


def restore(root: Path, mirrors: Iterable[Path], fs_id: bytes) -> int:
    """Makes the records of a mirror below a recovery root that has none; returns how many. Raises OSError."""
    if any(root.glob("v4*")):
        return 0
    for mirror in mirrors:
        try:
            with (mirror / NAME).open("rb") as file:
                records = decode(file.read(MAX_BYTES), fs_id)
        except OSError:
            continue
        if not records:
            continue
        for name in records:
            path = root / name
            if name.endswith("/"):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            else:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.touch(mode=0o600)
        return len(records)
    return 0
