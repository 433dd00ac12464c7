"""Answers of every odd form of the metadata service: each is one failure of the right kind, and the
next answer is taken."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from aws_identity_rig import Rig, serving
from aws_imds import ROLE_PATH, Imds, text
from aws_metadata import Ledger
from entra_rules import WORDS
from launch import poll
from sts_answers import iso
from wire import Reply

ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
UNWANTED = "token-that-must-not-be-used-81cd"
GOOD: dict[str, Any] = {
    "Code": "Success",
    "LastUpdated": iso(time.time()),
    "Type": "AWS-HMAC",
    "AccessKeyId": "ASIAMUSTNOTBEUSED002",
    "SecretAccessKey": "secret/that+must-not-be-used-5b7e",
    "Token": UNWANTED,
    "Expiration": iso(time.time() + 3600),
}
WHOLE = json.dumps(GOOD)
PAGE = f"<html>\n<body>{WORDS}</body></html>"


def fields(**other: Any) -> Callable[[], Reply]:
    """A good answer, other fields put in; None takes one out."""
    whole = {name: value for name, value in (GOOD | other).items() if value is not None}
    return lambda: text(json.dumps(whole))


def moved(status: int) -> Callable[[], Reply]:
    """A good answer that is said to be elsewhere."""

    def reply() -> Reply:
        made = text(WHOLE, status)
        made.headers = [*made.headers, (b"location", b"http://127.0.0.1:1/elsewhere")]
        return made

    return reply


def waiting(status: int, seconds: int) -> Callable[[], Reply]:
    """A refusal that asks for patience."""

    def reply() -> Reply:
        made = text(WORDS, status)
        made.headers = [*made.headers, (b"retry-after", str(seconds).encode())]
        return made

    return reply


def late() -> Reply:
    """One that comes too late."""
    return Reply(delay=600)


class Case(NamedTuple):
    """The answer to a step, and how the failure is counted."""

    step: str
    reply: Callable[[], Reply]
    reason: str
    shown: str = ""
    """A word of the line in the log, beside the status."""
    lasting: bool = False


CASES: Mapping[str, Case] = {
    "token-400": Case("token", lambda: text(WORDS, 400), "denied", "400", True),
    "token-429": Case("token", waiting(429, 7), "throttled", "429"),
    "token-500": Case("token", lambda: text(WORDS, 500), "server", "500"),
    "token-moved": Case("token", moved(302), "malformed", "302"),
    "token-page": Case("token", lambda: text(PAGE), "malformed"),
    "token-empty": Case("token", lambda: text(""), "malformed"),
    "token-abort": Case("token", lambda: Reply(abort=True), "connect"),
    "role-404": Case("role", lambda: text(WORDS, 404), "denied", "404"),
    "role-403": Case("role", lambda: text(WORDS, 403), "denied", "403"),
    "role-429": Case("role", waiting(429, 9), "throttled", "429"),
    "role-503": Case("role", waiting(503, 8), "server", "503"),
    "role-moved": Case("role", moved(307), "malformed", "307"),
    "role-page": Case("role", lambda: text(PAGE), "malformed"),
    "role-empty": Case("role", lambda: text(" \n"), "malformed"),
    "role-two": Case("role", lambda: text("one\ntwo"), "malformed"),
    "role-up": Case("role", lambda: text("../../../user-data"), "malformed"),
    "role-query": Case("role", lambda: text("role?x=1"), "malformed"),
    "role-long": Case("role", lambda: text("r" * 65), "malformed"),
    "role-late": Case("role", late, "timeout"),
    "keys-404": Case("keys", lambda: text(WORDS, 404), "denied", "404"),
    "keys-500": Case("keys", lambda: text(WORDS, 500), "server", "500"),
    "keys-429": Case("keys", waiting(429, 6), "throttled", "429"),
    "keys-moved": Case("keys", moved(301), "malformed", "301"),
    "keys-created": Case("keys", lambda: text(WHOLE, 201), "malformed", "201"),
    "keys-page": Case("keys", lambda: text(PAGE), "malformed"),
    "keys-empty": Case("keys", lambda: text(""), "malformed"),
    "keys-cut": Case("keys", lambda: text(WHOLE[:-1]), "malformed"),
    "keys-more": Case("keys", lambda: text(WHOLE + "{}"), "malformed"),
    "keys-list": Case("keys", lambda: text(f"[{WHOLE}]"), "malformed"),
    "keys-none": Case("keys", lambda: text("{}"), "malformed"),
    "keys-late": Case("keys", late, "timeout"),
    "keys-abort": Case("keys", lambda: Reply(abort=True), "connect"),
    "refused": Case(
        "keys",
        fields(Code="AssumeRoleUnauthorizedAccess", Message=WORDS),
        "denied",
        "AssumeRoleUnauthorizedAccess",
        True,
    ),
    "failed": Case(
        "keys",
        lambda: text(json.dumps({"Code": "Failed", "Message": WORDS})),
        "denied",
        "Failed",
        True,
    ),
    "no-id": Case("keys", fields(AccessKeyId=None), "malformed", "AccessKeyId"),
    "no-secret": Case("keys", fields(SecretAccessKey=None), "malformed", "SecretAccessKey"),
    "no-token": Case("keys", fields(Token=None), "malformed", "Token"),
    "sts-token": Case("keys", fields(Token=None, SessionToken=UNWANTED), "malformed", "Token"),
    "empty-token": Case("keys", fields(Token=""), "malformed"),
    "lf-token": Case("keys", fields(Token=f"{UNWANTED}\nx-injected: 1"), "malformed"),
    "lf-id": Case("keys", fields(AccessKeyId="ASIA\nx-injected: 1"), "malformed"),
    "number-id": Case("keys", fields(AccessKeyId=17), "malformed"),
    "end-word": Case("keys", fields(Expiration="soon"), "malformed", "Expiration"),
    "end-blank": Case("keys", fields(Expiration=""), "malformed", "Expiration"),
    "end-day": Case("keys", fields(Expiration="2099-01-32T00:00:00Z"), "malformed", "Expiration"),
    "end-object": Case("keys", fields(Expiration={"seconds": 1}), "malformed", "Expiration"),
}
LASTING = [name for name in CASES if CASES[name].lasting]
PATIENT = {"token-429": 7, "role-429": 9, "role-503": 8, "keys-429": 6}
"""Those that ask to be left alone for so many seconds."""


@dataclass
class World:
    """An Envoy with a VM for each case, on a machine of its own."""

    rig: Rig
    machines: Mapping[str, Imds]


@contextlib.contextmanager
def world(times: int | None) -> Iterator[World]:
    """Each machine answers so often in its odd way."""
    ledger = Ledger()
    with contextlib.ExitStack() as stack:
        machines = {name: stack.enter_context(Imds(ledger, role=name)) for name in CASES}
        for name, case in CASES.items():
            machines[name].script(case.step, case.reply, times=times)
        environments = {name: {ENDPOINT: imds.url} for name, imds in machines.items()}
        settings = {"timeout": "3s"}
        plugin = {"credentialWait": "100ms"}
        with serving(
            environments, ledger, plugin=plugin, egress_settings=settings, concurrency=1
        ) as rig:
            yield World(rig, machines)
        assert [imds.refused for imds in machines.values() if imds.refused] == []


@pytest.fixture(scope="module")
def broken() -> Iterator[World]:
    """For ever."""
    with world(None) as found:
        yield found


@pytest.mark.parametrize("name", CASES)
def test_an_odd_answer_is_a_failure_that_the_log_explains(broken: World, name: str) -> None:
    rig, case = broken.rig, CASES[name]
    assert set(rig.wait_for_failures(name, 30)) == {case.reason}
    line = rig.complaint(name)
    assert "instance metadata" in line
    assert case.shown in line
    for never in (WORDS, UNWANTED, GOOD["SecretAccessKey"], "user-data"):
        assert never not in rig.envoy.log()
    assert rig.metric(name, "fetched") == 0
    assert 1 <= rig.refused(name) <= 60


def test_no_answer_leads_elsewhere(broken: World) -> None:
    for name in ("role-up", "role-query", "role-two", "role-long", "role-moved"):
        broken.rig.wait_for_failures(name, 30)
        imds = broken.machines[name]
        assert set(imds.steps()) == {"token", "role"}
        assert {request.target.decode() for request in imds.of("role")} == {ROLE_PATH}


def test_what_heals_by_a_person_only_is_not_asked_about_again_soon(broken: World) -> None:
    # By then what may pass has been asked about again and again.
    for name in ("role-404", "keys-500", "no-id"):
        imds = broken.machines[name]
        poll(lambda imds=imds: len(imds.of("token")) >= 4, 40, f"four tries of {name}")
    for name in LASTING:
        assert all(gap > 25 for gap in gaps(broken.machines[name], "token"))
        assert len([line for line in broken.rig.complaints(name) if " failed: " in line]) == 1


@pytest.mark.parametrize("name", PATIENT)
def test_the_patience_that_is_asked_for_is_had(broken: World, name: str) -> None:
    imds, step = broken.machines[name], CASES[name].step
    found = poll(lambda: gaps(imds, step), 40, "two tries")
    assert all(PATIENT[name] <= gap < PATIENT[name] + 4 for gap in found), found


def gaps(imds: Imds, step: str) -> list[float]:
    """The seconds between the requests of a step."""
    moments = [imds.moment(request) for request in imds.of(step)]
    return [second - first for first, second in itertools.pairwise(moments)]


def test_callers_are_told_to_wait_half_a_minute_for_a_person() -> None:
    with Imds() as imds:
        imds.script("keys", CASES["refused"].reply)
        with serving({"vm": {ENDPOINT: imds.url}}, imds.ledger, imds) as rig:
            rig.wait_for_failures("vm")
            assert 25 <= rig.refused("vm") <= 31


def test_the_next_answer_is_taken() -> None:
    with world(1) as healed:
        for name in CASES:
            if name not in LASTING:
                healed.rig.wait_for_metric(name, "fetched", timeout=60)
                assert healed.rig.lent(name).role == name
                assert healed.rig.failures(name) == {CASES[name].reason: 1}
                (line, *_) = healed.rig.complaints(name)
                assert re.search(r"instance metadata", line)
                assert any("again" in line for line in healed.rig.told(name))


GOOD_FORMS: Mapping[str, Callable[[Imds], None]] = {
    "line": lambda imds: setattr(imds, "after_role", "\n"),
    "crlf": lambda imds: setattr(imds, "after_role", "\r\n"),
    "punctuation": lambda imds: setattr(imds, "role", "a.B-c_d+e=f,g@1"),
    "longest": lambda imds: setattr(imds, "role", "r" * 64),
    "token-line": lambda imds: with_end_of_line(imds),
    "fraction": lambda imds: shown(imds, Expiration="<end>.123Z"),
    "offset": lambda imds: shown(imds, Expiration="<end>+00:00"),
    "no-code": lambda imds: shown(imds, Code=None, Type=None, LastUpdated=None),
    "more": lambda imds: shown(imds, AccountId="123456789012", Other={"a": [1]}),
}


def with_end_of_line(imds: Imds) -> None:
    """The token has a line feed at its end, which is not part of it."""
    imds.tokens["AQAE-one=="] = time.time() + 60
    imds.script("token", lambda: text("AQAE-one==\n"))


def shown(imds: Imds, **other: Any) -> None:
    """The keys come in another form."""

    def reply() -> Reply:
        lent = imds.lend(imds.role or "")
        end = iso(lent.end).rstrip("Z")
        told = {k: v.replace("<end>", end) if isinstance(v, str) else v for k, v in other.items()}
        return text(json.dumps(imds.document(lent, **told)))

    imds.script("keys", reply)


def test_every_good_form_is_read() -> None:
    ledger = Ledger()
    with contextlib.ExitStack() as stack:
        machines = {name: stack.enter_context(Imds(ledger, role=name)) for name in GOOD_FORMS}
        for name, bend in GOOD_FORMS.items():
            bend(machines[name])
        environments = {name: {ENDPOINT: imds.url} for name, imds in machines.items()}
        with serving(environments, ledger, *machines.values()) as rig:
            for name, imds in machines.items():
                assert rig.lent(name) == imds.given[0], name
                assert rig.failures(name) == {}
                assert imds.refused == []
                told = rig.metric(name, "expires_at")
                assert told == imds.given[0].end, name
