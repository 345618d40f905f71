"""Lets a test hold Python's lock inside the server: on PYTHONPATH there, it watches for the file that the environment names.

A number of seconds written into the file is for how long; the file goes as the holding begins. The lock is held in earnest:
ctypes.PyDLL calls C's usleep without letting go of it.
"""

import ctypes
import os
import threading
import time
from pathlib import Path


def watch(order: Path) -> None:
    usleep = ctypes.PyDLL(None).usleep
    while True:
        if order.exists() and (text := order.read_text()):
            order.unlink()
            usleep(int(float(text) * 1e6))
        time.sleep(0.01)


# Supervisor and steward have the same environment: the order is for the server.
if "HOLD_GIL_ORDER" in os.environ and "ganesha" in Path("/proc/self/comm").read_text():
    threading.Thread(
        target=watch, args=(Path(os.environ["HOLD_GIL_ORDER"]),), name="hold-gil", daemon=True
    ).start()
