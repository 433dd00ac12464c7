"""Replies of services of managed identities, of every odd form: each is one failure of the right
kind, and the next reply is taken."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from azure_identity_rig import Rig, managed, serving
from entra_rules import WORDS
from managed_identity import AppService, Machine, ManagedIdentities
from managed_rules import SYSTEM, Fields, User
from replies import JSON, json_reply
from wire import Reply

UNWANTED = "token-that-must-not-be-used-90c7"
HTML = (b"content-type", b"text/html")
DAY = 24 * 3600.0

Kind = type[ManagedIdentities]
KINDS: dict[str, Kind] = {"machine": Machine, "app service": AppService}


def good() -> Fields:
    """What both services may say."""
    end = str(int(time.time()) + 3599)
    return {"access_token": UNWANTED, "expires_on": end, "token_type": "Bearer"}


def without(*names: str, **other: Any) -> Reply:
    """A good reply without some fields, others put in."""
    return json_reply({key: value for key, value in good().items() if key not in names} | other)


def text(body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> Reply:
    """A reply of JSON, as it claims."""
    return Reply(status, headers=[JSON, *headers], body=body)


def page(status: int = 200) -> Reply:
    """What a proxy or a captive portal says."""
    return Reply(status, headers=[HTML], body=f"<html>{WORDS} {UNWANTED}</html>".encode())


def whole() -> bytes:
    """The text of a good reply."""
    return json.dumps(good()).encode()


def ago(seconds: float) -> str:
    """A moment in the past, as a text."""
    return str(int(time.time() - seconds))


ELSEWHERE = (b"location", b"http://127.0.0.1/elsewhere")

MALFORMED: dict[str, Callable[[], Reply]] = {
    "html": page,
    "empty": lambda: text(b""),
    "truncated": lambda: text(whole()[:-1]),
    "list": lambda: text(b"[" + whole() + b"]"),
    "null": lambda: text(b"null"),
    "latin": lambda: text(whole().replace(b"90c7", b"\xff")),
    "gzip": lambda: text(gzip.compress(whole()), 200, (b"content-encoding", b"gzip")),
    "redirect": lambda: text(whole(), 302, ELSEWHERE),
    "moved": lambda: text(whole(), 307, ELSEWHERE),
    "no-token": lambda: without("access_token"),
    "null-token": lambda: without(access_token=None),
    "empty-token": lambda: without(access_token=""),
    "number-token": lambda: without(access_token=17),
    "lf-token": lambda: without(access_token=f"{UNWANTED}\nx-injected: 1"),
    "nul-token": lambda: without(access_token=f"{UNWANTED}\0"),
    "pop": lambda: without(token_type="pop"),
    "zero": lambda: without(expires_in="0"),
    "negative": lambda: without(expires_in="-1"),
    "rubbish": lambda: without(expires_in="soon"),
    "ended": lambda: without(expires_on=ago(1)),
    "ended-number": lambda: without(expires_on=time.time() - 1),
    "long-ended": lambda: without(expires_on=ago(10 * DAY)),
    "never": lambda: without(expires_on="0"),
    "blank": lambda: without(expires_on=""),
    "true": lambda: without(expires_on=True),
    "object": lambda: without(expires_on={"seconds": 1}),
}

OTHERS: dict[str, tuple[Callable[[], Reply], str]] = {
    "cut": (lambda: Reply(headers=[JSON], body=[whole()[:20]], abort=True), "connect"),
    "reset": (lambda: Reply(abort=True), "connect"),
    "html-404": (lambda: page(404), "server"),
    "html-410": (lambda: page(410), "server"),
    "html-429": (lambda: page(429), "throttled"),
    "html-502": (lambda: page(502), "server"),
    "html-403": (lambda: page(403), "denied"),
}
"""Those that are not for their form, or not only."""

ODD = {name: (reply, "malformed") for name, reply in MALFORMED.items()} | OTHERS


@pytest.fixture(scope="module", params=KINDS)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """One Envoy with a policy for each reply, which is the first that the policy gets."""
    with KINDS[request.param]([User(name) for name in ODD]) as service:
        for name, (reply, _) in ODD.items():
            service.script(name, reply)
        identities = {name: managed(clientID=name) for name in ODD}
        with serving(identities, service) as rig:
            yield rig
        assert service.refused == []


def service_of(rig: Rig) -> ManagedIdentities:
    """The stand-in."""
    assert isinstance(rig.entra, ManagedIdentities)
    return rig.entra


@pytest.mark.parametrize("name", ODD)
def test_an_odd_reply_is_one_failure_and_the_next_one_counts(rig: Rig, name: str) -> None:
    make, reason = ODD[name]
    rig.wait_for_fetches(name)
    token = rig.token(name)
    assert service_of(rig).issued[token].client == name
    assert rig.failures(name) == {reason: 1}
    assert rig.metric(name, "fetched") == 1
    assert len(service_of(rig).times(name)) == 2
    line = rig.complaint(name)
    assert UNWANTED not in line
    assert WORDS not in line
    assert reason == "connect" or f"status {make().status}" in line


def test_no_redirect_is_followed(rig: Rig) -> None:
    for name in ("redirect", "moved"):
        rig.wait_for_fetches(name)
    assert {one.path for one in service_of(rig).begun} == {service_of(rig).path}


LIVES: dict[str, tuple[Callable[[Fields], Fields], float]] = {
    "text": (lambda f: told(f, expires_in="3599"), 3599),
    "number": (lambda f: told(f, expires_in=3599), 3599),
    "decimal": (lambda f: told(f, expires_in="3599.5"), 3599.5),
    "day": (lambda f: told(f, expires_in="86400"), DAY),
    "more": (lambda f: told(f, expires_in="90000"), DAY),
    "huge": (lambda f: told(f, expires_in=1e300), DAY),
    "end": (lambda f: told(f, expires_on=str(int(time.time()) + 1800)), 1800),
    "end-number": (lambda f: told(f, expires_on=int(time.time()) + 1800), 1800),
    "end-decimal": (lambda f: told(f, expires_on=time.time() + 1800.25), 1800.25),
    "late-end": (lambda f: told(f, expires_on=str(int(time.time()) + 30 * 86_400)), DAY),
    "both": (lambda f: told(f, expires_in="900", expires_on=str(int(time.time()) + 900)), 900),
    "apart": (lambda f: told(f, expires_in="900", expires_on=ago(DAY)), 900),
    "null": (lambda f: told(f, expires_in=None, expires_on=str(int(time.time()) + 700)), 700),
    "absent": (lambda f: told(f), 300),
    "no-type": (lambda f: {**told(f, expires_in="600"), "token_type": None}, 600),
    "lower-type": (lambda f: {**told(f, expires_in="600"), "token_type": "bearer"}, 600),
}
"""How the life of a token may be told, and what that means."""


def told(fields: Fields, **times: Any) -> Fields:
    """An answer that says these times, and no others."""
    names = {"expires_in", "expires_on", "ext_expires_in", "not_before"}
    return {key: value for key, value in fields.items() if key not in names} | times


@pytest.fixture(scope="module", params=KINDS)
def lives(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """One Envoy with a policy for each way to tell a life."""
    with KINDS[request.param]([User(name) for name in LIVES]) as service:
        service.bend = lambda fields: LIVES[fields["client_id"]][0](fields)
        with serving({name: managed(clientID=name) for name in LIVES}, service) as rig:
            yield rig
        assert service.refused == []


@pytest.mark.parametrize("name", LIVES)
def test_a_life_is_read_whatever_its_form(lives: Rig, name: str) -> None:
    issued = service_of(lives).issued[lives.token(name)]
    assert issued.client == name
    assert abs(lives.metric(name, "expires_at") - issued.begin - LIVES[name][1]) < 2.5
    assert lives.failures(name) == {}
    assert lives.metric(name, "fetched") == 1


@pytest.mark.parametrize("size", [9_000, 40 << 20], ids=["a long token", "40 megabytes"])
def test_an_answer_may_be_long_but_not_too_long(size: int) -> None:
    with Machine() as service:
        reply = json_reply({**good(), "access_token": "t" * size})
        service.script(SYSTEM, reply)
        with serving({"azure": managed()}, service) as rig:
            rig.wait_for_fetches("azure", timeout=20)
            failures = sum(rig.failures("azure").values())
            if size > 1 << 20:
                assert failures == 1
                rig.token("azure")
            else:
                assert failures == 0
                rig.ask("azure")
                (request,) = rig.upstream.requests
                assert request.header("authorization") == "Bearer " + "t" * size
