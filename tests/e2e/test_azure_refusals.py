"""Errors of services of managed identities: what is counted, logged and told to callers, and when
the next try comes."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from azure_identity_rig import Rig, managed, serving
from entra_rig import CALLER
from entra_rules import WORDS
from launch import poll
from managed_identity import AppService, Machine, ManagedIdentities
from managed_rules import SYSTEM, User, failure
from replies import json_reply
from wire import Reply

STEP = "managed identity token"
"""What the log calls the step."""

TICK, SLACK = 1.0, 1.5


class Case(NamedTuple):
    """An error, why it is counted, and whether it heals by a person only."""

    status: int
    error: str = ""
    reason: str = "server"
    lasting: bool = False
    headers: dict[str, str] = {}  # noqa: RUF012
    """Of the answer, with `_` for `-`."""


OF_MACHINES = {
    "no-identity": Case(400, "invalid_request", "denied", True),
    "no-resource": Case(400, "invalid_resource", "denied", True),
    "no-client": Case(400, "unauthorized_client", "denied", True),
    "not-known": Case(401, "unknown_source", "denied", True),
    "no-path": Case(404, "not_found"),
    "updating": Case(410, "gone"),
    "busy": Case(429, "too_many_requests", "throttled"),
    "wait": Case(429, "too_many_requests", "throttled", headers={"retry_after": "6"}),
    "fault": Case(500, "unknown"),
    "gateway": Case(502),
    "closed": Case(503, "server_error", headers={"retry_after": "8"}),
    "late": Case(504, "server_error"),
}
"""The errors that the documentation of the metadata service tells of."""

OF_APP_SERVICE = {
    "no-identity": Case(400, "", "denied", True),
    "no-header": Case(401, "", "denied", True),
    "no-path": Case(404),
    "busy": Case(429, "", "throttled"),
    "fault": Case(500),
    "closed": Case(503),
}

KINDS: dict[str, tuple[type[ManagedIdentities], dict[str, Case]]] = {
    "machine": (Machine, OF_MACHINES),
    "app service": (AppService, OF_APP_SERVICE),
}
ALL = [
    pytest.param(kind, name, id=f"{kind} {name}")
    for kind, (_, cases) in KINDS.items()
    for name in cases
]


def reply(service: ManagedIdentities, case: Case) -> Reply:
    """The answer with that error."""
    if isinstance(service, Machine):
        return failure(case.status, case.error, "no", **case.headers)
    return service.refusal(case.status, "", "no")


@pytest.fixture(scope="module")
def rigs() -> Iterator[dict[str, Rig]]:
    """An Envoy of each kind, with a policy for each error."""

    def started(kind: str) -> Any:
        make, cases = KINDS[kind]
        with make([User(name) for name in cases]) as service:
            for name, case in cases.items():
                service.always(name, reply(service, case))
            identities = {name: managed(clientID=name) for name in (*cases, "well")}
            service.users.append(User("well"))
            with serving(identities, service, plugin={"credentialWait": "100ms"}) as rig:
                yield rig
            assert service.refused == []

    running = {kind: started(kind) for kind in KINDS}
    yield {kind: next(one) for kind, one in running.items()}
    for one in running.values():
        assert next(one, None) is None


def service_of(rig: Rig) -> ManagedIdentities:
    """The stand-in."""
    assert isinstance(rig.entra, ManagedIdentities)
    return rig.entra


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_an_error_is_counted_by_its_kind_and_named_in_one_line(
    rigs: dict[str, Rig], kind: str, name: str
) -> None:
    rig, case = rigs[kind], KINDS[kind][1][name]
    rig.wait_for_failures(name)
    line = rig.complaint(name)
    assert STEP in line
    assert re.search(rf"\bstatus {case.status}\b", line)
    assert re.search(rf"\b{case.reason}\b", line)
    assert not case.error or re.search(rf"\bcode {case.error}\b", line)
    assert WORDS not in line
    assert set(rig.failures(name)) == {case.reason}
    assert len(rig.complaints(name)) == 1
    assert rig.metric(name, "fetched") == 0
    assert rig.metric(name, "expires_at") == 0


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_caller_is_told_to_come_back_and_nothing_else(
    rigs: dict[str, Rig], kind: str, name: str
) -> None:
    rig = rigs[kind]
    rig.wait_for_failures(name)
    before = rig.metric(name, "refused")
    wait = rig.refused(name)
    assert rig.metric(name, "refused") == before + 1
    assert 1 <= wait <= (31 if KINDS[kind][1][name].lasting else 10)


@pytest.mark.parametrize("kind", KINDS)
def test_what_may_pass_is_asked_about_again_and_what_lasts_is_not(
    rigs: dict[str, Rig], kind: str
) -> None:
    rig, cases = rigs[kind], KINDS[kind][1]
    service = service_of(rig)
    passing = [name for name, one in cases.items() if not one.lasting and not one.headers]
    for name in passing:
        poll(lambda name=name: len(service.times(name)) >= 3, 30, f"three tries of {name}")
    for name in [name for name, one in cases.items() if one.lasting]:
        gaps = [second - first for first, second in itertools.pairwise(service.times(name))]
        assert all(gap >= 28 for gap in gaps), (name, gaps)
        assert len(rig.complaints(name)) == 1
    assert rig.token("well")
    assert rig.failures("well") == {}


@pytest.mark.parametrize("name", [name for name, one in OF_MACHINES.items() if one.headers])
def test_what_a_service_asks_for_in_seconds_is_obeyed(rigs: dict[str, Rig], name: str) -> None:
    rig, asked = rigs["machine"], int(OF_MACHINES[name].headers["retry_after"])
    service = service_of(rig)
    rig.wait_for_failures(name)
    assert rig.refused(name) <= asked + 1
    poll(lambda: len(service.times(name)) > 1, 20, "two tries")
    gaps = [second - first for first, second in itertools.pairwise(service.times(name))]
    assert all(asked <= gap + 0.05 and gap < asked + TICK + SLACK for gap in gaps), gaps


@pytest.mark.parametrize("kind", KINDS)
def test_callers_are_told_to_wait_half_a_minute_for_a_lasting_error(kind: str) -> None:
    with KINDS[kind][0]() as service:
        service.system = None
        with serving({"azure": managed()}, service) as rig:
            rig.wait_for_failures("azure")
            assert 27 <= rig.refused("azure") <= 31
            assert len(service.times(SYSTEM)) == 1


@pytest.mark.long
def test_a_lasting_error_is_asked_about_again_after_half_a_minute() -> None:
    with Machine() as service:
        service.system = None
        plugin = {"credentialWait": "1s"}
        with serving({"azure": managed()}, service, plugin=plugin, concurrency=4) as rig:
            rig.wait_for_failures("azure")
            (begun,) = service.times(SYSTEM)
            left = 30 - (time.time() - begun)
            assert left - 2 <= rig.refused("azure") <= left + 2
            service.system = SYSTEM
            poll(lambda: len(service.times(SYSTEM)) > 1, 40, "another try")
            assert 28 <= service.times(SYSTEM)[1] - begun <= 33
            rig.token("azure")
            assert rig.failures("azure") == {"denied": 1}


@pytest.mark.long
def test_a_lasting_error_of_a_renewal_waits_a_minute_or_until_the_end() -> None:
    with Machine() as service:
        service.life = 50
        with serving({"azure": managed()}, service) as rig:
            token = rig.token("azure")
            service.system = None
            poll(lambda: len(service.times(SYSTEM)) > 1, 60, "a renewal")
            assert rig.wait_for_failures("azure") == {"denied": 1}
            # It still serves, and asks again when nothing is left to serve.
            assert rig.token("azure") == token
            service.system = SYSTEM
            poll(lambda: len(service.times(SYSTEM)) > 2, 75, "another try")
            assert rig.failures("azure") == {"denied": 1}
            # Half a minute, since there is none at that moment.
            _, second, third = service.times(SYSTEM)
            assert 28 <= third - second <= 35


def test_an_outage_passes() -> None:
    replies = {
        "throttled": failure(429, "too_many_requests"),
        "server": failure(410, "gone"),
        "connect": Reply(abort=True),
        "malformed": Reply(200, body=b"<html>"),
    }
    with Machine() as service:
        service.script(SYSTEM, *replies.values())
        with serving({"azure": managed()}, service) as rig:
            rig.wait_for_fetches("azure", timeout=30)
            rig.token("azure")
            assert rig.failures("azure") == dict.fromkeys(replies, 1)
            assert len(service.times(SYSTEM)) == len(replies) + 1
            assert len(rig.complaints("azure")) >= 1


def test_a_service_that_is_slow_or_away_is_told_apart() -> None:
    with Machine() as service:
        # An answer that does not come.
        service.script(SYSTEM, Reply(wait=threading.Event()))
        with serving({"slow": managed()}, service, egress_settings={"timeout": "600ms"}) as rig:
            rig.wait_for_failures("slow")
            rig.token("slow")
            assert rig.failures("slow") == {"timeout": 1}
        # Nobody listens there.
        env = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:1"}
        plugin = {"credentialWait": "500ms"}
        with serving({"away": managed()}, service, env=env, plugin=plugin) as rig:
            rig.wait_for_failures("away")
            rig.refused("away")
            assert set(rig.failures("away")) == {"connect"}
            assert STEP in rig.complaint("away")


def test_nothing_that_a_service_wrote_is_logged() -> None:
    with AppService() as service, Machine() as machine:
        header = service.header
        odd = {
            "error": f"<script>{WORDS}</script>\r\nforged",
            "error_description": WORDS,
            "error_codes": [f"AADSTS{WORDS}"],
        }
        echo = {"error": header, "message": f"{header} {WORDS}"}
        part = {"error": header[:20], "message": f"{header} {WORDS}"}
        code = {"error": "header" + "x" * 200}
        for one, answers in ((machine, (odd, code)), (service, (echo, part))):
            one.script(SYSTEM, *(json_reply(answer, 429) for answer in answers))
            trace = ["--component-log-level", "wasm:trace"]
            with serving({"azure": managed()}, one, args=trace) as rig:
                rig.wait_for_fetches("azure", timeout=20)
                token = rig.token("azure")
                assert rig.failures("azure") == {"throttled": 2}
                log = rig.envoy.log()
                assert "proxy_on_request_headers" in log
                for text in (WORDS, "forged", "x" * 50, CALLER, header[:20], token):
                    assert text not in log
