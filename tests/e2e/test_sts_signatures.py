"""The stand-in for STS, and the provider behind it, check signatures and who may sign."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import raw
from aws import STATIC, TEMPORARY, THEIRS, Keys
from entra_rules import Federation
from launch import poll
from oidc import ID, Issuer
from sts import Sts, arn
from sts_forms import Form, chain, code, post, sign, web, without
from sts_rules import AUDIENCE, Role
from wire import Header

TARGET = b"/model/m/invoke"


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


def test_a_signature_gets_a_session_of_the_next_role(sts: Sts, issuer: Issuer) -> None:
    form = chain(DurationSeconds="900", **{"Tags.member.1.Key": "k", "Tags.member.1.Value": ""})
    assert post(sts, form, *sign(form, STATIC)).status == 200
    post(sts, web(issuer))
    (first,) = sts.sessions("web")
    assert post(sts, chain(), *sign(chain(), first.keys)).status == 200
    one, two = sts.sessions("next")
    assert (one.source, one.tags) == ("arn:aws:iam::123456789012:user/gateway", {"k": ""})
    assert (two.source, two.tags) == (first.arn, {})
    assert 899 < one.end - one.issued < 901
    assert sts.refused == []


TAGS: Mapping[str, Form] = {
    "from 0": {"Tags.member.0.Key": "a", "Tags.member.0.Value": "b"},
    "from 2": {"Tags.member.2.Key": "a", "Tags.member.2.Value": "b"},
    "no value": {"Tags.member.1.Key": "a"},
    "no key": {"Tags.member.1.Value": "a"},
    "empty key": {"Tags.member.1.Key": "", "Tags.member.1.Value": "b"},
    "long key": {"Tags.member.1.Key": "a" * 129, "Tags.member.1.Value": "b"},
    "long value": {"Tags.member.1.Key": "a", "Tags.member.1.Value": "b" * 257},
    "other letters": {
        "Tags.member.1.Key": "a",
        "Tags.member.1.Value": "b",
        "Tags.member.2.Key": "A",
        "Tags.member.2.Value": "b",
    },
}


@pytest.mark.parametrize("name", TAGS)
def test_a_wrong_tag_is_refused(sts: Sts, name: str) -> None:
    form = chain(**TAGS[name])
    status, found = code(post(sts, form, *sign(form, STATIC)))
    assert (status, found[:2]) == (400, "Va" if name != "other letters" else "In")
    assert not sts.issued


Signed = Callable[[Form], list[Header]]
DENIED = (403, "AccessDenied")
WRONG = (403, "SignatureDoesNotMatch")
UNKNOWN = (403, "InvalidClientTokenId")

WRONG_SIGNATURES: Mapping[str, tuple[Signed, tuple[int, str]]] = {
    "none": (lambda _: [], (403, "MissingAuthenticationToken")),
    "no date": (lambda form: sign(form, STATIC)[1:], (403, "MissingAuthenticationToken")),
    "unknown keys": (lambda form: sign(form, THEIRS), UNKNOWN),
    "unknown session": (lambda form: sign(form, TEMPORARY), UNKNOWN),
    "a token too many": (
        lambda form: [*sign(form, STATIC), (b"x-amz-security-token", b"x")],
        UNKNOWN,
    ),
    "wrong secret": (lambda form: sign(form, Keys(STATIC.access, "x")), WRONG),
    "other form": (lambda form: sign({**form, "ExternalId": "e-2"}, STATIC), WRONG),
    "other host": (lambda form: sign(form, STATIC, host="sts.amazonaws.com"), WRONG),
    "other service": (lambda form: sign(form, STATIC, "bedrock"), WRONG),
    "other region": (lambda form: sign(form, STATIC, region="us-west-2"), WRONG),
    "late": (lambda form: sign(form, STATIC, late=timedelta(minutes=6)), WRONG),
}


@pytest.mark.parametrize("name", WRONG_SIGNATURES)
def test_a_wrong_signature_is_refused(sts: Sts, name: str) -> None:
    make, expected = WRONG_SIGNATURES[name]
    form = chain()
    assert code(post(sts, form, *make(form))) == expected
    assert not sts.issued


def test_whom_the_role_does_not_trust_is_refused(sts: Sts) -> None:
    static = Keys(THEIRS.access, THEIRS.secret)
    sts.user("other", static)
    assert code(post(sts, chain(), *sign(chain(), static))) == DENIED
    for form in (without(chain(), "ExternalId"), chain(ExternalId="e-2"), chain(RoleArn=arn("x"))):
        assert code(post(sts, form, *sign(form, STATIC))) == DENIED
    assert not sts.issued


def test_a_session_that_has_ended_signs_no_longer(sts: Sts, issuer: Issuer) -> None:
    sts.life = 0.4
    post(sts, web(issuer))
    (session,) = sts.sessions("web")
    wrong = Keys(session.keys.access, session.keys.secret, "x")
    assert code(post(sts, chain(), *sign(chain(), wrong))) == UNKNOWN
    poll(lambda: time.time() > session.end, 5)
    assert code(post(sts, chain(), *sign(chain(), session.keys))) == (403, "ExpiredToken")


def test_a_session_of_a_session_lasts_an_hour_at_most(sts: Sts, issuer: Issuer) -> None:
    sts.roles[arn("next")].longest = 7200
    post(sts, web(issuer))
    (first,) = sts.sessions("web")
    form = chain(DurationSeconds="7200")
    assert code(post(sts, form, *sign(form, first.keys))) == (400, "ValidationError")
    assert post(sts, form, *sign(form, STATIC)).status == 200


def test_the_provider_behind_it_takes_what_a_session_has_signed(sts: Sts, issuer: Issuer) -> None:
    sts.on(TARGET.decode(), sts.provider)
    sts.life = 1.5
    post(sts, web(issuer))
    (session,) = sts.sessions("web")

    def ask(keys: Keys, service: str = "bedrock") -> int:
        made = AWSRequest("POST", f"https://b.test{TARGET.decode()}", {"host": "b.test"}, b"{}")
        credentials = Credentials(keys.access, keys.secret, keys.token)
        SigV4Auth(credentials, service, "us-east-1").add_auth(made)
        headers = [(name.lower().encode(), text.encode()) for name, text in made.headers.items()]
        return raw.request(sts.port, b"POST", TARGET, headers, b"{}").status

    assert ask(session.keys) == 200
    assert ask(session.keys, "sts") == 403
    assert ask(STATIC) == 403
    assert ask(Keys(session.keys.access, "x", session.keys.token)) == 403
    assert raw.request(sts.port, b"POST", TARGET).status == 403
    poll(lambda: ask(session.keys) == 403, 5, "the end of the session")
    found = [line.partition(":")[0] for line in sts.misused]
    wrong = "InvalidSignatureException"
    assert found == [wrong, "UnrecognizedClientException", wrong, wrong, "ExpiredTokenException"]
