"""Azure credentials: every form that Azure's own tools take, and the same meaning for the SDK and the native
core.
"""

import pytest

from gateway.errors import Reason, StartError
from gateway.objects.azure import service_client
from gateway.objects.credentials import (
    AZURITE_KEY,
    AzureCredentials,
    azure_credentials,
    parse_connection_string,
)

KEY = "a2V5a2V5"


@pytest.mark.parametrize(
    ("text", "account", "endpoint", "key", "sas"),
    [
        (
            f"DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={KEY}==;EndpointSuffix=core.windows.net",
            "acme",
            "https://acme.blob.core.windows.net",
            f"{KEY}==",
            None,
        ),
        (
            f"accountname=acme;ACCOUNTKEY={KEY};EndpointSuffix=core.chinacloudapi.cn;",
            "acme",
            "https://acme.blob.core.chinacloudapi.cn",
            KEY,
            None,
        ),
        (
            "BlobEndpoint=https://acme.blob.core.windows.net/;SharedAccessSignature=?sv=1&sig=a%3D",
            "acme",
            "https://acme.blob.core.windows.net",
            None,
            "sv=1&sig=a%3D",
        ),
        (
            "UseDevelopmentStorage=true",
            "devstoreaccount1",
            "http://127.0.0.1:10000/devstoreaccount1",
            AZURITE_KEY,
            None,
        ),
        (
            f"AccountName=devstoreaccount1;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:7/devstoreaccount1;",
            "devstoreaccount1",
            "http://127.0.0.1:7/devstoreaccount1",
            KEY,
            None,
        ),
    ],
)
def test_connection_strings(text: str, account: str, endpoint: str, key: str | None, sas: str | None) -> None:
    found = parse_connection_string(text)
    assert (found.account, found.endpoint, found.key, found.sas) == (account, endpoint, key, sas)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "no `=`"),
        ("a=b", "names no account"),
        ("AccountName=acme", "neither AccountKey nor"),
        ("AccountName=acme;AccountKey=???", "not base64"),
        ("AccountName=ac me;AccountKey=a2V5", "not the name of a storage account"),
        ("AccountName=acme;AccountKey=a2V5;BlobEndpoint=ftp://x", "not a URL"),
        ("BlobEndpoint=https://acme.blob.core.windows.net;SharedAccessSignature=sv=1", "no sig="),
    ],
)
def test_connection_strings_that_cannot_be_right(text: str, words: str) -> None:
    with pytest.raises(StartError, match=words) as caught:
        parse_connection_string(text)
    assert caught.value.reason is Reason.STORE_REFUSED
    assert caught.value.hint
    assert "???" not in caught.value.message + caught.value.hint


def test_the_environment_in_order_of_precedence() -> None:
    env = {
        "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=first;AccountKey={KEY}",
        "AZURE_STORAGE_ACCOUNT": "second",
        "AZURE_STORAGE_KEY": KEY,
        "AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=x",
        "AZURE_CLIENT_ID": "me",
    }
    assert azure_credentials(env).account == "first"
    del env["AZURE_STORAGE_CONNECTION_STRING"]
    assert azure_credentials(env).key == KEY
    del env["AZURE_STORAGE_KEY"]
    found = azure_credentials(env)
    assert (found.key, found.sas) == (None, "sv=1&sig=x")
    del env["AZURE_STORAGE_SAS_TOKEN"]
    assert azure_credentials(env).core_options() == {
        "azure_storage_account_name": "second",
        "azure_storage_client_id": "me",
    }
    with pytest.raises(StartError, match="no credential"):
        azure_credentials({})


def test_options_for_the_core() -> None:
    emulator = parse_connection_string(f"AccountName=dev1;AccountKey={KEY};BlobEndpoint=http://[::1]:7/dev1")
    assert emulator.core_options() == {
        "azure_storage_account_name": "dev1",
        "azure_storage_account_key": KEY,
        "azure_storage_endpoint": "http://[::1]:7/dev1",
        "azure_allow_http": "true",
    }
    signed = AzureCredentials("acme", "https://acme.blob.core.windows.net", sas="sig=1")
    assert signed.core_options() == {"azure_storage_account_name": "acme", "azure_storage_sas_key": "sig=1"}


def test_secrets_do_not_show() -> None:
    found = azure_credentials({"AZURE_STORAGE_ACCOUNT": "acme", "AZURE_STORAGE_KEY": KEY})
    assert KEY not in repr(found)
    with service_client(found) as client:
        assert KEY not in repr(client)
