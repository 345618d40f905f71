"""Azure Blob Storage as the control plane sees it."""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

import structlog
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential, TokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.storage.blob import BlobClient, BlobLeaseClient, BlobServiceClient, ContentSettings

from gateway.errors import Reason, StartError
from gateway.objects.container import ROOT_KEY, LeaseHeldError, LeaseLostError, Root, RootChangedError
from gateway.objects.credentials import AzureCredentials

log = structlog.get_logger(__name__)

# Tries of the SDK before it gives up: an operator waits for the answer, and whoever needs patience retries
# around it.
RETRIES: Final = 2
BACKOFF_S: Final = 1
BACKOFF_JITTER_S: Final = 1
CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 20
# Those of one attempt to renew a lease, which is repeated by whoever keeps it.
PROMPT_CONNECT_S: Final = 3
PROMPT_READ_S: Final = 5


def service_client(credentials: AzureCredentials, *, prompt: bool = False) -> BlobServiceClient:
    """The SDK's client of an account. Nothing is contacted yet. `prompt`: one attempt, which soon ends."""
    credential: AzureNamedKeyCredential | AzureSasCredential | TokenCredential
    if credentials.key is not None:
        credential = AzureNamedKeyCredential(credentials.account, credentials.key)
    elif credentials.sas is not None:
        credential = AzureSasCredential(credentials.sas)
    else:
        # Imported here: it takes half a second, and most stores have a key.
        from azure.identity import DefaultAzureCredential

        credential = DefaultAzureCredential()
    return BlobServiceClient(
        credentials.endpoint,
        credential=credential,
        retry_total=0 if prompt else RETRIES,
        initial_backoff=BACKOFF_S,
        increment_base=2,
        random_jitter_range=BACKOFF_JITTER_S,
        connection_timeout=PROMPT_CONNECT_S if prompt else CONNECT_TIMEOUT_S,
        read_timeout=PROMPT_READ_S if prompt else READ_TIMEOUT_S,
    )


class AzureRootStore:
    """A container, or a prefix of one, of a storage account."""

    def __init__(
        self, credentials: AzureCredentials, container: str, prefix: str = "", *, prompt: bool = False
    ) -> None:
        self._account = credentials.account
        self._endpoint = credentials.endpoint
        self._container = container
        self._prefix = prefix.strip("/")
        self._service = service_client(credentials, prompt=prompt)

    @property
    def url(self) -> str:
        return f"az://{self._container}/{self._prefix}".rstrip("/")

    def create(self) -> None:
        with self._errors():
            try:
                self._service.get_container_client(self._container).create_container()
            except ResourceExistsError as error:
                # It is there, which is as good; one that is being deleted is not.
                if _code(error) == "ContainerBeingDeleted":
                    raise
            except HttpResponseError as error:
                # A signature for one container may not make any, and may do all that comes next.
                if error.status_code not in (401, 403):
                    raise
                log.debug("container.not_created", store=self.url, code=_code(error))

    def read_root(self) -> Root | None:
        with self._errors():
            try:
                stream = self._blob().download_blob()
                found = stream.properties
                # A broken lease that has time to run still keeps others out.
                leased = str(found.lease.state) in ("leased", "breaking")
                return Root(stream.readall(), str(found.etag), leased)
            except ResourceNotFoundError:
                return None

    def swap_root(self, data: bytes, etag: str | None, lease_id: str | None = None) -> str:
        settings = ContentSettings(content_type="application/json")
        with self._errors():
            try:
                if etag is None:
                    done = self._blob().upload_blob(data, overwrite=False, content_settings=settings)
                else:
                    done = self._blob().upload_blob(
                        data,
                        overwrite=True,
                        etag=etag,
                        match_condition=MatchConditions.IfNotModified,
                        content_settings=settings,
                        lease=None if lease_id is None else self._lease(lease_id),
                    )
            except HttpResponseError as error:
                if _code(error).startswith("Lease"):
                    raise (LeaseHeldError if lease_id is None else LeaseLostError) from error
                if isinstance(error, ResourceExistsError | ResourceModifiedError):
                    raise RootChangedError from error
                raise
            return str(done["etag"])

    def acquire_lease(self, lease_id: str, duration_s: int) -> None:
        with self._lease_errors(LeaseHeldError):
            self._lease(lease_id).acquire(lease_duration=duration_s)

    def renew_lease(self, lease_id: str) -> None:
        with self._lease_errors(LeaseLostError):
            self._lease(lease_id).renew()

    def release_lease(self, lease_id: str) -> None:
        with suppress(LeaseLostError), self._lease_errors(LeaseLostError):
            self._lease(lease_id).release()

    def break_lease(self, period_s: int) -> None:
        with suppress(LeaseLostError), self._lease_errors(LeaseLostError):
            self._lease(None).break_lease(lease_break_period=period_s)

    def _lease(self, lease_id: str | None) -> BlobLeaseClient:
        return BlobLeaseClient(self._blob(), lease_id=lease_id)

    @contextmanager
    def _lease_errors(self, conflict: type[Exception]) -> Generator[None, None, None]:
        """Conflicts about the lease are what the caller asked about; the rest are errors as everywhere."""
        with self._errors():
            try:
                yield
            except HttpResponseError as error:
                if error.status_code in (409, 412) and _code(error).startswith("Lease"):
                    raise conflict from error
                raise

    def close(self) -> None:
        self._service.close()

    def _blob(self) -> BlobClient:
        key = f"{self._prefix}/{ROOT_KEY}" if self._prefix else ROOT_KEY
        return self._service.get_blob_client(self._container, key)

    @contextmanager
    def _errors(self) -> Generator[None, None, None]:
        try:
            yield
        except AzureError as error:
            raise self._error(error) from error

    def _error(self, error: AzureError) -> StartError:
        """An error of the SDK in an operator's words. The SDK's own text may hold addresses and request
        dumps: it goes to the log only.
        """
        status = error.status_code if isinstance(error, HttpResponseError) else None
        code = _code(error)
        if isinstance(error, ServiceRequestError | ServiceResponseError):
            return StartError(
                f"the store {self.url} cannot be reached at {self._endpoint}",
                "check the account's name, the network and the account's firewall",
                Reason.STORE_UNREACHABLE,
            )
        if isinstance(error, ClientAuthenticationError) or status in (401, 403):
            what = f" ({code})" if code else ""
            return StartError(
                f"the store {self.url} of account {self._account} refused the credential{what}",
                "check the key, signature or role (Storage Blob Data Contributor), and this machine's clock",
                Reason.STORE_REFUSED,
            )
        if code == "ContainerNotFound":
            return StartError(
                f"the container of the store {self.url} does not exist, and the credential may not make it",
                f"make the container {self._container}, or give a credential that may",
                Reason.STORE_REFUSED,
            )
        if code == "ContainerBeingDeleted":
            return StartError(
                f"the container of the store {self.url} is being deleted",
                "try again in a minute, or choose another container",
                Reason.STORE_UNREACHABLE,
            )
        if status is not None and status >= 500:
            return StartError(
                f"the store {self.url} answers with errors (status {status})",
                "try again; Azure's status page tells of outages",
                Reason.STORE_UNREACHABLE,
            )
        return StartError(
            f"the store {self.url} failed: {code or type(error).__name__}",
            "the log holds the whole answer",
            Reason.STORE_UNREACHABLE,
        )


def _code(error: AzureError) -> str:
    """The service's word for what went wrong, or an empty text. The SDK adds it to its exceptions at run
    time.
    """
    code: object = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))
