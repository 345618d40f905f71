"""Whether the store answers, before the server is started: a cloud's identity may come a while after the machine."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from gateway.config import Config
from gateway.errors import StartError
from gateway.state import StateDir

log = structlog.get_logger(__name__)

WAIT_S: Final = 60.0
PAUSE_S: Final = 5.0


def check(
    config: Config,
    env: Mapping[str, str] = os.environ,
    sleep: Callable[[float], None] = time.sleep,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> None:
    """Asks the store whose it is, for WAIT_S at most. A directory is there or not.

    Raises StartError with the last answer.
    """
    if config.store.startswith("file://"):
        return
    # Imported here: it loads the clients of Azure, which nobody else needs to wait for.
    from gateway import preflight

    deadline_s = monotonic_s() + WAIT_S
    while True:
        try:
            preflight.check_store(config, StateDir(config.state).read_identity(), env)
        except StartError as error:
            if monotonic_s() >= deadline_s:
                raise
            log.info("firstboot.store_waits", why=error.message)
            sleep(PAUSE_S)
        else:
            return
