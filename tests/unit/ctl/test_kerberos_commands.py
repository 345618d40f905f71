"""What the server does with a keytab: kept, replaced, forgotten, and when it has to start anew."""

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway import kerberos
from gateway.errors import ControlError
from gateway.fsal.kerberos import KerberosCommands
from gateway.state import StateDir
from tests.support import keytabs

OTHER_KEY = keytabs.keytab(keytabs.entry("nfs/server.test", "CAUDAL.TEST", kvno=2))
OTHER_REALM = keytabs.keytab(keytabs.entry("nfs/server.test", "OTHER.TEST"))


class Process:
    """One server process after the other on a state directory."""

    def __init__(self, root: Path) -> None:
        self.state = StateDir(root)
        self.state.prepare()
        self.restarts = 0
        self.start()

    def start(self) -> None:
        exports: Any = SimpleNamespace(while_none_needs_kerberos=lambda act: act())
        self.commands = KerberosCommands(self.state, exports, self._restart)

    def _restart(self) -> None:
        self.restarts += 1

    def give(self, data: bytes, version: int | None = None) -> dict[str, Any]:
        return self.commands.set({"keytab": base64.b64encode(data).decode(), "version": version})


def test_only_realms_need_a_new_start(tmp_path: Path) -> None:
    process = Process(tmp_path)
    assert process.commands.show({})["version"] == 0
    made = process.give(keytabs.SERVER, 0)
    assert (made["restarting"], process.restarts) == (True, 1)
    assert kerberos.keytab_file(process.state).read_bytes() == keytabs.SERVER
    assert kerberos.keytab_file(process.state).stat().st_mode & 0o777 == 0o600
    process.start()
    assert not process.commands.show({})["restarting"]
    assert not process.give(OTHER_KEY, made["version"])["restarting"]
    assert process.commands.show({})["keys"][0]["kvno"] == 2
    assert process.give(OTHER_REALM)["restarting"]
    # Back before the process ended: the one that comes would have been no other.
    assert not process.give(keytabs.SERVER)["restarting"]
    assert process.commands.remove({})["restarting"]
    assert not kerberos.keytab_file(process.state).exists()
    process.start()
    assert not process.commands.show({})["restarting"]


def test_what_is_refused_changes_nothing(tmp_path: Path) -> None:
    process = Process(tmp_path)
    with pytest.raises(ControlError, match="no keytab"):
        process.commands.remove({})
    version = process.give(keytabs.SERVER)["version"]
    for fields, code in (
        ({"keytab": "?"}, "invalid"),
        ({"keytab": "AAAA"}, "invalid"),
        ({"keytab": base64.b64encode(OTHER_KEY).decode(), "version": version + 1}, "changed_meanwhile"),
        ({"keytab": base64.b64encode(OTHER_KEY).decode(), "version": 0}, "changed_meanwhile"),
    ):
        with pytest.raises(ControlError) as refused:
            process.commands.set(fields)
        assert refused.value.code == code
    with pytest.raises(ControlError):
        process.commands.remove({"version": version + 1})
    assert kerberos.keytab_file(process.state).read_bytes() == keytabs.SERVER
    shown = str(process.commands.show({}))
    assert "kkkk" not in shown
    assert base64.b64encode(b"k" * 30).decode() not in shown
