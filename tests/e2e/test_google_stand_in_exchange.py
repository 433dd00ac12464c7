"""The stand-ins for Google's STS and IAM credentials take what is right and refuse the rest."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import jwt
import pytest

from entra import FORM
from entra_rules import Federation
from google_iam import HOST as IAM_HOST
from google_iam import IamCredentials, Target, path_of
from google_keys import CLOUD, IAM
from google_rules import PROXIED, TO_A_CLUSTER, Ledger, stamp
from google_sts import ACCESS, GRANT, HOST, ID_TYPE, JWT_TYPE, Provider, SecurityTokens
from oidc import ID, Issuer
from raw import Response
from raw import request as raw_request

AUDIENCE = "https://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool"
ACCOUNT = "sa@proj.iam.gserviceaccount.com"
CALLER = "caller@proj.iam.gserviceaccount.com"
Form = dict[str, str]


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """It need not run: the stand-in has its keys."""
    issuer = Issuer("https://idp.test/realms/a")
    issuer.claims["aud"] = AUDIENCE
    return issuer


@pytest.fixture
def sts(issuer: Issuer) -> Iterator[SecurityTokens]:
    """With one provider, which takes tokens of the issuer."""
    provider = Provider(federations=[Federation(issuer.issuer, ID, issuer.keys, AUDIENCE)])
    with SecurityTokens(None, provider) as server:
        yield server


@pytest.fixture
def iam() -> Iterator[IamCredentials]:
    """With one account that another may act as."""
    with IamCredentials(Ledger(), {ACCOUNT: Target({CALLER})}) as server:
        yield server


def exchange(token: str, **other: str) -> Form:
    """A form that is right but for what is put in."""
    form = {"grant_type": GRANT, "audience": Provider().name, "scope": CLOUD}
    types = {"requested_token_type": ACCESS, "subject_token_type": JWT_TYPE}
    return {**form, **types, "subject_token": token, **other}


def post(
    sts: SecurityTokens,
    form: Form | bytes,
    *more: tuple[bytes, bytes],
    method: bytes = b"POST",
    target: bytes = b"/v1/token",
    host: str = HOST,
    kind: str = FORM,
) -> Response:
    """The answer to a form, or to a body as it is."""
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    headers = [(b"host", host.encode()), (b"content-type", kind.encode()), *more]
    return raw_request(sts.port, method, target, headers, body)


def error(answer: Response) -> tuple[int, str]:
    """The status and the error of an answer that is one."""
    body = json.loads(answer.body)
    assert body.keys() == {"error", "error_description"}
    return answer.status, body["error"]


def basic(client: str) -> tuple[bytes, bytes]:
    """The proof of a client."""
    return b"authorization", b"Basic " + base64.b64encode(client.encode())


def test_a_subject_token_gets_a_token(sts: SecurityTokens, issuer: Issuer) -> None:
    body = json.loads(post(sts, exchange(issuer.token())).body)
    assert body["issued_token_type"] == ACCESS
    assert body["token_type"] == "Bearer"
    token = sts.ledger.alive(body["access_token"])
    assert token
    assert token.who == Provider().principal(ID)
    assert token.scopes == (CLOUD,)
    assert sts.of(Provider().name) == sts.requests
    assert sts.of("x") == []


Bend = Callable[[Issuer], str]
GRANTS = (400, "invalid_grant")
WRONG_TOKENS: dict[str, tuple[Bend, tuple[int, str]]] = {
    "opaque": (lambda _: "opaque", GRANTS),
    "issuer": (lambda one: one.token(iss=one.issuer + "/"), GRANTS),
    "audience": (lambda one: one.token(aud="//iam.googleapis.com/projects/123"), GRANTS),
    "list of audiences": (lambda one: one.token(aud=[AUDIENCE]), GRANTS),
    "subject": (lambda one: one.token(sub="The-gateway"), (403, "unauthorized_client")),
    "ended": (lambda one: one.token(exp=int(time.time()) - 1), GRANTS),
    "not begun": (lambda one: one.token(iat=int(time.time()) + 90), GRANTS),
    "no end": (lambda one: one.token(exp=None), GRANTS),
    "key of another": (
        lambda one: jwt.encode(
            jwt.decode(one.token(), options={"verify_signature": False}),
            Issuer(one.issuer)._key,
            algorithm="RS256",
            headers={"kid": "own"},
        ),
        GRANTS,
    ),
    "cut": (lambda one: one.token()[:-4], GRANTS),
}


@pytest.mark.parametrize("name", WRONG_TOKENS)
def test_a_wrong_subject_token_is_refused(sts: SecurityTokens, issuer: Issuer, name: str) -> None:
    bend, expected = WRONG_TOKENS[name]
    assert error(post(sts, exchange(bend(issuer)))) == expected
    assert not sts.ledger.tokens


WRONG_FIELDS: dict[str, tuple[Form, tuple[int, str]]] = {
    "grant": ({"grant_type": "client_credentials"}, (400, "invalid_request")),
    "audience of the token": ({"audience": AUDIENCE}, (400, "invalid_target")),
    "audience with a scheme": (
        {"audience": "https:" + Provider().name},
        (400, "invalid_target"),
    ),
    "no audience": ({"audience": ""}, (400, "invalid_request")),
    "scope of impersonation": ({"scope": IAM}, (400, "invalid_scope")),
    "two scopes": ({"scope": f"{CLOUD} {IAM}"}, (400, "invalid_scope")),
    "other type wanted": ({"requested_token_type": JWT_TYPE}, (400, "invalid_request")),
    "other type given": ({"subject_token_type": ID_TYPE}, (400, "invalid_request")),
    "camel case": ({"subjectToken": "x"}, (400, "invalid_request")),
    "options": ({"options": '{"userProject":"x"}'}, (400, "invalid_request")),
    "client in the form": ({"client_id": "cid"}, (400, "invalid_request")),
}


@pytest.mark.parametrize("name", WRONG_FIELDS)
def test_a_wrong_field_is_refused(sts: SecurityTokens, issuer: Issuer, name: str) -> None:
    fields, expected = WRONG_FIELDS[name]
    assert error(post(sts, exchange(issuer.token(), **fields))) == expected
    assert not sts.ledger.tokens


def test_a_wrong_request_is_refused_whatever_its_form(sts: SecurityTokens, issuer: Issuer) -> None:
    right = exchange(issuer.token())
    assert error(post(sts, right, target=b"/v1/token/")) == (404, "invalid_request")
    assert error(post(sts, right, target=b"/token")) == (404, "invalid_request")
    assert error(post(sts, right, host=f"{HOST}:443")) == (404, "invalid_request")
    assert error(post(sts, right, method=b"PUT")) == (405, "invalid_request")
    assert error(post(sts, right, kind="application/json")) == (400, "invalid_request")
    for name in (*PROXIED, *TO_A_CLUSTER, "cookie"):
        assert error(post(sts, right, (name.encode(), b"x"))) == (400, "invalid_request")
    for proof in (basic("cid:csec"), (b"authorization", b"Bearer x")):
        assert error(post(sts, right, proof)) == (401, "invalid_client")
    assert not sts.ledger.tokens


def test_a_client_has_to_prove_who_it_is_if_that_is_wanted(
    sts: SecurityTokens, issuer: Issuer
) -> None:
    sts.providers[Provider().name].client = ("cid", "c:s+e/c=%")
    right = exchange(issuer.token())
    assert error(post(sts, right)) == (401, "invalid_client")
    for wrong in ("cid:csec", "cid:" + quote("c:s+e/c=%", ""), "cid"):
        assert error(post(sts, right, basic(wrong))) == (401, "invalid_client")
    proof = basic("cid:c:s+e/c=%")
    assert error(post(sts, right, proof, proof)) == (401, "invalid_client")
    assert post(sts, right, proof).status == 200


def test_a_pool_may_be_for_impersonation_or_bill_a_project(
    sts: SecurityTokens, issuer: Issuer
) -> None:
    provider = sts.providers[Provider().name]
    provider.impersonating = True
    right = exchange(issuer.token())
    assert error(post(sts, right)) == (400, "invalid_scope")
    assert post(sts, {**right, "scope": IAM}).status == 200
    provider.impersonating, provider.user_project = False, "p"
    assert error(post(sts, right)) == (400, "invalid_request")
    text = json.dumps({"userProject": "p"})
    for options in (text, quote(text)):
        assert post(sts, {**right, "options": options}).status == 200
    for options in ("{", quote(quote(text)), json.dumps({"userProject": "q"})):
        assert error(post(sts, {**right, "options": options})) == (400, "invalid_request")


# IAM credentials.

BODY: dict[str, Any] = {"scope": [CLOUD], "lifetime": "3600s"}


def act(
    iam: IamCredentials,
    token: str | None,
    body: Any = BODY,
    email: str = ACCOUNT,
    *more: tuple[bytes, bytes],
    **other: Any,
) -> tuple[int, Any]:
    """The status of an answer, and its body."""
    host, kind = other.get("host", IAM_HOST), other.get("kind", "application/json")
    headers = [(b"host", host.encode()), (b"content-type", kind.encode()), *more]
    if token is not None:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    target = other.get("target", path_of(email)).encode()
    answer = raw_request(iam.port, other.get("method", b"POST"), target, headers, raw)
    return answer.status, json.loads(answer.body)


def told(answer: tuple[int, Any]) -> tuple[int, str]:
    """The status and the state of an answer that is an error."""
    error = answer[1]["error"]
    assert error["code"] == answer[0]
    assert isinstance(error["message"], str)
    return answer[0], error["status"]


def issued(iam: IamCredentials, who: str = CALLER, scope: str = IAM, seconds: float = 60) -> str:
    """A token of somebody."""
    return iam.ledger.issue("federated", who, [scope], seconds).text


@pytest.mark.parametrize("kind", ["federated", "metadata", "service_account", "user"])
def test_who_may_act_as_an_account_gets_its_token(iam: IamCredentials, kind: str) -> None:
    token = iam.ledger.issue(kind, CALLER, [CLOUD], 60)
    status, body = act(iam, token.text, {**BODY, "delegates": None})
    assert status == 200
    assert body.keys() == {"accessToken", "expireTime"}
    made = iam.ledger.alive(body["accessToken"])
    assert made
    assert (made.kind, made.who, made.scopes) == ("impersonated", ACCOUNT, (CLOUD,))
    end = datetime.strptime(body["expireTime"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
    assert made.end - 1 <= end <= made.end
    assert abs(made.end - time.time() - 3600) < 10


def test_the_end_of_a_token_is_written_as_a_test_says(iam: IamCredentials) -> None:
    target = iam.targets[ACCOUNT]
    target.life = 90
    for fraction, zone, hours in ((".5", "Z", 0), (".123456789", "+02:00", 2), ("", "-07:00", -7)):
        target.stamp = lambda end, f=fraction, z=zone, h=hours: stamp(end + h * 3600, f, z)
        text = act(iam, issued(iam))[1]["expireTime"]
        plain = text.replace(fraction, "").replace("Z", "+00:00")
        assert text.endswith(fraction + zone)
        assert abs(datetime.fromisoformat(plain).timestamp() - time.time() - 90) < 10


UNKNOWN = "unknown@proj.iam.gserviceaccount.com"
ARGUMENT, DENIED = (400, "INVALID_ARGUMENT"), (403, "PERMISSION_DENIED")
WRONG_BODIES: dict[str, Any] = {
    "form": b"scope=x&lifetime=3600s",
    "twice": b'{"scope":["x"],"lifetime":"1s","lifetime":"2s"}',
    "list": [BODY],
    "no scope": {"lifetime": "3600s"},
    "no lifetime": {"scope": [CLOUD]},
    "further": {**BODY, "audience": "x"},
    "scope as text": {**BODY, "scope": CLOUD},
    "no scopes": {**BODY, "scope": []},
    "unknown scope": {**BODY, "scope": ["openid"]},
    "lifetime as number": {**BODY, "lifetime": 3600},
    "lifetime without unit": {**BODY, "lifetime": "3600"},
    "lifetime too long": {**BODY, "lifetime": "3601s"},
    "no lifetime at all": {**BODY, "lifetime": "0s"},
    "delegates as text": {**BODY, "delegates": CALLER},
}


@pytest.mark.parametrize("name", WRONG_BODIES)
def test_a_wrong_body_is_refused(iam: IamCredentials, name: str) -> None:
    assert told(act(iam, issued(iam), WRONG_BODIES[name])) == ARGUMENT
    assert iam.asked == []


def test_who_may_not_act_as_an_account_is_refused(iam: IamCredentials) -> None:
    for wrong in (None, "", "ya29.x", issued(iam, seconds=0), issued(iam) + "x"):
        assert told(act(iam, wrong)) == (401, "UNAUTHENTICATED")
    assert told(act(iam, issued(iam, "somebody"))) == DENIED
    assert told(act(iam, issued(iam, scope="https://x.test"))) == DENIED
    assert told(act(iam, issued(iam), email=UNKNOWN)) == (404, "NOT_FOUND")
    assert told(act(iam, issued(iam), {**BODY, "delegates": [CALLER]})) == DENIED
    iam.targets[ACCOUNT].delegates = [CALLER]
    assert told(act(iam, issued(iam))) == DENIED
    assert act(iam, issued(iam), {**BODY, "delegates": [CALLER]})[0] == 200


def test_a_wrong_request_to_iam_is_refused(iam: IamCredentials) -> None:
    token = issued(iam)
    for target in (path_of(ACCOUNT) + "?alt=json", path_of("x"), path_of(ACCOUNT)[3:], "/"):
        assert act(iam, token, target=target)[0] in (400, 404)
    assert told(act(iam, token, host=HOST)) == (404, "NOT_FOUND")
    assert told(act(iam, token, method=b"PUT")) == ARGUMENT
    assert told(act(iam, token, kind=FORM)) == ARGUMENT
    for name in (*PROXIED, *TO_A_CLUSTER, "x-goog-api-key"):
        assert told(act(iam, token, BODY, ACCOUNT, (name.encode(), b"x"))) == ARGUMENT
    second = (b"authorization", f"Bearer {token}".encode())
    assert told(act(iam, token, BODY, ACCOUNT, second)) == (401, "UNAUTHENTICATED")
    assert iam.asked == []
