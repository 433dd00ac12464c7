"""Discovery: what has to be in the document, and where a secret is then sent and where never."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from bootstrap import Config
from entra import CLIENT, PUBLIC, Application, Entra
from entra_rig import Rig, serving
from entra_rules import WORDS
from launch import poll
from oidc import BASIC, PASSWORD, POST, WELL_KNOWN, Issuer, exchanged, oidc
from replies import JSON, json_reply
from upstream import Authority, Upstream
from wire import Reply, Request

BASE = "https://idp.test"
TOKEN = f"{BASE}/token"
METADATA = ("169.254.169.254", "169.254.170.2", "169.254.170.23", "metadata.google.internal")
LISTED = "listed.test"


@dataclass
class Case:
    """A provider: its issuer as configured, if that is not `BASE/<name>`, and its document."""

    document: Mapping[str, Any] = field(default_factory=dict)
    """Besides the issuer and an endpoint that are right; None leaves a field out."""
    issuer: str | None = None
    path: str | None = None
    """Where the document has to be asked for."""
    settings: Config = field(default_factory=dict)
    """Of the policy's `oidc`."""
    reply: Reply | None = None
    """Instead of the document."""

    def configured(self, name: str) -> str:
        """The issuer."""
        return self.issuer or f"{BASE}/{name}"

    def asked_at(self, name: str) -> str:
        """The path of the document."""
        return self.path or f"/{name}{WELL_KNOWN}"

    def answer(self, name: str) -> Reply:
        """The document."""
        if self.reply:
            return self.reply
        right = {"issuer": self.configured(name), "token_endpoint": TOKEN}
        return json_reply({k: v for k, v in {**right, **self.document}.items() if v is not None})


GOOD = {
    "path": Case(issuer=f"{BASE}/realms/a%20b", path=f"/realms/a%20b{WELL_KNOWN}"),
    "slash": Case(issuer=f"{BASE}/slash/", path=f"/slash{WELL_KNOWN}"),
    "host-slash": Case(issuer="https://slash.test/", path=WELL_KNOWN),
    "more-fields": Case({"jwks_uri": 17, "scopes_supported": None, "x": [{"issuer": "y"}]}),
    "other-host": Case({"token_endpoint": "https://tokens.test/t"}),
    "query": Case({"token_endpoint": "https://tokens.test/t?tenant=a&b=%2f"}),
    "listed": Case({"token_endpoint": f"http://{LISTED}/token"}),
    "both-methods": Case({"token_endpoint_auth_methods_supported": [POST, BASIC]}),
    "post-only": Case({"token_endpoint_auth_methods_supported": ["private_key_jwt", POST]}),
}

WRONG_ISSUERS: dict[str, Case] = {
    "no-issuer": Case({"issuer": None}),
    "other-issuer": Case({"issuer": f"{BASE}/somebody"}),
    "case-issuer": Case({"issuer": f"{BASE}/Case-issuer"}),
    "slash-more": Case({"issuer": f"{BASE}/slash-more/"}),
    "slash-less": Case({"issuer": f"{BASE}/less"}, f"{BASE}/less/", f"/less{WELL_KNOWN}"),
    "port-issuer": Case({"issuer": "https://idp.test:443/port-issuer"}),
    "number-issuer": Case({"issuer": 17}),
    "list-issuer": Case({"issuer": [f"{BASE}/list-issuer"]}),
}

WRONG_ENDPOINTS: dict[str, Case] = {
    name: Case({"token_endpoint": endpoint})
    for name, endpoint in {
        "no-endpoint": None,
        "relative": "/token",
        "plain": "http://idp.test/token",
        "plain-upper": "HTTP://idp.test/token",
        "lists-alike": f"http://{LISTED}.evil.test/token",
        "user": "https://user@idp.test/token",
        "no-host": "https:///token",
        "ftp": "ftp://idp.test/token",
        "number-endpoint": 17,
        "files": "https://files.local/etc/passwd",
        "files-plain": "http://files.local/etc/passwd",
        "line": f"{TOKEN}\r\nx-injected: 1",
        **{f"http-{host}": f"http://{host}/token" for host in METADATA},
        **{f"https-{host}": f"https://{host}/token" for host in METADATA},
        "https-upper": "https://METADATA.Google.internal/token",
        "https-dot": "https://metadata.google.internal./token",
        "https-port": "https://169.254.169.254:8443/token",
        "https-dots": "https://169.254.169.254./token",
        "files-dot": "https://FILES.local./etc/passwd",
        "http-v6": "http://[fd00:ec2::254]/token",
        "https-v6": "https://[fd00:ec2::23]/token",
    }.items()
}

WRONG_REPLIES: dict[str, tuple[Case, str]] = {
    "html": (Case(reply=Reply(headers=[JSON], body=f"<html>{WORDS}".encode())), "malformed"),
    "empty": (Case(reply=Reply(headers=[JSON])), "malformed"),
    "truncated": (
        Case(reply=Reply(headers=[JSON], body=f'{{"issuer": "{BASE}/truncated"'.encode())),
        "malformed",
    ),
    "elsewhere": (
        Case(reply=Reply(302, headers=[(b"location", f"{BASE}/path{WELL_KNOWN}".encode())])),
        "malformed",
    ),
    "gone": (Case(reply=json_reply({"error": WORDS}, 404)), "denied"),
    "forbidden": (Case(reply=json_reply({"error": WORDS}, 403)), "denied"),
    "fault": (Case(reply=Reply(500, body=WORDS.encode())), "server"),
    "busy": (Case(reply=Reply(429, body=WORDS.encode())), "throttled"),
    "reset": (Case(reply=Reply(abort=True)), "connect"),
}

BAD: dict[str, tuple[Case, str]] = {
    **{name: (case, "malformed") for name, case in {**WRONG_ISSUERS, **WRONG_ENDPOINTS}.items()},
    **WRONG_REPLIES,
}


@dataclass
class World:
    """The gateway, the provider, and a recorder in the place of all hosts that must not be
    called."""

    rig: Rig
    idp: Issuer
    never: Upstream


def asks(case: Case, name: str) -> Callable[[Request], bool]:
    """Whether a request is for the document of a case."""
    host = case.configured(name).split("/")[2].encode()
    return lambda request: (request.authority, request.path) == (host, case.asked_at(name))


def policies_of(cases: Mapping[str, Case]) -> dict[str, list[Any]]:
    """A policy for each case; its tenant has its name too."""
    return {
        name: exchanged(name, oidc(case.configured(name), name=name, **case.settings), tenant=name)
        for name, case in cases.items()
    }


@pytest.fixture(scope="module")
def world(authority: Authority) -> Iterator[World]:
    """One Envoy with all cases."""
    names = ["idp.test", "slash.test", "tokens.test"]
    tls = authority.server_context(names, http2=False)
    every = GOOD | {name: case for name, (case, _) in BAD.items()}
    with (
        Issuer(BASE, tls=tls) as idp,
        Issuer(f"http://{LISTED}") as listed,
        Upstream() as never,
        Entra(tls=authority.server_context([PUBLIC], http2=False)) as entra,
    ):
        idp.names = set(names)
        listed.claims = {**idp.claims, "iss": listed.issuer}
        for name, case in every.items():
            federations = [idp.federation(), listed.federation()]
            entra.applications[name, CLIENT] = Application(federations=federations)
            idp.on(asks(case, name), lambda _request, case=case, name=name: case.answer(name))
        idp.targets |= {"/t", "/t?tenant=a&b=%2f"}
        hosts = dict.fromkeys(names, idp.port) | {LISTED: listed.port}
        hosts |= dict.fromkeys((*METADATA, f"{LISTED}.evil.test"), never.port)
        settings = {"plaintextHosts": [LISTED]}
        plugin = {"credentialWait": "100ms"}
        with serving(
            policies_of(every),
            entra,
            authority,
            hosts=hosts,
            egress_settings=settings,
            plugin=plugin,
        ) as rig:
            yield World(rig, idp, never)


@pytest.mark.parametrize("name", GOOD)
def test_a_document_that_is_right_leads_to_a_token(world: World, name: str) -> None:
    world.rig.wait_for_metric(name, "fetched")
    world.rig.token(name)
    assert world.rig.failures(name) == {}


@pytest.mark.parametrize("name", BAD)
def test_no_secret_is_sent_after_a_document_that_is_wrong(world: World, name: str) -> None:
    _, reason = BAD[name]
    poll(lambda: world.rig.failures(name), 10, f"a failure of {name}")
    assert set(world.rig.failures(name)) == {reason}
    line = world.rig.complaint(name)
    assert "discovery" in line
    assert WORDS not in line
    assert PASSWORD not in line
    world.rig.refused(name)
    assert world.rig.entra.of(name) == []


def test_hosts_that_must_not_be_called_never_are(world: World) -> None:
    for name in BAD:
        poll(lambda name=name: world.rig.failures(name), 10, f"a failure of {name}")
    assert world.never.connections == 0
    # Every token request was one of a policy that is right.
    given = [one for one in world.idp.requests if one.method == "POST"]
    assert len(given) == len(world.idp.given)
    assert len(given) == len(GOOD) - 1
    assert world.idp.refused == []


def test_an_endpoint_keeps_its_query(world: World) -> None:
    world.rig.wait_for_metric("query", "fetched")
    targets = [one.target for one in world.idp.requests if one.path == "/t"]
    assert b"/t?tenant=a&b=%2f" in targets


def test_a_document_that_lists_only_posted_secrets_is_believed(world: World) -> None:
    world.rig.wait_for_metric("post-only", "fetched")
    bodies = [one.body for one in world.idp.requests if not one.values("authorization")]
    posted = [body for body in bodies if b"client_secret=" in body]
    assert len(posted) == 1
