"""The Azure template, as far as it can be judged without Azure: its references, its rules, and the user data it makes."""

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import config
from tests.support.processes import ROOT

AZURE = ROOT / "appliance/azure"
USER_DATA = AZURE / "user-data.yaml"


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return json.loads((AZURE / "azuredeploy.json").read_text())


def texts(value: object) -> Iterator[str]:
    """Every string in a document, keys too: expressions may stand in both."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def resources(template: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one for one in template["resources"] if one["type"] == kind]


def one(template: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = resources(template, kind)
    return found


def test_every_parameter_and_variable_is_there_and_used(template: dict[str, Any]) -> None:
    used = {"parameters": set[str](), "variables": set[str]()}
    body = [template["resources"], template["outputs"], template["variables"], template["parameters"]]
    for text in texts(body):
        for kind, name in re.findall(r"(parameters|variables)\('(\w+)'\)", text):
            used[kind].add(name)
    assert used["parameters"] == set(template["parameters"])
    assert used["variables"] == set(template["variables"])


def test_the_users_name_is_free_on_debian(template: dict[str, Any]) -> None:
    """cloud-init makes a user with a group of the same name, which fails where there is one: `operator` is such a group."""
    taken = Path("/usr/share/base-passwd/group.master").read_text().split("\n")
    assert template["parameters"]["adminUsername"]["defaultValue"] not in {
        line.split(":")[0] for line in taken
    }


def test_expressions_are_balanced(template: dict[str, Any]) -> None:
    for text in texts(template["resources"]):
        if text.startswith("["):
            bare = re.sub(r"'[^']*'", "", text)
            assert text.endswith("]"), text
            assert bare.count("(") == bare.count(")"), text


def test_what_is_waited_for_is_in_the_template(template: dict[str, Any]) -> None:
    kinds = {resource["type"] for resource in template["resources"]}
    copies = {resource["copy"]["name"] for resource in template["resources"] if "copy" in resource}
    for resource in template["resources"]:
        for wanted in resource.get("dependsOn", []):
            named = re.findall(r"[Rr]esourceId\((?:variables\('\w+'\), )?'([\w./]+)'", wanted)
            variable = re.findall(r"^\[variables\('(\w+)'\)\]$", wanted)
            for name in variable:
                named += re.findall(r"resourceId\('([\w./]+)'", template["variables"][name])
            assert wanted in copies or (named and set(named) <= kinds), wanted


def test_the_storage_account_takes_no_keys_and_nobody_from_outside(template: dict[str, Any]) -> None:
    account = one(template, "Microsoft.Storage/storageAccounts")["properties"]
    assert account["allowSharedKeyAccess"] is False
    assert account["allowBlobPublicAccess"] is False
    assert account["minimumTlsVersion"] == "TLS1_2"
    assert account["networkAcls"]["defaultAction"] == "Deny"
    scopes = {role["scope"] for role in resources(template, "Microsoft.Authorization/roleAssignments")}
    assert scopes == {"[variables('containerId')]", "[variables('vaultKeyId')]"}, "one container, one key"


def test_a_vault_is_made_only_when_it_is_named_and_its_key_is_not_lost(template: dict[str, Any]) -> None:
    vault = one(template, "Microsoft.KeyVault/vaults")
    assert template["parameters"]["keyVaultName"]["defaultValue"] == ""
    of_vault = [
        resource
        for resource in template["resources"]
        if any("vault" in text.lower() for text in texts([resource["name"], resource.get("scope", "")]))
    ]
    assert len(of_vault) == 8
    assert all("variables('withVault')" in resource["condition"] for resource in of_vault)
    properties = vault["properties"]
    assert properties["enablePurgeProtection"] is properties["enableSoftDelete"] is True
    assert properties["enableRbacAuthorization"] is True
    assert properties["networkAcls"]["defaultAction"] == "Deny"
    key = one(template, "Microsoft.KeyVault/vaults/keys")["properties"]
    assert (key["kty"], key["keyOps"]) == ("RSA", ["wrapKey", "unwrapKey"])


def test_the_machine_has_no_public_address_and_data_disks_that_outlive_it(template: dict[str, Any]) -> None:
    assert not resources(template, "Microsoft.Network/publicIPAddresses")
    machine = one(template, "Microsoft.Compute/virtualMachines")["properties"]
    disks = machine["storageProfile"]["dataDisks"]
    assert [disk["lun"] for disk in disks] == [0, 1]
    assert {(disk["deleteOption"], disk["caching"]) for disk in disks} == {("Detach", "None")}
    assert machine["osProfile"]["linuxConfiguration"]["disablePasswordAuthentication"] is True
    locks = resources(template, "Microsoft.Authorization/locks")
    assert all(lock["properties"]["level"] == "CanNotDelete" for lock in locks)
    assert len(locks) == 3


def test_the_network_rules_let_in_what_the_firewall_does(template: dict[str, Any]) -> None:
    rules = one(template, "Microsoft.Network/networkSecurityGroups")["properties"]["securityRules"]
    allowed = {
        int(port)
        for rule in rules
        if rule["properties"]["access"] == "Allow"
        for port in rule["properties"]["destinationPortRanges"]
    }
    firewall = (ROOT / "appliance/files/caudal-appliance/usr/lib/caudal/firewall.nft").read_text()
    named = [
        ports
        for line in re.findall(r"tcp dport (\{[^}]*\}|\d+)", firewall)
        for ports in re.findall(r"\d+", line)
    ]
    assert allowed == {int(port) for port in named}


def filled(template: dict[str, Any]) -> str:
    """The user data as the template's expression makes it, with values for Azure's."""
    expression = one(template, "Microsoft.Compute/virtualMachines")["properties"]["osProfile"]["customData"]
    text = template["variables"]["userData"]
    values = {"export": "/data", "clients": "10.0.0.0/8", "storageAccountName": "acc", "containerName": "box"}
    marks = re.findall(r"'(@@\w+@@)', ((?:[^()]|\([^()]*\)|\((?:[^()]|\([^()]*\))*\))+?)\)", expression)
    assert {mark for mark, _ in marks} == set(re.findall(r"@@\w+@@", text))
    for mark, source in marks:
        name = re.findall(r"^parameters\('(\w+)'\)$", source)
        value = values[name[0]] if name else "604800" if "retentionS" in source else "an-id"
        text = text.replace(mark, value)
    return text


def test_the_user_data_is_what_first_boot_reads(template: dict[str, Any], tmp_path: Path) -> None:
    assert template["variables"]["userData"] == USER_DATA.read_text(), (
        "tools: azuredeploy.json holds a copy of it"
    )
    text = filled(template)
    assert text.startswith("#cloud-config\n")
    files = {file["path"]: file for file in yaml.safe_load(text)["write_files"]}
    toml = files["/etc/caudal/caudal.toml"]["content"]
    assert tomllib.loads(toml)["store"] == "az://box"
    (tmp_path / "caudal.toml").write_text(toml)
    loaded = config.load(tmp_path / "caudal.toml")
    assert (loaded.export, loaded.clients, loaded.backup_retention_s) == ("/data", ("10.0.0.0/8",), 604800)
    environment = dict(line.split("=") for line in files["/etc/caudal/environment"]["content"].split())
    assert environment == {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_CLIENT_ID": "an-id"}
    assert all(file["permissions"] == "0600" for file in files.values())


TEARDOWN = AZURE / "teardown"


def torn_down(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    """Runs the script with an Azure CLI that writes down what it is asked; returns status and that."""
    calls = tmp_path / "calls"
    calls.write_text("")
    fake = tmp_path / "az"
    fake.write_text(
        f'#!/bin/sh\necho "$*" >>{calls}\ncase $* in *"account list"*) echo acc ;; *"keyvault list"*) echo vault ;; esac\n'
    )
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [TEARDOWN, *arguments], env={**os.environ, "PATH": path}, capture_output=True, check=False
    )
    return done.returncode, calls.read_text()


def test_a_teardown_keeps_the_data(tmp_path: Path) -> None:
    status, calls = torn_down(tmp_path, "group", "caudal")
    assert status == 0
    assert "vm delete" in calls
    assert "disk delete" not in calls
    assert "storage" not in calls


@pytest.mark.parametrize(
    "options",
    [
        ["--delete-data"],
        ["--delete-data", "--yes-delete-all-files-of", "other"],
        ["--yes-delete-all-files-of", "caudal"],
        ["--delete-data", "--yes-delete-all-files-of"],
        ["--force"],
    ],
)
def test_a_teardown_that_is_told_once_only_does_nothing(tmp_path: Path, options: list[str]) -> None:
    assert torn_down(tmp_path, "group", "caudal", *options) == (2, "")


def test_told_twice_it_deletes_everything(tmp_path: Path) -> None:
    status, calls = torn_down(
        tmp_path, "group", "caudal", "--delete-data", "--yes-delete-all-files-of", "caudal"
    )
    assert status == 0
    for wanted in (
        "disk delete --resource-group group --name caudal-journal1",
        "storage account delete",
        "lock delete",
        "keyvault delete --resource-group group --name vault",
    ):
        assert wanted in calls


def test_terraform_hands_over_the_template_with_parameters_that_it_has(template: dict[str, Any]) -> None:
    text = (AZURE / "terraform/main.tf").read_text()
    assert "../azuredeploy.json" in text
    given = re.findall(r"^\s+(\w+)\s+= \{ value =", text, re.MULTILINE)
    needed = {name for name, parameter in template["parameters"].items() if "defaultValue" not in parameter}
    assert needed <= set(given) <= set(template["parameters"])
