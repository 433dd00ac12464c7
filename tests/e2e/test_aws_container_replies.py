"""Answers of every odd form of a container service: each is one failure of the right kind, and the
next answer is taken. And keys that end: renewed while requests go on, kept while the service is
away."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from aws import parsed
from aws_container import Container
from aws_identity_rig import Rig, serving
from aws_metadata import Ledger
from entra_rules import WORDS
from launch import poll
from replies import JSON, json_reply
from sts_answers import iso
from sts_rig import TARGET
from token_load import Load
from wire import Reply

FULL = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
UNWANTED = "token-that-must-not-be-used-27ae"
GOOD: dict[str, Any] = {
    "AccessKeyId": "ASIAMUSTNOTBEUSED003",
    "SecretAccessKey": "secret/that+must-not-be-used-c04d",
    "Token": UNWANTED,
    "Expiration": iso(time.time() + 3600),
}
WHOLE = json.dumps(GOOD)
TASK_ERROR = {"code": "TaskNotFound", "message": WORDS, "HTTPErrorCode": 404}


def text(body: str, status: int = 200, **headers: str) -> Callable[[], Reply]:
    """An answer that claims to be JSON."""
    more = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return lambda: Reply(status, [JSON, *more], body.encode())


def fields(**other: Any) -> Callable[[], Reply]:
    """A good answer, other fields put in; None takes one out."""
    return lambda: json_reply({k: v for k, v in (GOOD | other).items() if v is not None})


class Case(NamedTuple):
    """An answer, and how the failure is counted."""

    reply: Callable[[], Reply]
    reason: str
    shown: str = ""
    """A word of the line in the log."""


CASES: Mapping[str, Case] = {
    "bad": Case(text(WORDS, 400), "denied", "400"),
    "unauthorized": Case(text(WORDS, 401), "denied", "401"),
    "forbidden": Case(text(WORDS, 403), "denied", "403"),
    "missing": Case(lambda: json_reply(TASK_ERROR, 404), "denied", "404"),
    "throttled": Case(text(WORDS, 429, retry_after="7"), "throttled", "429"),
    "server": Case(text(WORDS, 500), "server", "500"),
    "closed": Case(text(WORDS, 503, retry_after="9"), "server", "503"),
    "moved": Case(text(WHOLE, 302, location="http://127.0.0.1:1/"), "malformed", "302"),
    "created": Case(text(WHOLE, 201), "malformed", "201"),
    "page": Case(text(f"<html>{WORDS}</html>"), "malformed", "JSON"),
    "empty": Case(text(""), "malformed"),
    "cut": Case(text(WHOLE[:-1]), "malformed"),
    "more": Case(text(WHOLE + WHOLE), "malformed"),
    "list": Case(text(f"[{WHOLE}]"), "malformed"),
    "none": Case(text("{}"), "malformed"),
    "twice": Case(text(WHOLE[:-1] + ', "Token": "another"}'), "malformed"),
    "no-id": Case(fields(AccessKeyId=None), "malformed", "AccessKeyId"),
    "no-secret": Case(fields(SecretAccessKey=None), "malformed", "SecretAccessKey"),
    "no-token": Case(fields(Token=None), "malformed", "Token"),
    "sts-token": Case(fields(Token=None, SessionToken=UNWANTED), "malformed", "Token"),
    "empty-secret": Case(fields(SecretAccessKey=""), "malformed"),
    "number-token": Case(fields(Token=17), "malformed"),
    "lf-token": Case(fields(Token=f"{UNWANTED}\nx-injected: 1"), "malformed"),
    "past": Case(fields(Expiration=iso(time.time() - 5)), "malformed", "Expiration"),
    "long-past": Case(fields(Expiration="2018-01-02T05:04:05Z"), "malformed", "Expiration"),
    "end-word": Case(fields(Expiration="soon"), "malformed", "Expiration"),
    "end-zero": Case(fields(Expiration=0), "malformed", "Expiration"),
    "late": Case(lambda: Reply(delay=600), "timeout"),
    "abort": Case(lambda: Reply(abort=True), "connect"),
}
LASTING = ("bad", "unauthorized")
PATIENT = {"throttled": 7, "closed": 9}
"""Those that ask to be left alone for so many seconds."""


@dataclass
class World:
    """An Envoy with a VM for each case, in a task of its own."""

    rig: Rig
    tasks: Mapping[str, Container]


@contextlib.contextmanager
def world(times: int | None) -> Iterator[World]:
    """Each service answers so often in its odd way."""
    ledger = Ledger()
    with contextlib.ExitStack() as stack:
        tasks = {name: stack.enter_context(Container(ledger, target="/k")) for name in CASES}
        for name, case in CASES.items():
            tasks[name].script(case.reply, times=times)
        environments = {name: {FULL: f"{task.url}/k"} for name, task in tasks.items()}
        plugin = {"credentialWait": "100ms"}
        settings = {"timeout": "3s"}
        with serving(
            environments, ledger, plugin=plugin, egress_settings=settings, concurrency=1
        ) as rig:
            yield World(rig, tasks)
        assert [task.refused for task in tasks.values() if task.refused] == []


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
    assert "container" in line
    assert case.shown in line
    for never in (WORDS, UNWANTED, GOOD["SecretAccessKey"]):
        assert never not in rig.envoy.log()
    assert rig.metric(name, "fetched") == 0
    assert 1 <= rig.refused(name) <= 60


def gaps(task: Container) -> list[float]:
    """The seconds between the requests."""
    moments = [task.moment(request) for request in task.requests]
    return [second - first for first, second in itertools.pairwise(moments)]


def test_what_may_pass_is_asked_about_again_soon_and_the_rest_later(broken: World) -> None:
    for name in ("server", "missing", "page", "past"):
        task = broken.tasks[name]
        poll(lambda task=task: len(task.requests) >= 4, 40, f"four tries of {name}")
        assert all(gap < 9 for gap in gaps(task))
    for name in LASTING:
        assert all(gap > 25 for gap in gaps(broken.tasks[name]))


@pytest.mark.parametrize("name", PATIENT)
def test_the_patience_that_is_asked_for_is_had(broken: World, name: str) -> None:
    found = poll(lambda: gaps(broken.tasks[name]), 40, "two tries")
    assert all(PATIENT[name] <= gap < PATIENT[name] + 4 for gap in found), found


def test_the_next_answer_is_taken() -> None:
    with world(1) as healed:
        for name in CASES:
            if name not in LASTING:
                healed.rig.wait_for_metric(name, "fetched", timeout=60)
                healed.rig.lent(name)
                assert healed.rig.failures(name) == {CASES[name].reason: 1}
                assert any("again" in line for line in healed.rig.told(name))


def shown(task: Container, **other: Any) -> None:
    """The keys come in another form."""

    def reply() -> Reply:
        lent = task.lend(task.role)
        end = {"<iso>": iso(lent.end).rstrip("Z"), "<number>": str(int(lent.end))}
        told = {key: put(value, end) for key, value in other.items()}
        return json_reply(task.document(lent, **told))

    task.script(reply)


def put(value: Any, texts: Mapping[str, str]) -> Any:
    """A value with texts put in."""
    for name, text in texts.items():
        value = value.replace(name, text) if isinstance(value, str) else value
    return value


GOOD_FORMS: Mapping[str, dict[str, Any]] = {
    "bare": {"AccountId": None, "RoleArn": None},
    "more": {"Type": "", "LastUpdated": None, "Other": [{"Token": "x"}]},
    "fraction": {"Expiration": "<iso>.999999Z"},
    "offset": {"Expiration": "<iso>+00:00"},
    "number": {"Expiration": "<number>"},
    "endless": {"Expiration": None},
}


def test_every_good_form_is_read() -> None:
    ledger = Ledger()
    with contextlib.ExitStack() as stack:
        tasks = {name: stack.enter_context(Container(ledger, target="/k")) for name in GOOD_FORMS}
        for name, other in GOOD_FORMS.items():
            shown(tasks[name], **other)
        environments = {name: {FULL: f"{task.url}/k"} for name, task in tasks.items()}
        with serving(environments, ledger, *tasks.values()) as rig:
            for name, task in tasks.items():
                assert rig.lent(name) == task.given[0]
                assert rig.failures(name) == {}
                told = rig.metric(name, "expires_at")
                end = task.given[0].end if name != "endless" else time.time() + 300
                assert abs(told - end) < 10, name


def test_no_request_fails_while_keys_of_some_seconds_are_renewed() -> None:
    with Container(target="/k") as task:
        task.life = 7
        environment = {FULL: f"{task.url}/k"}
        with serving({"task": environment}, task.ledger, task, concurrency=4) as rig:
            rig.lent("task")
            with Load(rig.envoy.port(), "task", rate=60, target=TARGET) as load:
                poll(lambda: len(task.ledger.lent) >= 4, 60, "four pairs of keys")
                newest = list(task.ledger.lent)[-1]
                poll(lambda: parsed(rig.upstream.requests[-1]).access == newest, 5)
            assert load.failed == []
            load.assert_kept_up()
            assert task.ledger.misused == []
            assert len(task.requests) == len(task.ledger.lent) == rig.metric("task", "fetched")
            assert rig.failures("task") == {}


def test_keys_are_used_until_their_end_while_the_service_is_away() -> None:
    with Container(target="/k") as task:
        task.life = 10
        environment = {FULL: f"{task.url}/k"}
        plugin = {"credentialWait": "200ms"}
        with serving({"task": environment}, task.ledger, task, plugin=plugin) as rig:
            first = rig.lent("task")
            task.script(text(WORDS, 503), times=None)
            rig.wait_for_failures("task", 20)
            assert rig.lent("task") == first
            poll(lambda: time.time() > first.end, 15)
            rig.refused("task")
            task.reset()
            poll(lambda: rig.ask_bedrock("task") == 200, 20, "keys again")
            assert rig.lent("task") != first
            assert task.ledger.misused == []
