"""Keytabs made without a KDC, byte by byte, for tests that need only their form."""

import struct


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text.encode())) + text.encode()


def entry(
    principal: str, realm: str, *, kvno: int = 1, enctype: int = 18, key: bytes = b"k" * 32, wide: bool = True
) -> bytes:
    """One entry with its length. wide: the key's version stands in it a second time, in full."""
    parts = principal.split("/")
    body = struct.pack(">H", len(parts)) + _text(realm) + b"".join(map(_text, parts))
    body += struct.pack(">IIBHH", 1, 1_700_000_000, kvno & 0xFF, enctype, len(key)) + key
    if wide:
        body += struct.pack(">I", kvno)
    return struct.pack(">i", len(body)) + body


def hole(size: int) -> bytes:
    """What a removed entry leaves."""
    return struct.pack(">i", -size) + b"\xaa" * size


def keytab(*entries: bytes) -> bytes:
    return b"\x05\x02" + b"".join(entries)


SERVER = keytab(entry("nfs/server.test", "CAUDAL.TEST"))
"""One that a server takes."""
