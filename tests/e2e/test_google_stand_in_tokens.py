"""The stand-in for Google's token endpoint takes what is right and refuses the rest."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from entra import FORM
from google_keys import CLOUD, IAM, ServiceAccount, Wrong, decoded, unpadded
from google_oauth import HOST, JWT_BEARER, TokenEndpoint, User
from google_rules import PROXIED, TO_A_CLUSTER, Life, oauth_error
from raw import Response
from raw import request as raw_request

USER = User()
Form = dict[str, str]


@pytest.fixture(scope="module")
def account() -> ServiceAccount:
    """One that may ask for a user."""
    return ServiceAccount(delegated=["user@example.com"])


@pytest.fixture
def endpoint(account: ServiceAccount) -> Iterator[TokenEndpoint]:
    """Without TLS: it is not what is tested."""
    with TokenEndpoint(None, account, users=[USER]) as server:
        yield server


def by_assertion(text: str, **other: str) -> Form:
    """A form with an assertion."""
    return {"grant_type": JWT_BEARER, "assertion": text, **other}


def by_user(**other: str) -> Form:
    """A form with the refresh token of the user."""
    word = {"client_secret": USER.client_secret, "refresh_token": USER.refresh_token}
    return {"grant_type": "refresh_token", "client_id": USER.client_id, **word, **other}


def post(
    endpoint: TokenEndpoint,
    form: Form | bytes,
    *more: tuple[bytes, bytes],
    method: bytes = b"POST",
    target: bytes = b"/token",
    host: str = HOST,
    kind: str | None = FORM,
) -> Response:
    """The answer to a form, or to a body as it is."""
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    headers = [(b"host", host.encode()), *more]
    if kind:
        headers.append((b"content-type", kind.encode()))
    return raw_request(endpoint.port, method, target, headers, body)


def error(answer: Response) -> tuple[int, str]:
    """The status and the error of an answer that is one."""
    body = json.loads(answer.body)
    assert body.keys() == {"error", "error_description"}
    return answer.status, body["error"]


def test_an_assertion_gets_a_token_that_counts_until_its_end(
    endpoint: TokenEndpoint, account: ServiceAccount
) -> None:
    endpoint.life = Life(1800)
    before = time.time()
    answer = post(endpoint, by_assertion(account.assertion()))
    body = json.loads(answer.body)
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 1800)
    token = endpoint.ledger.alive(body["access_token"])
    assert token
    assert (token.who, token.scopes) == (account.email, (CLOUD,))
    assert endpoint.ledger.alive(token.text, before + 1799)
    assert not endpoint.ledger.alive(token.text, time.time() + 1800)
    assert not endpoint.ledger.alive(token.text + "x")
    endpoint.ledger.revoked.add(token.text)
    assert not endpoint.ledger.alive(token.text)
    assert endpoint.of(account.email) == endpoint.requests
    assert endpoint.of("other@proj.iam.gserviceaccount.com") == []


def test_a_refresh_token_gets_a_token(endpoint: TokenEndpoint) -> None:
    body = json.loads(post(endpoint, by_user()).body)
    token = endpoint.ledger.alive(body["access_token"])
    assert token
    assert (token.kind, token.who) == ("user", USER.client_id)
    assert endpoint.of(USER.client_id) == endpoint.requests


Bend = Callable[[ServiceAccount], str]


def later(seconds: int) -> Bend:
    """An assertion whose times are moved."""

    def moved(one: ServiceAccount) -> str:
        now = int(time.time()) + seconds
        return one.assertion(iat=now, exp=now + 3600)

    return moved


def padded(one: ServiceAccount) -> str:
    """An assertion whose parts are padded as plain base64 is."""
    return ".".join(part + "=" * (-len(part) % 4) for part in one.assertion().split("."))


def forged(one: ServiceAccount, **header: Any) -> str:
    """An assertion with another header, signed with the key."""
    return one.signed(decoded(one.assertion())[1], **header)


GRANT = (400, "invalid_grant")
WRONG_ASSERTIONS: dict[str, tuple[Bend, tuple[int, str]]] = {
    "opaque": (lambda _: "opaque", GRANT),
    "padded": (padded, GRANT),
    "cut": (lambda one: one.assertion()[:-4], GRANT),
    "key of another": (lambda one: forged(one, kid="other"), GRANT),
    "signed by another": (
        lambda one: jwt.encode(
            decoded(one.assertion())[1],
            ServiceAccount().pem(),
            algorithm="RS256",
            headers={"kid": one.key_id},
        ),
        GRANT,
    ),
    "unsigned": (lambda one: jwt.encode(decoded(one.assertion())[1], None, "none") + "x", GRANT),
    "further header": (lambda one: forged(one, jku="https://x.test"), GRANT),
    "no kid": (
        lambda one: jwt.encode(decoded(one.assertion())[1], one.pem(), algorithm="RS256"),
        GRANT,
    ),
    "audience of another place": (
        lambda one: one.assertion(aud="https://www.googleapis.com/oauth2/v4/token"),
        GRANT,
    ),
    "audience with a slash": (lambda one: one.assertion(aud=one.token_uri + "/"), GRANT),
    "list of audiences": (lambda one: one.assertion(aud=[one.token_uri]), GRANT),
    "unknown account": (lambda one: one.assertion(iss="x@y.iam.gserviceaccount.com"), GRANT),
    "further claim": (lambda one: one.assertion(jti="1"), GRANT),
    "id token": (lambda one: one.assertion(scope=None, target_audience="x"), GRANT),
    "no scope": (lambda one: one.assertion(scope=None), GRANT),
    "too long": (lambda one: one.assertion(exp=int(time.time()) + 3700), GRANT),
    "too early": (later(400), GRANT),
    "too late": (later(-400), GRANT),
    "ended": (
        lambda one: one.assertion(iat=int(time.time()) - 200, exp=int(time.time()) - 1),
        GRANT,
    ),
    "ended before it began": (lambda one: one.assertion(exp=int(time.time()) - 1), GRANT),
    "time with a fraction": (lambda one: one.assertion(iat=time.time()), GRANT),
    "time as text": (lambda one: one.assertion(iat=str(int(time.time()))), GRANT),
    "unknown scope": (lambda one: one.assertion(scope="openid"), (400, "invalid_scope")),
    "scope twice": (lambda one: one.assertion(scope=f"{CLOUD} {CLOUD}"), (400, "invalid_scope")),
    "scopes with a comma": (
        lambda one: one.assertion(scope=f"{CLOUD},{IAM}"),
        (400, "invalid_scope"),
    ),
    "other user": (
        lambda one: one.assertion(sub="other@example.com"),
        (401, "unauthorized_client"),
    ),
}


@pytest.mark.parametrize("name", WRONG_ASSERTIONS)
def test_a_wrong_assertion_is_refused(
    endpoint: TokenEndpoint, account: ServiceAccount, name: str
) -> None:
    bend, expected = WRONG_ASSERTIONS[name]
    assert error(post(endpoint, by_assertion(bend(account)))) == expected
    assert len(endpoint.refused) == 1
    assert not endpoint.ledger.tokens


@pytest.mark.parametrize("skew", [-240, 240])
def test_a_clock_may_be_wrong_by_minutes(
    endpoint: TokenEndpoint, account: ServiceAccount, skew: int
) -> None:
    assert post(endpoint, by_assertion(later(skew)(account))).status == 200


def test_a_wrong_clock_is_told_in_words_of_their_own(
    endpoint: TokenEndpoint, account: ServiceAccount
) -> None:
    body = json.loads(post(endpoint, by_assertion(later(-4000)(account))).body)
    assert "reasonable timeframe" in body["error_description"]
    body = json.loads(post(endpoint, by_assertion(forged(account, kid="x"))).body)
    assert "Invalid JWT Signature." in body["error_description"]


WRONG_FORMS: dict[str, tuple[Form | bytes, tuple[int, str]]] = {
    "no assertion": ({"grant_type": JWT_BEARER}, (400, "invalid_request")),
    "no grant": ({"assertion": "x"}, (400, "unsupported_grant_type")),
    "other grant": (by_user(grant_type="password"), (400, "unsupported_grant_type")),
    "further field": (by_assertion("x", scope=CLOUD), (400, "invalid_request")),
    "empty assertion": (by_assertion(""), (400, "invalid_request")),
    "twice": (urlencode(by_user()).encode() + b"&client_id=x", (400, "invalid_request")),
    "raw slash": (b"grant_type=a/b", (400, "invalid_request")),
    "JSON": (json.dumps(by_user()).encode(), (400, "invalid_request")),
    "other client": (by_user(client_id="x"), (401, "invalid_client")),
    "other word": (by_user(client_secret="x"), (401, "invalid_client")),
    "escaped twice": (
        by_user(client_secret=urlencode({"": USER.client_secret})[1:]),
        (401, "invalid_client"),
    ),
    "revoked": (by_user(refresh_token="1//x"), (400, "invalid_grant")),
    "scope of others": (by_user(scope=IAM), (400, "invalid_scope")),
    "no word": ({**by_user(), "client_secret": ""}, (400, "invalid_request")),
}


@pytest.mark.parametrize("name", WRONG_FORMS)
def test_a_wrong_form_is_refused(endpoint: TokenEndpoint, name: str) -> None:
    form, expected = WRONG_FORMS[name]
    assert error(post(endpoint, form)) == expected
    assert not endpoint.ledger.tokens


def test_a_wrong_request_is_refused_whatever_its_form(
    endpoint: TokenEndpoint, account: ServiceAccount
) -> None:
    right = by_assertion(account.assertion())
    for target in (b"/", b"/token/", b"//token", b"/v1/token"):
        assert error(post(endpoint, right, target=target)) == (404, "invalid_request")
    for host in ("sts.googleapis.com", f"{HOST}:443", "www.googleapis.com"):
        assert error(post(endpoint, right, host=host)) == (404, "invalid_request")
    assert error(post(endpoint, right, target=b"/token?x=1")) == (400, "invalid_request")
    assert error(post(endpoint, b"", method=b"GET")) == (405, "invalid_request")
    for kind in (None, "application/json", f"{FORM}; charset=utf-8"):
        assert error(post(endpoint, right, kind=kind)) == (400, "invalid_request")
    for name in (*PROXIED, *TO_A_CLUSTER, "x-envoy-anything", "cookie", "x-goog-api-key"):
        leak = (name.encode(), b"x")
        assert error(post(endpoint, right, leak)) == (400, "invalid_request")
    assert not endpoint.ledger.tokens
    endpoint.tolerated = TO_A_CLUSTER
    unavoidable = [(name.encode(), b"x") for name in TO_A_CLUSTER]
    assert post(endpoint, right, *unavoidable).status == 200


def test_a_request_goes_to_the_place_that_the_file_names(endpoint: TokenEndpoint) -> None:
    uri = "https://www.googleapis.com/oauth2/v4/token"
    old = ServiceAccount("old@proj.iam.gserviceaccount.com", token_uri=uri)
    endpoint.accounts[old.email] = old
    form = by_assertion(old.assertion())
    assert error(post(endpoint, form)) == GRANT
    place = {"host": "www.googleapis.com", "target": b"/oauth2/v4/token"}
    assert post(endpoint, form, **place).status == 200


def test_what_is_answered_may_be_scripted(endpoint: TokenEndpoint, account: ServiceAccount) -> None:
    for raw in ('"3599"', "3.599e3", "null", "-1"):
        endpoint.lives[account.email] = Life(raw=raw)
        body = post(endpoint, by_assertion(account.assertion())).body.decode()
        assert f'"expires_in": {raw},' in body
    endpoint.reply_with(503, delay=0.05, times=1)
    begun = time.monotonic()
    assert post(endpoint, by_user()).status == 503
    assert time.monotonic() - begun >= 0.05
    endpoint.script(account.email, lambda _: oauth_error(500, "internal_failure", "no"), times=2)
    assert post(endpoint, by_user()).status == 200
    assert error(post(endpoint, by_assertion(account.assertion()))) == (500, "internal_failure")
    assert post(endpoint, by_assertion(account.assertion())).status == 500
    assert post(endpoint, by_assertion(account.assertion())).status == 200


def test_a_part_of_a_jwt_has_one_form_only() -> None:
    assert unpadded("YQ") == b"a"
    for wrong in ("YR", "Y", "YQ=="):
        with pytest.raises(ValueError, match=r".*"):
            unpadded(wrong)
    with pytest.raises(Wrong):
        decoded("e30.e30.YR")


def test_a_jwt_of_an_account_s_own_has_other_claims(account: ServiceAccount) -> None:
    now = int(time.time())
    times = {"iat": now, "exp": now + 3600}
    own = {"iss": account.email, "sub": account.email, "scope": CLOUD, **times}
    assert account.self_signed(account.signed(own)) == own
    for other in ({"sub": "x"}, {"aud": "https://aiplatform.googleapis.com/"}, {"exp": now + 7200}):
        with pytest.raises(Wrong):
            account.self_signed(account.signed({**own, **other}))
    with pytest.raises(Wrong):
        account.self_signed(ServiceAccount().signed(own))
