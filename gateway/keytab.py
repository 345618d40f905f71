"""Keytabs as MIT writes them (format 5.2): whose keys are in one, without the keys.

Two bytes 05 02, then entries, all numbers big-endian: a length of 4 bytes (negative: a hole of so many bytes; 0 ends the
file), the count of the name's components (2 bytes), the realm and the components (2 bytes of length and text each), the
name's type (4), seconds since 1970 (4), version of the key (1), its type (2), its length (2) and bytes, and where at
least 4 bytes are left, the version again, which counts unless it is 0.
"""

from dataclasses import dataclass
from typing import Final

MAGIC: Final = b"\x05\x02"
OLD_MAGIC: Final = b"\x05\x01"
MAX_COMPONENTS: Final = 16
MAX_ENTRIES: Final = 1000
ENCTYPES: Final = {
    1: "des-cbc-crc",
    3: "des-cbc-md5",
    16: "des3-cbc-sha1",
    17: "aes128-cts-hmac-sha1-96",
    18: "aes256-cts-hmac-sha1-96",
    19: "aes128-cts-hmac-sha256-128",
    20: "aes256-cts-hmac-sha384-192",
    23: "arcfour-hmac",
    25: "camellia128-cts-cmac",
    26: "camellia256-cts-cmac",
}
KEY_BYTES: Final = {17: 16, 18: 32, 19: 16, 20: 32}
"""Of the types that clients of today ask for."""


class KeytabError(ValueError):
    """The bytes are no keytab; the text says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key's name. principal: without the realm. kvno: which of the principal's keys. enctype: its type's number."""

    principal: str
    realm: str
    kvno: int
    enctype: int
    made_s: int

    @property
    def enctype_name(self) -> str:
        return ENCTYPES.get(self.enctype, f"type {self.enctype}")


class _Fields:
    """What is left of the bytes of a file or an entry."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise KeytabError("it ends in the middle of an entry")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "big", signed=signed)

    def text(self) -> str:
        try:
            text = self.take(self.number(2)).decode()
        except UnicodeDecodeError:
            raise KeytabError("a name in it is no text") from None
        if not text.isprintable():
            raise KeytabError("a name in it holds control characters")
        return text


def parse(data: bytes) -> tuple[Entry, ...]:
    """The entries of a keytab. Raises KeytabError."""
    if data[:2] == OLD_MAGIC:
        raise KeytabError("it is of the format 5.1, which depends on the machine that wrote it")
    if data[:2] != MAGIC:
        raise KeytabError("it does not begin as a keytab does")
    fields = _Fields(data[2:])
    found: list[Entry] = []
    while fields.left:
        length = fields.number(4, signed=True)
        if length == 0:
            break
        if length < 0:
            # A hole may be the file's end, cut short.
            fields.take(min(-length, fields.left))
            continue
        found.append(_entry(_Fields(fields.take(length))))
        if len(found) > MAX_ENTRIES:
            raise KeytabError(f"it holds more than {MAX_ENTRIES} keys")
    return tuple(found)


def _entry(fields: _Fields) -> Entry:
    count = fields.number(2)
    if not 1 <= count <= MAX_COMPONENTS:
        raise KeytabError(f"a name in it has {count} parts")
    realm = fields.text()
    principal = "/".join(fields.text() for _ in range(count))
    fields.number(4)
    made_s, kvno, enctype = fields.number(4), fields.number(1), fields.number(2)
    key = fields.take(fields.number(2))
    if len(key) != KEY_BYTES.get(enctype, len(key)) or not key:
        raise KeytabError(f"a key of {principal} has {len(key)} bytes, which does not fit its type")
    if fields.left >= 4:
        kvno = fields.number(4) or kvno
    return Entry(principal, realm, kvno, enctype, made_s)
