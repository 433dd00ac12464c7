"""Keys of a task or a pod: what the filter asks the container service, with which token, and when
it asks nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from aws import REGION, ambient
from aws_container import ECS, EKS, EKS_6, POD_PATH, TASK_PATH, Container
from aws_identity_rig import Environment, Rig, serving
from aws_imds import ADDRESS, Imds
from aws_metadata import TO_A_CLUSTER, Ledger, Service
from bootstrap import cluster
from egress import FILES, calls
from entra_rig import checked, errors
from launch import poll
from mounts import Secret, on_every_worker
from upstream import Authority
from wire import Request

RECORDINGS = Path(__file__).parent / "recordings"
RELATIVE, FULL = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN, FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
BEFORE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
)
"""What would come before the container, if it were set."""
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwb2QifQ.c2ln-_bmF0dXJl"
ODD = "Basic dXNlcjp3b3Jk=="
TASK = f"http://{ECS}{TASK_PATH}"
POD = f"http://{EKS}{POD_PATH}"


@dataclass
class World:
    """The services, and an Envoy with a VM for each environment."""

    rig: Rig
    task: Container
    pod: Container
    loopback: Container
    secure: Container
    root: Path


def environments(root: Path, loopback: Container) -> dict[str, dict[str, str]]:
    """By what is special of them."""
    file, line, blank = (str(root / name) for name in ("bare", "line", "blank"))
    return {
        "task": {RELATIVE: TASK_PATH},
        "empty": {RELATIVE: TASK_PATH, FULL: "", TOKEN: "", FILE: " "},
        "relative-first": {RELATIVE: TASK_PATH, FULL: POD},
        "task-in-full": {FULL: TASK},
        "no-machine": {RELATIVE: TASK_PATH, "AWS_EC2_METADATA_DISABLED": "true"},
        "half": {RELATIVE: TASK_PATH, "AWS_ACCESS_KEY_ID": "AKIDHALF000000000001"},
        "no-role": {RELATIVE: TASK_PATH, "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/r"},
        "pod": {FULL: POD, FILE: file},
        "line": {FULL: POD, FILE: line},
        "blank": {FULL: POD, FILE: blank},
        "ipv6": {FULL: f"http://{EKS_6}{POD_PATH}", FILE: file},
        "given": {FULL: POD, TOKEN: JWT},
        "odd": {FULL: POD, TOKEN: ODD},
        "file-first": {FULL: POD, FILE: file, TOKEN: "not-this-one"},
        "loopback": {FULL: f"{loopback.url}/own?of=this&that"},
        "localhost": {FULL: f"http://localhost:{loopback.port}/own?of=this&that"},
        "secure": {FULL: f"https://keys.test{POD_PATH}", TOKEN: JWT},
        "listed": {FULL: f"http://keys.inside{POD_PATH}", TOKEN: JWT},
    }


TASKS = ("task", "empty", "relative-first", "task-in-full", "no-machine", "half", "no-role")
PODS = {
    "pod": JWT,
    "line": JWT,
    "blank": JWT,
    "ipv6": JWT,
    "given": JWT,
    "odd": ODD,
    "file-first": JWT,
    "listed": JWT,
}
"""With the token that has to be sent."""


@pytest.fixture(scope="module")
def world(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything that answers rightly."""
    root = tmp_path_factory.mktemp("pods")
    for name, text in {"bare": JWT, "line": f"{JWT}\n", "blank": f" \t{JWT}\r\n\n"}.items():
        (root / name).write_text(text)
    ledger = Ledger()
    tls = authority.server_context(["keys.test"], http2=False)
    with (
        Container(ledger, hosts=[ECS]) as task,
        Container(ledger, hosts=[EKS, EKS_6, "keys.inside"], target=POD_PATH, token=JWT) as pod,
        Container(ledger, target="/own?of=this&that") as loopback,
        Container(ledger, hosts=["keys.test"], target=POD_PATH, token=JWT, tls=tls) as secure,
    ):
        task.role, pod.role, loopback.role, secure.role = "task", "pod", "loopback", "secure"
        pod.tokens.add(ODD)
        loopback.hosts.add(f"localhost:{loopback.port}")
        hosts = {
            ECS: task.port,
            EKS: pod.port,
            EKS_6: pod.port,
            "keys.inside": pod.port,
            "keys.test": secure.port,
            f"localhost:{loopback.port}": loopback.port,
        }
        services: list[Service] = [task, pod, loopback, secure]
        with serving(
            environments(root, loopback),
            ledger,
            *services,
            hosts=hosts,
            ca_pem=authority.pem,
            mounts=[root],
            egress_settings={"plaintextHosts": ["keys.inside"]},
        ) as rig:
            yield World(rig, task, pod, loopback, secure, root)
        assert [service.refused for service in services if service.refused] == []


def asked(request: Request) -> tuple[str, str, str, dict[str, str | None]]:
    """Method, host and target of a request, and the headers that the service looks at."""
    names = ("accept", "authorization")
    shown = {name: request.header(name) for name in names if request.values(name)}
    return request.method, request.authority.decode(), request.target.decode(), shown


def recorded(name: str, **texts: str) -> tuple[str, str, str, dict[str, str | None]]:
    """The same of what botocore sent, with these texts for its own."""
    whole = (RECORDINGS / f"aws-{name}.json").read_text()
    for text in texts.values():
        before, _, after = text.partition(" -> ")
        assert before in whole
        whole = whole.replace(before, after)
    one = json.loads(whole)["requests"][0]
    headers = [(key.lower().encode(), value.encode()) for key, value in one["headers"]]
    place = one["method"], one["target"].encode(), one["host"].encode()
    return asked(Request(*place, "1.1", headers))


@pytest.mark.parametrize("name", TASKS)
def test_the_role_of_a_task_signs(world: World, name: str) -> None:
    assert world.rig.lent(name).role == "task"
    assert world.rig.failures(name) == {}
    assert world.rig.metric(name, "fetched") == 1


def test_a_task_is_asked_as_botocore_asks_it(world: World) -> None:
    for name in TASKS:
        world.rig.wait_for_metric(name, "fetched")
    expected = recorded("ecs-relative-uri", path=f"/v2/credentials/abcd-1234 -> {TASK_PATH}")
    assert [asked(request) for request in world.task.requests] == [expected] * len(TASKS)
    assert world.task.presented == [None] * len(TASKS)


@pytest.mark.parametrize("name", PODS)
def test_the_role_of_a_pod_signs(world: World, name: str) -> None:
    assert world.rig.lent(name).role == "pod"
    assert world.rig.failures(name) == {}


def test_a_pod_is_asked_as_botocore_asks_it(world: World) -> None:
    for name in PODS:
        world.rig.wait_for_metric(name, "fetched")
    assert sorted(map(str, world.pod.presented)) == sorted(PODS.values())
    expected = recorded("eks-pod-identity", token=f"POD-IDENTITY-TOKEN -> {JWT}")
    found = [asked(request) for request in world.pod.requests]
    assert expected in found
    assert {one[1] for one in found} == {EKS, EKS_6, "keys.inside"}


@pytest.mark.parametrize("name", ["loopback", "localhost"])
def test_a_service_of_this_host_may_be_asked_without_tls(world: World, name: str) -> None:
    assert world.rig.lent(name).role == "loopback"
    world.rig.wait_for_metric(name, "fetched")
    assert {r.target for r in world.loopback.requests} == {b"/own?of=this&that"}
    assert set(world.loopback.presented) == {None}


def test_a_service_may_be_anywhere_with_tls(world: World) -> None:
    assert world.rig.lent("secure").role == "secure"
    assert world.secure.presented == [JWT]
    assert world.secure.server_names == ["keys.test"]


@pytest.mark.parametrize("name", ["task", "pod"])
def test_one_line_of_the_log_tells_which_link_answered(world: World, name: str) -> None:
    world.rig.lent(name)
    (line,) = world.rig.told(name)
    assert "container" in line
    assert "instance" not in line
    for variable in BEFORE:
        assert variable in line
    assert JWT not in world.rig.envoy.log()


def test_every_worker_signs_with_the_keys_of_one_exchange() -> None:
    with Container(hosts=[ECS]) as task, Imds(task.ledger, hosts=[ADDRESS]) as imds:
        hosts = {ECS: task.port, ADDRESS: imds.port}
        machines = {"task": {RELATIVE: TASK_PATH}}
        with serving(machines, task.ledger, task, hosts=hosts, concurrency=4) as rig:
            rig.lent("task")
            # There is no such operation, which Bedrock says only to who has signed.
            assert {answer.status for answer in on_every_worker(rig, "task")} == {404}
            assert task.ledger.misused == []
            assert len(task.requests) == rig.metric("task", "fetched") == 1
            assert imds.requests == []


def test_a_cluster_of_its_own_carries_the_call() -> None:
    with Container(hosts=[ECS]) as task:
        # Here nothing takes away what Envoy itself adds.
        task.passed = TO_A_CLUSTER
        settings = {"clusters": {ECS: "metadata"}}
        more = [cluster("metadata", [task.port])]
        machines = {"task": {RELATIVE: TASK_PATH}}
        with serving(machines, task.ledger, task, egress_settings=settings, more=more) as rig:
            rig.lent("task")
            assert task.refused == []


def test_a_token_file_is_read_for_every_exchange_and_may_be_swapped(tmp_path: Path) -> None:
    volume = Secret(tmp_path, "token", "eks-pod-identity")
    words = ["word.one", "word.two", "word.three"]
    volume.swap({"token": words[0] + "\n"})
    file = str(volume.path("token"))
    with Container(hosts=[EKS], target=POD_PATH, token=words[0]) as pod:
        pod.life = 6
        machines = {"pod": {FULL: POD, FILE: file}}
        with serving(
            machines, pod.ledger, pod, hosts={EKS: pod.port}, mounts=[tmp_path], concurrency=4
        ) as rig:
            rig.lent("pod")
            for word in words[1:]:
                # The old one counts no longer as soon as the new one is there.
                volume.swap({"token": word + "\n"})
                pod.tokens = {word}
                count = rig.metric("pod", "fetched")
                rig.wait_for_metric("pod", "fetched", count + 1, 20)
            rig.lent("pod")
            assert list(dict.fromkeys(pod.presented)) == words
            assert pod.refused == []
            assert rig.failures("pod") == {}
            asked = len(pod.presented)
            poll(lambda: len(calls(rig.envoy, FILES, file)) >= asked, 5, "a reading for each")
            assert {call.status for call in calls(rig.envoy, FILES, file)} == {200}
            assert not [word for word in words if word in rig.envoy.log()]


BROKEN: Mapping[str, str | None] = {
    "missing": None,
    "empty": "",
    "spaces": " \n\t\n",
    "two-lines": f"{JWT}\nx-injected: 1\n",
    "return": f"{JWT}\r{JWT}",
    "nul": f"{JWT}\0",
}


def test_a_token_file_that_is_none_is_sent_to_nobody(tmp_path: Path) -> None:
    for name, text in BROKEN.items():
        if text is not None:
            (tmp_path / name).write_text(text)
    with Container(hosts=[EKS], target=POD_PATH, token=JWT) as pod:
        machines: dict[str, Environment] = {
            name: {FULL: POD, FILE: str(tmp_path / name)} for name in BROKEN
        }
        plugin = {"credentialWait": "100ms"}
        hosts = {EKS: pod.port}
        with serving(
            machines, pod.ledger, pod, hosts=hosts, mounts=[tmp_path], plugin=plugin
        ) as rig:
            for name in BROKEN:
                rig.wait_for_failures(name)
                assert "file" in rig.complaint(name)
                rig.refused(name)
            assert set(rig.failures("empty")) == {"malformed"}
            assert JWT not in rig.envoy.log()
            assert pod.requests == []
            for name in BROKEN:
                (tmp_path / name).write_text(JWT)
            for name in BROKEN:
                rig.wait_for_metric(name, "fetched")
                rig.lent(name)


FOREIGN = (
    "http://evil.example/creds",
    "http://169.254.170.2.evil.example/creds",
    "http://169.254.170.3/creds",
    "http://127.0.0.1.evil.example/creds",
    "http://localhost.evil.example/creds",
    "http://10.0.0.1/creds",
    "ftp://169.254.170.2/creds",
    "https://user:word@keys.test/",
    "http://files.local/etc/passwd",
    "169.254.170.2/creds",
)


@pytest.mark.parametrize("url", FOREIGN)
def test_a_foreign_service_is_refused_before_anything_is_sent(url: str) -> None:
    env = {FULL: url, TOKEN: "word-that-must-not-be-shown"}
    (line,) = errors(ambient("pod", REGION), env=env)
    assert line.startswith("BackendSecurityPolicy default/pod: spec.awsCredentials")
    assert FULL in line
    assert env[TOKEN] not in line


WRONG: Mapping[str, tuple[dict[str, str], str]] = {
    "no slash": ({RELATIVE: "v2/credentials"}, RELATIVE),
    "other host": ({RELATIVE: "@evil.example/"}, RELATIVE),
    "line feed": ({FULL: POD, TOKEN: "word\nx-injected: 1"}, TOKEN),
    "relative file": ({FULL: POD, FILE: "token"}, FILE),
    "folder": ({FULL: POD, FILE: "/var/run/"}, FILE),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_named(name: str) -> None:
    env, variable = WRONG[name]
    (line,) = errors(ambient("pod", REGION), env=env)
    assert variable in line
    assert "x-injected" not in line


def test_a_way_to_the_file_is_needed() -> None:
    settings = {"egress": {"cluster": "egress"}}
    env = {FULL: POD, FILE: "/var/run/token"}
    (line,) = errors(ambient("pod", REGION), env=env, settings=settings)
    assert "files.cluster" in line
    env = {FULL: POD, TOKEN: "word"}
    assert checked(ambient("pod", REGION), env=env, settings=settings) == (0, [])
