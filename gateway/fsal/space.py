"""What `df` shows: the capacity of the store as far as it has one."""

import os
from typing import Final
from urllib.parse import unquote, urlsplit

from gateway.metadata.attributes import Counts
from gateway.metadata.quotas import Room
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

    def info(self, counts: Counts, room: Room) -> FsInfo:
        """Used + free = total, and what is available is what a write could take; within limits, by the tightest of them."""
        return _within(self._whole(counts), room)

    def _whole(self, counts: Counts) -> FsInfo:
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


def _within(info: FsInfo, room: Room) -> FsInfo:
    total_bytes, free_bytes, available_bytes, total_files, free_files = info
    if room.total_bytes is not None:
        # The store may have less left than the limit.
        free_bytes = available_bytes = min(available_bytes, room.free_bytes)
        total_bytes = room.total_bytes - room.free_bytes + free_bytes
    if room.total_inodes is not None:
        total_files, free_files = room.total_inodes, min(free_files, room.free_inodes)
    return FsInfo(total_bytes, free_bytes, available_bytes, total_files, free_files)
