"""`caudal-firstboot`: exits 0 when the server was asked to start, 1 while something is missing (it is run again then)."""

import os
import sys

from appliance.firstboot import store
from appliance.firstboot.boot import Boot
from appliance.firstboot.host import Paths, RealHost
from gateway import log


def main() -> None:
    """Runs once."""
    log.configure("info")
    report = Boot(Paths(), RealHost(os.environ), store.check).run()
    for problem in report.problems:
        print(f"missing: {problem.text}; {problem.hint}", file=sys.stderr)  # noqa: T201
    sys.exit(0 if report.ready else 1)


if __name__ == "__main__":
    main()
