"""Ganesha's recovery records of NFS 4 clients, on every journal mirror: who takes over with a journal's disk lets the
clients reclaim what they held.

Ganesha keeps a directory a client below its recovery root. All of them go, as one small file, to each mirror whenever they
change; the next start puts them back where the state directory has none.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from gateway.client_records_file import NAME, collect, encode
from gateway.state import StateDir, write_atomically

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 0.5


class ClientRecords:
    """A thread that looks for changes. mirrors: directories of the healthy ones."""

    def __init__(self, state: StateDir, mirrors: Callable[[], list[str]], fs_id: bytes) -> None:
        self._root, self._mirrors, self._fs_id = state.ganesha, mirrors, fs_id
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="client-records", daemon=True)
        self._copied: dict[str, bytes] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What changed at the last is copied, too."""
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """Copies the records to each healthy mirror that does not have them as they are."""
        data = encode(self._fs_id, collect(self._root))
        for mirror in self._mirrors():
            if self._copied.get(mirror) == data:
                continue
            try:
                write_atomically(Path(mirror) / NAME, data)
            except OSError as error:
                # The journal notices by itself what its disk does; this one is tried again.
                log.info("clients.not_copied", mirror=mirror, why=str(error))
            else:
                self._copied[mirror] = data

    def _run(self) -> None:
        while True:
            last = self._stop.wait(INTERVAL_S)
            try:
                self.look()
            except Exception:
                if not last:
                    log.exception("clients.not_copied")
            if last:
                return
