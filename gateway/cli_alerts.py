"""`caudal alert`: what fires, by which rules, and who is told."""

from typing import Annotated, Any

import typer
from rich.markup import escape

from gateway.cli_parts import out
from gateway.cli_service import AsJson, Service, calls_service, segment, show_rows
from gateway.config_values import WrongValueError, seconds
from gateway.errors import CaudalError, ConfigError

alert_app = typer.Typer(help="What is wrong, and who is told.", no_args_is_help=True)
target_app = typer.Typer(help="Who is told of alerts.", no_args_is_help=True)
alert_app.add_typer(target_app, name="target")
Name = Annotated[str, typer.Argument(metavar="NAME")]


@alert_app.command("list")
@calls_service
def alert_list(
    service: Service,
    firing: Annotated[bool, typer.Option("--firing", help="Only those that have not ended.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="So many of the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show alerts, the newest first."""
    which = "firing" if firing else "all"
    rows = service.call("GET", f"alerts?state={which}&limit={limit}")["items"]
    show_rows(
        rows, ("rule", "severity", "text", "value", "fired_s", "resolved_s", "silenced"), as_json=as_json
    )


@alert_app.command("rules")
@calls_service
def alert_rules(service: Service, as_json: AsJson = False) -> None:
    """Show the rules and how they stand."""
    rows = service.call("GET", "alerts/rules")["items"]
    if not as_json:
        for row in rows:
            row["for"], row["clear for"] = f"{row['for_s']:g} s", f"{row['clear_for_s']:g} s"
    columns = ("name", "state", "enabled", "severity", "above", "for", "clear", "clear for", "unit", "text")
    show_rows(rows, columns, as_json=as_json)


@alert_app.command("set")
@calls_service
def alert_set(
    service: Service,
    name: Name,
    above: Annotated[float | None, typer.Option("--above", help="It fires above this.")] = None,
    clear: Annotated[float | None, typer.Option("--clear", help="It ends at this or below.")] = None,
    for_: Annotated[float | None, typer.Option("--for", help="Seconds before it fires.")] = None,
    clear_for: Annotated[float | None, typer.Option("--clear-for", help="Seconds before it ends.")] = None,
    severity: Annotated[str | None, typer.Option("--severity", help="warning or critical.")] = None,
    enabled: Annotated[bool | None, typer.Option("--on/--off", help="Whether it is looked at.")] = None,
) -> None:
    """Change a rule."""
    given: dict[str, Any] = {
        "above": above,
        "clear": clear,
        "for_s": for_,
        "clear_for_s": clear_for,
        "severity": severity,
        "enabled": enabled,
    }
    fields = {key: value for key, value in given.items() if value is not None}
    if not fields:
        raise ConfigError("nothing is to be changed", "give --above, --clear, --for, --on, --off …")
    service.call("PATCH", f"alerts/rules/{segment(name)}", fields)
    out().print(f"changed {escape(name)}")


@alert_app.command("silence")
@calls_service
def alert_silence(
    service: Service,
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Its name, or * for all.")],
    for_: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 7d.")],
    why: Annotated[str, typer.Option("--why", help="For those who wonder.")] = "",
) -> None:
    """Tell nobody of a rule for some time."""
    try:
        for_s = seconds(1, 366 * 86400)(for_)
    except WrongValueError as wrong:
        raise ConfigError(f"--for: {wrong.problem}", wrong.remedy) from None
    made = service.call("POST", "alerts/silences", {"rule": rule, "for_s": for_s, "why": why})
    out().print(f"silence {made['id']}: nobody is told of {escape(rule)} for {escape(for_)}")


@alert_app.command("silences")
@calls_service
def alert_silences(service: Service, as_json: AsJson = False) -> None:
    """Show silences that have not ended."""
    rows = service.call("GET", "alerts/silences")["items"]
    show_rows(rows, ("id", "rule", "until_s", "why", "created_by"), as_json=as_json)


@alert_app.command("unsilence")
@calls_service
def alert_unsilence(service: Service, silence: Annotated[int, typer.Argument(metavar="ID")]) -> None:
    """End a silence."""
    service.call("DELETE", f"alerts/silences/{silence}")
    out().print(f"ended silence {silence}")


@alert_app.command("test")
@calls_service
def alert_test(service: Service, name: Annotated[str, typer.Argument(metavar="TARGET")]) -> None:
    """Send a test to a target."""
    found = service.call("POST", f"alerts/targets/{segment(name)}/test")
    if not found["sent"]:
        raise CaudalError(f"{name} did not take it: {found['error']}", "`caudal alert target list` shows it")
    out().print(f"{escape(name)} took it")


@target_app.command("list")
@calls_service
def target_list(service: Service, as_json: AsJson = False) -> None:
    """Show who is told."""
    rows = service.call("GET", "alerts/targets")["items"]
    show_rows(rows, ("name", "kind", "where"), as_json=as_json)


@target_app.command("add")
@calls_service
def target_add(
    service: Service,
    name: Name,
    webhook: Annotated[str | None, typer.Option("--webhook", metavar="URL", help="Where to POST.")] = None,
    mail: Annotated[
        list[str] | None, typer.Option("--mail", metavar="ADDRESS", help="Who gets an e-mail.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Mail server, HOST or HOST:PORT.")] = None,
    sender: Annotated[str | None, typer.Option("--sender", help="From whom mails are.")] = None,
    starttls: Annotated[bool, typer.Option("--starttls", help="Mail over TLS only.")] = False,
    username: Annotated[str | None, typer.Option("--username", help="At the mail server.")] = None,
) -> None:
    """Tell one more. A webhook's secret, or the password of --username, is asked for or read from standard input."""
    body: dict[str, Any] = {"name": name}
    if webhook is not None:
        body |= {"kind": "webhook", "url": webhook, "secret": _secret("secret")}
    elif mail and host:
        where, _, port = host.rpartition(":") if host.count(":") == 1 else (host, "", "25")
        if not port.isdigit():
            raise ConfigError(f"--host {host} is not understood", "give HOST or HOST:PORT")
        body |= {"kind": "email", "host": where, "port": int(port), "recipients": mail, "sender": sender}
        body["starttls"] = starttls
        if username is not None:
            body |= {"username": username, "password": _secret("password")}
    else:
        raise ConfigError("nobody is named", "give --webhook URL, or --mail ADDRESS with --host and --sender")
    service.call("POST", "alerts/targets", body)
    out().print(f"added {escape(name)}; `caudal alert test {escape(name)}` tries it")


def _secret(what: str) -> str:
    stream = typer.get_text_stream("stdin")
    if stream.isatty():
        return str(typer.prompt(what, hide_input=True))
    return stream.readline().rstrip("\n")


@target_app.command("remove")
@calls_service
def target_remove(service: Service, name: Name) -> None:
    """Tell it no more."""
    service.call("DELETE", f"alerts/targets/{segment(name)}")
    out().print(f"removed {escape(name)}")
