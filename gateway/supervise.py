"""The supervisor as a process: `python -m gateway.supervise --state DIR`, started by `caudal up --detach`.

It takes the state directory's lock by itself, or inherits it, and reports once through a descriptor how the
start went.
"""

import argparse
import os
from pathlib import Path

from gateway import launch, log, preflight
from gateway.config import effective
from gateway.errors import StartError
from gateway.ganesha_conf import caudal_fsal
from gateway.processes import python
from gateway.state import StateDir, write_atomically
from gateway.supervisor import Served, Supervisor


def main() -> None:
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
    os.set_inheritable(lock, False)
    ready: int | None = arguments.ready_fd
    if ready is not None:
        os.set_inheritable(ready, False)

    def report(result: Served | StartError) -> None:
        if ready is not None:
            os.write(ready, launch.encode_report(result))
            os.close(ready)

    pid_file = state.pid_file("supervisor")
    write_atomically(pid_file, f"{os.getpid()}\n".encode(), 0o644)
    fsal = caudal_fsal(config, preflight.find_plugins(), Path(python()))
    try:
        Supervisor(config, lock, os.environ, fsal, str(preflight.find_ganesha())).run(report)
    finally:
        pid_file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
