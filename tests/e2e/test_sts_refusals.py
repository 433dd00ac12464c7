"""Errors of STS: what is counted, logged and told to callers, and when the next try comes."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import pytest

from entra_rules import WORDS
from launch import poll
from sts import arn, exchanging
from sts_answers import failure
from sts_rig import CALLER, Rig, for_tokens, identity, over_tls, serving
from upstream import Authority
from wire import Reply

TRACE = ["--component-log-level", "wasm:trace"]


class Case(NamedTuple):
    """An error, why it is counted, and whether it heals by a person only."""

    status: int
    code: str
    reason: str = "denied"
    lasting: bool = True
    headers: Mapping[str, str] = {}
    """Of the answer, with `_` for `-`."""


CASES = {
    "denied": Case(403, "AccessDenied"),
    "rejected": Case(403, "IDPRejectedClaim"),
    "rejected-400": Case(400, "IDPRejectedClaim"),
    "disabled": Case(403, "RegionDisabledException"),
    "invalid": Case(400, "ValidationError"),
    "policy": Case(400, "MalformedPolicyDocument"),
    "packed": Case(400, "PackedPolicyTooLarge"),
    "identity": Case(400, "InvalidIdentityToken", "denied", False),
    "provider": Case(400, "IDPCommunicationError", "server", False),
    "throttled": Case(400, "Throttling", "throttled", False),
    "throttling": Case(400, "ThrottlingException", "throttled", False),
    "rate": Case(400, "RequestThrottled", "throttled", False),
    "limit": Case(429, "TooManyRequestsException", "throttled", False),
    "wait": Case(429, "Throttling", "throttled", False, {"retry_after": "7"}),
    "fault": Case(500, "InternalFailure", "server", False),
    "gateway": Case(502, "BadGateway", "server", False),
    "closed": Case(503, "ServiceUnavailable", "server", False, {"retry_after": "9"}),
    "late": Case(504, "GatewayTimeout", "server", False),
    "bandwidth": Case(509, "BandwidthLimitExceeded", "server|throttled", False),
}
FORMS = ("json", "xml")
NAMES = [f"{name}-{form}" for name in CASES for form in FORMS]
LASTING = [name for name in NAMES if CASES[name.rpartition("-")[0]].lasting]
PATIENT = [f"{name}-{form}" for name in ("wait", "closed") for form in FORMS]
"""Those that ask to be left alone for a while."""


def case_of(name: str) -> Case:
    """The error that a policy gets."""
    return CASES[name.rpartition("-")[0]]


def replying(name: str) -> Callable[[], Reply]:
    """Makes that error, every time anew."""
    case, form = case_of(name), name.rpartition("-")[2]
    return lambda: failure(case.status, case.code, "no", form=form, **case.headers)


@pytest.fixture(scope="module")
def rig(authority: Authority) -> Iterator[Rig]:
    """One Envoy with a policy for each error."""
    issuer = identity(authority)
    with over_tls(authority) as sts, issuer:
        for name in NAMES:
            sts.script(name, replying(name), times=None)
        policies = {name: exchanging(name) for name in NAMES}
        plugin = {"credentialWait": "100ms"}
        with serving(policies, sts, authority, issuer, plugin=plugin) as rig:
            yield rig


@pytest.mark.parametrize("name", NAMES)
def test_an_error_is_counted_by_its_kind_and_named_in_the_log(rig: Rig, name: str) -> None:
    case = case_of(name)
    rig.wait_for_failures(name, 20)
    line = rig.complaint(name)
    assert re.search(r"\bsts\b", line, re.I)
    assert re.search(rf"\b{case.status}\b", line)
    assert re.search(rf"\b{case.code}\b", line)
    assert WORDS not in line
    ((reason, _),) = rig.failures(name).items()
    assert re.fullmatch(case.reason, reason)
    assert rig.metric(name, "fetched") == 0
    assert rig.metric(name, "expires_at") == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_caller_is_told_to_come_back_and_nothing_else(rig: Rig, name: str) -> None:
    rig.wait_for_failures(name, 20)
    before = rig.metric(name, "refused")
    wait = rig.refused(name)
    assert rig.metric(name, "refused") == before + 1
    assert 1 <= wait <= 60


def test_a_lasting_error_is_not_asked_about_again_soon(rig: Rig) -> None:
    # By then what may pass has been asked about again and again, but for those that want to be
    # left alone.
    passing = [name for name in NAMES if name not in LASTING and name not in PATIENT]
    for name in passing:
        poll(lambda name=name: len(rig.sts.of(name)) >= 3, 30, f"three tries of {name}")
    for name in LASTING:
        assert len(rig.sts.of(name)) == 1
        assert rig.failures(name) == {"denied": 1}
        assert len(rig.complaints(name)) == 1


@pytest.mark.parametrize("name", PATIENT)
def test_what_sts_asks_for_in_seconds_is_obeyed(rig: Rig, name: str) -> None:
    asked = int(case_of(name).headers["retry_after"])
    rig.wait_for_failures(name, 20)
    assert rig.refused(name) <= asked + 1
    poll(lambda: len(rig.sts.times(name)) > 1, 30, "two tries")
    gaps = [second - first for first, second in itertools.pairwise(rig.sts.times(name))]
    assert all(asked <= gap < asked + 3 for gap in gaps), gaps


def test_callers_are_told_to_wait_half_a_minute_for_a_lasting_error(authority: Authority) -> None:
    issuer = identity(authority)
    with over_tls(authority) as sts, issuer:
        with serving({"aws": exchanging("aws")}, sts, authority, issuer) as rig:
            rig.wait_for_metric("aws", "fetch_failed.denied")
            assert 27 <= rig.refused("aws") <= 31
            assert "AccessDenied" in rig.complaint("aws")
        assert [line.partition(":")[0] for line in sts.refused] == ["AccessDenied"]


@pytest.mark.long
def test_a_lasting_error_is_asked_about_again_after_half_a_minute(authority: Authority) -> None:
    issuer = identity(authority)
    with over_tls(authority) as sts, issuer:
        policies = {"aws": exchanging("aws")}
        plugin = {"credentialWait": "1s"}
        with serving(policies, sts, authority, issuer, plugin=plugin, concurrency=4) as rig:
            sts.wait_for(1)
            begun = time.monotonic()
            rig.wait_for_metric("aws", "fetch_failed.denied")
            sts.roles[arn("aws")] = for_tokens(issuer)
            sts.wait_for(2, timeout=40)
            assert 28 <= time.monotonic() - begun <= 33
            rig.wait_for_metric("aws", "fetched")
            rig.session("aws")
            assert rig.failures("aws") == {"denied": 1}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("code", ["ExpiredTokenException", "ExpiredToken"])
def test_an_expired_token_is_replaced_at_once(authority: Authority, code: str, form: str) -> None:
    issuer = identity(authority)
    with over_tls(authority, {"aws": for_tokens(issuer)}) as sts, issuer:
        sts.script("aws", lambda: failure(400, code, form=form))
        with serving({"aws": exchanging("aws")}, sts, authority, issuer) as rig:
            rig.session("aws")
            assert len(sts.of("aws")) == 2
            assert len(issuer.given) == 2
            assert rig.failures("aws") == {}
            assert rig.metric("aws", "fetched") == 1
            assert rig.complaints("aws") == []


def test_a_token_that_has_expired_again_is_a_failure(authority: Authority) -> None:
    issuer = identity(authority)
    issuer.claims["exp"] = int(time.time()) - 5
    with over_tls(authority, {"aws": for_tokens(issuer)}) as sts, issuer:
        with serving({"aws": exchanging("aws")}, sts, authority, issuer) as rig:
            rig.wait_for_failures("aws")
            assert rig.complaint("aws").count("ExpiredTokenException") == 1
            # Each try asks for a second token, and none for a third.
            poll(lambda: sum(rig.failures("aws").values()) >= 2, 10, "another failure")
            del issuer.claims["exp"]
            rig.wait_for_metric("aws", "fetched", timeout=20)
            assert rig.session("aws").role == arn("aws")
            failures = sum(rig.failures("aws").values())
            assert len(issuer.given) in (2 * failures + 1, 2 * failures + 2)
            assert set(rig.failures("aws")) == {"denied"}
        assert {line.partition(":")[0] for line in sts.refused} == {"ExpiredTokenException"}


def test_an_outage_passes(authority: Authority) -> None:
    issuer = identity(authority)
    with over_tls(authority, {"aws": for_tokens(issuer)}) as sts, issuer:
        replies: dict[str, Callable[[], Reply]] = {
            "throttled": lambda: failure(400, "Throttling"),
            "server": lambda: failure(503, "ServiceUnavailable", form="xml"),
            "connect": lambda: Reply(abort=True),
        }
        # The newest rule answers first.
        for reply in reversed(replies.values()):
            sts.script("aws", reply)
        with serving({"aws": exchanging("aws")}, sts, authority, issuer) as rig:
            rig.wait_for_metric("aws", "fetched", timeout=20)
            rig.session("aws")
            assert rig.failures("aws") == dict.fromkeys(replies, 1)
            assert len(sts.of("aws")) == len(replies) + 1


def test_nothing_that_sts_or_a_caller_wrote_is_logged(authority: Authority) -> None:
    issuer = identity(authority)
    names = ("denied-json", "denied-xml", "wait-json", "identity-xml")
    with over_tls(authority, {"well": for_tokens(issuer)}) as sts, issuer:
        for name in names:
            sts.script(name, replying(name), times=None)
        policies = {name: exchanging(name) for name in (*names, "well")}
        plugin = {"credentialWait": "100ms"}
        with serving(policies, sts, authority, issuer, plugin=plugin, args=TRACE) as rig:
            for name in names:
                rig.wait_for_failures(name)
                rig.refused(name)
            rig.wait_for_metric("well", "fetched")
            session = rig.session("well")
            log = rig.envoy.log()
            assert "proxy_on_request_headers" in log
            hidden = [WORDS, CALLER, session.keys.secret, session.keys.token or "-", *issuer.given]
            assert [text for text in hidden if text in log] == []
            assert rig.failures("well") == {}
            assert rig.complaints("well") == []


ODD_CODES: Mapping[str, tuple[bytes, str | None]] = {
    "number": (b'{"Error": {"Code": 17}}', None),
    "list": (b'{"Error": {"Code": ["AccessDenied"]}}', None),
    "text": (b'{"Error": "AccessDenied"}', None),
    "null": (b'{"Error": {"Code": null}}', None),
    "script": (b'{"Error": {"Code": "<script>forged</script>"}}', None),
    "lines": (b'{"Error": {"Code": "Access\\r\\nforged"}}', None),
    "long": (b'{"Error": {"Code": "' + b"forged" * 200 + b'"}}', None),
    "bare": (b"<Error><Code>AccessDenied</Code></Error>", None),
    "blanks": (
        b"<ErrorResponse><Error><Code> AccessDenied </Code></Error></ErrorResponse>",
        "AccessDenied",
    ),
    "cut": (b"<ErrorResponse><Error><Code>forged", None),
    "empty": (b"", None),
    "html": (b"<html><body><h1>forged</h1></body></html>", None),
    "gzip": (b"\x1f\x8bforged", None),
}


def test_an_error_of_any_form_is_one_failure_and_nothing_of_it_is_forged(
    authority: Authority,
) -> None:
    issuer = identity(authority)
    with over_tls(authority) as sts, issuer:
        for name, (body, _) in ODD_CODES.items():
            sts.script(name, lambda body=body: Reply(403, body=body), times=None)
        policies = {name: exchanging(name) for name in ODD_CODES}
        with serving(policies, sts, authority, issuer) as rig:
            for name, (_, code) in ODD_CODES.items():
                assert set(rig.wait_for_failures(name)) == {"denied"}, name
                line = rig.complaint(name)
                assert "403" in line
                assert code is None or code in line
            assert "forged" not in rig.envoy.log()
