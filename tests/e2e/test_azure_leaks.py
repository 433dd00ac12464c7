"""No token, header or assertion of a whole run is in anything that Envoy tells, at the level of
detail at which the filter's host logs every call."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from azure_identity_rig import FILE, WORKLOAD, Pod, Rig, bare, managed, serving
from entra import CLIENT, PUBLIC, Application, Entra, token_path
from entra_rig import CALLER, TARGET, THEIRS
from entra_rules import WORDS, failure
from launch import poll
from managed_identity import AppService, Machine, ManagedIdentities
from managed_rules import User
from raw import Response
from replies import json_reply
from upstream import Authority
from wire import Reply, Request

TRACE = ["--component-log-level", "wasm:trace"]
GOOD, BAD = ("short", "refused"), ("none", "echoed")
"""Policies that get tokens, one of which the provider refuses once; and those that get none."""

NAMES = (*GOOD, *BAD)
LIFE = 6
KINDS: dict[str, type[ManagedIdentities]] = {"machine": Machine, "app service": AppService}
VARIABLE = {
    "machine": "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "app service": "IDENTITY_HEADER",
    "workload": FILE,
}
"""What the configuration names and does not hold."""

PAGES = ("log", "stats", "stats/prometheus", "config_dump", "clusters", "listeners", "server_info")


@dataclass
class Run:
    """A run in which all of it happened."""

    kind: str
    rig: Rig
    answers: list[Response]
    known: dict[str, str]
    """What must be nowhere."""
    carried: str
    """All that was sent to services and to the provider."""


@pytest.fixture(scope="module", params=[*KINDS, "workload"])
def run(
    request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """Tokens are obtained and renewed, refused by the provider, and not given."""
    options: dict[str, Any] = {"inherited": True, "args": TRACE, "concurrency": 4}
    options["plugin"] = {"credentialWait": "500ms"}
    if request.param == "workload":
        pod = Pod(tmp_path_factory.mktemp("pod"))
        pod.put("{}\n")
        options |= {"env": pod.environment(), "mounts": [pod.root]}
        options["manifests"] = {name: bare(name, f"{name}.test") for name in NAMES}
        with (
            federated(authority, pod) as entra,
            serving(dict.fromkeys(NAMES, WORKLOAD), entra, authority, **options) as rig,
        ):
            yield told(request.param, rig, {"the file": pod.tokens[0]})
        return
    with KINDS[request.param]([User(name) for name in NAMES]) as service:
        service.life = LIFE
        header = service.header if isinstance(service, AppService) else "-"
        service.always("none", service.refusal(400, "invalid_request", header))
        service.always("echoed", json_reply({"error": header, "message": header + WORDS}, 400))
        identities = {name: managed(clientID=name) for name in NAMES}
        known = {"the header": header} if header != "-" else {}
        with serving(identities, service, **options) as rig:
            yield told(request.param, rig, known)
        assert service.refused == []


def federated(authority: Authority, pod: Pod) -> Entra:
    """An Entra that trusts the account, refuses it, and repeats what it hears."""
    trusted = Application(federations=[pod.federation()])
    tls = authority.server_context([PUBLIC], http2=False)
    entra = Entra({(f"{name}.test", CLIENT): trusted for name in GOOD}, tls=tls)
    entra.life.seconds = LIFE
    entra.on(token_path("none.test"), lambda _: failure(401, "invalid_client", 700024))

    def echo(request: Request) -> Reply:
        return Reply(400, body=b"<html>" + request.body + WORDS.encode())

    entra.on(token_path("echoed.test"), echo)
    return entra


def told(kind: str, rig: Rig, known: dict[str, str]) -> Run:
    """Lets all happen, with credentials of the caller on every request."""
    for name in GOOD:
        rig.wait_for_fetches(name)
        poll(lambda name=name: rig.served(name), 5)
    for name in BAD:
        rig.wait_for_failures(name)

    def ask(name: str) -> Response:
        return rig.ask(name, THEIRS, TARGET)

    answers = [ask(name) for name in NAMES * 4]
    marker = f"of-the-provider-{secrets.token_hex(8)}"
    rig.upstream.reply_with(401, body=marker, times=1)
    answers.append(ask("refused"))
    for name in GOOD:
        rig.wait_for_fetches(name, 2)
    answers += [ask(name) for name in GOOD]
    texts = {"of the caller": CALLER, "of the service": WORDS, "of the provider": marker}
    texts |= {f"token {number}": text for number, text in enumerate(rig.entra.issued)}
    for name, text in known.items():
        forms = (text, quote(text, safe=""), quote_plus(text))
        texts |= {f"{name}, form {number}": form for number, form in enumerate(forms)}
    requests = [*rig.entra.requests, *rig.upstream.requests]
    carried = repr([(one.target, one.headers, one.body) for one in requests])
    return Run(kind, rig, answers, texts, carried)


def test_the_run_was_one_in_which_everything_happened(run: Run) -> None:
    assert {answer.status for answer in run.answers} == {200, 401, 503}
    tokens = [name for name in run.known if name.startswith("token ")]
    assert len(tokens) >= 4
    for name in BAD:
        assert set(run.rig.failures(name)) == {"denied"}
    # What is looked for is what travels.
    travels = [*tokens[:2], *(name for name in run.known if name.endswith("form 0"))]
    assert len(travels) == (2 if run.kind == "machine" else 3)
    for name in travels:
        assert run.known[name] in run.carried, name


@pytest.mark.parametrize("page", PAGES)
def test_no_secret_of_the_run_is_in_what_envoy_tells(run: Run, page: str) -> None:
    envoy = run.rig.envoy
    text = envoy.log() if page == "log" else envoy.get(f"/{page}").text
    # It is what it is taken for.
    marks = {"log": "proxy_on_http_call_response", "config_dump": VARIABLE[run.kind]}
    assert marks.get(page, "egress" if page != "server_info" else "version") in text
    assert [name for name, secret in run.known.items() if secret in text] == []


def test_no_secret_of_the_run_is_in_an_answer_of_the_filter(run: Run) -> None:
    told = [repr(answer) for answer in run.answers if answer.status == 503]
    assert len(told) >= 4 * len(BAD)
    found = {name for name, secret in run.known.items() for text in told if secret in text}
    assert found == set()
