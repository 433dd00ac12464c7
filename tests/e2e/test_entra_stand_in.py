"""The stand-in for Entra ID takes what is right and refuses the rest, with an error for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import httpx
import jwt
import pytest

from entra import CLIENT, FORM, LEAKED, PUBLIC, TENANT, Application, Entra, Life, token_path
from entra_rules import BEARER_TYPE, fields
from launch import poll
from oidc import Issuer
from raw import request as raw_request

SECRET = "se~cret+/=&% ü"
FEDERATED = "77777777-8888-9999-0000-111111111111"
Form = dict[str, str]


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """It need not run: the stand-in has its keys."""
    return Issuer("https://idp.test/realms/a")


@pytest.fixture
def entra(issuer: Issuer) -> Iterator[Entra]:
    """With two applications of one tenant."""
    applications = {
        (TENANT, CLIENT): Application(secret=SECRET),
        (TENANT, FEDERATED): Application(federations=[issuer.federation()]),
    }
    with Entra(applications) as server:
        yield server


def by_secret(**other: str) -> Form:
    """A form that is right."""
    scope = "https://cognitiveservices.azure.com/.default"
    grant = {"client_id": CLIENT, "grant_type": "client_credentials", "scope": scope}
    return {**grant, "client_secret": SECRET, **other}


def by_assertion(assertion: str, **other: str) -> Form:
    """Another one."""
    form = by_secret(client_id=FEDERATED)
    del form["client_secret"]
    proof = {"client_assertion_type": BEARER_TYPE, "client_assertion": assertion}
    return {**form, **proof, **other}


def post(
    entra: Entra,
    form: Form | bytes,
    path: str = token_path(TENANT),
    method: bytes = b"POST",
    host: str = PUBLIC,
    kind: str | None = FORM,
    *more: tuple[bytes, bytes],
) -> httpx.Response:
    """The answer to a form, or to a body as it is."""
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    headers = [(b"host", host.encode()), *more]
    if kind:
        headers.append((b"content-type", kind.encode()))
    answer = raw_request(entra.port, method, path.encode(), headers, body)
    return httpx.Response(answer.status, content=answer.body)


def assert_refused(answer: httpx.Response, status: int, error: str, number: int) -> None:
    """The answer has the form of Entra's errors."""
    body = answer.json()
    assert (answer.status_code, body["error"], body["error_codes"]) == (status, error, [number])
    assert body["error_description"].startswith(f"AADSTS{number}: ")
    assert body.keys() >= {"timestamp", "trace_id", "correlation_id", "error_uri"}


def test_a_secret_gets_a_token_that_counts_until_its_end(entra: Entra) -> None:
    entra.life = Life(seconds=1800)
    asked = time.time()
    body = post(entra, by_secret()).json()
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 1800
    token = body["access_token"]
    assert entra.alive(token)
    assert entra.alive(token, asked + 1799)
    assert not entra.alive(token, time.time() + 1800)
    assert not entra.alive(token + "x")
    assert post(entra, by_secret()).json()["access_token"] != token
    assert [(one.tenant, dict(one.form)) for one in entra.asked] == [(TENANT, by_secret())] * 2
    assert entra.refused == []


def test_the_life_of_a_token_may_be_told_in_any_text(entra: Entra) -> None:
    for raw in ('"3599"', "3.599e3", "null", "-1"):
        entra.life = Life(raw=raw)
        assert f'"expires_in": {raw},' in post(entra, by_secret()).text
    entra.life = Life(raw=None, kind="jwt", more={"refresh_in": 1800})
    body = post(entra, by_secret()).json()
    assert body.keys() == {"access_token", "token_type", "refresh_in"}
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims["aud"] == "https://cognitiveservices.azure.com"


def test_the_provider_behind_it_takes_one_token_that_is_alive(entra: Entra) -> None:
    entra.life = Life(seconds=0.3)
    token = post(entra, by_secret()).json()["access_token"]
    entra.on("/v1/models", entra.provider)

    def status(*values: str) -> int:
        headers = [(b"host", b"x"), *((b"authorization", value.encode()) for value in values)]
        return raw_request(entra.port, target=b"/v1/models", headers=headers).status

    assert status(f"Bearer {token}") == 200
    assert status() == 401
    assert status(token) == 401
    assert status(f"Bearer {token}x") == 401
    assert status(f"Bearer {token}", f"Bearer {token}") == 401
    poll(lambda: status(f"Bearer {token}") == 401, 5, "the token's end")


def without(name: str) -> Form:
    """A right form without one field."""
    form = by_secret()
    del form[name]
    return form


WRONG_FORMS: dict[str, tuple[Form | bytes, int, str, int]] = {
    "no client": (without("client_id"), 400, "invalid_request", 900144),
    "no scope": (without("scope"), 400, "invalid_request", 900144),
    "no grant": (without("grant_type"), 400, "invalid_request", 900144),
    "empty client": (by_secret(client_id=""), 400, "invalid_request", 900144),
    "other grant": (by_secret(grant_type="password"), 400, "unsupported_grant_type", 70003),
    "other client": (by_secret(client_id=TENANT), 400, "unauthorized_client", 700016),
    "unknown field": (by_secret(audience="x"), 400, "invalid_request", 90014),
    "field of official clients": (by_secret(client_info="1"), 400, "invalid_request", 90014),
    "no proof": (without("client_secret"), 401, "invalid_client", 7000218),
    "half an assertion": (
        without("client_secret") | {"client_assertion": "x"},
        401,
        "invalid_client",
        7000218,
    ),
    "both proofs": (by_assertion("x", client_secret=SECRET), 401, "invalid_client", 7000218),
    "wrong secret": (by_secret(client_secret=SECRET + " "), 401, "invalid_client", 7000215),
    "secret of nobody": (by_secret(client_id=FEDERATED), 401, "invalid_client", 7000215),
    "no .default": (by_secret(scope="https://a.test/x"), 400, "invalid_scope", 1002012),
    "two scopes": (
        by_secret(scope="https://cognitiveservices.azure.com/.default https://a.test/.default"),
        400,
        "invalid_scope",
        1002012,
    ),
    "another cloud's scope": (
        by_secret(scope="https://cognitiveservices.azure.us/.default"),
        400,
        "invalid_resource",
        500011,
    ),
    "twice": (urlencode(by_secret()).encode() + b"&scope=a", 400, "invalid_request", 90014),
    "no equals sign": (b"client_id", 400, "invalid_request", 90014),
    "raw slash": (b"client_id=a/b", 400, "invalid_request", 90014),
    "bad escape": (b"client_id=%4", 400, "invalid_request", 90014),
    "no UTF-8": (b"client_id=%ff", 400, "invalid_request", 90014),
    "JSON": (b'{"client_id":"a"}', 400, "invalid_request", 90014),
    "escaped twice": (
        urlencode(by_secret(client_secret=urlencode({"": SECRET})[1:])).encode(),
        401,
        "invalid_client",
        7000215,
    ),
}


@pytest.mark.parametrize("name", WRONG_FORMS)
def test_a_wrong_form_is_refused(entra: Entra, name: str) -> None:
    form, status, error, number = WRONG_FORMS[name]
    assert_refused(post(entra, form), status, error, number)
    assert len(entra.refused) == 1
    assert not entra.issued


def test_a_wrong_request_is_refused_whatever_its_form(entra: Entra) -> None:
    right = by_secret()
    assert_refused(post(entra, right, "/common/oauth2/v2.0/token"), 400, "invalid_request", 90002)
    for path in (f"/{TENANT}/oauth2/token", f"/{TENANT}/oauth2/v2.0/token/", "/", "//x"):
        assert_refused(post(entra, right, path), 404, "invalid_request", 90014)
    query = token_path(TENANT) + "?x=1"
    assert_refused(post(entra, right, query), 404, "invalid_request", 90014)
    path = token_path(TENANT)
    assert_refused(post(entra, right, path, b"PUT"), 400, "invalid_request", 900561)
    assert_refused(post(entra, b"", path, b"GET"), 400, "invalid_request", 900561)
    for host in ("login.microsoftonline.us", f"{PUBLIC}:443"):
        answer = post(entra, right, path, b"POST", host)
        assert_refused(answer, 400, "invalid_request", 90009)
    for kind in (None, "application/json", f"{FORM}; charset=utf-8"):
        answer = post(entra, right, path, b"POST", PUBLIC, kind)
        assert_refused(answer, 400, "invalid_request", 900144)
    for name in LEAKED:
        leak = (name.encode(), b"x")
        answer = post(entra, right, path, b"POST", PUBLIC, FORM, leak)
        assert_refused(answer, 400, "invalid_request", 90015)
    assert not entra.issued


def test_an_assertion_of_a_federated_credential_gets_a_token(entra: Entra, issuer: Issuer) -> None:
    answer = post(entra, by_assertion(issuer.token()))
    assert entra.alive(answer.json()["access_token"])


Bend = Callable[[Issuer], str]

WRONG_ASSERTIONS: dict[str, tuple[Bend, int, str, int]] = {
    "opaque": (lambda _: "opaque-token", 400, "invalid_request", 50027),
    "issuer": (lambda one: one.token(iss=one.issuer + "/"), 401, "invalid_client", 700211),
    "audience": (
        lambda one: one.token(aud="API://AzureADTokenExchange"),
        401,
        "invalid_client",
        700212,
    ),
    "list of audiences": (
        lambda one: one.token(aud=["api://AzureADTokenExchange", "x"]),
        401,
        "invalid_client",
        700212,
    ),
    "subject": (lambda one: one.token(sub="The-gateway"), 401, "invalid_client", 700213),
    "ended": (lambda one: one.token(exp=int(time.time()) - 1), 401, "invalid_client", 700024),
    "not begun": (lambda one: one.token(iat=int(time.time()) + 90), 401, "invalid_client", 700024),
    "no end": (lambda one: one.token(exp=None), 401, "invalid_client", 700027),
    "key of another": (
        lambda one: Issuer(one.issuer).token(),
        401,
        "invalid_client",
        700027,
    ),
    "unsigned": (lambda one: jwt.encode(one.claims, None, "none"), 401, "invalid_client", 700027),
    "cut": (lambda one: one.token()[:-10], 401, "invalid_client", 700027),
}


@pytest.mark.parametrize("name", WRONG_ASSERTIONS)
def test_a_wrong_assertion_is_refused(entra: Entra, issuer: Issuer, name: str) -> None:
    bend, *expected = WRONG_ASSERTIONS[name]
    assert_refused(post(entra, by_assertion(bend(issuer))), *expected)
    assert not entra.issued


def test_the_type_of_an_assertion_is_checked(entra: Entra, issuer: Issuer) -> None:
    form = by_assertion(issuer.token(), client_assertion_type="jwt")
    assert_refused(post(entra, form), 400, "invalid_request", 900144)


def test_a_form_is_decoded_once() -> None:
    assert fields(b"a=%252B&b=+%2B~%20&a=") == [("a", "%2B"), ("b", " +~ "), ("a", "")]
