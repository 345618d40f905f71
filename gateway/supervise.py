"""The supervisor as a process: `python -m gateway.supervise --state DIR`, started by `caudal up --detach`.

It takes the state directory's lock by itself, or inherits it, and reports once through a descriptor how the
start went.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway import launch, log, preflight
from gateway.config import Config, effective
from gateway.errors import FencedError, StartError
from gateway.ganesha_conf import Fsal
from gateway.state import StateDir
from gateway.supervisor import Served


def main(env: Mapping[str, str] = os.environ, fsal_for: Callable[[Config], Fsal] = launch.our_fsal) -> None:
    """Serves a prepared state directory until TERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--lock-fd", type=int)
    parser.add_argument("--ready-fd", type=int)
    arguments = parser.parse_args()
    state = StateDir(arguments.state)
    config = effective(state.root)
    log.configure(config.log_level, state.logs / "supervisor.log")
    lock: int = state.lock() if arguments.lock_fd is None else arguments.lock_fd
    ready: int | None = arguments.ready_fd
    for descriptor in (lock, ready):
        if descriptor is not None:
            os.set_inheritable(descriptor, False)

    def report(result: Served | StartError) -> None:
        if ready is not None:
            os.write(ready, launch.encode_report(result))
            os.close(ready)

    prepared = launch.Prepared(config, fsal_for(config), str(preflight.find_ganesha()), lock)
    try:
        launch.supervise(prepared, env, report)
    except FencedError as error:
        sys.exit(f"{error.message}; {error.hint}")


if __name__ == "__main__":
    main()
