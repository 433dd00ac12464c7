"""Services of Google that are slow, away or break off, at every hop on the way to a token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from entra_rules import Federation
from google_iam import Target
from google_keys import ServiceAccount
from google_metadata import EMAIL
from google_rig import Rig, serving
from google_rules import Life
from google_services import Google, default, federated, keyed, project
from google_sts import Provider, provider_name
from launch import poll
from oidc import ID, Issuer, oidc
from upstream import Authority
from wire import Reply

ISSUER = "https://idp.test"
AUDIENCE = "https://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/pool"
NAME = "vertex"
ACTED = f"gateway@{project(NAME)}.iam.gserviceaccount.com"
HOPS = ("oauth", "metadata", "sts", "iam")
Handler = Callable[[Any], Reply]


def script(services: Google, hop: str, handler: Handler, times: int | None = 1) -> None:
    """Lets the next requests at a hop be answered so."""
    {
        "oauth": services.oauth,
        "metadata": services.metadata,
        "sts": services.sts,
        "iam": services.iam,
    }[hop].on(None, handler, times=times)


@contextmanager
def running(
    authority: Authority,
    hop: str,
    prepare: Callable[[Google], None] = lambda _services: None,
    **options: Any,
) -> Iterator[Rig]:
    """An Envoy whose one policy has this hop on its way."""
    tls = authority.server_context(["idp.test"], http2=False)
    with Google(authority) as services, Issuer(ISSUER, tls=tls) as issuer:
        issuer.claims["aud"] = AUDIENCE
        if hop == "oauth":
            account = ServiceAccount()
            services.oauth.accounts[account.email] = account
            services.place(NAME, account.email)
            policy: Any = keyed(NAME, account.file())
        elif hop == "metadata":
            services.place(NAME, EMAIL)
            policy = default(NAME)
        else:
            federation = Federation(issuer.issuer, ID, issuer.keys, AUDIENCE)
            one = Provider(provider_name(NAME), federations=[federation], impersonating=True)
            services.sts.providers[one.name] = one
            services.iam.targets[ACTED] = Target({one.principal(ID)})
            services.place(NAME, ACTED)
            policy = federated(NAME, oidc(ISSUER, name=NAME), account="gateway")
        prepare(services)
        with serving({NAME: policy}, services, authority, issuer, **options) as rig:
            yield rig
        assert services.refused == []


def shorten(services: Google, seconds: float) -> None:
    """Lets tokens live so long."""
    services.oauth.life = services.metadata.life = Life(seconds)
    services.metadata.held = 0
    for target in services.iam.targets.values():
        target.life = seconds


@pytest.mark.parametrize("hop", HOPS)
def test_a_slow_hop_is_one_timeout(authority: Authority, hop: str) -> None:
    def slow(services: Google) -> None:
        script(services, hop, lambda _: Reply(delay=5))

    begun = time.monotonic()
    settings = {"timeout": "600ms"}
    with running(authority, hop, slow, egress_settings=settings) as rig:
        rig.wait_for_metric(NAME, "fetched")
        rig.token(NAME)
        assert rig.failures(NAME) == {"timeout": 1}
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("hop", HOPS)
def test_a_hop_that_breaks_off_is_one_failure(authority: Authority, hop: str) -> None:
    def broken(services: Google) -> None:
        script(services, hop, lambda _: Reply(abort=True))

    with running(authority, hop, broken) as rig:
        rig.wait_for_metric(NAME, "fetched")
        rig.token(NAME)
        assert rig.failures(NAME) == {"connect": 1}


@pytest.mark.parametrize("hop", HOPS)
def test_a_token_is_served_while_a_hop_is_away_and_not_past_its_end(
    authority: Authority, hop: str
) -> None:
    def short(services: Google) -> None:
        shorten(services, 14)

    plugin = {"credentialWait": "200ms"}
    with running(authority, hop, short, plugin=plugin) as rig:
        rig.wait_for_metric(NAME, "fetched")
        first = rig.token(NAME)
        script(rig.google, hop, lambda _: Reply(503), times=None)
        rig.wait_for_failure(NAME, 20)
        assert rig.token(NAME) == first
        # That was a renewal, in the last fifth of its life; a service that tells whole seconds may
        # have cut one off.
        alive = rig.google.ledger.tokens[first]
        assert time.time() >= alive.issued + 9
        while time.time() < alive.end - 2.6:
            assert rig.token(NAME) == first
        poll(lambda: not rig.google.ledger.alive(first), 5, "its end")
        rig.refused(NAME)
        assert set(rig.failures(NAME)) == {"server"}
        shorten(rig.google, 600)
        script(rig.google, hop, well(rig.google, hop), times=None)
        poll(lambda: rig.post(NAME).status == 200, 15, "another token")
        assert rig.token(NAME) != first
        assert rig.google.vertex.refused == []


def well(services: Google, hop: str) -> Handler:
    """What the hop answers by itself."""
    return {
        "oauth": services.oauth.served,
        "metadata": services.metadata.served,
        "sts": services.sts.served,
        "iam": services.iam.served,
    }[hop]


@pytest.mark.parametrize("hop", ["oauth", "metadata", "iam"])
def test_a_crowd_that_comes_first_waits_for_one_fetch(authority: Authority, hop: str) -> None:
    def late(services: Google) -> None:
        answer = well(services, hop)

        def slowly(request: Any) -> Reply:
            reply = answer(request)
            reply.delay = 1.0
            return reply

        script(services, hop, slowly)

    with running(authority, hop, late, concurrency=4) as rig, ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: rig.post(NAME), range(64)))
        assert {answer.status for answer in answers} == {200}
        assert len({used.token for used in rig.google.vertex.used}) == 1
        assert rig.metric(NAME, "fetched") == 1
        assert len(rig.upstream.requests) == 64
        assert rig.google.vertex.refused == []
