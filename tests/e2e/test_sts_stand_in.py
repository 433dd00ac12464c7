"""The stand-in for STS takes what is right and refuses the rest, with an error for each."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as tree
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlencode

import jwt
import pytest

from aws import STATIC
from entra_rules import Federation
from oidc import ID, Issuer
from sts import HOST, Sts, arn
from sts_answers import NAMESPACE, exponent, iso
from sts_forms import Form, code, post, sign, web, without
from sts_rules import AUDIENCE, WEB, Role


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """It need not run: the stand-in has its keys."""
    issuer = Issuer("https://idp.test/realms/a")
    issuer.claims["aud"] = AUDIENCE
    return issuer


@pytest.fixture
def sts(issuer: Issuer) -> Iterator[Sts]:
    """With a role for a token, and one for a user and for the first role."""
    federation = Federation(issuer.issuer, ID, issuer.keys, AUDIENCE)
    with Sts({"web": Role(federations=[federation])}) as server:
        user = server.user("gateway", STATIC)
        server.roles[arn("next")] = Role(principals=[user, arn("web")], external="e-1")
        yield server
        assert server.errors == []


def test_a_token_gets_a_session_that_counts_until_its_end(sts: Sts, issuer: Issuer) -> None:
    asked = time.time()
    form = web(issuer)
    answer = post(sts, form)
    result = json.loads(answer.body)[f"{WEB}Response"][f"{WEB}Result"]
    (session,) = sts.sessions("web")
    assert result["Credentials"] == {
        "AccessKeyId": session.keys.access,
        "SecretAccessKey": session.keys.secret,
        "SessionToken": session.keys.token,
        "Expiration": int(session.end),
    }
    assert asked + 3600 <= session.end <= time.time() + 3600
    assert result["SubjectFromWebIdentityToken"] == session.source == ID
    assert session.arn == "arn:aws:sts::123456789012:assumed-role/web/ai-gateway-x"
    assert result["AssumedRoleUser"]["Arn"] == session.arn
    assert sts.forms("web") == [form]
    assert sts.refused == []


def test_moments_are_written_as_sts_does() -> None:
    assert exponent(1514869445.9) == "1.514869445E9"
    assert exponent(1800000000) == "1.8E9"
    assert exponent(2000000000) == "2.0E9"
    assert iso(1514869445.9) == "2018-01-02T05:04:05Z"


def test_without_the_header_the_answer_is_xml(sts: Sts, issuer: Issuer) -> None:
    sts.official = True
    answer = post(sts, web(issuer), accept=None)
    (session,) = sts.sessions("web")
    assert answer.values("content-type") == [b"text/xml"]
    names = {"": NAMESPACE}
    found = tree.fromstring(answer.body).find(f"{WEB}Result/Credentials", names)
    assert found is not None
    assert {child.tag.partition("}")[2]: child.text for child in found} == {
        "AccessKeyId": session.keys.access,
        "SecretAccessKey": session.keys.secret,
        "SessionToken": session.keys.token,
        "Expiration": iso(session.end),
    }
    error = tree.fromstring(post(sts, web(issuer, RoleArn="x"), accept=None).body)
    assert error.findtext("Error/Code", namespaces=names) == "ValidationError"


WRONG_FIELDS: Mapping[str, tuple[Callable[[Form], Form], str]] = {
    "no role": (lambda form: without(form, "RoleArn"), "ValidationError"),
    "no token": (lambda form: without(form, "WebIdentityToken"), "ValidationError"),
    "no name": (lambda form: without(form, "RoleSessionName"), "ValidationError"),
    "no version": (lambda form: without(form, "Version"), "InvalidAction"),
    "old version": (lambda form: {**form, "Version": "2010-05-08"}, "InvalidAction"),
    "other action": (lambda form: {**form, "Action": "GetSessionToken"}, "InvalidAction"),
    "provider": (lambda form: {**form, "ProviderId": "idp.test"}, "ValidationError"),
    "empty external id": (lambda form: {**form, "ExternalId": ""}, "ValidationError"),
    "tags": (
        lambda form: {**form, "Tags.member.1.Key": "a", "Tags.member.1.Value": "b"},
        "ValidationError",
    ),
    "one letter": (lambda form: {**form, "RoleSessionName": "a"}, "ValidationError"),
    "65 letters": (lambda form: {**form, "RoleSessionName": "a" * 65}, "ValidationError"),
    "slash": (lambda form: {**form, "RoleSessionName": "a/b"}, "ValidationError"),
    "colon": (lambda form: {**form, "RoleSessionName": "a:b"}, "ValidationError"),
    "umlaut": (lambda form: {**form, "RoleSessionName": "aü"}, "ValidationError"),
    "user": (
        lambda form: {**form, "RoleArn": "arn:aws:iam::123456789012:user/x"},
        "ValidationError",
    ),
    "short": (lambda form: {**form, "DurationSeconds": "899"}, "ValidationError"),
    "exponent": (lambda form: {**form, "DurationSeconds": "3.6e3"}, "ValidationError"),
    "too long": (lambda form: {**form, "DurationSeconds": "43201"}, "ValidationError"),
    "longer than the role": (lambda form: {**form, "DurationSeconds": "3601"}, "ValidationError"),
}


@pytest.mark.parametrize("name", WRONG_FIELDS)
def test_a_wrong_field_is_refused(sts: Sts, issuer: Issuer, name: str) -> None:
    bend, expected = WRONG_FIELDS[name]
    assert code(post(sts, bend(web(issuer)))) == (400, expected)
    assert len(sts.refused) == 1
    assert not sts.issued


def test_a_wrong_request_is_refused_whatever_its_form(sts: Sts, issuer: Issuer) -> None:
    right = web(issuer)
    for method, target in ((b"GET", b"/"), (b"PUT", b"/"), (b"POST", b"/x"), (b"POST", b"/?a=b")):
        assert code(post(sts, right, method=method, target=target)) == (404, "InvalidAction")
    for host in ("sts.us-west-2.amazonaws.com", "sts.amazonaws.com", f"{HOST}:443"):
        assert code(post(sts, right, host=host)) == (400, "InvalidAction")
    for kind in (None, "application/json", "application/x-www-form-urlencoded"):
        assert code(post(sts, right, kind=kind)) == (400, "InvalidAction")
    for accept in (None, "*/*", "application/xml"):
        assert post(sts, right, accept=accept).status == 406
    for name in ("x-forwarded-for", "x-envoy-internal", "x-request-id", "x-forwarded-proto"):
        assert code(post(sts, right, (name.encode(), b"x"))) == (400, "InvalidAction")
    for name in ("x-egress-scheme", "cookie", "accept-encoding", "amz-sdk-request", "x-api-key"):
        assert code(post(sts, right, (name.encode(), b"x"))) == (400, "InvalidAction")
    for body in (b"Action", b"a=%4", b"a=b/c", urlencode(right).encode() + b"&Action=x", b"{}"):
        assert code(post(sts, body)) == (400, "MalformedInput")
    assert not sts.issued


def test_the_operation_with_a_token_is_not_signed(sts: Sts, issuer: Issuer) -> None:
    form = web(issuer)
    assert code(post(sts, form, *sign(form, STATIC))) == (400, "InvalidAction")
    for name in (b"authorization", b"x-amz-date", b"x-amz-security-token"):
        assert code(post(sts, form, (name, b"x"))) == (400, "InvalidAction")
    assert not sts.issued


Bend = Callable[[Issuer], str]

WRONG_TOKENS: Mapping[str, tuple[Bend, int, str]] = {
    "opaque": (lambda _: "opaque-token", 400, "InvalidIdentityToken"),
    "line feed": (lambda one: one.token() + "\n", 400, "InvalidIdentityToken"),
    "issuer": (lambda one: one.token(iss=one.issuer + "/"), 400, "InvalidIdentityToken"),
    "audience": (lambda one: one.token(aud="STS.amazonaws.com"), 400, "InvalidIdentityToken"),
    "subject": (lambda one: one.token(sub="The-gateway"), 403, "AccessDenied"),
    "ended": (lambda one: one.token(exp=int(time.time()) - 1), 400, "ExpiredTokenException"),
    "not begun": (lambda one: one.token(iat=int(time.time()) + 90), 400, "ExpiredTokenException"),
    "no end": (lambda one: one.token(exp=None), 400, "InvalidIdentityToken"),
    "key of another": (lambda one: Issuer(one.issuer).token(), 400, "InvalidIdentityToken"),
    "unsigned": (lambda one: jwt.encode(one.claims, None, "none"), 400, "InvalidIdentityToken"),
    "cut": (lambda one: one.token()[:-10], 400, "InvalidIdentityToken"),
}


@pytest.mark.parametrize("name", WRONG_TOKENS)
def test_a_wrong_token_is_refused(sts: Sts, issuer: Issuer, name: str) -> None:
    bend, *expected = WRONG_TOKENS[name]
    assert code(post(sts, web(issuer, WebIdentityToken=bend(issuer)))) == tuple(expected)
    assert not sts.issued


def test_a_role_that_is_not_for_the_token_is_refused(sts: Sts, issuer: Issuer) -> None:
    assert code(post(sts, web(issuer, RoleArn=arn("other")))) == (403, "AccessDenied")
    assert code(post(sts, web(issuer, RoleArn=arn("next")))) == (400, "InvalidIdentityToken")
