"""What the examples whose credential is obtained need in the environment, and say without it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest

from bootstrap import ROOT
from google_keys import ServiceAccount
from launch import validate
from test_demonstration import OBTAINED, load
from test_examples import PLATFORM, wanted

NEEDED: Mapping[str, Mapping[str, str]] = {
    "aks-workload-identity": {
        "AZURE_FEDERATED_TOKEN_FILE": f"{PLATFORM}/azure/tokens/azure-identity-token",
    },
    "azure-entra": {"AZURE_CLIENT_SECRET": "a-secret-2c41"},
    "bedrock-oidc": {"OIDC_CLIENT_SECRET": "a-secret-2c41"},
    "vertex-federation": {"OIDC_CLIENT_SECRET": "a-secret-2c41"},
    "vertex-service-account": {"SERVICE_ACCOUNT_JSON": json.dumps(ServiceAccount().file())},
}
"""What an example cannot do without."""

FURTHER: Mapping[str, Mapping[str, str]] = {
    "aks-workload-identity": {"AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/"},
    "eks-irsa": {
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/pod",
        "AWS_WEB_IDENTITY_TOKEN_FILE": f"{PLATFORM}/eks.amazonaws.com/serviceaccount/token",
    },
    "eks-pod-identity": {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": (
            f"{PLATFORM}/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token"
        ),
    },
}
"""What it takes from its platform besides."""


def said(output: str) -> list[str]:
    """What the filter warns of or refuses, each line once: more than one VM reads it."""
    lines = re.findall(r"\[(?:warning|error)\]\[wasm\].*wasm log[^:]*: (.*)", output)
    return list(dict.fromkeys(lines))


@pytest.mark.parametrize("name", sorted(OBTAINED))
def test_an_example_with_its_variables_is_taken_without_a_word(name: str) -> None:
    config = load(ROOT / f"examples/{name}.yaml")
    env = {**NEEDED.get(name, {}), **FURTHER.get(name, {})}
    assert sorted(env) == sorted(wanted(config))
    status, output = validate(config, env)
    assert status == 0, output
    assert said(output) == []
    assert re.search(r"\[info\]\[wasm\].* aigw-auth \S+: 1 policies$", output, re.MULTILINE)
    assert "PRIVATE KEY" not in output
    for value in NEEDED.get(name, {}).values():
        assert value not in output


@pytest.mark.parametrize("name", NEEDED)
def test_an_example_without_its_variable_names_it(name: str) -> None:
    config = load(ROOT / f"examples/{name}.yaml")
    status, output = validate(config, FURTHER.get(name))
    assert status != 0
    (line,) = said(output)
    (variable,) = NEEDED[name]
    assert f"{variable} is not set" in line
    assert "environment of the VM" in line
    # An empty one is as good as none.
    status, output = validate(config, {**FURTHER.get(name, {}), variable: ""})
    assert status != 0
    (line,) = said(output)
    assert re.search(rf"\b{variable} (is not set|must not be empty)", line)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("eks-irsa", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        ("eks-pod-identity", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ],
)
def test_an_example_of_a_pod_without_its_variables_does_not_take_the_role_of_the_node(
    name: str, missing: str
) -> None:
    config = load(ROOT / f"examples/{name}.yaml")
    status, output = validate(config, {})
    assert status != 0
    (line,) = said(output)
    assert "no link of the default chain is configured" in line
    assert missing in line
    assert "AWS_EC2_METADATA_DISABLED is true" in line


def test_an_irsa_example_with_half_of_its_variables_names_the_other() -> None:
    config = load(ROOT / "examples/eks-irsa.yaml")
    file = "AWS_WEB_IDENTITY_TOKEN_FILE"
    status, output = validate(config, {file: FURTHER["eks-irsa"][file]})
    assert status != 0
    (line,) = said(output)
    assert f"{file} is set, and AWS_ROLE_ARN is not" in line
