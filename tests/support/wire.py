"""What passes on a network device of the tests' network."""

import socket
import threading
from typing import Final, Self

ETH_P_ALL: Final = 3
_SIZE: Final = 1 << 17


class Wire:
    """Collects the packets of a device for the length of a `with`."""

    def __init__(self, device: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        self._socket.bind((device, 0))
        self._socket.settimeout(0.1)
        self._packets: list[bytes] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)

    def _collect(self) -> None:
        while not self._stop.is_set():
            try:
                self._packets.append(self._socket.recv(_SIZE))
            except TimeoutError:
                continue

    def holds(self, text: bytes) -> bool:
        """Whether one of the packets so far has the text in it."""
        return any(text in packet for packet in self._packets)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()
