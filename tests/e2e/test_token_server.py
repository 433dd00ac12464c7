"""The stand-ins for the life of a token: the token endpoint, the provider and the steady load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import urllib3.util.connection
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential

from launch import poll
from token_load import Load, crowd
from token_rig import Provider
from tokens import (
    GRANT,
    PATH,
    SCOPE,
    TENANT,
    Client,
    Never,
    TokenServer,
    denied,
    failing,
)
from upstream import Authority, Upstream
from wire import Reply

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def server() -> Iterator[TokenServer]:
    """A token endpoint without clients."""
    with TokenServer() as server:
        yield server
        assert server.errors == []


@pytest.fixture
def provider(server: TokenServer) -> Iterator[Provider]:
    """A provider that takes its tokens."""
    with Provider(server) as provider:
        yield provider


def fields(client: Client, **other: str | None) -> dict[str, str]:
    """The form of a right request, with some fields replaced or, by None, left out."""
    form = {"client_id": client.name, "client_secret": client.secret}
    form |= {"grant_type": GRANT, "scope": SCOPE}
    changed = form | other
    return {name: value for name, value in changed.items() if value is not None}


def post(
    server: Upstream, form: Mapping[str, str] | str, path: str = PATH, **headers: str
) -> httpx.Response:
    """One request to the token endpoint."""
    body = form if isinstance(form, str) else urlencode(form)
    sent = {"content-type": FORM} | {name.replace("_", "-"): v for name, v in headers.items()}
    url = f"http://127.0.0.1:{server.port}{path}"
    return httpx.post(url, content=body, headers=sent, trust_env=False, timeout=5)


def status_at(provider: Upstream, *tokens: str, host: str = "one.test") -> int:
    """What the provider answers to a request with these tokens."""
    headers = [("host", host), *(("authorization", f"Bearer {token}") for token in tokens)]
    url = f"http://127.0.0.1:{provider.port}/v1/models"
    return httpx.get(url, headers=headers, trust_env=False).status_code


def test_every_token_is_unique_and_known_with_its_end(server: TokenServer) -> None:
    clients = [server.client("one", life=7), server.client("two", life=60)]
    answers = [post(server, fields(client)).json() for client in clients * 3]
    texts = [answer["access_token"] for answer in answers]
    assert len(set(texts)) == 6
    assert [answer["expires_in"] for answer in answers] == [7, 60] * 3
    assert {answer["token_type"] for answer in answers} == {"Bearer"}
    for client in clients:
        assert [token.text for token in client.tokens] == texts[clients.index(client) :: 2]
        assert all(server.tokens[token.text] is token for token in client.tokens)
        assert all(token.end == token.issued + client.life for token in client.tokens)
        assert len(client.calls) == 3


WRONG: dict[str, dict[str, str | None]] = {
    "another secret": {"client_secret": "other"},
    "no secret": {"client_secret": None},
    "another client": {"client_id": "nobody"},
    "another scope": {"scope": "https://ai.azure.com/.default"},
    "two scopes": {"scope": f"{SCOPE} {SCOPE}"},
    "another grant": {"grant_type": "password"},
    "one field more": {"resource": "https://cognitiveservices.azure.com"},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_request_gets_no_token(server: TokenServer, wrong: dict[str, str | None]) -> None:
    client = server.client("one")
    answer = post(server, fields(client, **wrong))
    assert answer.status_code in (400, 401)
    assert answer.json()["error"] in ("invalid_client", "invalid_request")
    assert (len(server.refused), client.calls, server.tokens) == (1, [], {})


def test_a_form_that_is_not_one_and_headers_of_others_get_no_token(server: TokenServer) -> None:
    client = server.client("one")
    right = fields(client)
    refused = [
        post(server, urlencode(right) + "&scope=" + SCOPE),
        post(server, urlencode(right).replace("%2F", "%FF")),
        post(server, urlencode(right) + "&"),
        post(server, right, path=PATH + "?a=1"),
        post(server, right, path="/common/oauth2/v2.0/token"),
        post(server, right, content_type="application/json"),
        post(server, right, x_forwarded_for="127.0.0.1"),
        post(server, right, authorization="Bearer x"),
        post(server, right, x_egress_scheme="http"),
    ]
    assert {answer.status_code for answer in refused} == {400}
    assert len(server.refused) == len(refused)
    assert (client.calls, server.tokens) == ([], {})


@pytest.mark.parametrize("right", [True, False], ids=["its secret", "another"])
def test_the_official_client_gets_a_token_and_understands_a_refusal(
    right: bool, monkeypatch: pytest.MonkeyPatch, authority: Authority, tmp_path: Path
) -> None:
    host = "login.microsoftonline.com"
    trusted = tmp_path / "ca.pem"
    trusted.write_text(authority.pem)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
    monkeypatch.setenv("NO_PROXY", "*")
    real = urllib3.util.connection.create_connection
    tls = authority.server_context([host], http2=False)
    with TokenServer(tls=tls, official=True) as server:
        client = server.client("one", life=600)

        def connect(_address: object, *args: Any, **options: Any) -> Any:
            return real(("127.0.0.1", server.port), *args, **options)

        monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
        # What the client asks before is not the stand-in's business.
        document = f"/{TENANT}/v2.0/.well-known/openid-configuration"
        base = f"https://{host}/{TENANT}"
        urls = {
            f"{name}_endpoint": f"{base}/oauth2/v2.0/{name}" for name in ("token", "authorization")
        }
        server.reply_with(200, body=urls | {"issuer": f"{base}/v2.0"}, path=document)
        credential = ClientSecretCredential(
            TENANT,
            client.name,
            client.secret if right else "other",
            retry_total=0,
            disable_instance_discovery=True,
        )
        if right:
            answer = credential.get_token(SCOPE)
            (token,) = client.tokens
            assert answer.token == token.text
            assert answer.expires_on == pytest.approx(token.end, abs=2)
            assert server.refused == []
        else:
            with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
                credential.get_token(SCOPE)
            assert (client.calls, len(server.refused)) == ([], 1)


def test_the_script_comes_first_and_then_tokens(server: TokenServer) -> None:
    client = server.client("one", denied(), failing(503, "7"), 3.5, Reply(abort=True), life=60)
    assert post(server, fields(client)).json()["error_codes"] == [7000215]
    assert post(server, fields(client)).headers["retry-after"] == "7"
    assert post(server, fields(client)).json()["expires_in"] == 3.5
    with pytest.raises(httpx.RemoteProtocolError):
        post(server, fields(client))
    assert post(server, fields(client)).json()["expires_in"] == 60
    assert [token.end - token.issued for token in client.tokens] == pytest.approx([3.5, 60])
    assert len(client.gaps()) == 4


def test_an_answer_that_is_held_begins_its_life_when_it_is_given(server: TokenServer) -> None:
    client = server.client("one", life=5)
    gate = client.hold()
    opener = httpx.Client(trust_env=False)
    with opener, pytest.raises(httpx.ReadTimeout):
        opener.post(
            f"http://127.0.0.1:{server.port}{PATH}",
            content=urlencode(fields(client)),
            headers={"content-type": FORM},
            timeout=0.3,
        )
    assert (len(client.calls), client.tokens, client.at_once) == (1, [], 1)
    gate.set()
    (token,) = client.wait_for_tokens()
    assert token.issued >= client.calls[0] + 0.3
    assert token.end == token.issued + 5
    assert (client.at_once, client.at_most) == (0, 1)


def test_an_answer_may_never_come(server: TokenServer) -> None:
    client = server.client("one", Never())
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"http://127.0.0.1:{server.port}{PATH}",
            content=urlencode(fields(client)),
            headers={"content-type": FORM},
            timeout=0.3,
            trust_env=False,
        )
    assert post(server, fields(client)).status_code == 200


def test_in_an_outage_connections_are_refused_and_open_ones_break(server: TokenServer) -> None:
    client = server.client("one")
    url = f"http://127.0.0.1:{server.port}{PATH}"
    with httpx.Client(trust_env=False, headers={"content-type": FORM}) as http:
        for _ in range(2):
            assert http.post(url, content=urlencode(fields(client))).status_code == 200
            with server.outage():
                for _ in range(2):
                    with pytest.raises((httpx.ConnectError, httpx.RemoteProtocolError)):
                        http.post(url, content=urlencode(fields(client)))
            assert http.post(url, content=urlencode(fields(client))).status_code == 200
    assert len(client.tokens) == 4


def test_the_provider_takes_the_tokens_of_one_client_until_their_end(
    server: TokenServer, provider: Provider
) -> None:
    one, two = server.client("one", life=0.4), server.client("two")
    for client in (one, two):
        post(server, fields(client))
    first, other = one.tokens[0].text, two.tokens[0].text
    assert status_at(provider, first) == 200
    assert status_at(provider, other, host="two.test:443") == 200
    assert status_at(provider, other) == 401
    assert status_at(provider, first, first) == 401
    assert status_at(provider) == status_at(provider, "of-nobody") == 401
    provider.revoked.add(other)
    assert status_at(provider, other, host="two.test") == 401
    poll(lambda: time.time() > one.tokens[0].end, 2)
    assert status_at(provider, first) == 401
    assert len(provider.refused) == 6
    with Provider(server, "two") as named:
        assert (status_at(named, other), status_at(named, first)) == (200, 401)


def test_the_load_is_steady_and_tells_what_failed() -> None:
    with Upstream() as upstream:
        upstream.reply_with(429, times=3)
        upstream.reply_with(abort=True, times=2)
        with Load(upstream.port, "one", rate=100, connections=10) as load:
            upstream.wait_for(100)
    load.assert_kept_up()
    assert sorted(answer.status for answer in load.failed) == [0, 0, 429, 429, 429]
    assert {request.authority for request in upstream.requests} == {b"one.test"}
    assert load.answers[-1].sent - load.answers[0].sent == pytest.approx(1, abs=0.3)
    assert 0 < load.slowest < 1


def test_a_crowd_asks_all_at_once() -> None:
    with Upstream() as upstream:
        arrived = 0

        async def together(request: object) -> Reply:
            nonlocal arrived
            arrived += 1
            while arrived < 60:
                await asyncio.sleep(0.01)
            return Reply(200, body=b"all")

        upstream.on(None, together)
        answers = crowd(upstream.port, ["one", "two"] * 30, body=b"text")
        assert [answer.status for answer in answers] == [200] * 60
        assert {(request.method, request.body) for request in upstream.requests} == {
            ("POST", b"text")
        }
        assert {answer.body for answer in answers} == {b"all"}
