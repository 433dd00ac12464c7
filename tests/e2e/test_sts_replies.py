"""Answers of every odd form: each is one failure of the right kind, and the next one is taken."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from entra_rules import WORDS
from oidc import Issuer
from replies import JSON, json_reply
from sts import HOST, exchanging
from sts_answers import NAMESPACE, XML, failure
from sts_rig import Rig, for_tokens, identity, over_tls, serving
from sts_rules import WEB
from upstream import Authority
from wire import Reply

UNWANTED = "token-that-must-not-be-used-4fe1"
HTML = (b"content-type", b"text/html")
LATER = int(time.time()) + 3600
GOOD: dict[str, Any] = {
    "AccessKeyId": "ASIAMUSTNOTBEUSED001",
    "SecretAccessKey": "secret/that+must-not-be-used-9d2f",
    "SessionToken": UNWANTED,
    "Expiration": LATER,
}


def nested(credentials: Any) -> dict[str, Any]:
    """An answer with these credentials."""
    return {f"{WEB}Response": {f"{WEB}Result": {"Credentials": credentials}}}


WHOLE = json.dumps(nested(GOOD))


def text(body: str | bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> Reply:
    """A reply of JSON, as it claims."""
    return Reply(status, [JSON, *headers], body.encode() if isinstance(body, str) else body)


def with_fields(**other: Any) -> Reply:
    """A good answer, other fields put in; None takes one out."""
    return json_reply(nested({k: v for k, v in (GOOD | other).items() if v is not None}))


def ending(raw: str) -> Reply:
    """A good answer but for this text of `Expiration`."""
    return text(WHOLE.replace(str(LATER), raw))


STAMP = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(LATER))


def elements(**other: str | None) -> str:
    """A good answer in XML, but for these elements."""
    fields = {**GOOD, "Expiration": STAMP, **other}
    inner = "".join(f"<{k}>{v}</{k}>" for k, v in fields.items() if v is not None)
    whole = f"<{WEB}Result><Credentials>{inner}</Credentials></{WEB}Result>"
    return f'<{WEB}Response xmlns="{NAMESPACE}">{whole}</{WEB}Response>'


def xml(body: str | bytes, status: int = 200) -> Reply:
    """A reply of XML, as it claims."""
    return Reply(status, [XML], body.encode() if isinstance(body, str) else body)


def page(status: int = 200) -> Reply:
    """What a captive portal says."""
    return Reply(status, [HTML], f"<html><body>{WORDS}</body></html>".encode())


DOCTYPE = f'<!DOCTYPE x [<!ENTITY e "{UNWANTED}">]>'

MALFORMED: dict[str, Callable[[], Reply]] = {
    "html": page,
    "empty": lambda: text(b""),
    "truncated": lambda: text(WHOLE[:-1]),
    "more": lambda: text(WHOLE + "{}"),
    "list": lambda: text(f"[{WHOLE}]"),
    "word": lambda: text(json.dumps(UNWANTED)),
    "null": lambda: text("null"),
    "latin": lambda: text(WHOLE.replace("4fe1", "\xff").encode("latin-1")),
    "gzip": lambda: text(gzip.compress(WHOLE.encode()), 200, (b"content-encoding", b"gzip")),
    "redirect": lambda: text(WHOLE, 302, (b"location", f"https://{HOST}/elsewhere".encode())),
    "moved": lambda: text(WHOLE, 307, (b"location", f"https://{HOST}/elsewhere".encode())),
    "bare": lambda: json_reply(GOOD),
    "other-action": lambda: text(WHOLE.replace(WEB, "AssumeRole")),
    "no-id": lambda: with_fields(AccessKeyId=None),
    "no-secret": lambda: with_fields(SecretAccessKey=None),
    "no-token": lambda: with_fields(SessionToken=None),
    "other-token": lambda: with_fields(SessionToken=None, Token=UNWANTED),
    "empty-id": lambda: with_fields(AccessKeyId=""),
    "empty-secret": lambda: with_fields(SecretAccessKey=""),
    "empty-token": lambda: with_fields(SessionToken=""),
    "number-id": lambda: with_fields(AccessKeyId=17),
    "list-token": lambda: with_fields(SessionToken=[UNWANTED]),
    "lf-token": lambda: with_fields(SessionToken=f"{UNWANTED}\nx-injected: 1"),
    "cr-token": lambda: with_fields(SessionToken=f"{UNWANTED}\r{UNWANTED}"),
    "nul-token": lambda: with_fields(SessionToken=f"{UNWANTED}\0{UNWANTED}"),
    "lf-id": lambda: with_fields(AccessKeyId="ASIA\nx-injected: 1"),
    "null-credentials": lambda: json_reply(nested(None)),
    "list-credentials": lambda: json_reply(nested([GOOD])),
    "past": lambda: ending(str(int(time.time()) - 5)),
    "past-text": lambda: ending('"2018-01-02T05:04:05Z"'),
    "past-exponent": lambda: ending("1.514869445E9"),
    "zero": lambda: ending("0"),
    "negative": lambda: ending("-1"),
    "rubbish": lambda: ending('"soon"'),
    "blank": lambda: ending('""'),
    "no-zone": lambda: ending(f'"{STAMP[:-1]}"'),
    "no-day": lambda: ending('"2099-01-32T00:00:00Z"'),
    "object": lambda: ending('{"seconds": 1}'),
    "true": lambda: ending("true"),
    "xml-truncated": lambda: xml(elements()[:-30]),
    "xml-crossed": lambda: xml(elements().replace("</SessionToken>", "</Sessiontoken>")),
    "xml-entity": lambda: xml(elements(SessionToken="&e;")),
    "xml-doctype": lambda: xml(DOCTYPE + elements(SessionToken="&e;")),
    "xml-reference": lambda: xml(elements(SessionToken=f"{UNWANTED}&#10;x-injected: 1")),
    "xml-no-token": lambda: xml(elements(SessionToken=None)),
    "xml-empty-token": lambda: xml(elements().replace(UNWANTED, "")),
    "xml-past": lambda: xml(elements(Expiration="2018-01-02T05:04:05Z")),
    "xml-latin": lambda: xml(elements().replace("4fe1", "\xff").encode("latin-1")),
    "xml-other-action": lambda: xml(elements().replace(WEB, "AssumeRole")),
    "xml-error": lambda: failure(200, "AccessDenied", form="xml"),
}

OTHERS: dict[str, tuple[Callable[[], Reply], str]] = {
    "html-500": (lambda: page(500), "server"),
    "html-403": (lambda: page(403), "denied"),
    "html-429": (lambda: page(429), "throttled"),
    "created": (lambda: text(WHOLE, 201), "malformed"),
    "teapot": (lambda: text(WHOLE, 418), "denied"),
}
"""Those that are not for their form, or not only."""

PATIENT = ("html-403", "teapot")
"""What is said to be denied may not be asked about again for half a minute."""


class Odd(NamedTuple):
    """A reply, and what it counts as."""

    reply: Callable[[], Reply]
    reason: str


ODD = {name: Odd(reply, "malformed") for name, reply in MALFORMED.items()} | {
    name: Odd(*pair) for name, pair in OTHERS.items()
}


@pytest.fixture(scope="module")
def rig(authority: Authority) -> Iterator[Rig]:
    """One Envoy with a policy for each reply, which is the first that the policy gets."""
    issuer = identity(authority)
    with over_tls(authority, {name: for_tokens(issuer) for name in ODD}) as sts, issuer:
        for name, odd in ODD.items():
            sts.script(name, odd.reply)
        policies = {name: exchanging(name) for name in ODD}
        with serving(policies, sts, authority, issuer) as rig:
            yield rig


@pytest.mark.parametrize("name", ODD)
def test_an_odd_reply_is_one_failure_and_the_next_one_counts(rig: Rig, name: str) -> None:
    rig.wait_for_failures(name, 20)
    line = rig.complaint(name)
    assert "sts" in line
    hidden = [UNWANTED, WORDS, GOOD["SecretAccessKey"], GOOD["AccessKeyId"]]
    assert [text for text in hidden if text in line] == []
    assert f" {ODD[name].reply().status}" in line
    if name not in PATIENT:
        rig.wait_for_metric(name, "fetched")
        assert rig.session(name).name == f"ai-gateway-{name}"
        assert rig.metric(name, "fetched") == 1
        assert len(rig.sts.of(name)) == 2
    assert rig.failures(name) == {ODD[name].reason: 1}


def test_no_redirect_is_followed(rig: Rig) -> None:
    for name in ("redirect", "moved"):
        rig.wait_for_metric(name, "fetched")
    assert [one.target for one in rig.sts.requests if one.target != b"/"] == []


def test_a_reply_of_40_megabytes_is_one_failure(authority: Authority) -> None:
    issuer = identity(authority)
    with over_tls(authority, {"aws": for_tokens(issuer)}) as sts, issuer:
        padding = [b" " * (1 << 20)] * 40
        sts.script("aws", lambda: Reply(headers=[JSON], body=[*padding, WHOLE.encode()]))
        with serving({"aws": exchanging("aws")}, sts, authority, issuer) as rig:
            rig.wait_for_metric("aws", "fetched", timeout=20)
            rig.session("aws")
            ((_, count),) = rig.failures("aws").items()
            assert count == 1
            assert "sts" in rig.complaint("aws")


def test_an_error_inside_a_200_is_no_session(authority: Authority) -> None:
    issuer = identity(authority)
    with over_tls(authority) as sts, issuer:
        for name in ("json", "xml"):
            sts.script(name, lambda name=name: failure(200, "AccessDenied", form=name), times=None)
        policies = {name: exchanging(name) for name in ("json", "xml")}
        plugin = {"credentialWait": "100ms"}
        with serving(policies, sts, authority, issuer, plugin=plugin) as rig:
            for name in policies:
                rig.wait_for_failures(name)
                rig.refused(name)
                assert rig.metric(name, "fetched") == 0


def test_sts_that_is_slow_or_away_is_told_apart(authority: Authority) -> None:
    issuer = identity(authority)
    roles = {name: for_tokens(issuer) for name in ("slow", "away")}
    with over_tls(authority, roles) as sts, issuer:
        sts.script("slow", lambda: Reply(delay=4))
        begun = time.monotonic()
        short = {"timeout": "600ms"}
        one = {"slow": exchanging("slow")}
        with serving(one, sts, authority, issuer, egress_settings=short) as rig:
            rig.wait_for_metric("slow", "fetch_failed.timeout")
            rig.session("slow")
            assert time.monotonic() - begun < 4
            assert rig.failures("slow") == {"timeout": 1}
        one = {"away": exchanging("away")}
        plugin = {"credentialWait": "500ms"}
        # Nobody listens there.
        nowhere = {HOST: 1}
        with serving(one, sts, authority, issuer, hosts=nowhere, plugin=plugin) as rig:
            rig.wait_for_metric("away", "fetch_failed.connect")
            rig.refused("away")
            assert set(rig.failures("away")) == {"connect"}
            assert len(issuer.given) >= 2
        assert sts.of("away") == []


def test_a_provider_that_refuses_is_told_as_the_step_that_it_is(authority: Authority) -> None:
    issuer = Issuer("https://idp.test", tls=authority.server_context(["idp.test"], http2=False))
    with over_tls(authority) as sts, issuer:
        policies: Mapping[str, Any] = {
            "aws": exchanging("aws", password="wrong-word-of-the-gateway")
        }
        with serving(policies, sts, authority, issuer) as rig:
            assert rig.wait_for_failures("aws") == {"denied": 1}
            line = rig.complaint("aws")
            assert "oidc" in line
            assert "invalid_client" in line
            assert "sts" not in line.partition("default/aws")[2]
            assert "wrong-word" not in rig.envoy.log()
        assert sts.requests == []
