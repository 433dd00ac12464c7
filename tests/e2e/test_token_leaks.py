"""No token, secret or assertion of a whole run is in anything that Envoy tells, at the level of
detail at which the filter's host logs every call."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, quote_plus, unquote_plus

import pytest

from launch import poll
from manifests import Manifest, config, policy
from token_load import CONNECTIONS, Answer, Load, assert_unavailable, crowd
from token_rig import LOGIN, Rig, running, settings
from tokens import GRANT, SCOPE, TENANT, Client, TokenServer, denied
from wire import Reply, Request

TRACE = ["--component-log-level", "wasm:trace"]
OUTCOME = "%REQ(:AUTHORITY)% %RESPONSE_CODE% %FILTER_STATE(wasm.aigw_auth:PLAIN)%"
CALLER = f"of-the-caller-{secrets.token_hex(8)}"
ANSWER = f"of-the-identity-provider-{secrets.token_hex(8)}"
"""Is in everything that the identity provider says and that is no credential."""
OIDC_PATH = "/oidc/token"
EXCHANGED = f"/exchange-{TENANT}/oauth2/v2.0/token"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass
class Exchange:
    """Two identity providers: one gives assertions to a client with a secret, the other tokens to
    whoever has one."""

    server: TokenServer
    secret: str = field(default_factory=lambda: f"oidc {secrets.token_hex(12)}")
    assertions: list[str] = field(default_factory=list)

    def assertion(self, request: Request) -> Reply:
        """Of the first."""
        scheme, _, coded = (request.header("authorization") or "").partition(" ")
        name, _, word = base64.b64decode(coded).decode().partition(":")
        if (scheme, unquote_plus(name), unquote_plus(word)) != (
            "Basic",
            "oidc-client",
            self.secret,
        ):
            return json_denied()
        self.assertions.append(f"eyJ0.assertion.{secrets.token_urlsafe(24)}")
        return reply({"access_token": self.assertions[-1], "expires_in": 600})

    def token(self, request: Request) -> Reply:
        """Of the second."""
        form = dict(parse_qsl(request.body.decode(), strict_parsing=True))
        expected = {"client_id": "exchanged", "grant_type": GRANT, "scope": SCOPE}
        expected["client_assertion_type"] = ASSERTION
        if form.pop("client_assertion", None) not in self.assertions or form != expected:
            return json_denied()
        return self.server.token(self.server.clients["exchanged"], 6)


def reply(value: dict[str, object]) -> Reply:
    """JSON with more in it than anybody needs."""
    body = json.dumps({"token_type": "Bearer", "trace_id": ANSWER} | value).encode()
    return Reply(200, [(b"content-type", b"application/json"), (b"x-trace", ANSWER.encode())], body)


def json_denied() -> Reply:
    """A refusal that says too much."""
    answer = denied()
    answer.body = bytes(answer.body).replace(b"Trace ID: 0", ANSWER.encode())
    return answer


def azure(name: str, **source: Manifest) -> Manifest:
    """A policy that obtains a token."""
    tenant = f"exchange-{TENANT}" if "oidcExchangeToken" in source else TENANT
    fields = {"clientID": name, "tenantID": tenant, **source}
    return policy(name, "AzureCredentials", azureCredentials=fields)


def by_secret(name: str) -> Manifest:
    """With a secret that only the environment knows."""
    return azure(name, clientSecretRef={"name": f"{name}-secret"})


def by_exchange() -> Manifest:
    """With a token of another identity provider."""
    provider = {"issuer": "https://idp.test", "tokenEndpoint": f"http://{LOGIN}{OIDC_PATH}"}
    oidc = {
        "provider": provider,
        "clientID": "oidc-client",
        "clientSecret": {"name": "oidc-secret"},
    }
    return azure("exchanged", oidcExchangeToken={"oidc": oidc})


NAMES = ("short", "refused", "echoed")
VARIABLES = {f"{name}-secret": f"AIGW_{name.upper()}_SECRET" for name in (*NAMES, "oidc")}


def plugin() -> Manifest:
    """All policies, without a secret."""
    environment = [
        {"namespace": "default", "name": name, "key": "client-secret", "variable": variable}
        for name, variable in VARIABLES.items()
    ]
    policies = [*(by_secret(name) for name in NAMES), by_exchange()]
    return config(policies, secrets={"env": environment}, **settings("2s", credentialWait="1s"))


@dataclass
class Run:
    """A run in which all of it happened."""

    rig: Rig
    answers: list[Answer]
    known: dict[str, str]
    """What must be nowhere."""


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Tokens are obtained and renewed, refused by their provider, and not given."""
    with TokenServer() as server:
        exchange = Exchange(server)
        clients = {name: server.client(name, life=6) for name in (*NAMES, "exchanged")}
        clients["echoed"].script.extend([echo(clients["echoed"]), json_denied()])
        server.on(OIDC_PATH, exchange.assertion)
        server.on(EXCHANGED, exchange.token)
        values = {f"{name}-secret": clients[name].secret for name in NAMES}
        values["oidc-secret"] = exchange.secret
        env = {VARIABLES[name]: value for name, value in values.items()}
        one = plugin()
        with running(
            server,
            plugins=dict.fromkeys(clients, one),
            options={"host_env_keys": list(VARIABLES.values())},
            front={"access_log_format": OUTCOME},
            envoy={"env": env, "args": TRACE},
            may_panic=True,
        ) as rig:
            answers = everything(rig, clients)
            known = secret_texts(server, exchange, values)
            yield Run(rig, answers, known)


def echo(client: Client) -> Reply:
    """A page that tells the caller what it sent."""
    return Reply(400, body=f"<html>{ANSWER} {client.secret}</html>".encode())


def everything(rig: Rig, clients: dict[str, Client]) -> list[Answer]:
    """Lets all happen, with credentials of the caller on every request."""
    port = rig.envoy.port()
    theirs = [(b"authorization", f"Bearer {CALLER}".encode()), (b"x-api-key", CALLER.encode())]
    for name in ("short", "refused", "exchanged"):
        clients[name].wait_for_tokens()
        poll(lambda name=name: rig.ask(name, theirs).status == 200, 5)
    rig.provider.revoked.add(clients["refused"].tokens[0].text)
    answers = crowd(port, [*clients] * CONNECTIONS, headers=theirs)
    assert {answer.status for answer in answers} == {200, 401, 503}
    for answer in answers:
        if answer.status == 503:
            assert_unavailable(answer)
    for name in ("short", "refused", "exchanged"):
        clients[name].wait_for_tokens(2)
    with Load(port, "short", rate=50):
        end = time.time() + 1
        poll(lambda: time.time() > end, 2)
    return answers


def secret_texts(server: TokenServer, exchange: Exchange, values: dict[str, str]) -> dict[str, str]:
    """All secrets of the run, in every form in which they travel."""
    texts = {"of the caller": CALLER, "of the identity provider": ANSWER}
    for name, value in values.items():
        forms = [value, quote(value, safe=""), quote_plus(value)]
        forms += [base64.b64encode(f"oidc-client:{one}".encode()).decode() for one in forms]
        texts |= {f"{name}, form {number}": form for number, form in enumerate(forms)}
    given = [*server.tokens, *exchange.assertions]
    return texts | {f"token {number}": text for number, text in enumerate(given)}


def test_the_run_was_one_in_which_everything_happened(run: Run) -> None:
    texts = list(run.known.values())
    assert sum(text.startswith("eyJ0.assertion.") for text in texts) >= 2
    for name in ("short", "refused", "exchanged"):
        assert sum(text.startswith(f"eyJ0.{name}.") for text in texts) >= 2
    assert {token.client for _, token in run.rig.provider.used} >= {"short", "exchanged", "refused"}
    assert run.rig.failures("echoed").get("denied", 0) >= 1
    assert "panicked" not in run.rig.envoy.log()


@pytest.mark.parametrize(
    "page",
    ["log", "stats", "stats/prometheus", "config_dump", "clusters", "listeners", "server_info"],
)
def test_no_secret_of_the_run_is_in_what_envoy_tells(run: Run, page: str) -> None:
    envoy = run.rig.envoy
    text = envoy.log() if page == "log" else envoy.get(f"/{page}").text
    # It is what it is taken for.
    assert {"log": "proxy_on_http_call_response", "config_dump": "AIGW_SHORT_SECRET"}.get(
        page, "egress" if page != "server_info" else "version"
    ) in text
    assert [name for name, secret in run.known.items() if secret in text] == []


def test_no_secret_of_the_run_is_in_replies_or_the_access_log(run: Run) -> None:
    told = [repr((answer.headers, answer.body)) for answer in run.answers]
    told += run.rig.envoy.wait_for_access_log(len(run.answers))
    assert any("default/short injected" in line for line in told)
    found = {name for name, secret in run.known.items() for text in told if secret in text}
    assert found == set()
