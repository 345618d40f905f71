"""Azurite: Azure Blob Storage's REST interface on this machine, in memory."""

from pathlib import Path
from typing import Self

from tests.support.processes import CACHE, ROOT, Daemon, answers, free_port

ACCOUNT = "devstoreaccount1"
# The emulator's published key; it opens nothing else.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
NODE = ROOT / ".venv/bin/node"
PROGRAM = CACHE / "node/node_modules/azurite/dist/src/blob/main.js"


class Azurite:
    """A running emulator. Its blobs are gone when it stops, unless it is given a directory."""

    def __init__(self, log: Path, directory: Path | None = None) -> None:
        self.port = free_port()
        self._log, self._directory = log, directory
        self._process: Daemon | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    @property
    def connection_string(self) -> str:
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.endpoint};"

    @property
    def environment(self) -> dict[str, str]:
        """What `caudal up` needs to find it."""
        return {"AZURE_STORAGE_CONNECTION_STRING": self.connection_string}

    def start(self) -> Self:
        if not PROGRAM.exists():
            raise FileNotFoundError(f"{PROGRAM}: run tools/setup node")
        where = ["--location", self._directory] if self._directory else ["--inMemoryPersistence"]
        options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        place = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port)]
        self._process = Daemon([NODE, PROGRAM, *place, *where, *options], self._log)
        self._process.wait_ready(lambda: answers(self.port), "Azurite answers", timeout_s=60)
        return self

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
