"""Errors of Entra: what is counted, logged and told to callers, and when the next try comes."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from egress import calls
from entra import CLIENT, PUBLIC, Application, Entra, azure, token_path
from entra_rig import CALLER, Rig, serving
from entra_rules import WORDS, failure
from launch import poll
from replies import json_reply
from upstream import Authority
from wire import Reply

SECRET = "secret-of-the-gateway-31b7"
TRACE = ["--component-log-level", "wasm:trace"]


class Case(NamedTuple):
    """An error, why it is counted, and whether it heals by a person only."""

    status: int
    error: str
    number: int
    reason: str = "denied"
    lasting: bool = True
    headers: dict[str, str] = {}  # noqa: RUF012
    """Of the answer, with `_` for `-`."""


CASES = {
    "wrong-secret": Case(401, "invalid_client", 7000215),
    "ended-secret": Case(401, "invalid_client", 7000222),
    "no-application": Case(400, "unauthorized_client", 700016),
    "no-tenant": Case(400, "invalid_request", 90002),
    "wrong-scope": Case(400, "invalid_scope", 1002012),
    "other-scope": Case(400, "invalid_scope", 70011),
    "no-federation": Case(400, "invalid_request", 70021),
    "wrong-issuer": Case(401, "invalid_client", 700211),
    "wrong-audience": Case(401, "invalid_client", 700212),
    "wrong-subject": Case(401, "invalid_client", 700213),
    "wrong-assertion": Case(400, "invalid_request", 50027),
    "not-verified": Case(401, "invalid_client", 700027),
    "throttled": Case(429, "temporarily_unavailable", 90055, "throttled", False),
    "wait": Case(429, "invalid_request", 90055, "throttled", False, {"retry_after": "7"}),
    "loop": Case(400, "invalid_grant", 50196, "throttled", False),
    "crowd": Case(400, "invalid_request", 90055, "throttled", False),
    "no-directory": Case(400, "invalid_request", 90033, "server", False),
    "no-key": Case(400, "invalid_request", 50087, "server", False),
    "fault": Case(500, "server_error", 90033, "server", False),
    "gateway": Case(502, "server_error", 90033, "server", False),
    "closed": Case(503, "temporarily_unavailable", 90033, "server", False, {"retry_after": "9"}),
    "late": Case(504, "server_error", 90033, "server", False),
}
LASTING = [name for name, case in CASES.items() if case.lasting]
PASSING = [name for name in CASES if name not in LASTING]


@pytest.fixture(scope="module")
def rig(authority: Authority) -> Iterator[Rig]:
    """One Envoy with a policy for each error, and one that is well."""
    tls = authority.server_context([PUBLIC], http2=False)
    with Entra({("well", CLIENT): Application(secret=SECRET)}, tls=tls) as entra:
        for name, case in CASES.items():
            entra.on(token_path(name), replying(case))
        policies = {name: azure(name, SECRET, name) for name in (*CASES, "well")}
        plugin = {"credentialWait": "100ms"}
        with serving(policies, entra, authority, plugin=plugin) as rig:
            yield rig


def replying(case: Case) -> object:
    """A handler with that error, every time new."""
    return lambda _request: failure(case.status, case.error, case.number, "no", **case.headers)


@pytest.mark.parametrize("name", CASES)
def test_an_error_is_counted_by_its_kind_and_named_in_the_log(rig: Rig, name: str) -> None:
    case = CASES[name]
    poll(lambda: rig.failures(name), 10, f"a failure of {name}")
    line = rig.complaint(name)
    assert re.search(r"\bentra\b", line, re.I)
    assert re.search(rf"\b{case.status}\b", line)
    assert f"AADSTS{case.number}" in line
    assert set(rig.failures(name)) == {case.reason}
    assert rig.metric(name, "fetched") == 0
    assert rig.metric(name, "expires_at") == 0


@pytest.mark.parametrize("name", CASES)
def test_a_caller_is_told_to_come_back_and_nothing_else(rig: Rig, name: str) -> None:
    poll(lambda: rig.failures(name), 10, f"a failure of {name}")
    before = rig.metric(name, "refused")
    wait = rig.refused(name)
    assert rig.metric(name, "refused") == before + 1
    assert 1 <= wait <= 60


def test_a_lasting_error_is_not_asked_about_again_soon(rig: Rig) -> None:
    # By then what may pass has been asked about again and again, but for those that want to be
    # left alone.
    for name in ("throttled", "loop", "no-key", "fault", "gateway", "late"):
        poll(lambda name=name: len(rig.entra.of(name)) >= 3, 30, f"three tries of {name}")
    for name in LASTING:
        (only,) = rig.entra.of(name)
        assert only.path == token_path(name)
        assert rig.failures(name) == {"denied": 1}
        assert len(rig.complaints(name)) == 1


def test_callers_are_told_to_wait_half_a_minute_for_a_lasting_error(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    policies = {"azure": azure("azure", SECRET, "azure")}
    with (
        Entra({("azure", CLIENT): Application(secret="other")}, tls=tls) as entra,
        serving(policies, entra, authority) as rig,
    ):
        rig.wait_for_metric("azure", "fetch_failed.denied")
        assert 27 <= rig.refused("azure") <= 31


@pytest.mark.long
def test_a_lasting_error_is_asked_about_again_after_half_a_minute(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    with Entra({("azure", CLIENT): Application(secret="other")}, tls=tls) as entra:
        policies = {"azure": azure("azure", SECRET, "azure")}
        plugin = {"credentialWait": "1s"}
        with serving(policies, entra, authority, plugin=plugin, concurrency=4) as rig:
            entra.wait_for(1)
            begun = time.monotonic()
            rig.wait_for_metric("azure", "fetch_failed.denied")
            # Whoever asks meanwhile is told when.
            first = rig.refused("azure")
            left = 30 - (time.monotonic() - begun)
            assert left - 2 <= first <= left + 2
            assert time.monotonic() - begun < 5
            entra.applications["azure", CLIENT] = Application(secret=SECRET)
            entra.wait_for(2, timeout=40)
            assert 28 <= time.monotonic() - begun <= 33
            rig.wait_for_metric("azure", "fetched")
            rig.token("azure")
            assert rig.failures("azure") == {"denied": 1}


@pytest.mark.parametrize("name", ["wait", "closed"])
def test_what_a_provider_asks_for_in_seconds_is_obeyed(rig: Rig, name: str) -> None:
    asked = int(CASES[name].headers["retry_after"])
    poll(lambda: rig.failures(name), 10, f"a failure of {name}")
    assert rig.refused(name) <= asked + 1
    made = poll(lambda: tries if len(tries := begun(rig, name)) > 1 else None, 20, "two tries")
    gaps = [second - first for first, second in itertools.pairwise(made)]
    assert all(asked <= gap < asked + 2 for gap in gaps), gaps


def begun(rig: Rig, name: str) -> list[float]:
    """When each token request of a policy was made."""
    return [call.begun for call in calls(rig.envoy, path=token_path(name))]


def test_nothing_that_a_provider_or_a_caller_wrote_is_logged(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    with Entra({("well", CLIENT): Application(secret=SECRET)}, tls=tls) as entra:
        names = ("wrong-secret", "no-tenant", "wait")
        for name in names:
            entra.on(token_path(name), replying(CASES[name]))
        policies = {name: azure(name, SECRET, name) for name in (*names, "well")}
        with serving(policies, entra, authority, args=TRACE) as rig:
            for name in names:
                poll(lambda name=name: rig.failures(name), 10, f"a failure of {name}")
                rig.refused(name)
            token = rig.token("well")
            log = rig.envoy.log()
            assert "proxy_on_request_headers" in log
            for text in (WORDS, "Trace ID", SECRET, CALLER, token):
                assert text not in log
            assert rig.failures("well") == {}
            assert rig.complaints("well") == []


def test_an_outage_passes(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    with Entra({("azure", CLIENT): Application(secret=SECRET)}, tls=tls) as entra:
        replies = {
            "throttled": failure(429, "temporarily_unavailable", 90055),
            "server": failure(503, "server_error", 90033),
            "connect": Reply(abort=True),
        }
        # The newest rule answers first.
        for reply in reversed(replies.values()):
            entra.answer_once("azure", reply)
        with serving({"azure": azure("azure", SECRET, "azure")}, entra, authority) as rig:
            rig.wait_for_metric("azure", "fetched", timeout=20)
            rig.token("azure")
            assert rig.failures("azure") == dict.fromkeys(replies, 1)
            assert len(rig.entra.of("azure")) == len(replies) + 1


CODES: dict[str, tuple[object, str | None]] = {
    "text": ("7000215", None),
    "none": ([], "invalid_client"),
    "absent": (None, "invalid_client"),
    "several": ([7000215, 50034], "AADSTS7000215"),
    "huge": ([10**30], None),
    "texts": (["7000215"], None),
    "negative": ([-1], "invalid_client"),
    "odd": ({"a": 1}, "invalid_client"),
}


def test_codes_of_any_form_are_read_or_left(authority: Authority) -> None:
    tls = authority.server_context([PUBLIC], http2=False)
    with Entra(tls=tls) as entra:
        for name, (codes, _) in CODES.items():
            body = {"error": "invalid_client", "error_description": WORDS, "error_codes": codes}
            kept = {field: value for field, value in body.items() if value is not None}
            entra.on(token_path(name), lambda _request, kept=kept: json_reply(kept, 401))
        error = f"<script>{WORDS}</script>\r\nforged"
        entra.on(token_path("error"), lambda _request: json_reply({"error": error}, 400))
        policies = {name: azure(name, SECRET, name) for name in (*CODES, "error")}
        with serving(policies, entra, authority) as rig:
            for name in policies:
                poll(lambda name=name: rig.failures(name), 10, f"a failure of {name}")
                line = rig.complaint(name)
                code = CODES.get(name, (None, None))[1]
                assert code is None or code in line, line
                assert set(rig.failures(name)) == {"denied"}
            log = rig.envoy.log()
            assert WORDS not in log
            assert "forged" not in log
