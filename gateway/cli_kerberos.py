"""`caudal kerberos`: the keytab by which the NFS server checks clients' tickets."""

import base64
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape

from gateway import kerberos
from gateway.cli_parts import out
from gateway.cli_service import AsJson, Service, Wait, calls_service, show, show_rows
from gateway.errors import CaudalError, ConfigError, NotRunningError

kerberos_app = typer.Typer(help="Kerberos for NFS: the server's keytab.", no_args_is_help=True)
WHERE: Final = "kerberos/keytab"
RESTART_TIMEOUT_S: Final = 120.0
POLL_S: Final = 0.2


@kerberos_app.command("keytab")
@calls_service
def keytab_set(
    service: Service,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Keytab with the keys of nfs/HOST.")],
    wait: Wait = True,
) -> None:
    """Give the server a keytab, or another one. For the first one the NFS server starts anew."""
    try:
        with file.open("rb") as opened:
            data = opened.read(kerberos.MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", "give the path of a keytab") from error
    kerberos.check(data)
    before = service.send("GET", "kerberos")
    headers = {"If_Match": before.headers["etag"]} if before.json()["version"] else {}
    made = service.call("PUT", WHERE, {"keytab": base64.b64encode(data).decode()}, **headers)
    _await_restart(service, made, wait=wait)
    names = sorted({f"{key['principal']}@{key['realm']}" for key in made["keys"]})
    out().print(f"the server has the keys of {escape(', '.join(names))}", soft_wrap=True)


@kerberos_app.command("show")
@calls_service
def keytab_show(service: Service, as_json: AsJson = False) -> None:
    """Show whose keys the server has."""
    found = service.call("GET", "kerberos")
    if as_json:
        show(found, as_json=True, title="kerberos")
    elif not found["version"]:
        out().print("the server has no keytab: no export can ask for Kerberos")
    else:
        show_rows(found["keys"], ("principal", "realm", "kvno", "type", "made_s"), as_json=False)


@kerberos_app.command("remove")
@calls_service
def keytab_remove(service: Service, wait: Wait = True) -> None:
    """Forget the keytab; refused while an export asks for Kerberos. The NFS server starts anew."""
    made = service.call("DELETE", WHERE)
    _await_restart(service, made, wait=wait)
    out().print("the server has no keytab any more")


def _await_restart(service: Service, made: Any, *, wait: bool) -> None:
    """Returns when the NFS server serves with what was changed. Raises CaudalError where it takes too long."""
    if not made["restarting"] or not wait:
        return
    out().print("the NFS server starts anew …")
    deadline_s = time.monotonic() + RESTART_TIMEOUT_S
    while time.monotonic() < deadline_s:
        time.sleep(POLL_S)
        with suppress(NotRunningError):
            found = service.call("GET", "kerberos")
            if found["version"] == made["version"] and not found["restarting"]:
                return
    raise CaudalError(
        f"the NFS server did not come back within {RESTART_TIMEOUT_S:g} s", "`caudal status` says more"
    )
