"""Replies of Google of every odd form: each is one failure, and the next reply is taken."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from entra_rules import WORDS, Federation
from google_iam import Target
from google_keys import ServiceAccount
from google_rig import Rig, serving
from google_rules import Life, stamp
from google_services import Google, federated, keyed, project
from google_sts import Provider, provider_name
from oidc import ID, Issuer, oidc
from replies import json_reply
from test_entra_replies import DAY, LIVES, ODD, UNWANTED
from upstream import Authority
from wire import Reply

ISSUER = "https://idp.test"
AUDIENCE = "https://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool"
AT_TOKEN = [name for name in ODD if name != "refused"]
"""The odd replies of an OAuth endpoint, but for the one in a shape of Entra's own."""


def email_of(name: str) -> str:
    """The account of a policy."""
    return f"gateway@{project(name)}.iam.gserviceaccount.com"


def account_of(services: Google, name: str) -> ServiceAccount:
    """Every policy has an account of its own."""
    account = ServiceAccount(email_of(name))
    services.oauth.accounts[account.email] = account
    services.place(name, account.email)
    return account


@pytest.fixture(scope="module")
def tokens(authority: Authority) -> Iterator[Rig]:
    """A policy for each reply of the token endpoint, which is the first that the policy gets."""
    with Google(authority) as services:
        policies = {}
        for name in AT_TOKEN:
            policies[name] = keyed(name, account_of(services, name).file())
            services.oauth.script(email_of(name), lambda _, name=name: ODD[name].reply())
        with serving(policies, services, authority) as rig:
            yield rig
        assert services.refused == []


@pytest.mark.parametrize("name", AT_TOKEN)
def test_an_odd_reply_of_the_token_endpoint_is_one_failure(tokens: Rig, name: str) -> None:
    tokens.wait_for_metric(name, "fetched", timeout=20)
    token = tokens.google.ledger.tokens[tokens.token(name)]
    assert token.who == email_of(name)
    assert tokens.failures(name) == {ODD[name].reason: 1}
    assert len(tokens.google.oauth.of(email_of(name))) == 2
    line = tokens.complaint(name)
    assert UNWANTED not in line
    assert WORDS not in line


def moment(seconds: float, **form: str) -> str:
    """A moment from now on."""
    return stamp(time.time() + seconds, **form)


def answer(**other: Any) -> Reply:
    """One of IAM credentials that is good but for what is put in; None takes a field out."""
    fields = {"accessToken": UNWANTED, "expireTime": moment(3600), **other}
    return json_reply({name: value for name, value in fields.items() if value is not None})


AT_IAM: dict[str, Callable[[], Reply]] = {
    "no-token": lambda: answer(accessToken=None),
    "empty-token": lambda: answer(accessToken=""),
    "number-token": lambda: answer(accessToken=17),
    "lf-token": lambda: answer(accessToken=f"{UNWANTED}\nx-injected: 1"),
    "other-name": lambda: json_reply({"access_token": UNWANTED, "expires_in": 3599}),
    "past": lambda: answer(expireTime=moment(-60)),
    "now": lambda: answer(expireTime=moment(0)),
    "number-end": lambda: answer(expireTime=int(time.time()) + 3600),
    "no-zone": lambda: answer(expireTime=moment(3600, zone="")),
    "date": lambda: answer(expireTime=moment(86400)[:10]),
    "no-such-month": lambda: answer(expireTime="2099-13-01T00:00:00Z"),
    "no-such-day": lambda: answer(expireTime="2099-02-30T00:00:00Z"),
    "no-digits": lambda: answer(expireTime=moment(3600, fraction=".")),
    "words": lambda: answer(expireTime="soon"),
    "html": lambda: Reply(headers=[(b"content-type", b"text/html")], body=WORDS.encode()),
    "list": lambda: json_reply([{"accessToken": UNWANTED, "expireTime": moment(3600)}]),
    "error-in-200": lambda: answer(error={"code": 503, "message": WORDS, "status": "UNAVAILABLE"}),
}


def acting(services: Google, name: str, issuer: Issuer) -> list[dict[str, object]]:
    """A policy that acts as an account."""
    federation = Federation(issuer.issuer, ID, issuer.keys, AUDIENCE)
    one = Provider(provider_name(name), federations=[federation], impersonating=True)
    services.sts.providers[one.name] = one
    services.iam.targets[email_of(name)] = Target({one.principal(ID)})
    services.place(name, email_of(name))
    return federated(name, oidc(ISSUER, name=name), account="gateway")


@pytest.fixture(scope="module")
def accounts(authority: Authority) -> Iterator[Rig]:
    """The same for replies of IAM credentials."""
    tls = authority.server_context(["idp.test"], http2=False)
    with Google(authority) as services, Issuer(ISSUER, tls=tls) as issuer:
        issuer.claims["aud"] = AUDIENCE
        policies = {}
        for name in AT_IAM:
            policies[name] = acting(services, name, issuer)
            services.iam.script(email_of(name), lambda _, name=name: AT_IAM[name]())
        with serving(policies, services, authority, issuer) as rig:
            yield rig
        assert services.refused == []


@pytest.mark.parametrize("name", AT_IAM)
def test_an_odd_reply_of_iam_is_one_failure(accounts: Rig, name: str) -> None:
    accounts.wait_for_metric(name, "fetched", timeout=20)
    token = accounts.google.ledger.tokens[accounts.token(name)]
    assert (token.kind, token.who) == ("impersonated", email_of(name))
    failures = accounts.failures(name)
    assert sum(failures.values()) == 1
    assert name == "error-in-200" or failures == {"malformed": 1}
    line = accounts.complaint(name)
    assert UNWANTED not in line
    assert WORDS not in line


@pytest.fixture(scope="module")
def lives(authority: Authority) -> Iterator[Rig]:
    """A policy for each way to tell the life of a token."""
    with Google(authority) as services:
        policies = {}
        for name, (raw, seconds) in LIVES.items():
            policies[name] = keyed(name, account_of(services, name).file())
            services.oauth.lives[email_of(name)] = Life(seconds, raw)
        with serving(policies, services, authority) as rig:
            yield rig
        assert services.refused == []


@pytest.mark.parametrize("name", LIVES)
def test_a_life_is_read_whatever_its_form(lives: Rig, name: str) -> None:
    token = lives.google.ledger.tokens[lives.token(name)]
    assert token.who == email_of(name)
    assert abs(lives.metric(name, "expires_at") - token.end) < 2
    assert lives.failures(name) == {}


def test_an_end_far_away_is_cut_to_a_day(authority: Authority) -> None:
    tls = authority.server_context(["idp.test"], http2=False)
    with Google(authority) as services, Issuer(ISSUER, tls=tls) as issuer:
        issuer.claims["aud"] = AUDIENCE
        policies = {"far": acting(services, "far", issuer)}
        services.iam.targets[email_of("far")].stamp = lambda _end: "2999-01-01T00:00:00Z"
        with serving(policies, services, authority, issuer) as rig:
            begun = time.time()
            rig.token("far")
            assert begun - 10 < rig.metric("far", "expires_at") - DAY < time.time() + 2


def test_what_is_more_in_a_reply_does_not_matter(authority: Authority) -> None:
    with Google(authority) as services:
        account = account_of(services, "more")
        more = {"scope": "x", "id_token": "a.b.c", "refresh_token": "r", "foo": {"bar": [1]}}
        services.oauth.life = Life(more=more)
        with serving({"more": keyed("more", account.file())}, services, authority) as rig:
            rig.token("more")
            assert rig.failures("more") == {}
            assert json.dumps(more) not in rig.envoy.log()
