"""`caudal export`: what clients mount beside the export of the configuration."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from gateway.cli_parts import out
from gateway.cli_service import AsJson, Service, calls_service, segment, show, show_rows
from gateway.errors import ConfigError

export_app = typer.Typer(help="What clients mount.", no_args_is_help=True)

Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="CLIENT=ACCESS[,SQUASH]",
        help="What a client (address, network, host, @netgroup, *) may: rw, ro or none; whose requests are made anonymous:"
        " none, root (default) or all. The first that names a client holds.",
    ),
]
Security = Annotated[
    list[str] | None,
    typer.Option("--security", help="sys (default), none, krb5, krb5i or krb5p; several times for a choice."),
]
Name = Annotated[str, typer.Argument(metavar="NAME")]
Audit = Annotated[
    str | None,
    typer.Option("--audit", help="Of what clients do with files: off, changes (and writes) or all."),
]


def rules_of(allowed: list[str]) -> list[dict[str, Any]]:
    """The rules that --allow options stand for."""
    rules: list[dict[str, Any]] = []
    for text in allowed:
        client, equals, rest = text.rpartition("=")
        if not equals:
            client, rest = rest, "rw"
        access, _, squash = rest.partition(",")
        if access not in ("rw", "ro", "none") or squash not in ("", "none", "root", "all"):
            raise ConfigError(
                f"--allow {text} is not understood", "give CLIENT=ACCESS[,SQUASH]: 10.0.0.0/8=rw,root"
            )
        rules.append({"clients": [client], "access": access, "squash": squash or "root"})
    return rules


@export_app.command("add")
@calls_service
def export_add(
    service: Service,
    name: Name,
    path: Annotated[str, typer.Option("--path", help="Directory, from the root of the file system.")] = "/",
    pseudo: Annotated[
        str | None, typer.Option("--pseudo", help="Path that clients mount; by default /NAME.")
    ] = None,
    allow: Allow = None,
    security: Security = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Nobody writes.")] = False,
    audit: Audit = None,
    as_json: AsJson = False,
) -> None:
    """Serve one more directory; without --allow to this machine only."""
    body: dict[str, Any] = {
        "name": name,
        "path": path,
        "pseudo": pseudo or f"/{name}",
        "rules": rules_of(allow or ["127.0.0.1", "::1"]),
        "read_only": read_only,
    }
    if security:
        body["security"] = security
    if audit is not None:
        body["audit"] = audit
    made = service.call("POST", "exports", body)
    if as_json:
        show(made, as_json=True, title="export")
    else:
        out().print(f"serving {escape(made['path'])} as [bold]{escape(made['pseudo'])}[/bold]")


@export_app.command("list")
@calls_service
def export_list(service: Service, as_json: AsJson = False) -> None:
    """Show what clients may mount."""
    rows = service.call("GET", "exports")["items"]
    if not as_json:
        for row in rows:
            row["rules"] = "; ".join(
                f"{' '.join(rule['clients'])}={rule['access']},{rule['squash']}" for rule in row["rules"]
            )
    show_rows(rows, ("name", "path", "pseudo", "read_only", "audit", "serving", "rules"), as_json=as_json)


@export_app.command("show")
@calls_service
def export_show(service: Service, name: Name, as_json: AsJson = False) -> None:
    """Show one export."""
    found = service.call("GET", f"exports/{segment(name)}")
    show(found, as_json=as_json, title="export")


@export_app.command("set")
@calls_service
def export_set(
    service: Service,
    name: Name,
    allow: Allow = None,
    security: Security = None,
    read_only: Annotated[
        bool | None, typer.Option("--read-only/--read-write", help="Whether nobody writes.")
    ] = None,
    audit: Audit = None,
) -> None:
    """Change who may do what; --allow replaces all rules."""
    changes: dict[str, Any] = {}
    if allow:
        changes["rules"] = rules_of(allow)
    if security:
        changes["security"] = security
    if read_only is not None:
        changes["read_only"] = read_only
    if audit is not None:
        changes["audit"] = audit
    if not changes:
        raise ConfigError(
            "nothing is to be changed", "give --allow, --security, --audit, --read-only or --read-write"
        )
    where = f"exports/{segment(name)}"
    service.call("PATCH", where, changes, If_Match=service.send("GET", where).headers["etag"])
    out().print(f"changed {escape(name)}")


@export_app.command("remove")
@calls_service
def export_remove(service: Service, name: Name) -> None:
    """End an export; its files stay."""
    service.call("DELETE", f"exports/{segment(name)}")
    out().print(f"{escape(name)} is not served any more; its files stay")
