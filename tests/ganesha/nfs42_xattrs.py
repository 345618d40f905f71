"""Extended attributes for the NFS 4.2 client in plain Python."""

import struct

from tests.ganesha.nfs3_client import Reader, opaque
from tests.ganesha.nfs42_client import Client42

EITHER, CREATE, REPLACE = 0, 1, 2
PERM, ACCES, EXIST, INVAL, ROFS, TOOSMALL, NOTSUPP = 1, 13, 17, 22, 30, 10005, 10004
NOXATTR, XATTR2BIG = 10095, 10096
CHANGE, XATTR_SUPPORT = 3, 82

PUTROOTFH, LOOKUP, GETATTR, GETXATTR, SETXATTR, LISTXATTRS, REMOVEXATTR = 24, 15, 9, 72, 73, 74, 75
SEQUENCE = 53


class XattrClient(Client42):
    """Files are named by their paths below the export; statuses other than OK are raised as NfsError."""

    def __init__(self, port: int, owner: bytes, ids: tuple[int, int] = (0, 0)) -> None:
        super().__init__(port, owner, ids=ids)

    @staticmethod
    def compound(*operations: bytes) -> bytes:
        return opaque(b"") + struct.pack(">II", 2, len(operations)) + b"".join(operations)

    def operations(self, path: bytes, operation: int, arguments: bytes) -> list[bytes]:
        """A compound's, which begins with this session's next SEQUENCE."""
        self._sequence += 1
        sequence = struct.pack(">I", SEQUENCE) + self._session + struct.pack(">IIII", self._sequence, 0, 0, 0)
        names = [b"export", *(name for name in path.split(b"/") if name)]
        way = [struct.pack(">I", LOOKUP) + opaque(name) for name in names]
        return [sequence, struct.pack(">I", PUTROOTFH), *way, struct.pack(">I", operation) + arguments]

    def _at(self, path: bytes, operation: int, arguments: bytes) -> Reader:
        operations = self.operations(path, operation, arguments)
        r = self._call(*operations)
        self._result(r, SEQUENCE)
        r.fixed(36)
        self._result(r, PUTROOTFH)
        for _ in operations[2:-1]:
            self._result(r, LOOKUP)
        self._result(r, operation)
        return r

    def getxattr(self, path: bytes, name: bytes) -> bytes:
        return self._at(path, GETXATTR, opaque(name)).opaque()

    def setxattr(self, path: bytes, name: bytes, value: bytes, option: int = EITHER) -> tuple[bool, int, int]:
        """The change info: atomic, before, after."""
        arguments = struct.pack(">I", option) + opaque(name) + opaque(value)
        return self._change_info(self._at(path, SETXATTR, arguments))

    def removexattr(self, path: bytes, name: bytes) -> tuple[bool, int, int]:
        return self._change_info(self._at(path, REMOVEXATTR, opaque(name)))

    @staticmethod
    def _change_info(r: Reader) -> tuple[bool, int, int]:
        return bool(r.u32()), r.u64(), r.u64()

    def listxattrs(self, path: bytes, cookie: int, maxcount: int) -> tuple[list[bytes], int, bool]:
        """Names, the cookie to go on with, and whether that was the end."""
        r = self._at(path, LISTXATTRS, struct.pack(">QI", cookie, maxcount))
        cookie = r.u64()
        names = [r.opaque() for _ in range(r.u32())]
        return names, cookie, bool(r.u32())

    def number(self, path: bytes, attribute: int) -> int:
        """An attribute that is one number."""
        words = [0] * (attribute // 32) + [1 << attribute % 32]
        r = self._at(path, GETATTR, struct.pack(f">I{len(words)}I", len(words), *words))
        answered = [r.u32() for _ in range(r.u32())]
        assert answered[attribute // 32 :] == words[-1:], "the server does not know the attribute"
        return int.from_bytes(r.opaque(), "big")
