"""What `df` shows: the capacity of the store as far as it has one."""

import os
from typing import Final
from urllib.parse import unquote, urlsplit

from gateway.metadata.attributes import Counts
from gateway.pyganesha import FsInfo

ACCOUNT_BYTES: Final = 5 << 50
"""Default capacity limit of an Azure storage account in the large regions: 5 PiB."""
FILES: Final = 1 << 40
"""Inode numbers of one epoch: more are never handed out between two starts."""


class Space:
    """Sizes of a file system in a store."""

    def __init__(self, store_url: str) -> None:
        parts = urlsplit(store_url)
        self._directory = unquote(parts.path) if parts.scheme == "file" else None

    def info(self, counts: Counts) -> FsInfo:
        """Used + free = total, and what is available is what a write could take."""
        if self._directory is None:
            free_bytes = max(0, ACCOUNT_BYTES - counts.bytes)
        else:
            disk = os.statvfs(self._directory)
            free_bytes = disk.f_bavail * disk.f_frsize
        return FsInfo(
            total_bytes=counts.bytes + free_bytes,
            free_bytes=free_bytes,
            available_bytes=free_bytes,
            total_files=FILES,
            free_files=FILES - counts.inodes,
        )
