"""`caudal objects`: the store, its packs, and what is done with them. Calls the admin service."""

import typer

from gateway.cli_service import AsJson, Service, Wait, calls_service, follow, show

objects_app = typer.Typer(help="The object store and its packs.", no_args_is_help=True)


@objects_app.command("show")
@calls_service
def objects_show(service: Service, as_json: AsJson = False) -> None:
    """Show the store's state and requests, and what lives in its packs."""
    show(service.call("GET", "objects"), as_json=as_json, title="objects")


@objects_app.command("collect")
@calls_service
def objects_collect(service: Service, as_json: AsJson = False, wait: Wait = True) -> None:
    """Delete packs that nothing needs any more, and write mostly dead ones anew, now."""
    follow(service, service.call("POST", "objects/collections"), wait=wait, as_json=as_json)
