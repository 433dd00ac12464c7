"""Errors of Google in both of its shapes: what is counted, logged and told to callers, and when the
next try comes."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from egress import calls
from entra_rig import CALLER
from entra_rules import WORDS, Federation
from google_iam import Target, path_of
from google_keys import ServiceAccount
from google_rig import Rig, serving
from google_rules import api_error, oauth_error
from google_services import Google, federated, keyed, project
from google_sts import Provider, provider_name
from launch import poll
from oidc import ID, Issuer, oidc
from upstream import Authority
from wire import Reply

TRACE = ["--component-log-level", "wasm:trace"]
ISSUER = "https://idp.test"
AUDIENCE = "https://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool"
SKEW = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."


class Case(NamedTuple):
    """An error of a service, how it is named in the log, and how it is counted."""

    place: str
    """`oauth`, `sts` or `iam`."""
    status: int
    error: str
    reason: str = "denied"
    text: str = "no"
    wait: str = ""
    """The `retry-after` of the answer."""

    def reply(self) -> Reply:
        """In the shape of the service."""
        headers = {"retry_after": self.wait} if self.wait else {}
        if self.place == "iam":
            return api_error(self.status, self.error, self.text, **headers)
        return oauth_error(self.status, self.error, self.text, **headers)


CASES = {
    "wrong-key": Case("oauth", 400, "invalid_grant", text="Invalid JWT Signature."),
    "no-account": Case("oauth", 400, "invalid_grant", text="Invalid grant: account not found"),
    "skew": Case("oauth", 400, "invalid_grant", text=SKEW),
    "no-scope": Case("oauth", 400, "invalid_scope"),
    "no-client": Case("oauth", 401, "unauthorized_client"),
    "limited": Case("oauth", 429, "rate_limit_exceeded", "throttled"),
    "limited-for": Case("oauth", 429, "rate_limit_exceeded", "throttled", wait="7"),
    "fault": Case("oauth", 500, "internal_failure", "server"),
    "fault-of-400": Case("oauth", 400, "internal_failure", "server"),
    "away": Case("oauth", 400, "temporarily_unavailable", "server"),
    "closed": Case("oauth", 503, "server_error", "server", wait="9"),
    "pool-gone": Case("sts", 400, "invalid_target"),
    "stale": Case("sts", 400, "invalid_grant", text="ID Token issued at 1 is stale to sign-in."),
    "condition": Case("sts", 403, "unauthorized_client"),
    "sts-request": Case("sts", 400, "invalid_request"),
    "sts-closed": Case("sts", 503, "internal_failure", "server"),
    "iam-denied": Case("iam", 403, "PERMISSION_DENIED"),
    "iam-unknown": Case("iam", 404, "NOT_FOUND"),
    "iam-argument": Case("iam", 400, "INVALID_ARGUMENT"),
    "iam-token": Case("iam", 401, "UNAUTHENTICATED"),
    "iam-quota": Case("iam", 429, "RESOURCE_EXHAUSTED", "throttled", wait="8"),
    "iam-internal": Case("iam", 500, "INTERNAL", "server"),
    "iam-closed": Case("iam", 503, "UNAVAILABLE", "server"),
}
LASTING = [
    name
    for name, case in CASES.items()
    if case.reason == "denied" and name not in ("skew", "stale", "iam-token")
]
"""Those that heal by a person alone; a clock, or an old token on the way, may heal by itself."""
AGAIN = ["limited", "fault", "fault-of-400", "away", "sts-closed", "iam-internal", "iam-closed"]
NAMED = {"oauth": "token", "sts": "exchange", "iam": "iam"}
"""A word that tells the service in the log."""


def email_of(name: str) -> str:
    """The account of a policy."""
    return f"gateway@{project(name)}.iam.gserviceaccount.com"


def policy_of(services: Google, name: str, place: str, issuer: Issuer) -> list[dict[str, object]]:
    """The policy of a case, everything about which is well."""
    if place == "oauth":
        account = ServiceAccount(email_of(name))
        services.oauth.accounts[account.email] = account
        services.place(name, account.email)
        return keyed(name, account.file())
    federation = Federation(issuer.issuer, ID, issuer.keys, AUDIENCE)
    one = Provider(provider_name(name), federations=[federation], impersonating=place == "iam")
    services.sts.providers[one.name] = one
    account_name = "gateway" if place == "iam" else None
    who = email_of(name) if place == "iam" else one.principal(ID)
    services.iam.targets[email_of(name)] = Target({one.principal(ID)})
    services.place(name, who)
    return federated(name, oidc(ISSUER, name=name), account=account_name)


def script(services: Google, name: str, place: str, handler: Callable[..., Reply]) -> None:
    """Lets the service of a case answer so for ever."""
    if place == "oauth":
        services.oauth.script(email_of(name), handler, times=None)
    elif place == "sts":
        services.sts.script(provider_name(name), handler, times=None)
    else:
        services.iam.script(email_of(name), handler, times=None)


def tries(services: Google, name: str) -> int:
    """How often the service of a case was asked."""
    place = CASES[name].place
    if place == "oauth":
        return len(services.oauth.of(email_of(name)))
    if place == "sts":
        return len(services.sts.of(provider_name(name)))
    return len(services.iam.of(email_of(name)))


@pytest.fixture(scope="module")
def rig(authority: Authority) -> Iterator[Rig]:
    """One Envoy with a policy for each error."""
    tls = authority.server_context(["idp.test"], http2=False)
    with Google(authority) as services, Issuer(ISSUER, tls=tls) as issuer:
        issuer.claims["aud"] = AUDIENCE
        policies = {}
        for name, case in CASES.items():
            policies[name] = policy_of(services, name, case.place, issuer)
            script(services, name, case.place, lambda _request, case=case: case.reply())
        plugin = {"credentialWait": "100ms"}
        with serving(policies, services, authority, issuer, plugin=plugin) as rig:
            yield rig
        assert services.refused == []


@pytest.mark.parametrize("name", CASES)
def test_an_error_is_counted_by_its_kind_and_named_in_the_log(rig: Rig, name: str) -> None:
    case = CASES[name]
    assert set(rig.wait_for_failure(name)) == {case.reason}
    line = rig.complaint(name)
    assert case.error in line
    assert re.search(rf"\b{case.status}\b", line)
    assert re.search(rf"\b{NAMED[case.place]}\b", line, re.I)
    assert rig.metric(name, "fetched") == 0
    assert rig.metric(name, "expires_at") == 0


def test_a_wrong_clock_is_named_as_such(rig: Rig) -> None:
    rig.wait_for_failure("skew")
    assert re.search(r"\bclock\b", rig.complaint("skew"), re.I)
    for name in ("wrong-key", "no-account", "stale"):
        rig.wait_for_failure(name)
    assert not re.search(r"\bclock\b", rig.complaint("wrong-key") + rig.complaint("no-account"))


@pytest.mark.parametrize("name", CASES)
def test_a_caller_is_told_to_come_back_and_nothing_else(rig: Rig, name: str) -> None:
    rig.wait_for_failure(name)
    before = rig.metric(name, "refused")
    assert 1 <= rig.refused(name) <= 60
    assert rig.metric(name, "refused") == before + 1


def test_a_lasting_error_is_not_asked_about_again_soon(rig: Rig) -> None:
    # By then what may pass has been asked about again and again.
    for name in AGAIN:
        poll(lambda name=name: tries(rig.google, name) >= 3, 30, f"three tries of {name}")
    for name in LASTING:
        assert tries(rig.google, name) == 1, name
        assert rig.failures(name) == {"denied": 1}
        assert len(rig.complaints(name)) == 1


@pytest.mark.parametrize("name", ["limited-for", "closed", "iam-quota"])
def test_what_a_service_asks_for_in_seconds_is_obeyed(rig: Rig, name: str) -> None:
    asked = int(CASES[name].wait)
    rig.wait_for_failure(name)
    assert rig.refused(name) <= asked + 1
    poll(lambda: tries(rig.google, name) >= 2, 20, "two tries")
    if CASES[name].place == "iam":
        made = [call.begun for call in calls(rig.envoy, path=path_of(email_of(name)))]
        gaps = [two - one for one, two in itertools.pairwise(made)]
        assert all(asked <= gap < asked + 3 for gap in gaps), gaps


def test_a_try_that_failed_is_followed_by_one_with_a_new_assertion(authority: Authority) -> None:
    with Google(authority) as services:
        account = ServiceAccount(email_of("key"))
        services.oauth.accounts[account.email] = account
        services.place("key", account.email)
        services.oauth.script(
            account.email, lambda _: oauth_error(503, "server_error", "no"), times=3
        )
        with serving({"key": keyed("key", account.file())}, services, authority) as rig:
            rig.wait_for_metric("key", "fetched", timeout=20)
            rig.token("key")
            bodies = [request.body for request in services.oauth.of(account.email)]
            assert len(bodies) == 4
            # Two in the same second are equal; all of them would have been kept.
            assert len(set(bodies)) > 1


def test_nothing_that_a_service_or_a_caller_wrote_is_logged(authority: Authority) -> None:
    tls = authority.server_context(["idp.test"], http2=False)
    names = ("wrong-key", "condition", "iam-denied")
    with Google(authority) as services, Issuer(ISSUER, tls=tls) as issuer:
        issuer.claims["aud"] = AUDIENCE
        policies = {}
        for name in names:
            place = CASES[name].place
            policies[name] = policy_of(services, name, place, issuer)
            script(services, name, place, lambda _request, name=name: CASES[name].reply())
        for name, place in {"well": "iam", "key": "oauth"}.items():
            policies[name] = policy_of(services, name, place, issuer)
        plugin = {"credentialWait": "2s"}
        with serving(policies, services, authority, issuer, plugin=plugin, args=TRACE) as rig:
            for name in names:
                rig.wait_for_failure(name)
                rig.refused(name)
            for name in ("well", "key"):
                rig.token(name)
                assert rig.failures(name) == {}
            log = rig.envoy.log()
            assert "proxy_on_request_headers" in log
            assertions = [request.body.decode() for request in services.oauth.requests]
            pems = [services.oauth.accounts[email_of(name)].pem() for name in ("wrong-key", "key")]
            hidden = [WORDS, CALLER, *services.ledger.tokens, *issuer.given, *assertions]
            hidden += [line for pem in pems for line in pem.splitlines() if "-----" not in line]
            for text in hidden:
                assert text not in log
            dump = rig.envoy.get("/stats").text
            for text in hidden:
                assert text not in dump


def test_a_clock_that_is_right_again_heals_by_itself(authority: Authority) -> None:
    with Google(authority) as services:
        account = ServiceAccount(email_of("key"))
        services.oauth.accounts[account.email] = account
        services.place("key", account.email)
        services.oauth.script(account.email, lambda _: oauth_error(400, "invalid_grant", SKEW))
        plugin = {"credentialWait": "1s"}
        begun = time.monotonic()
        with serving(
            {"key": keyed("key", account.file())}, services, authority, plugin=plugin
        ) as rig:
            rig.wait_for_failure("key")
            rig.wait_for_metric("key", "fetched", timeout=70)
            rig.token("key")
            assert rig.failures("key") == {"denied": 1}
            assert time.monotonic() - begun < 70
