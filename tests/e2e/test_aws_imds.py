"""Keys of the machine's role: what the filter asks the metadata service, where, and when not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from aws import REGION, STATIC, ambient, parsed
from aws_container import ECS, TASK_PATH, Container
from aws_identity_rig import Rig, serving
from aws_imds import ADDRESS, ADDRESS_6, ROLE_PATH, TOKEN, TOKEN_PATH, TTL, Imds
from aws_metadata import TO_A_CLUSTER, Ledger
from bootstrap import cluster
from entra_rig import checked, errors
from launch import poll
from mounts import on_every_worker
from wire import Request

RECORDINGS = Path(__file__).parent / "recordings"
ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
MODE = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"
DISABLED = "AWS_EC2_METADATA_DISABLED"
RELATIVE, FULL = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"
BEFORE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    RELATIVE,
    FULL,
)
"""What would come before the machine, if it were set."""
ROLE = "of-the-machine"


@pytest.fixture
def imds() -> Iterator[Imds]:
    """A machine with a role."""
    with Imds(hosts=[ADDRESS, ADDRESS_6]) as server:
        yield server


def asked(request: Request) -> tuple[str, str, str, dict[str, str | None]]:
    """Method, host and target of a request, and the headers that the service looks at."""
    names = (TTL, TOKEN, "content-length")
    shown = {name: request.header(name) for name in names if request.values(name)}
    return request.method, request.authority.decode(), request.target.decode(), shown


def recorded(token: str) -> list[tuple[str, str, str, dict[str, str | None]]]:
    """The same of what botocore sent, with this token and role in place of its own."""
    whole = json.loads((RECORDINGS / "aws-imdsv2.json").read_text())
    found = []
    for one in whole["requests"][:3]:
        texts = {"AQAEFAKETOKEN==": token, f"{ROLE_PATH}my-role": ROLE_PATH + ROLE}
        headers = [(k.lower().encode(), texts.get(v, v).encode()) for k, v in one["headers"]]
        target = texts.get(one["target"], one["target"])
        place = one["method"], target.encode(), one["host"].encode()
        found.append(asked(Request(*place, "1.1", headers)))
    return found


def test_the_role_of_the_machine_signs_and_is_asked_for_as_botocore_does(imds: Imds) -> None:
    with serving({"vm": {}}, imds.ledger, imds, hosts={ADDRESS: imds.port}, concurrency=4) as rig:
        assert rig.lent("vm").role == ROLE
        # There is no such operation, which Bedrock says only to who has signed.
        assert {answer.status for answer in on_every_worker(rig, "vm")} == {404}
        assert imds.ledger.misused == []
        (token,) = imds.tokens
        assert [asked(request) for request in imds.requests] == recorded(token)
        assert imds.refused == []
        assert (rig.metric("vm", "fetched"), rig.failures("vm")) == (1, {})
        assert rig.metric("vm", "expires_at") == imds.given[0].end
        assert rig.complaints("vm") == []


def test_one_line_of_the_log_tells_which_link_answered_and_why_no_other(imds: Imds) -> None:
    with serving({"vm": {}}, imds.ledger, imds, hosts={ADDRESS: imds.port}, concurrency=4) as rig:
        rig.lent("vm")
        (line,) = rig.told("vm")
        assert "instance metadata" in line
        for name in BEFORE:
            assert name in line


ENVIRONMENTS: Mapping[str, dict[str, str]] = {
    "empty": {},
    "blank": {ENDPOINT: " ", MODE: "", DISABLED: "", RELATIVE: "", FULL: " "},
    "enabled": {DISABLED: "false"},
    "half": {"AWS_ACCESS_KEY_ID": STATIC.access, "AWS_SECRET_ACCESS_KEY": ""},
    "ipv4": {MODE: "IPv4"},
    "ipv6": {MODE: "IPv6"},
    "lower": {MODE: "ipv6"},
    "own": {ENDPOINT: "<url>"},
    "slash": {ENDPOINT: "<url>/"},
    "both": {ENDPOINT: "<url>", MODE: "IPv6"},
    "below": {ENDPOINT: "<url>/below"},
}
HOSTS = {"ipv6": ADDRESS_6, "lower": ADDRESS_6, "own": "", "slash": "", "both": "", "below": ""}


@pytest.fixture(scope="module")
def rig() -> Iterator[tuple[Rig, Imds, Imds]]:
    """A machine for each environment; all have the same service, but for one with another path."""
    ledger = Ledger()
    with Imds(ledger, hosts=[ADDRESS, ADDRESS_6]) as imds, Imds(ledger) as below:
        below.root = "/below"
        machines = {
            name: {
                key: value.replace("<url>", (below if name == "below" else imds).url)
                for key, value in environment.items()
            }
            for name, environment in ENVIRONMENTS.items()
        }
        hosts = {ADDRESS: imds.port, ADDRESS_6: imds.port}
        with serving(machines, ledger, imds, below, hosts=hosts) as found:
            yield found, imds, below


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_environment_that_names_nothing_else_leads_to_the_machine(
    rig: tuple[Rig, Imds, Imds], name: str
) -> None:
    gateway, imds, below = rig
    assert gateway.lent(name).role == ROLE
    assert gateway.failures(name) == {}
    assert imds.refused == below.refused == []


def test_the_service_is_asked_where_the_environment_says(rig: tuple[Rig, Imds, Imds]) -> None:
    gateway, imds, below = rig
    for name in ENVIRONMENTS:
        gateway.lent(name)
    hosts = [HOSTS.get(name, ADDRESS) or f"127.0.0.1:{imds.port}" for name in ENVIRONMENTS]
    hosts.remove(f"127.0.0.1:{imds.port}")  # that of the other one
    assert sorted(r.authority.decode() for r in imds.of("token")) == sorted(hosts)
    assert [request.target.decode() for request in below.requests] == [
        f"/below{path}" for path in (TOKEN_PATH, ROLE_PATH, ROLE_PATH + ROLE)
    ]


def test_a_cluster_of_its_own_carries_the_calls(imds: Imds) -> None:
    # Here nothing takes away what Envoy itself adds.
    imds.passed = TO_A_CLUSTER
    settings = {"clusters": {ADDRESS: "metadata"}}
    more = [cluster("metadata", [imds.port])]
    with serving({"vm": {}}, imds.ledger, imds, egress_settings=settings, more=more) as rig:
        assert rig.lent("vm").role == ROLE
        assert imds.refused == []
        names = {name.decode() for request in imds.requests for name, _ in request.headers}
        assert names - TO_A_CLUSTER == {"host", "content-length", TTL, TOKEN}


def test_another_cluster_for_plain_http_carries_the_calls(imds: Imds) -> None:
    imds.passed = TO_A_CLUSTER
    settings = {"plaintextCluster": "plain"}
    more = [cluster("plain", [imds.port])]
    with serving({"vm": {}}, imds.ledger, imds, egress_settings=settings, more=more) as rig:
        assert rig.lent("vm").role == ROLE
        assert imds.refused == []


def test_policies_of_one_machine_have_the_same_keys(imds: Imds) -> None:
    policies = {"vm": ["one", "two"]}
    hosts = {ADDRESS: imds.port}
    with serving({"vm": {}}, imds.ledger, imds, policies=policies, hosts=hosts) as rig:
        assert rig.lent("one") == rig.lent("two")
        assert (rig.metric("one", "fetched"), rig.metric("two", "fetched")) == (1, 1)


def test_what_comes_before_the_machine_is_used_and_the_machine_not_asked(imds: Imds) -> None:
    machines = {
        "keys": STATIC.environment(),
        "task": {RELATIVE: TASK_PATH},
        "bearer": {"AWS_BEARER_TOKEN_BEDROCK": "bedrock-api-key-1"},
    }
    with Container(imds.ledger, hosts=[ECS]) as task:
        hosts = {ADDRESS: imds.port, ECS: task.port}
        with serving(machines, imds.ledger, imds, task, hosts=hosts) as rig:
            assert rig.lent("task").role == task.role
            rig.ask_bedrock("keys")
            assert parsed(rig.upstream.requests[-1]).access == STATIC.access
            rig.ask_bedrock("bearer")
            assert rig.upstream.requests[-1].header("authorization") == "Bearer bedrock-api-key-1"
            assert imds.requests == []


def test_a_task_that_cannot_be_had_is_not_replaced_by_the_machine(imds: Imds) -> None:
    with Container(imds.ledger, hosts=[ECS], target="/other") as task:
        hosts = {ADDRESS: imds.port, ECS: task.port}
        machines = {"task": {RELATIVE: TASK_PATH}}
        plugin = {"credentialWait": "200ms"}
        with serving(machines, imds.ledger, imds, task, hosts=hosts, plugin=plugin) as rig:
            rig.wait_for_failures("task")
            rig.refused("task")
            poll(lambda: len(task.requests) >= 2, 15, "another try")
            assert imds.requests == []


@pytest.mark.parametrize("value", ["true", "TRUE", "True"])
def test_without_any_link_the_configuration_is_refused(value: str) -> None:
    (line,) = errors(ambient("vm", REGION), env={DISABLED: value})
    assert line.startswith("BackendSecurityPolicy default/vm: spec.awsCredentials")
    for name in (*BEFORE, DISABLED):
        assert name in line


@pytest.mark.parametrize(
    "value",
    [
        "169.254.169.254",
        "ftp://169.254.169.254",
        "http://user:word@169.254.169.254",
        "http://169.254.169.254/?x=1",
        "http://169.254.169.254/#x",
        "http://files.local",
        "http://169.254.169.254 /",
        "http://",
    ],
)
def test_an_endpoint_that_is_none_is_named(value: str) -> None:
    (line,) = errors(ambient("vm", REGION), env={ENDPOINT: value})
    assert line.startswith("BackendSecurityPolicy default/vm: spec.awsCredentials")
    assert ENDPOINT in line


def test_a_way_out_is_needed() -> None:
    (line,) = errors(ambient("vm", REGION), settings={"files": {"cluster": "egress"}})
    assert "egress.cluster" in line
    assert "default/vm" in line
    assert checked(ambient("vm", REGION), settings={"egress": {"cluster": "egress"}}) == (0, [])
