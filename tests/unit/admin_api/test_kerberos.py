"""/v1/kerberos: the keytab goes in, by those who may, and does not come out."""

import base64
from typing import Any

from gateway.errors import ControlError
from tests.support import keytabs
from tests.unit.admin_api.conftest import KERBEROS, Api

BODY = {"keytab": base64.b64encode(keytabs.SERVER).decode()}
NONE: dict[str, Any] = {"version": 0, "realms": [], "restarting": False, "keys": []}


def test_a_keytab_comes_is_replaced_and_goes(api: Api) -> None:
    api.gateway.answers |= {"kerberos": NONE, "kerberos_set": KERBEROS, "kerberos_remove": NONE}
    assert api.local("PUT", "kerberos/keytab", BODY, If_Match='"77"').status_code == 412
    made = api.local("PUT", "kerberos/keytab", BODY)
    assert (made.status_code, made.headers["etag"]) == (200, '"77"')
    assert made.json() == KERBEROS
    assert api.gateway.calls[-1] == ("kerberos_set", {**BODY, "version": 0})
    api.gateway.answers["kerberos"] = KERBEROS
    assert api.local("GET", "kerberos").headers["etag"] == '"77"'
    assert api.local("PUT", "kerberos/keytab", BODY).status_code == 428
    assert api.local("PUT", "kerberos/keytab", BODY, If_Match='"76"').status_code == 412
    assert api.local("PUT", "kerberos/keytab", BODY, If_Match='"77"').status_code == 200
    assert api.local("DELETE", "kerberos/keytab", If_Match='"76"').status_code == 412
    assert api.local("DELETE", "kerberos/keytab", If_Match='"77"').status_code == 200
    told = api.local("GET", "audit").json()["items"]
    assert [one["action"] for one in told] == ["kerberos.remove", "kerberos.set", "kerberos.set"]
    assert told[1]["detail"]["principals"] == ["nfs/server.test@A.TEST"]
    assert BODY["keytab"] not in api.local("GET", "audit").text


def test_who_may(api: Api) -> None:
    api.gateway.answers |= {"kerberos": NONE, "kerberos_set": KERBEROS}
    assert api.ask("GET", "kerberos", token=api.token("viewer")).status_code == 200
    assert api.ask("PUT", "kerberos/keytab", BODY, token=api.token("operator")).status_code == 403
    assert api.ask("DELETE", "kerberos/keytab", token=api.token("operator")).status_code == 403


def test_refusals_have_their_status_and_do_not_repeat_what_came(api: Api) -> None:
    api.gateway.answers["kerberos"] = NONE
    for code, status in (("invalid", 422), ("in_use", 409), ("not_found", 404)):
        api.gateway.refusals["kerberos_remove"] = ControlError(code, "so it is")
        assert api.local("DELETE", "kerberos/keytab").status_code == status
    refused = api.local("PUT", "kerberos/keytab", {"keytab": BODY["keytab"], "more": 1})
    assert refused.status_code == 422
    assert BODY["keytab"] not in refused.text
    assert api.local("PUT", "kerberos/keytab", {"keytab": "A" * 70_000}).status_code in (413, 422)
