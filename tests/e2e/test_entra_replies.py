"""Replies of every odd form: each is one failure of the right kind, and the next reply is taken."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from entra import CLIENT, PUBLIC, Application, Entra, Life, azure, scope_of, token_path
from entra_rig import Rig, serving
from entra_rules import WORDS, failure
from launch import poll
from replies import JSON, json_reply
from upstream import Authority
from wire import Reply

SECRET = "secret-of-the-gateway-77d0"
UNWANTED = "token-that-must-not-be-used-4fe1"
HTML = (b"content-type", b"text/html")
GOOD: dict[str, Any] = {"token_type": "Bearer", "expires_in": 3599, "access_token": UNWANTED}


def text(body: str | bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> Reply:
    """A reply of JSON, as it claims."""
    raw = body.encode() if isinstance(body, str) else body
    return Reply(status, headers=[JSON, *headers], body=raw)


def without(*names: str, **other: Any) -> Reply:
    """A good reply without some fields, others put in."""
    return json_reply({key: GOOD[key] for key in GOOD if key not in names} | other)


def life(raw: str) -> Reply:
    """A good reply but for this `expires_in`."""
    return text(f'{{"expires_in": {raw}, {without("expires_in").body.decode()[1:]}')


def page() -> Reply:
    """What a captive portal says."""
    return Reply(headers=[HTML], body=f"<html><body>{WORDS}</body></html>".encode())


ELSEWHERE = f"https://{PUBLIC}/elsewhere/oauth2/v2.0/token"
WHOLE = json.dumps(GOOD)

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
    "redirect": lambda: text(WHOLE, 302, (b"location", ELSEWHERE.encode())),
    "moved": lambda: text(WHOLE, 307, (b"location", ELSEWHERE.encode())),
    "no-token": lambda: without("access_token"),
    "null-token": lambda: without(access_token=None),
    "empty-token": lambda: without(access_token=""),
    "blank-token": lambda: without(access_token="  "),
    "number-token": lambda: without(access_token=17),
    "list-token": lambda: without(access_token=[UNWANTED]),
    "cr-token": lambda: without(access_token=f"{UNWANTED}\r{UNWANTED}"),
    "lf-token": lambda: without(access_token=f"{UNWANTED}\nx-injected: 1"),
    "crlf-token": lambda: without(access_token=f"{UNWANTED}\r\nx-injected: 1"),
    "nul-token": lambda: without(access_token=f"{UNWANTED}\0{UNWANTED}"),
    "mac": lambda: without(token_type="mac"),
    "pop": lambda: without(token_type="pop"),
    "dpop": lambda: without(token_type="DPoP"),
    "zero": lambda: life("0"),
    "zero-text": lambda: life('"0"'),
    "zero-point": lambda: life("0.0"),
    "negative": lambda: life("-1"),
    "negative-text": lambda: life('"-3599"'),
    "rubbish": lambda: life('"soon"'),
    "blank": lambda: life('""'),
    "units": lambda: life('"3599s"'),
    "nan": lambda: life('"NaN"'),
    "infinite": lambda: life('"Infinity"'),
    "true": lambda: life("true"),
    "object": lambda: life('{"seconds": 3599}'),
}

OTHERS: dict[str, tuple[Callable[[], Reply], str]] = {
    "cut": (lambda: Reply(headers=[JSON], body=[WHOLE[:20].encode()], abort=True), "connect"),
    "reset": (lambda: Reply(abort=True), "connect"),
    "refused": (lambda: failure(500, "server_error", 90033), "server"),
    "html-502": (lambda: Reply(502, headers=[HTML], body=page().body), "server"),
    "html-429": (lambda: Reply(429, headers=[HTML], body=page().body), "throttled"),
}
"""Those that are not for their form, or not only."""


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
    tls = authority.server_context([PUBLIC], http2=False)
    with Entra({(name, CLIENT): Application(secret=SECRET) for name in ODD}, tls=tls) as entra:
        for name, odd in ODD.items():
            entra.answer_once(name, odd.reply())
        policies = {name: azure(name, SECRET, name) for name in ODD}
        with serving(policies, entra, authority) as rig:
            yield rig


@pytest.mark.parametrize("name", ODD)
def test_an_odd_reply_is_one_failure_and_the_next_one_counts(rig: Rig, name: str) -> None:
    rig.wait_for_metric(name, "fetched")
    token = rig.token(name)
    assert rig.entra.issued[token].tenant == name
    assert rig.failures(name) == {ODD[name].reason: 1}
    assert rig.metric(name, "fetched") == 1
    assert len(rig.entra.of(name)) == 2
    line = rig.complaint(name)
    assert "entra" in line
    assert UNWANTED not in line
    assert WORDS not in line
    status = ODD[name].reply().status
    assert ODD[name].reason == "connect" or f" {status}" in line


def test_no_redirect_is_followed(rig: Rig) -> None:
    for name in ("redirect", "moved"):
        rig.wait_for_metric(name, "fetched")
    assert [one.target for one in rig.entra.requests if b"elsewhere" in one.target] == []


def test_a_reply_of_40_megabytes_is_one_failure(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    with Entra({("azure", CLIENT): Application(secret=SECRET)}, tls=tls) as entra:
        padding = [b" " * (1 << 20)] * 40
        entra.answer_once("azure", Reply(headers=[JSON], body=[*padding, WHOLE.encode()]))
        with serving({"azure": azure("azure", SECRET, "azure")}, entra, authority) as rig:
            rig.wait_for_metric("azure", "fetched", timeout=20)
            rig.token("azure")
            ((_, count),) = rig.failures("azure").items()
            assert count == 1
            assert "entra" in rig.complaint("azure")


def test_an_error_inside_a_200_is_an_error(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    names = ("refusal", "portal")
    with Entra({(name, CLIENT): Application(secret=SECRET) for name in names}, tls=tls) as entra:
        refusal = failure(200, "invalid_client", 7000215)
        entra.on(token_path("refusal"), lambda _request: refusal)
        entra.answer_once("portal", json_reply({**GOOD, "error": "temporarily_unavailable"}))
        policies = {name: azure(name, SECRET, name) for name in names}
        with serving(policies, entra, authority) as rig:
            rig.token("portal")
            assert sum(rig.failures("portal").values()) == 1
            poll(lambda: rig.failures("refusal"), 10, "a failure")
            rig.refused("refusal")
            assert rig.failures("refusal") == {"denied": 1}
            assert "AADSTS7000215" in rig.complaint("refusal")


DAY = 24 * 3600.0

LIVES: dict[str, tuple[str | None, float]] = {
    "number": ("3599", 3599),
    "text": ('"3599"', 3599),
    "decimal": ("3599.5", 3599.5),
    "decimal-text": ('"3599.5"', 3599.5),
    "exponent": ("3.599e3", 3599),
    "exponent-text": ('"3.599E+3"', 3599),
    "negative-exponent": ("3599000e-3", 3599),
    "spaces": ('" 3599 "', 3599),
    "day": ("86400", DAY),
    "more": ("86401", DAY),
    "year": ("31536000", DAY),
    "huge": ("1e300", DAY),
    "huge-text": (f'"{"9" * 400}"', DAY),
    "absent": (None, 300),
    "null": ("null", 300),
}


@pytest.fixture(scope="module")
def lives(authority: Authority) -> Iterator[Rig]:
    """One Envoy with a policy for each life."""
    tls = authority.server_context([PUBLIC], http2=False)
    with Entra(tls=tls) as entra:

        def giving(name: str) -> Callable[[Any], Reply]:
            raw, seconds = LIVES[name]
            how = Life(seconds=seconds, raw=raw)
            return lambda _request: entra.issue(name, CLIENT, scope_of(PUBLIC), how)

        for name in LIVES:
            entra.on(token_path(name), giving(name))
        policies = {name: azure(name, SECRET, name) for name in LIVES}
        with serving(policies, entra, authority) as rig:
            yield rig


@pytest.mark.parametrize("name", LIVES)
def test_a_life_is_read_whatever_its_form(lives: Rig, name: str) -> None:
    issued = lives.entra.issued[lives.token(name)]
    assert issued.tenant == name
    assert abs(lives.metric(name, "expires_at") - issued.end) < 2
    assert lives.failures(name) == {}
    assert lives.metric(name, "fetched") == 1


def test_the_type_of_a_token_may_be_absent_and_in_any_letters(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    kinds = {"lower": "bearer", "upper": "BEARER", "absent": None}
    with Entra(tls=tls) as entra:

        def giving(name: str, kind: str | None) -> Callable[[Any], Reply]:
            def give(_request: Any) -> Reply:
                reply = entra.issue(name, CLIENT, scope_of(PUBLIC))
                body = {**json.loads(reply.body), "token_type": kind}
                return json_reply({key: value for key, value in body.items() if value is not None})

            return give

        for name, kind in kinds.items():
            entra.on(token_path(name), giving(name, kind))
        policies = {name: azure(name, SECRET, name) for name in kinds}
        with serving(policies, entra, authority) as rig:
            for name in kinds:
                rig.token(name)
                assert rig.failures(name) == {}


def test_a_provider_that_is_slow_or_away_is_told_apart(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    with Entra({("slow", CLIENT): Application(secret=SECRET)}, tls=tls) as entra:
        entra.answer_once("slow", Reply(delay=4))
        policies = {"slow": azure("slow", SECRET, "slow")}
        begun = time.monotonic()
        with serving(policies, entra, authority, egress_settings={"timeout": "600ms"}) as rig:
            rig.wait_for_metric("slow", "fetch_failed.timeout")
            rig.token("slow")
            assert time.monotonic() - begun < 4
            assert rig.failures("slow") == {"timeout": 1}
        # Nobody listens there.
        entra.name, entra.port = "login.nowhere.test", 1
        environment = {"vm_env": {"AZURE_AUTHORITY_HOST": entra.name}}
        plugin = {"credentialWait": "500ms"}
        with serving(policies, entra, authority, options=environment, plugin=plugin) as rig:
            rig.wait_for_metric("slow", "fetch_failed.connect")
            rig.refused("slow")
            assert set(rig.failures("slow")) == {"connect"}
