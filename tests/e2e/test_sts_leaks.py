"""No key, token or session of a whole run is in anything that Envoy tells, at the level of detail
at which the filter's host logs every call."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from aws import Keys, ambient, bedrock, parsed
from egress import SETTINGS, egress, running_with_egress
from launch import poll
from manifests import Manifest, config
from mounts import Secret
from oidc import ID, PASSWORD, Issuer
from raw import Response
from sts import Sts, arn, exchanging
from sts_answers import failure
from sts_rig import BODY, CALLER, JSON, TARGET, THEIRS, Rig, for_tokens, identity, over_tls
from sts_rules import Role
from upstream import Authority
from wire import Reply

TRACE = ["--component-log-level", "wasm:trace"]
ANSWER = f"of-the-provider-{secrets.token_hex(8)}"
"""Is in everything that STS says and that is no credential."""
KEYS = Keys("AKIDOFTHELEAKTEST001", f"st/Atic+{secrets.token_hex(12)}=")
SOURCES = ("token", "pod", "keys")
REFUSED = ("refused", "echoed", "expired")
OIDC = ("token", *REFUSED)
VARIABLES = {
    **{f"{name}-client": f"AIGW_{name.upper()}_WORD" for name in OIDC},
    "keys-file": "AIGW_KEYS_FILE",
}
"""The environment's names of Secrets: none of them is in the configuration."""
SUBJECT = "system:serviceaccount:ai:gateway"


@dataclass
class Run:
    """A run in which all of it happened."""

    rig: Rig
    issuer: Issuer
    answers: list[Response]
    known: dict[str, str]
    """What must be nowhere."""


def plugin() -> Manifest:
    """All policies, without a secret; two of them take on a further role."""
    policies = [exchanging(name)[0] for name in OIDC] + [bedrock("keys")[0], ambient("pod")]
    environment = [
        {
            "namespace": "default",
            "name": name,
            "key": "credentials" if name == "keys-file" else "client-secret",
            "variable": variable,
        }
        for name, variable in VARIABLES.items()
    ]
    roles = {
        f"default/{name}": {"assumeRole": {"roleArn": arn("next")}} for name in ("keys", "pod")
    }
    more = {"secrets": {"env": environment}, "policies": roles, "credentialWait": "500ms"}
    return config(policies, **SETTINGS, **more)


def echo(sts: Sts) -> Reply:
    """A page that tells the caller what it sent."""
    body = sts.of("echoed")[-1].body
    return Reply(400, body=b"<html>" + ANSWER.encode() + body + b"</html>")


@pytest.fixture(scope="module")
def run(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Sessions are obtained and renewed, refused by Bedrock, and not given."""
    root = tmp_path_factory.mktemp("pod")
    issuer = identity(authority)
    account = for_tokens(issuer, SUBJECT)
    with over_tls(authority, {"token": for_tokens(issuer), "pod": account}) as sts, issuer:
        sts.life = 6
        sts.roles[arn("next")] = Role(principals=[arn("pod"), sts.user("gateway", KEYS)])
        sts.script("refused", lambda: failure(403, "AccessDenied", ANSWER), times=None)
        sts.script("expired", lambda: failure(400, "ExpiredTokenException", ANSWER), times=None)
        sts.script("echoed", lambda: echo(sts), times=None)
        volume = Secret(root, "token")
        jwt = issuer.token(sub=SUBJECT)
        volume.swap({"token": jwt + "\n"})
        env = dict.fromkeys(VARIABLES.values(), PASSWORD)
        env |= {"AIGW_KEYS_FILE": KEYS.ini(), "AWS_ROLE_ARN": arn("pod")}
        env["AWS_WEB_IDENTITY_TOKEN_FILE"] = str(volume.path("token"))
        yield from told(authority, sts, issuer, root, env, jwt)


def told(
    authority: Authority, sts: Sts, issuer: Issuer, root: Path, env: dict[str, str], jwt: str
) -> Iterator[Run]:
    """The run itself."""
    hosts = {**dict.fromkeys(sts.hosts, sts.port), "idp.test": issuer.port}
    way = egress([root], ca_pem=authority.pem, hosts=hosts)
    options = {"host_env_keys": list(env)}
    plugins = dict.fromkeys((*SOURCES, *REFUSED), plugin())
    more: dict[str, Any] = {"options": options, "env": env, "args": TRACE, "concurrency": 4}
    with running_with_egress(plugins, way, **more) as gateway:
        gateway.upstream.on(None, sts.provider)
        rig = Rig(gateway.envoy, gateway.upstream, sts)
        answers = everything(rig)
        signatures = [parsed(request).signature for request in rig.upstream.requests]
        signatures += [parsed(one).signature for one in sts.of("next")]
        issued = list(sts.issued.values())
        texts = {"of the caller": CALLER, "of STS": ANSWER, "the key": KEYS.secret}
        texts |= dict(forms("the word", PASSWORD)) | {"the pod's token": jwt}
        texts |= {f"token {number}": text for number, text in enumerate(issuer.given)}
        texts |= {f"signature {number}": text for number, text in enumerate(signatures)}
        for number, session in enumerate(issued):
            texts |= dict(forms(f"secret {number}", session.keys.secret))
            texts |= dict(forms(f"session {number}", session.keys.token or "-"))
        yield Run(rig, issuer, answers, texts)


def everything(rig: Rig) -> list[Response]:
    """Lets all happen, with credentials of the caller on every request."""
    for name in SOURCES:
        rig.wait_for_metric(name, "fetched")
    for name in REFUSED:
        rig.wait_for_failures(name)

    def ask(name: str) -> Response:
        return rig.ask(name, [JSON, *THEIRS], TARGET, b"POST", BODY)

    answers = [ask(name) for name in (*SOURCES, *REFUSED) * 4]
    assert {answer.status for answer in answers} == {200, 503}
    # Bedrock refuses one of them.
    for session in rig.sts.sessions("token"):
        rig.sts.relive(session, 0)
    answers.append(ask("token"))
    assert answers[-1].status == 403
    for name in SOURCES:
        rig.wait_for_metric(name, "fetched", 2)
    poll(lambda: ask("token").status == 200, 10, "another session")
    return answers


def forms(name: str, text: str) -> Iterator[tuple[str, str]]:
    """A text in every form in which it travels."""
    texts = [text, quote(text, safe=""), quote_plus(text)]
    texts += [base64.b64encode(f"{ID}:{one}".encode()).decode() for one in texts]
    for number, one in enumerate(texts):
        yield f"{name}, form {number}", one


def test_the_run_was_one_in_which_everything_happened(run: Run) -> None:
    sts = run.rig.sts
    for name in ("token", "pod"):
        assert len(sts.sessions(name)) >= 2
    assert len(sts.sessions("next")) >= 4
    assert len(run.issuer.given) >= 6
    sources = {session.source for session in sts.sessions("next")}
    assert len(sources) >= 2
    for name in REFUSED:
        assert set(run.rig.failures(name)) == {"denied"}
    assert "ExpiredTokenException" in run.rig.complaint("expired")
    assert len(run.known) > 50


@pytest.mark.parametrize(
    "page",
    ["log", "stats", "stats/prometheus", "config_dump", "clusters", "listeners", "server_info"],
)
def test_no_secret_of_the_run_is_in_what_envoy_tells(run: Run, page: str) -> None:
    envoy = run.rig.envoy
    text = envoy.log() if page == "log" else envoy.get(f"/{page}").text
    # It is what it is taken for.
    marks = {"log": "proxy_on_http_call_response", "config_dump": "AIGW_TOKEN_WORD"}
    assert marks.get(page, "egress" if page != "server_info" else "version") in text
    assert [name for name, secret in run.known.items() if secret in text] == []


def test_no_secret_of_the_run_is_in_an_answer_of_the_filter(run: Run) -> None:
    told = [repr(answer) for answer in run.answers if answer.status == 503]
    assert len(told) >= 4 * len(REFUSED)
    found = {name for name, secret in run.known.items() for text in told if secret in text}
    assert found == set()


def test_the_texts_that_are_looked_for_are_those_that_travel(run: Run) -> None:
    requests = [*run.rig.sts.requests, *run.rig.upstream.requests]
    carried = repr([(request.headers, request.body) for request in requests])
    for name in ("token 0", "the pod's token", "session 0, form 0", "signature 0"):
        assert run.known[name] in carried, name
