"""What routes work with: made in one place (serve.py, or a test), found at app.state."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from fastapi import Request
from sqlalchemy import Engine

from admin_api.link import GatewayLink
from admin_api.operations import Operations
from admin_api.sampler import Sampler
from admin_api.security import LoginLimit, Principal
from admin_api.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """now_s: seconds since 1970. monotonic_s: for ages and limits."""

    settings: Settings
    engine: Engine
    link: GatewayLink
    operations: Operations
    now_s: Callable[[], float]
    monotonic_s: Callable[[], float]
    sampler: Sampler
    logins: LoginLimit = field(default_factory=LoginLimit)


def services_of(request: Request) -> Services:
    return cast("Services", request.app.state.services)


def principal_of(request: Request) -> Principal:
    """Who makes the request; guarded routes have seen to it that there is one."""
    return cast("Principal", request.state.principal)
