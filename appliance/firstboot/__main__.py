"""`caudal-firstboot`: exits 0 when the server was asked to start, 1 while something is missing (it is run again then)."""

import os
import sys

from appliance.firstboot import store
from appliance.firstboot.boot import Boot
from appliance.firstboot.host import Paths, RealHost
from appliance.firstboot.instance import service_url
from appliance.firstboot.instance_service import Service
from gateway import log


def find_service() -> Service | None:
    """Raises ConfigError for an address that is none."""
    url = service_url(os.environ)
    return Service(url) if url else None


def main() -> None:
    """Runs once."""
    log.configure("info")
    report = Boot(Paths(), RealHost(os.environ), store.check, find_service, os.environ).run()
    for problem in report.problems:
        print(f"missing: {problem.text}; {problem.hint}", file=sys.stderr)  # noqa: T201
    sys.exit(0 if report.ready else 1)


if __name__ == "__main__":
    main()
