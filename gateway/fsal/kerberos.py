"""Operations of the control socket on the server's keytab.

Ganesha reads a replaced keytab by itself, at the next client that signs in; whether there is one at all, and the realms, it
reads at its start. Where these change, the process ends in order, and the supervisor starts the next.
"""

import base64
import binascii
import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from gateway import kerberos
from gateway._core import failpoint
from gateway.control import ControlServer
from gateway.errors import ControlError
from gateway.fsal.exports import Exports
from gateway.kerberos import Keytab
from gateway.state import StateDir, sync_directory, write_atomically

log = structlog.get_logger(__name__)
# The answer is on its way before the process begins to end.
RESTART_DELAY_S: Final = 0.3


def end_process() -> None:
    """Asks Ganesha to end in order, soon."""
    timer = threading.Timer(RESTART_DELAY_S, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()


class KerberosCommands:
    """Keeps the keytab. restart: has the process end, to be started again."""

    def __init__(self, state: StateDir, exports: Exports, restart: Callable[[], None] = end_process) -> None:
        self._state = state
        self._exports = exports
        self._restart = restart
        self._lock = threading.Lock()
        # What this process was started with, and what is kept now.
        self._kept = kerberos.read(state)
        self._served = self._realms()

    def register(self, server: ControlServer) -> None:
        for op, handler in {
            "kerberos": self.show,
            "kerberos_set": self.set,
            "kerberos_remove": self.remove,
        }.items():
            server.register(op, handler)

    def _realms(self) -> tuple[str, ...]:
        return self._kept.realms if self._kept else ()

    def show(self, _fields: Mapping[str, Any]) -> dict[str, Any]:
        """Whose keys there are, never the keys. restarting: this process ends, and the next one will serve with them."""
        kept = self._kept or Keytab((), 0)
        return {
            "version": kept.version,
            "realms": list(kept.realms),
            "restarting": self._served != kept.realms,
            "keys": [
                {
                    "principal": entry.principal,
                    "realm": entry.realm,
                    "kvno": entry.kvno,
                    "type": entry.enctype_name,
                    "made_s": entry.made_s,
                }
                for entry in kept.entries
            ],
        }

    def set(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Keeps a keytab (`keytab`, in Base64) in the place of the one that is `version` (0: of none; None: of any)."""
        try:
            data = base64.b64decode(str(fields["keytab"]), validate=True)
        except (binascii.Error, ValueError):
            raise ControlError("invalid", "the keytab is not in Base64", "send its bytes so") from None
        made = kerberos.check(data)
        with self._lock:
            self._check_version(fields)
            write_atomically(kerberos.keytab_file(self._state), data)
            failpoint("kerberos.after_file")
            self._kept = made
            log.info("kerberos.set", realms=made.realms, keys=len(made.entries))
            return self._changed()

    def remove(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Forgets the keytab, unless an export asks for Kerberos."""
        with self._lock:
            if self._kept is None:
                raise ControlError("not_found", "the server has no keytab", kerberos.NO_KEYTAB)
            self._check_version(fields)
            self._exports.while_none_needs_kerberos(self._forget)
            self._kept = None
            log.info("kerberos.removed")
            return self._changed()

    def _forget(self) -> None:
        kerberos.keytab_file(self._state).unlink(missing_ok=True)
        sync_directory(self._state.root)
        failpoint("kerberos.after_removal")

    def _changed(self) -> dict[str, Any]:
        found = self.show({})
        if found["restarting"]:
            log.info("kerberos.restart", realms=self._realms())
            self._restart()
        return found

    def _check_version(self, fields: Mapping[str, Any]) -> None:
        version = fields.get("version")
        if version is not None and int(version) != (self._kept.version if self._kept else 0):
            raise ControlError("changed_meanwhile", "somebody changed it meanwhile", "read it again")
