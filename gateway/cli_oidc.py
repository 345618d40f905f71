"""`caudal oidc`: the OpenID Connect issuer by which people sign in, and which of its roles are which of ours."""

import json
from typing import Annotated, Any, Final

import typer

from gateway.cli_parts import out, read_secret
from gateway.cli_service import AsJson, Service, calls_service, show
from gateway.errors import CaudalError, ConfigError

oidc_app = typer.Typer(help="Signing in by an OpenID Connect issuer.", no_args_is_help=True)
SETTINGS: Final = "sign-in/settings"
NEEDED: Final = ("issuer", "client_id", "redirect_uri")
Text = str | None


def _settings(service: Service) -> tuple[dict[str, Any] | None, bool, str]:
    """What is set, whether there is a secret, and the ETag that a change is based on."""
    answer = service.send("GET", SETTINGS)
    told = answer.json()
    return told["settings"], bool(told["has_secret"]), str(answer.headers["etag"])


@oidc_app.command("show")
@calls_service
def oidc_show(service: Service, as_json: AsJson = False) -> None:
    """Show the issuer; its secret is told to nobody."""
    settings, has_secret, _ = _settings(service)
    if as_json:
        typer.echo(json.dumps({"settings": settings, "has_secret": has_secret}, indent=2))
    elif settings is None:
        out().print("no issuer is set")
    else:
        fields = {key: value for key, value in settings.items() if key != "client_secret"}
        show({**fields, "has_secret": has_secret}, as_json=False, title="oidc")


def roles_given(texts: list[str], before: dict[str, list[str]]) -> dict[str, list[str]]:
    """ROLE=VALUE, any number of each, in the place of what gave this role; `ROLE=`: nothing gives it. Raises ConfigError."""
    given: dict[str, list[str]] = {}
    for text in texts:
        role, equals, value = text.partition("=")
        if not equals or not role:
            raise ConfigError(f"{text!r} is no role of the issuer's", "give --role admin=Caudal.Admin")
        given.setdefault(role, [])
        if value:
            given[role].append(value)
    return {role: values for role, values in {**before, **given}.items() if values}


@oidc_app.command("set")
@calls_service
def oidc_set(
    service: Service,
    issuer: Annotated[Text, typer.Option("--issuer", help="https:// address of the issuer.")] = None,
    client_id: Annotated[Text, typer.Option("--client-id", help="What the issuer calls us.")] = None,
    redirect_uri: Annotated[
        Text,
        typer.Option("--redirect-uri", help="https://HOST:PORT/v1/sign-in/callback, as registered there."),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role", metavar="ROLE=VALUE", help="Which value gives a role; again for more. ROLE=: none."
        ),
    ] = None,
    role_claim: Annotated[Text, typer.Option("--role-claim", help="Claim that has the values.")] = None,
    name_claim: Annotated[Text, typer.Option("--name-claim", help="Claim that has the name.")] = None,
    scopes: Annotated[Text, typer.Option("--scopes", help="What is asked for.")] = None,
    secret: Annotated[
        bool, typer.Option("--secret", help="The client's secret is asked for, or read from standard input.")
    ] = False,
) -> None:
    """Set the issuer, or change what is named of it; the rest stays, the secret too."""
    given = {
        "issuer": issuer,
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "role_claim": role_claim,
        "name_claim": name_claim,
        "scopes": scopes,
    }
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if not changes and not role and not secret:
        raise ConfigError("nothing is to be changed", "give --issuer, --client-id, --role, --secret …")
    before, _, etag = _settings(service)
    fields: dict[str, Any] = {**(before or {"roles": {}}), **changes}
    missing = [f"--{key.replace('_', '-')}" for key in NEEDED if not fields.get(key)]
    if missing:
        raise ConfigError(
            f"no issuer is set yet: {', '.join(missing)} is missing", "give all of them at first"
        )
    fields["roles"] = roles_given(role or [], fields["roles"])
    if not fields["roles"]:
        raise ConfigError("nobody could come in: no value gives a role", "give --role admin=VALUE")
    fields["client_secret"] = read_secret("client secret") if secret else None
    service.call("PUT", SETTINGS, fields, If_Match=etag)
    out().print("set the issuer")


@oidc_app.command("remove")
@calls_service
def oidc_remove(service: Service) -> None:
    """Forget the issuer and its secret: nobody signs in by it any more. Sessions under way end in their time."""
    before, _, etag = _settings(service)
    if before is None:
        raise CaudalError("no issuer is set")
    service.call("DELETE", SETTINGS, If_Match=etag)
    out().print("removed the issuer")
