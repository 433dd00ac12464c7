"""Policies that are right and that this version cannot serve: the filter says so and refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bootstrap import bootstrap, cluster, listener, route, wasm_filter
from gateway import running
from launch import validate
from manifests import Manifest, config, keyed, policy, secret

MARKER = "marker-of-a-secret-08c5"
EGRESS = {"egress": {"cluster": "egress"}, "files": {"cluster": "egress"}}


def override(**source: Any) -> Manifest:
    """A policy with a key that a request may bring along."""
    return policy("later", secret="s", credentialOverride=source)


LATER = {
    "a header of the request": override(fromRequestHeaders={"header": "x-my-key"}),
    "metadata of the request": override(fromDynamicMetadata={"namespace": "n", "key": "k"}),
}


def known() -> Manifest:
    """A Secret with every key that the policies above ask for."""
    return secret("s") | {"stringData": {"apiKey": MARKER, "client-secret": MARKER}}


@pytest.mark.parametrize("name", LATER)
def test_a_policy_that_this_version_cannot_serve_is_refused_with_one_line(name: str) -> None:
    plugin = config(LATER[name], known(), keyed("good"), **EGRESS)
    backend = cluster("good", [1], filters=[wasm_filter(plugin)])
    status, output = validate(bootstrap([listener([route("/", "good")])], [backend]))
    assert status == 1, output
    assert MARKER not in output
    (line,) = re.findall(r"\[error\]\[wasm\].*wasm log[^:]*: (.*)", output)
    assert line.startswith("BackendSecurityPolicy default/later: ")
    assert "this version cannot" in line
    assert "spec.credentialOverride" in line


def test_each_of_them_has_a_line_of_its_own() -> None:
    policies = []
    for number, manifest in enumerate(LATER.values()):
        copy = policy(f"later-{number}") | {"spec": dict(manifest["spec"])}
        copy["spec"]["targetRefs"] = policy(f"later-{number}")["spec"]["targetRefs"]
        policies.append(copy)
    plugin = config(policies, known(), **EGRESS)
    backend = cluster("good", [1], filters=[wasm_filter(plugin)])
    status, output = validate(bootstrap([listener([route("/", "good")])], [backend]))
    assert status == 1
    assert MARKER not in output
    lines = re.findall(r"\[error\]\[wasm\].*wasm log[^:]*: (.*)", output)
    assert len(lines) == len(LATER)
    for number in range(len(LATER)):
        subject = f"BackendSecurityPolicy default/later-{number}: "
        assert sum(line.startswith(subject) for line in lines) == 1, lines


def test_without_them_the_same_configuration_works() -> None:
    with running({"good": config(keyed("good", key="works"), known(), **EGRESS)}) as gateway:
        assert gateway.send("good").header("authorization") == "Bearer works"
