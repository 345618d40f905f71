"""What routes work with: made in one place (serve.py, or a test), found at app.state."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from fastapi import Request
from sqlalchemy import Engine

from admin_api.admitted import Admitted
from admin_api.alerts import Alerts
from admin_api.budget import spent_share
from admin_api.link import GatewayLink
from admin_api.notify import Notifier
from admin_api.oidc import Oidc
from admin_api.operations import Operations
from admin_api.sampler import Sampler
from admin_api.security import LoginLimit, Principal
from admin_api.settings import Settings
from admin_api.syslog import Syslog


@dataclass(frozen=True, slots=True)
class Services:
    """now_s: seconds since 1970. monotonic_s: for ages and limits. host: how the server calls itself to others."""

    settings: Settings
    engine: Engine
    link: GatewayLink
    operations: Operations
    now_s: Callable[[], float]
    monotonic_s: Callable[[], float]
    sampler: Sampler
    notifier: Notifier
    alerts: Alerts
    oidc: Oidc
    syslog: Syslog | None
    host: str
    new_id: Callable[[], str]
    admitted: Admitted
    logins: LoginLimit = field(default_factory=LoginLimit)


def services_of(request: Request) -> Services:
    return cast("Services", request.app.state.services)


def principal_of(request: Request) -> Principal:
    """Who makes the request; guarded routes have seen to it that there is one."""
    return cast("Principal", request.state.principal)


def build(
    settings: Settings,
    engine: Engine,
    link: GatewayLink,
    *,
    now_s: Callable[[], float],
    monotonic_s: Callable[[], float],
    new_id: Callable[[], str],
    host: str,
) -> Services:
    """Everything of the service over its database and the gateway; start() begins what runs by itself."""
    sampler = Sampler(engine, link, now_s, monotonic_s)
    notifier = Notifier(engine, now_s, new_id)
    alerts = Alerts(engine, notifier, lambda at_s: spent_share(engine, at_s), host)
    sampler.watch(alerts.look)
    return Services(
        settings=settings,
        engine=engine,
        link=link,
        operations=Operations(now_s, new_id),
        now_s=now_s,
        monotonic_s=monotonic_s,
        sampler=sampler,
        notifier=notifier,
        alerts=alerts,
        oidc=Oidc(monotonic_s),
        syslog=Syslog(engine, settings.syslog, host) if settings.syslog else None,
        host=host,
        new_id=new_id,
        admitted=Admitted(now_s, monotonic_s),
    )


def start(services: Services) -> None:
    services.notifier.start()
    services.sampler.start()
    if services.syslog is not None:
        services.syslog.start()


def stop(services: Services) -> None:
    """Ends the threads; the database is whole and closed when this returns."""
    services.sampler.stop()
    services.notifier.stop()
    if services.syslog is not None:
        services.syslog.stop()
    services.link.close()
    services.engine.dispose()
