"""No key, token or session of a whole run on machines and in containers is in anything that Envoy
tells, at the level of detail at which the filter's host logs every call."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from aws import Keys, parsed
from aws_container import EKS, POD_PATH, Container
from aws_identity_rig import Rig, serving
from aws_imds import ADDRESS, TOKEN, Imds, text
from aws_metadata import Ledger
from launch import poll
from mounts import Secret
from raw import Response
from replies import json_reply
from sts_rig import BODY, CALLER, JSON, TARGET, THEIRS
from wire import Reply

TRACE = ["--component-log-level", "wasm:trace"]
ANSWER = f"of-the-service-{secrets.token_hex(8)}"
"""Is in everything that the services say and that is no credential."""
PAGES = ("stats", "stats/prometheus", "config_dump", "clusters", "listeners", "server_info")
WORKING, BROKEN = ("vm", "pod", "profile"), ("echo", "pod-echo", "refused")
PORTS = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
FULL, FILE = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
WORD = f"word.{secrets.token_urlsafe(24)}=="
KEYS = Keys("AKIDOFTHEFILE0000017", f"st/Atic+{secrets.token_hex(12)}=")


@dataclass
class Run:
    """A run in which all of it happened."""

    rig: Rig
    imds: Imds
    pod: Container
    answers: list[Response]
    known: dict[str, str]
    """What must be nowhere."""
    pages: dict[str, str]


def forms(name: str, secret: str) -> Iterator[tuple[str, str]]:
    """A text in every form in which it may be shown."""
    coded = base64.b64encode(secret.encode()).decode()
    for number, one in enumerate([secret, quote(secret, safe=""), quote_plus(secret), coded]):
        yield f"{name}, form {number}", one


def broken(imds: Imds, pod: Container, refusing: Imds) -> None:
    """Services that tell their callers what they have sent, and a role that cannot be had."""

    def echo() -> Reply:
        return text(f"<html>{ANSWER}\n{imds.requests[-1].header(TOKEN)}</html>", 400)

    def pod_echo() -> Reply:
        return json_reply(
            {"code": ANSWER, "message": pod.requests[-1].header("authorization")}, 403
        )

    def refusal() -> Reply:
        lent = refusing.lend("refused")
        return json_reply(refusing.document(lent, Code="AssumeRoleUnauthorizedAccess", Note=ANSWER))

    imds.script("role", echo, times=None)
    pod.script(pod_echo, times=None)
    refusing.script("keys", refusal, times=None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Keys are lent and renewed, refused by Bedrock, and not lent."""
    root = tmp_path_factory.mktemp("leaks")
    volume, profiles = Secret(root, "token"), Secret(root, "profiles")
    volume.swap({"token": WORD + "\n"})
    profiles.swap({"credentials": KEYS.ini()})
    ledger = Ledger()
    ledger.issue("user", 3600, KEYS)
    with (
        Imds(ledger, hosts=[ADDRESS]) as imds,
        Container(ledger, hosts=[EKS], target=POD_PATH, token=WORD) as pod,
        Imds(ledger) as echoing,
        Container(ledger, target="/echo", token=WORD) as pod_echoing,
        Imds(ledger) as refusing,
    ):
        imds.life = pod.life = 6
        broken(echoing, pod_echoing, refusing)
        token = str(volume.path("token"))
        machines = {
            "vm": {},
            "pod": {FULL: f"http://{EKS}{POD_PATH}", FILE: token},
            "profile": {"AWS_SHARED_CREDENTIALS_FILE": str(profiles.path("credentials"))},
            "echo": {PORTS: echoing.url},
            "pod-echo": {FULL: f"{pod_echoing.url}/echo", FILE: token},
            "refused": {PORTS: refusing.url},
        }
        hosts = {ADDRESS: imds.port, EKS: pod.port}
        options = {"plugin": {"credentialWait": "300ms"}, "args": TRACE, "mounts": [Path(root)]}
        with serving(machines, ledger, imds, pod, hosts=hosts, **options) as rig:
            answers = everything(rig)
            requests = [parsed(request) for request in rig.upstream.requests]
            known = {"of the caller": CALLER, "of a service": ANSWER} | dict(forms("word", WORD))
            for service in (imds, echoing, refusing):
                for number, one in enumerate(service.tokens):
                    known |= dict(forms(f"token {number} of {service.port}", one))
            for number, lent in enumerate(ledger.lent.values()):
                known |= dict(forms(f"secret {number}", lent.keys.secret))
                known |= dict(forms(f"session {number}", lent.keys.token or WORD))
            known |= {f"signature {n}": one.signature for n, one in enumerate(requests)}
            pages = {page: rig.envoy.get(f"/{page}").text for page in PAGES}
            yield Run(rig, imds, pod, answers, known, pages | {"log": rig.envoy.log()})


def everything(rig: Rig) -> list[Response]:
    """Lets all happen, with credentials of the caller on every request."""
    for name in WORKING:
        rig.wait_for_metric(name, "fetched")
    for name in BROKEN:
        rig.wait_for_failures(name)

    def ask(name: str) -> Response:
        return rig.ask(name, [JSON, *THEIRS], TARGET, b"POST", BODY)

    answers = [ask(name) for name in (*WORKING, *BROKEN) * 3]
    # Bedrock refuses the keys of the pod, once.
    newest = rig.ledger.of("of-the-container")[-1]
    rig.ledger.end(newest)
    answers.append(ask("pod"))
    for name in ("vm", "pod"):
        rig.wait_for_metric(name, "fetched", 3, 30)
    poll(lambda: ask("pod").status == 200, 10, "other keys")
    return answers


def test_the_run_was_one_in_which_everything_happened(run: Run) -> None:
    assert {answer.status for answer in run.answers} == {200, 403, 503}
    assert len(run.imds.tokens) >= 3
    assert len(set(run.imds.given)) >= 2
    assert len(set(run.pod.given)) >= 3
    assert set(run.pod.presented) == {WORD}
    for name in BROKEN:
        assert set(run.rig.failures(name)) == {"denied"}
    assert "AssumeRoleUnauthorizedAccess" in run.rig.complaint("refused")
    assert len(run.known) > 60


@pytest.mark.parametrize("page", ["log", *PAGES])
def test_no_secret_of_the_run_is_in_what_envoy_tells(run: Run, page: str) -> None:
    # It is what it is taken for.
    marks = {"log": "proxy_on_http_call_response", "server_info": "version"}
    assert marks.get(page, "egress") in run.pages[page]
    assert [name for name, secret in run.known.items() if secret in run.pages[page]] == []


def test_no_secret_of_the_run_is_in_an_answer_of_the_filter(run: Run) -> None:
    told = [repr(answer) for answer in run.answers if answer.status == 503]
    assert len(told) >= 3 * len(BROKEN)
    assert [name for name, secret in run.known.items() for one in told if secret in one] == []


def test_the_texts_that_are_looked_for_are_those_that_travel(run: Run) -> None:
    requests = [*run.imds.requests, *run.pod.requests, *run.rig.upstream.requests]
    carried = repr([request.headers for request in requests])
    for name in ("word, form 0", f"token 0 of {run.imds.port}, form 0", "signature 0"):
        assert run.known[name] in carried, name
    assert any(run.known[name] in carried for name in run.known if name.startswith("session"))
