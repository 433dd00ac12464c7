"""botocore gets its keys from the stand-ins for the metadata services of AWS, and sends what was
recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import botocore.exceptions
import botocore.session
import botocore.utils
import pytest
import urllib3.util.connection

import sdk
from aws import REGION, Keys, parsed
from aws_container import ECS, EKS, EKS_6, POD_PATH, TASK_PATH, Container
from aws_imds import ADDRESS, ADDRESS_6, Imds
from aws_metadata import Ledger, Service
from bedrock import MODEL
from replies import json_reply
from upstream import Authority, Upstream
from wire import Reply, Request

RECORDINGS = Path(__file__).parent / "recordings"
BEDROCK = f"bedrock-runtime.{REGION}.amazonaws.com"
SENT = tuple[str, str, str, tuple[str, ...]]
TASK = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": TASK_PATH}
POD = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{EKS}{POD_PATH}"}
VARIABLES = (
    "CONTAINER_CREDENTIALS_RELATIVE_URI",
    "CONTAINER_CREDENTIALS_FULL_URI",
    "CONTAINER_AUTHORIZATION_TOKEN",
    "CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "EC2_METADATA_V1_DISABLED",
    "EC2_METADATA_SERVICE_ENDPOINT",
    "EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "ROLE_ARN",
    "WEB_IDENTITY_TOKEN_FILE",
)


@dataclass
class World:
    """Everything that botocore can reach."""

    imds: Imds
    task: Container
    pod: Container
    bedrock: Upstream
    ledger: Ledger
    called: list[tuple[str, int]]
    """Each address that was called."""

    def sent(self) -> list[SENT]:
        """Each request: method, host, target, and headers, with the values of those that count."""
        services: list[Upstream] = [self.imds, self.task, self.pod, self.bedrock]
        return [told(request) for service in services for request in service.requests]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, authority: Authority, tmp_path: Path) -> Iterator[World]:
    """botocore arrives at the stand-ins when it calls the services by their real names."""
    sdk.isolate(monkeypatch)
    for name in VARIABLES:
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("NO_PROXY", "*")
    trusted = tmp_path / "ca.pem"
    trusted.write_text(authority.pem)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    ledger, called = Ledger(), []
    tls = authority.server_context([BEDROCK], http2=False)
    with (
        Imds(ledger, hosts=[ADDRESS, ADDRESS_6], official=True) as imds,
        Container(ledger, hosts=[ECS], official=True) as task,
        Container(
            ledger, hosts=[EKS, EKS_6], target=POD_PATH, token="word-1", official=True
        ) as pod,
        Upstream(default=ledger.provider, tls=tls) as bedrock,
    ):
        ports = {
            (ADDRESS, 80): imds.port,
            (ADDRESS_6.strip("[]"), 80): imds.port,
            (ECS, 80): task.port,
            (EKS, 80): pod.port,
            (EKS_6.strip("[]"), 80): pod.port,
            (BEDROCK, 443): bedrock.port,
        }
        real = urllib3.util.connection.create_connection

        def connect(address: tuple[str, int], *args: Any, **options: Any) -> Any:
            called.append(address)
            return real(("127.0.0.1", ports[address]), *args, **options)

        monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
        yield World(imds, task, pod, bedrock, ledger, called)
        assert ledger.misused == []
        assert [error for one in (imds, task, pod, bedrock) for error in one.errors] == []


def told(request: Request) -> SENT:
    """A request as recordings are compared."""
    names = sorted(name.decode() for name, _ in request.headers)
    shown = {
        name: request.header(name)
        for name in ("accept", "x-aws-ec2-metadata-token-ttl-seconds", "content-length")
    }
    if request.method == "POST":
        shown = {}
    fields = tuple(f"{name}: {shown[name]}" if shown.get(name) else name for name in names)
    return request.method, request.authority.decode(), request.target.decode(), fields


def recorded(name: str) -> list[SENT]:
    """The same of the requests of a recording; the paths that a test chooses are put in."""
    whole = json.loads((RECORDINGS / f"aws-{name}.json").read_text())
    replaced = {
        "/v2/credentials/abcd-1234": TASK_PATH,
        "/latest/meta-data/iam/security-credentials/my-role": "/latest/meta-data/iam/"
        "security-credentials/of-the-machine",
    }
    found = []
    for one in whole["requests"]:
        headers = [(key.lower().encode(), value.encode()) for key, value in one["headers"]]
        target = replaced.get(one["target"], one["target"])
        host = one["host"].encode()
        found.append(told(Request(one["method"], target.encode(), host, "1.1", headers)))
    return found


def converse() -> dict[str, Any]:
    """A conversation by a new botocore."""
    made = botocore.session.Session().create_client("bedrock-runtime")
    return made.converse(modelId=MODEL, messages=[{"role": "user", "content": [{"text": "hi"}]}])


def works(
    world: World, service: Service, env: Mapping[str, str], patch: pytest.MonkeyPatch
) -> None:
    """botocore finds keys of that service, and Bedrock takes them."""
    for name, value in env.items():
        patch.setenv(name, value)
    assert converse()["stopReason"] == "end_turn"
    (lent,) = service.given
    assert parsed(world.bedrock.only()).access == lent.keys.access


def test_botocore_gets_the_keys_of_a_machine(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    works(world, world.imds, {}, monkeypatch)
    assert world.sent() == recorded("imdsv2")
    assert world.imds.refused == []


def test_botocore_gets_the_keys_of_a_machine_by_another_address(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(world, world.imds, {"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, monkeypatch)
    assert {request.authority for request in world.imds.requests} == {ADDRESS_6.encode()}


def test_botocore_gets_the_keys_of_a_task(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    works(world, world.task, TASK | {"AWS_EC2_METADATA_DISABLED": "true"}, monkeypatch)
    assert world.sent() == recorded("ecs-relative-uri")
    assert world.task.refused == []
    assert world.task.presented == [None]


@pytest.mark.parametrize("host", [EKS, EKS_6])
def test_botocore_gets_the_keys_of_a_pod(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str
) -> None:
    file = tmp_path / "token"
    file.write_text("word-1")
    env = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{host}{POD_PATH}",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file),
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "not-this-one",
    }
    works(world, world.pod, env, monkeypatch)
    assert world.pod.presented == ["word-1"]
    assert world.pod.refused == []
    if host == EKS:
        assert world.sent() == recorded("eks-pod-identity")


def test_botocore_prefers_the_relative_address(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(world, world.task, TASK | POD, monkeypatch)
    assert world.pod.requests == world.imds.requests == []


def test_botocore_refuses_a_token_that_ends_with_a_line_feed(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("word-1\n")
    env = POD | {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file)}
    with pytest.raises(ValueError, match="not a legal header value"):
        works(world, world.pod, env, monkeypatch)
    assert world.sent() == recorded("eks-pod-identity-token-file-newline") == []


def test_botocore_calls_no_foreign_host_without_tls(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.example/creds"}
    with pytest.raises(ValueError, match=r"Unsupported host 'evil\.example'"):
        works(world, world.pod, env, monkeypatch)
    assert world.sent() == recorded("container-full-uri-bad-host") == []
    assert world.called == []


@pytest.mark.parametrize("status", [403, 404, 405])
def test_botocore_falls_back_to_version_1(
    world: World, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    world.imds.version_1 = status
    works(world, world.imds, {}, monkeypatch)
    assert world.imds.steps() == ["token", "role", "keys"]
    assert world.imds.refused == []


def test_botocore_does_not_where_that_is_switched_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.imds.version_1 = 404
    with pytest.raises(
        botocore.exceptions.MetadataRetrievalError, match="IMDSv1 has been disabled"
    ):
        works(world, world.imds, {"AWS_EC2_METADATA_V1_DISABLED": "true"}, monkeypatch)
    assert world.sent() == recorded("imdsv2-v1-disabled")


def test_botocore_reads_the_end_of_keys(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", TASK_PATH)
    credentials = botocore.session.Session().get_credentials()
    frozen = credentials.get_frozen_credentials()
    (lent,) = world.task.given
    assert Keys(frozen.access_key, frozen.secret_key, frozen.token) == lent.keys
    assert credentials._expiry_time == datetime.fromtimestamp(lent.end, timezone.utc)


def test_botocore_goes_on_with_late_keys(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.imds.late = 30
    works(world, world.imds, {}, monkeypatch)


def test_botocore_gets_nothing_from_a_machine_without_a_role(world: World) -> None:
    world.imds.role = None
    with pytest.raises(botocore.exceptions.NoCredentialsError):
        converse()
    assert world.imds.steps() == ["token", "role"]


def test_botocore_gets_nothing_where_the_role_cannot_be_had(world: World) -> None:
    refusal = {"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role"}
    world.imds.script("keys", lambda: json_reply(refusal))
    with pytest.raises(botocore.exceptions.NoCredentialsError):
        converse()
    assert world.bedrock.requests == []


def test_botocore_gives_up_on_a_token_that_does_not_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.imds.script("token", lambda: Reply(200, body=b"AQAEx"))
    with pytest.raises(botocore.exceptions.NoCredentialsError):
        converse()
    assert [line.partition(":")[0] for line in world.imds.refused] == ["401"]


BROKEN: Mapping[str, Callable[[], Reply]] = {
    "server": lambda: Reply(500),
    "html": lambda: Reply(200, body=b"<html></html>"),
    "truncated": lambda: Reply(200, body=b'{"AccessKeyId": "A'),
}


@pytest.mark.parametrize("name", BROKEN)
def test_botocore_asks_a_container_three_times(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(botocore.utils.ContainerMetadataFetcher, "SLEEP_TIME", 0)
    world.task.script(BROKEN[name], times=2)
    works(world, world.task, TASK, monkeypatch)
    assert len(world.task.requests) == 3


def test_botocore_understands_that_its_token_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(botocore.utils.ContainerMetadataFetcher, "SLEEP_TIME", 0)
    env = POD | {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "word-2"}
    with pytest.raises(botocore.exceptions.CredentialRetrievalError, match="403"):
        works(world, world.pod, env, monkeypatch)
    assert set(world.pod.presented) == {"word-2"}
    assert world.pod.given == []
