"""The HTTP side of the instance metadata service, and the wait for the token of a managed identity.

The service asks for patience with 404 and 410 (it is being updated), 429 and 5xx: each is tried again, for a bounded time.
"""

import http.client
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec
import structlog

from gateway.errors import ConfigError
from gateway.objects.credentials import (
    ACCOUNT_VARIABLES,
    CONNECTION_STRING,
    KEY_VARIABLES,
    SAS_VARIABLES,
)

log = structlog.get_logger(__name__)

WAIT_S: Final = 70.0
"""Azure's documentation: an update of the service is over after 70 seconds."""
ANSWER_S: Final = 5.0
_PAUSE_FIRST_S: Final = 1.0
_PAUSE_MOST_S: Final = 10.0
_BODY_S: Final = 10.0
_MOST_BYTES: Final = 1 << 20
_PART_BYTES: Final = 4096
_AGAIN: Final = frozenset({404, 408, 410, 429})
_IDENTITY: Final = "/metadata/identity/oauth2/token?"
_RESOURCE: Final = "https://storage.azure.com/"
# Any of these is another credential than the machine's own identity.
_OTHERS: Final = (
    CONNECTION_STRING,
    *KEY_VARIABLES,
    *SAS_VARIABLES,
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_USE_AZURE_CLI",
)


class InstanceError(Exception):
    """The service does not say what is needed; the message says so, `hint` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Service:
    """url: http://HOST[:PORT]. wait_s: how long one question may take in all. No proxy is used and no redirection followed:
    the service is on this machine's own link.
    """

    def __init__(
        self,
        url: str,
        wait_s: float = WAIT_S,
        sleep: Callable[[float], None] = time.sleep,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigError for a URL of another kind."""
        self.url = url
        self._wait_s, self._sleep, self._monotonic_s = wait_s, sleep, monotonic_s
        try:
            split = urllib.parse.urlsplit(url)
            self._host, self._port = split.hostname or "", split.port
        except ValueError:
            split, self._host, self._port = urllib.parse.urlsplit(""), "", None
        if split.scheme != "http" or not self._host or split.path not in {"", "/"} or split.query:
            raise ConfigError(
                f"{url!r} is no address of an instance metadata service", "as: http://169.254.169.254"
            )

    def wait(self, path: str, who: str, again: Callable[[int], bool] = lambda _: False) -> tuple[int, bytes]:
        """Status and body of the first answer that another attempt would not change. again: further statuses that may
        pass; one that does not is returned in the end. who: for the message. Raises InstanceError with the last answer where
        there was none of use in time.
        """
        deadline_s = self._monotonic_s() + self._wait_s
        pause_s = _PAUSE_FIRST_S
        while True:
            status, body, why = self._once(path)
            if status and not (status in _AGAIN or status >= 500 or again(status)):
                return status, body
            left_s = deadline_s - self._monotonic_s()
            if left_s <= 0 and again(status):
                return status, body
            if left_s <= 0:
                raise InstanceError(
                    f"{who} does not answer: {why or said(status, body)}",
                    "it is asked again every half minute; if it lasts, stop and start the machine",
                )
            log.info("firstboot.instance_waits", who=who, why=why or said(status, body))
            self._sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, _PAUSE_MOST_S)

    def _once(self, path: str) -> tuple[int, bytes, str]:
        """Status, body, and why there is neither."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_S)
        try:
            connection.request("GET", path, headers={"Metadata": "true"})
            answer = connection.getresponse()
            return answer.status, self._read(answer), ""
        except (OSError, http.client.HTTPException, ValueError) as error:
            return 0, b"", str(error) or type(error).__name__
        finally:
            connection.close()

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        """All of a body, of a bounded size, which has to come in a bounded time even if it comes byte by byte."""
        deadline_s = self._monotonic_s() + _BODY_S
        parts: list[bytes] = []
        while part := answer.read1(_PART_BYTES):
            parts.append(part)
            if self._monotonic_s() > deadline_s or sum(map(len, parts)) > _MOST_BYTES:
                raise ValueError("the answer does not end")
        if answer.length:
            raise ValueError("the answer is cut off")
        return b"".join(parts)


def said(status: int, body: bytes) -> str:
    """A refusal in one line: the service's own words, where there are some."""
    try:
        fields = cast("dict[str, Any]", msgspec.json.decode(body))
        words = " ".join(str(fields.get("error_description") or fields["error"]).split())
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return str(status)
    return f"{status} {words[:300]}"


def wait_for_identity(service: Service, env: Mapping[str, str]) -> None:
    """Until the machine's managed identity has a token for storage; nothing where another credential is given.

    Raises InstanceError where there is no such identity, or no answer in time.
    """
    if any(env.get(name) for name in _OTHERS) or not any(env.get(name) for name in ACCOUNT_VARIABLES):
        return
    client_id = env.get("AZURE_CLIENT_ID", "")
    query = {"api-version": "2018-02-01", "resource": _RESOURCE}
    if client_id:
        query["client_id"] = client_id
    # 400: no such identity. It may have been assigned a moment ago.
    status, body = service.wait(
        _IDENTITY + urllib.parse.urlencode(query),
        "the managed identity's token service",
        lambda it: it == 400,
    )
    if status != 200:
        raise InstanceError(
            f"the managed identity gets no token: {said(status, body)}",
            "assign the machine an identity with the role Storage Blob Data Contributor on the container"
            + (f"; AZURE_CLIENT_ID is {client_id}" if client_id else ""),
        )
