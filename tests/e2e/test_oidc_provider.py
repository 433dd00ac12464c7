"""The certified identity provider works, and the one that tests bend answers as it does."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus, urlencode

import jwt
import pytest

from entra import FORM
from entra_rules import AUDIENCE
from oidc import ID, PASSWORD, WELL_KNOWN, Issuer, OidcProvider
from raw import request as raw_request
from upstream import Authority

ISSUER = "http://idp.test"
GRANT = {"grant_type": "client_credentials"}
POSTED = {"client_id": ID, "client_secret": PASSWORD}
Answer = tuple[int, str | None]


@pytest.fixture(scope="module")
def certified() -> Iterator[OidcProvider]:
    """One that speaks http."""
    with OidcProvider(ISSUER, scopes=["models"]) as server:
        yield server


@pytest.fixture(scope="module")
def own() -> Iterator[Issuer]:
    """The other one."""
    with Issuer(ISSUER) as server:
        yield server


def basic(name: str = ID, word: str = PASSWORD) -> str:
    """An `authorization` with both parts encoded as in a form."""
    return raw_basic(quote_plus(name), quote_plus(word))


def raw_basic(name: str, word: str) -> str:
    """The same with the parts as they are."""
    return "Basic " + base64.b64encode(f"{name}:{word}".encode()).decode()


REQUESTS: dict[str, tuple[dict[str, str], dict[str, str], Answer]] = {
    "basic": (GRANT, {"authorization": basic()}, (200, None)),
    "post": ({**GRANT, **POSTED}, {}, (200, None)),
    "scope": ({**GRANT, "scope": "models"}, {"authorization": basic()}, (200, None)),
    "resource": ({**GRANT, "resource": AUDIENCE}, {"authorization": basic()}, (200, None)),
    "wrong word": (GRANT, {"authorization": basic(word="wrong")}, (401, "invalid_client")),
    "wrong name": (GRANT, {"authorization": basic("somebody")}, (401, "invalid_client")),
    "wrong word posted": (
        {**GRANT, **POSTED, "client_secret": "x"},
        {},
        (401, "invalid_client"),
    ),
    "other grant": (
        {"grant_type": "password"},
        {"authorization": basic()},
        (400, "unsupported_grant_type"),
    ),
}


def asked(port: int, form: dict[str, str], headers: dict[str, str]) -> Answer:
    """What a server says to a form: the status, and the error if it is one."""
    fields = {"host": "idp.test", "content-type": FORM, **headers}
    pairs = [(name.encode(), value.encode()) for name, value in fields.items()]
    answer = raw_request(port, b"POST", b"/token", pairs, urlencode(form).encode())
    body = json.loads(answer.body)
    assert ("access_token" in body) == (answer.status == 200)
    return answer.status, body.get("error")


@pytest.mark.parametrize("name", REQUESTS)
def test_both_providers_answer_alike(certified: OidcProvider, own: Issuer, name: str) -> None:
    form, headers, expected = REQUESTS[name]
    assert asked(certified.port, form, headers) == expected
    assert asked(own.port, form, headers) == expected
    assert own.errors == []


def test_a_part_that_is_not_encoded_is_refused_by_both(
    certified: OidcProvider, own: Issuer
) -> None:
    headers = {"authorization": raw_basic(ID, PASSWORD)}
    status, error = asked(certified.port, GRANT, headers)
    assert (status, error) == (400, "invalid_request")
    status, error = asked(own.port, GRANT, headers)
    assert (status, error) == (401, "invalid_client")


def test_the_certified_provider_signs_what_it_says(certified: OidcProvider) -> None:
    document = certified.ask("GET", WELL_KNOWN).json()
    assert document["issuer"] == ISSUER
    assert document["token_endpoint"] == f"{ISSUER}/token"
    before = len(certified.tokens())
    form = {**GRANT, "scope": "models unknown"}
    answer = certified.ask("POST", "/token", data=form, headers={"authorization": basic()}).json()
    assert answer["token_type"] == "Bearer"
    header = jwt.get_unverified_header(answer["access_token"])
    key = next(one for one in certified.keys().keys if one.key_id == header["kid"])
    claims = jwt.decode(
        answer["access_token"], key, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER
    )
    assert claims["sub"] == ID
    assert claims["scope"] == "models"
    assert claims["exp"] - claims["iat"] == answer["expires_in"] == 600
    (seen,) = certified.tokens()[before:]
    assert (seen["method"], seen["type"], seen["status"]) == ("POST", FORM, 200)
    assert seen["basic"]
    assert seen["form"] == form
    assert seen["client"] == ID


def test_the_own_provider_tells_the_same_claims(own: Issuer, certified: OidcProvider) -> None:
    def claims(token: str) -> dict[str, Any]:
        return jwt.decode(token, options={"verify_signature": False})

    ours = claims(own.token())
    form, headers = GRANT, {"authorization": basic()}
    theirs = claims(
        certified.ask("POST", "/token", data=form, headers=headers).json()["access_token"]
    )
    for name in ("iss", "sub", "aud"):
        assert ours[name] == theirs[name]
    for name in ("iat", "exp"):
        assert type(ours[name]) is type(theirs[name])


def test_the_own_provider_refuses_what_a_proxy_leaks(own: Issuer) -> None:
    for headers in (
        {"cookie": "x"},
        {"x-forwarded-proto": "https"},
        {"x-request-id": "1"},
        {"x-egress-scheme": "https"},
        {"host": "idp.test:443"},
    ):
        assert asked(own.port, GRANT, {"authorization": basic(), **headers})[0] == 400
    for form in ({**GRANT, "client_id": ID}, {**GRANT, **POSTED}):
        assert asked(own.port, form, {"authorization": basic()})[0] == 401
    for form in ({**GRANT, "prompt": "x"}, {"grant_type": "client_credentials", "client": ID}):
        assert asked(own.port, form, {"authorization": basic()})[0] == 400


def test_the_certified_provider_gives_opaque_tokens_and_speaks_tls(authority: Authority) -> None:
    audiences = {"https://api.test": "opaque"}
    with OidcProvider(authority=authority, audiences=audiences, life=7) as server:
        form, headers = GRANT, {"authorization": basic()}
        answer = server.ask("POST", "/token", data=form, headers=headers).json()
        assert answer["expires_in"] == 7
        assert answer["access_token"].count(".") == 0
        # By TLS it knows that its own address is https.
        document = server.ask("GET", WELL_KNOWN).json()
        assert document["token_endpoint"] == "https://idp.test/token"
        assert [one["path"] for one in server.wait_for(2)] == ["/token", WELL_KNOWN]
        pid = server.pid
    assert ended(pid)


def ended(pid: int) -> bool:
    """Whether a process of ours is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
