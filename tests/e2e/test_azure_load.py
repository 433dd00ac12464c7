"""What a configuration with an identity of Azure is refused for before anything is asked."""

from __future__ import annotations

from typing import Any

import pytest

from azure_identity_rig import FILE, WORKLOAD, bare, managed
from bootstrap import Config
from egress import NAME, SETTINGS
from entra import azure
from entra_rig import checked, errors
from manifests import Manifest, policy
from oidc import exchanged

SUBJECT = "BackendSecurityPolicy default/azure: "
APP = {"IDENTITY_ENDPOINT": "http://127.0.0.1:42356/msi/token", "IDENTITY_HEADER": "of-the-test"}
POD = {FILE: "/var/run/secrets/azure/tokens/azure-identity-token"}
HOST = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
MARKER = "marker-of-a-header-6d1f"


def settings(identity: Any, name: str = "default/azure", **more: Any) -> Config:
    """The settings of a configuration with one identity."""
    return {**SETTINGS, "policies": {name: identity}, **more}


def refused(identity: Any, *resources: Manifest, env: Any = None, **more: Any) -> str:
    """The one error line."""
    whole = settings(identity, **more)
    (line,) = errors(*(resources or [bare("azure")]), env=env, settings=whole)
    return line


def accepted(identity: Any, *resources: Any, env: Any = None, **more: Any) -> None:
    """There is no word about it."""
    whole = settings(identity, **more)
    assert checked(*(resources or [bare("azure")]), env=env, settings=whole) == (0, [])


RIGHT: dict[str, tuple[Config, dict[str, str]]] = {
    "workload": (WORKLOAD, POD),
    "system": (managed(), {}),
    "system-empty": ({"azureIdentity": "ManagedIdentity", "managedIdentity": {}}, {}),
    "client": (managed(clientID="a"), {}),
    "object": (managed(objectID="a"), {}),
    "resource": (managed(resourceID="/subscriptions/a"), {}),
    "app service": (managed(), APP),
    "app service over https": (managed(), APP | {"IDENTITY_ENDPOINT": "https://a.test/token"}),
    "half of app service": (managed(), {"IDENTITY_HEADER": "of-the-test"}),
    "arc without endpoint": (managed(), {"IMDS_ENDPOINT": "http://localhost:40342"}),
    "another address": (managed(), {HOST: "http://127.0.0.1:8080"}),
}


@pytest.mark.parametrize("name", RIGHT)
def test_an_identity_of_each_kind_is_taken(name: str) -> None:
    identity, env = RIGHT[name]
    accepted(identity, env=env)


def test_an_identity_goes_with_any_manifest_that_the_crd_takes() -> None:
    own = azure("azure")
    for identity in (WORKLOAD, managed()):
        accepted(identity, *own, env=POD)
        accepted(identity, own[0], env=POD)
        accepted(identity, *exchanged("azure"), env=POD)


WRONG_ENVIRONMENTS: dict[str, tuple[Config, dict[str, str], tuple[str, ...]]] = {
    "Azure Arc": (
        managed(),
        {
            "IDENTITY_ENDPOINT": "http://localhost:40342/x",
            "IMDS_ENDPOINT": "http://localhost:40342",
        },
        ("IMDS_ENDPOINT", "Arc"),
    ),
    "Service Fabric": (
        managed(),
        {**APP, "IDENTITY_SERVER_THUMBPRINT": MARKER},
        ("IDENTITY_SERVER_THUMBPRINT", "Service Fabric"),
    ),
    "no header": (
        managed(),
        {"IDENTITY_ENDPOINT": APP["IDENTITY_ENDPOINT"]},
        ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"),
    ),
    "endpoint of files": (
        managed(),
        APP | {"IDENTITY_ENDPOINT": "http://files.local/msi/token"},
        ("IDENTITY_ENDPOINT", "files.local"),
    ),
    "endpoint without a scheme": (
        managed(),
        APP | {"IDENTITY_ENDPOINT": "127.0.0.1:42356/msi/token"},
        ("IDENTITY_ENDPOINT",),
    ),
    "endpoint of nobody": (
        managed(),
        APP | {"IDENTITY_ENDPOINT": "http://user:word@127.0.0.1/"},
        ("IDENTITY_ENDPOINT",),
    ),
    "header of two lines": (
        managed(),
        APP | {"IDENTITY_HEADER": f"{MARKER}\nx-injected: 1"},
        ("IDENTITY_HEADER",),
    ),
    "address of files": (managed(), {HOST: "http://files.local"}, (HOST, "files.local")),
    "address with a query": (managed(), {HOST: "http://127.0.0.1/?a=b"}, (HOST,)),
    "address of no URL": (managed(), {HOST: "127.0.0.1:8080"}, (HOST,)),
    "no token file": (WORKLOAD, {}, (FILE,)),
    "empty token file": (WORKLOAD, {FILE: " "}, (FILE,)),
    "relative token file": (WORKLOAD, {FILE: "tokens/a"}, (FILE,)),
    "token file above": (WORKLOAD, {FILE: "/var/run/../../etc/passwd"}, (FILE,)),
    "folder": (WORKLOAD, {FILE: "/var/run/secrets/"}, (FILE,)),
}


@pytest.mark.parametrize("name", WRONG_ENVIRONMENTS)
def test_an_environment_that_does_not_fit_is_named(name: str) -> None:
    identity, env, named = WRONG_ENVIRONMENTS[name]
    line = refused(identity, env=env)
    assert line.startswith(f"{SUBJECT}spec.azureCredentials: the environment of the VM: ")
    for word in named:
        assert word in line
    assert MARKER not in line


WRONG_SETTINGS: dict[str, tuple[Any, str]] = {
    "word": ({"azureIdentity": "managedIdentity"}, "azureIdentity"),
    "empty": ({"azureIdentity": ""}, "azureIdentity"),
    "list": ({"azureIdentity": ["ManagedIdentity"]}, "azureIdentity"),
    "two": (managed(clientID="a", objectID="b"), "managedIdentity"),
    "three": (managed(clientID="a", objectID="b", resourceID="c"), "managedIdentity"),
    "unknown": (managed(clientId="a"), "managedIdentity.clientId"),
    "empty id": (managed(clientID=""), "managedIdentity.clientID"),
    "line": (managed(objectID="a\nb"), "managedIdentity.objectID"),
    "nul": (managed(resourceID="/a\0"), "managedIdentity.resourceID"),
    "alone": ({"managedIdentity": {"clientID": "a"}}, "managedIdentity"),
    "of a workload": (WORKLOAD | {"managedIdentity": {}}, "managedIdentity"),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_a_setting_that_says_something_else_is_named(name: str) -> None:
    identity, place = WRONG_SETTINGS[name]
    # The policy needs a secret if it has no identity.
    lines = errors(*azure("azure"), env=POD, settings=settings(identity))
    assert len(lines) == 1, lines
    assert f"policies.default/azure.{place}: " in lines[0]


def test_without_the_setting_a_secret_is_needed() -> None:
    (line,) = errors(bare("azure"), env=POD | APP, settings=settings({}))
    assert line == (
        f"{SUBJECT}spec.azureCredentials: "
        "Exactly one of clientSecretRef or oidcExchangeToken must be specified"
    )


def test_both_proofs_in_the_manifest_stay_wrong() -> None:
    both = bare(
        "azure",
        clientSecretRef={"name": "s"},
        oidcExchangeToken=exchanged("azure")[0]["spec"]["azureCredentials"]["oidcExchangeToken"],
    )
    resources = [both, *exchanged("azure")[1:]]
    for identity in (WORKLOAD, managed()):
        lines = errors(*resources, env=POD, settings=settings(identity))
        assert any("Exactly one of" in line for line in lines), lines


def test_an_identity_of_nobody_or_of_another_type_is_refused() -> None:
    lines = errors(*azure("azure"), settings=settings(managed(), "default/azur"))
    assert len(lines) == 1, lines
    assert lines[0].startswith("policies.default/azur: ")
    for identity in (WORKLOAD, managed()):
        key = policy("azure", "APIKey", secret="s")
        own = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
        lines = errors(
            key, own | {"stringData": {"apiKey": "k"}}, env=POD, settings=settings(identity)
        )
        assert len(lines) == 1, lines
        assert "policies.default/azure" in lines[0]
        assert "azureIdentity" in lines[0]


def test_a_way_out_is_needed() -> None:
    for identity, env in ((WORKLOAD, POD), (managed(), {}), (managed(), APP)):
        line = refused(identity, env=env, egress={})
        assert line.startswith("egress.cluster: ")
        assert "BackendSecurityPolicy default/azure" in line
    accepted(managed(), egress={"clusters": {"169.254.169.254": NAME}})
    accepted(managed(), env=APP, egress={"clusters": {"127.0.0.1": NAME}})
    accepted(managed(), egress={"plaintextCluster": NAME})


def test_a_token_file_needs_a_cluster_of_files_and_a_service_does_not() -> None:
    line = refused(WORKLOAD, env=POD, files={})
    assert line.startswith("files.cluster: ")
    assert "BackendSecurityPolicy default/azure" in line
    accepted(managed(), files={})
    accepted(managed(), env=APP, files={})
