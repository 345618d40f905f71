"""The admin service as a child of the supervisor: what it is told, and whether it answers.

It faces the network, so it gets neither the store's credential nor any other variable that it has no use for.
"""

import http.client
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from gateway import __version__
from gateway.config import KEYS, Config
from gateway.config_values import without_password
from gateway.control import socket_address
from gateway.processes import Child, Program, python, python_env
from gateway.state import StateDir, write_atomically

STOP_S: Final = 5.0
ANSWER_TIMEOUT_S: Final = 20.0
"""How long `up` waits for it; then files are served without it, and a note says so."""
PING_TIMEOUT_S: Final = 1.0
_PASSED_ON: Final = frozenset(
    {
        "PATH",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "PYTHONPATH",
        "VIRTUAL_ENV",
    }
)


def settings(config: Config) -> dict[str, object]:
    """The file that the service reads: admin_api.settings says what it means."""
    state = StateDir(config.state)
    return {
        "port": config.admin_port,
        "directory": str(state.admin),
        "control_socket": str(state.control_socket),
        "admin_socket": str(state.admin_socket),
        "log": str(state.logs / "admin.log"),
        "log_level": config.log_level,
        "version": __version__,
        "database": config.admin_database,
        "syslog": config.admin_syslog,
        "certificate": _text(config.admin_certificate),
        "certificate_key": _text(config.admin_certificate_key),
        "config": [
            {
                "key": key,
                "value": _shown(key, config),
                "source": "given" if key in config.explicit else "default",
                "help": entry.help,
            }
            for key, entry in KEYS.items()
        ],
    }


def _shown(key: str, config: Config) -> object:
    value = getattr(config, key)
    return without_password(value) if key == "admin_database" else msgspec.to_builtins(value, enc_hook=str)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


class AdminProcess:
    """The service and its restarts; where admin_port is 0 there is none, and every method does nothing."""

    def __init__(self, config: Config, lock: int, env: Mapping[str, str]) -> None:
        self._config = config
        self._state = StateDir(config.state)
        self._on = config.admin_port != 0
        self._answered = not self._on
        file = self._state.run / "admin.json"
        program = Program(
            "admin",
            (python(), "-m", "admin_api.serve", "--settings", str(file)),
            self._state.logs / "admin.out",
            self._state.pid_file("admin"),
            keep=(lock,),
            prompt=True,
        )
        self._file = file
        self._child = Child(
            program, python_env({name: value for name, value in env.items() if name in _PASSED_ON})
        )
        self._deadline_s = 0.0

    @property
    def restart_at_s(self) -> float | None:
        return self._child.restart_at_s

    def start(self, now_s: float) -> None:
        if not self._on:
            return
        self._state.admin.mkdir(mode=0o700, exist_ok=True)
        # A socket that a killed service left would look like one that starts.
        self._state.admin_socket.unlink(missing_ok=True)
        write_atomically(self._file, msgspec.json.encode(settings(self._config)))
        self._deadline_s = now_s + ANSWER_TIMEOUT_S
        self._child.start_or_retry(now_s)

    def tend(self, now_s: float) -> None:
        """Starts it again when it has died and the pause is over."""
        if not self._on:
            return
        if self._child.poll() is not None:
            self._child.schedule_restart(now_s)
        if self._child.restart_at_s is not None and now_s >= self._child.restart_at_s:
            self._child.start_or_retry(now_s)

    def waited_for(self, now_s: float) -> str | None:
        """Whether a start needs to wait for it no longer: "" when it answers, a note for people when its time is over, None
        to ask again. The time begins anew with `await_from`.
        """
        self._answered = self._answered or self._answers()
        if self._answered:
            return ""
        if now_s < self._deadline_s:
            return None
        return f"the admin service does not answer: see {self._state.logs / 'admin.log'}"

    def await_from(self, now_s: float) -> None:
        self._deadline_s = now_s + ANSWER_TIMEOUT_S

    def _answers(self) -> bool:
        return ping(self._state.admin_socket)

    def stop(self) -> None:
        self._child.stop(STOP_S)


def ping(path: Path) -> bool:
    """Whether the service answers on its local socket."""
    connection = http.client.HTTPConnection("localhost", timeout=PING_TIMEOUT_S)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as local:
            local.settimeout(PING_TIMEOUT_S)
            with socket_address(path) as address:
                local.connect(address)
            connection.sock = local
            connection.request("GET", "/v1/ping")
            return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
