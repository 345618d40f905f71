"""/v1/kerberos: the keytab by which the NFS server checks clients' tickets. It goes in and never comes out."""

from typing import Annotated, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from admin_api.guard import GuardedRoute, needs
from admin_api.problems import Problem, responses
from admin_api.routes.common import Caller, Here, IfMatch, audit, check_match, etag
from admin_api.routes.kept_by_gateway import ask
from admin_api.security import Role
from admin_api.services import Services

router = APIRouter(route_class=GuardedRoute, tags=["kerberos"])
NOTHING: Final = 0
MAX_BASE64: Final = 48 << 10


class KeytabBody(BaseModel):
    """keytab: the file's bytes in Base64."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"keytab": "BQIAAAA…"}]})
    keytab: Annotated[str, Field(min_length=4, max_length=MAX_BASE64, repr=False)]


class KerberosKey(BaseModel):
    """kvno: which of the principal's keys. type: for what encryption. made_s: since 1970."""

    principal: str
    realm: str
    kvno: int
    type: str
    made_s: int


class Kerberos(BaseModel):
    """version: 0 without a keytab. restarting: the NFS server starts anew for what was changed; NFS 4 clients keep what they
    hold. realms: whose users are this machine's users of the same name.
    """

    version: int
    restarting: bool
    realms: list[str]
    keys: list[KerberosKey]


def _now(here: Services) -> Kerberos:
    return Kerberos.model_validate(ask(here, "kerberos"))


@router.get("/kerberos", openapi_extra=needs(Role.VIEWER), responses=responses(401, 403, 409, 503))
def show_kerberos(here: Here, response: Response) -> Kerberos:
    """Whose keys the server has; the ETag is what a change must name."""
    found = _now(here)
    response.headers["ETag"] = etag(found.version)
    return found


@router.put(
    "/kerberos/keytab",
    openapi_extra=needs(Role.ADMIN),
    responses=responses(400, 401, 403, 409, 412, 413, 422, 428, 503),
)
def set_keytab(
    here: Here, caller: Caller, body: KeytabBody, response: Response, if_match: IfMatch = None
) -> Kerberos:
    """Gives the server a keytab, or replaces the one that If-Match names. New keys of the same realms hold for
    the next client that signs in; for the first keytab and other realms the NFS server starts anew.
    """
    before = _now(here)
    if before.version != NOTHING:
        check_match(if_match, before.version)
    elif if_match is not None:
        raise Problem(412, "changed_meanwhile", "there is no keytab any more", "leave If-Match out")
    made = Kerberos.model_validate(ask(here, "kerberos_set", keytab=body.keytab, version=before.version))
    principals = sorted({f"{key.principal}@{key.realm}" for key in made.keys})[:20]
    audit(
        here, caller, "kerberos.set", ",".join(made.realms), principals=principals, restarts=made.restarting
    )
    response.headers["ETag"] = etag(made.version)
    return made


@router.delete(
    "/kerberos/keytab",
    openapi_extra=needs(Role.ADMIN),
    responses=responses(401, 403, 404, 409, 412, 422, 503),
)
def remove_keytab(here: Here, caller: Caller, if_match: IfMatch = None) -> Kerberos:
    """Ends Kerberos; refused while an export asks for it. If-Match may be left out."""
    version = None
    before = _now(here)
    if if_match is not None:
        check_match(if_match, before.version)
        version = before.version
    made = Kerberos.model_validate(ask(here, "kerberos_remove", version=version))
    audit(here, caller, "kerberos.remove", ",".join(before.realms), restarts=made.restarting)
    return made
