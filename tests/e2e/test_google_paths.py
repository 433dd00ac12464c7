"""The paths of Vertex: what the filter makes of them, and that an attempt elsewhere has its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

import raw
from bootstrap import Config, bootstrap, cluster, listener, retry, wasm_filter
from egress import SETTINGS, egress
from entra_rig import CALLER
from envoy import Envoy
from gateway import appears, assert_no_panic, host
from google_keys import ServiceAccount
from google_rig import BODY, HEADERS, Rig, serving
from google_rules import bearer_text
from google_services import REGION, Google, keyed, project
from manifests import config
from manifests import keyed as key_policy
from providers import BY_ENDPOINT, by_host, endpoint
from replies import default_reply
from upstream import Authority, Upstream
from wire import Request

NAME = "vertex"
OWN = f"/projects/{project(NAME)}/locations/{REGION}"
REST = "/publishers/google/models/gemini-2.0-flash:generateContent"
CLAUDE = "/publishers/anthropic/models/claude-3-5-sonnet-v2@20241022:rawPredict"
CHAT = "/endpoints/openapi/chat/completions"
OTHER = "/projects/somebody-else/locations/europe-west4"

PATHS = {
    REST: f"/v1{OWN}{REST}",
    CLAUDE: f"/v1{OWN}{CLAUDE}",
    f"/v1{REST}": f"/v1{OWN}{REST}",
    f"/v1beta1{REST}": f"/v1beta1{OWN}{REST}",
    f"/v1{OTHER}{REST}": f"/v1{OWN}{REST}",
    f"/v1beta1{OTHER}{CLAUDE}": f"/v1beta1{OWN}{CLAUDE}",
    f"/v1{OWN}{REST}": f"/v1{OWN}{REST}",
    f"/v1{OTHER}{CHAT}": f"/v1{OWN}{CHAT}",
    f"/v1{OTHER}/endpoints/123:predict": f"/v1{OWN}/endpoints/123:predict",
    f"/v1/projects/a%2Fb/locations/c{REST}": f"/v1{OWN}{REST}",
    f"/v1/projects//locations/c{REST}": f"/v1{OWN}{REST}",
    f"{REST}?alt=sse": f"/v1{OWN}{REST}?alt=sse",
    f"/v1{OTHER}{REST}?a=/projects/x/locations/y&b=%2f": (
        f"/v1{OWN}{REST}?a=/projects/x/locations/y&b=%2f"
    ),
    f"/v1{REST}?key={CALLER}&alt=sse": f"/v1{OWN}{REST}?alt=sse",
}
"""What a caller asks for, and what Vertex gets."""

ALONE = [
    "/",
    "/v1",
    "/v1/models",
    "/v1/projects",
    "/v1/projects/x",
    "/v1/projects/x/publishers/google/models/m:generateContent",
    "/publishersx/google",
    "/v1/publishersx/google",
    "/v1/x/publishers/google/models/m:generateContent",
    "/v1/chat/completions?x=/v1/publishers/google",
]
"""Paths that are left alone."""


@pytest.fixture(scope="module")
def services(authority: Authority) -> Iterator[Google]:
    """With one account."""
    with Google(authority) as services:
        account = ServiceAccount()
        services.oauth.accounts[account.email] = account
        services.place(NAME, account.email)
        yield services


def file_of(services: Google) -> dict[str, object]:
    """The file of the account."""
    (account,) = services.oauth.accounts.values()
    return account.file()


@pytest.fixture(scope="module")
def rig(services: Google, authority: Authority) -> Iterator[Rig]:
    """One policy; its provider takes every path."""
    policies = {NAME: keyed(NAME, file_of(services))}
    with serving(policies, services, authority) as rig:
        rig.upstream.on(None, default_reply)
        yield rig


def seen(rig: Rig, target: str) -> Request:
    """What the provider got of a request with this target."""
    rig.upstream.clear()
    assert rig.post(NAME, target.encode()).status == 200
    request = rig.upstream.only()
    assert appears(CALLER, request) == []
    assert services_token(rig, request)
    return request


def services_token(rig: Rig, request: Request) -> bool:
    """It carries a live token of the policy's."""
    text = bearer_text(request)
    return text is not None and rig.google.ledger.alive(text) is not None


@pytest.mark.parametrize("target", PATHS)
def test_a_path_names_the_project_and_location_of_the_policy(rig: Rig, target: str) -> None:
    assert seen(rig, target).target.decode() == PATHS[target]


@pytest.mark.parametrize("target", ALONE)
def test_any_other_path_is_left_alone(rig: Rig, target: str) -> None:
    assert seen(rig, target).target.decode() == target


def test_a_place_of_its_own_is_in_the_path(services: Google, authority: Authority) -> None:
    (email,) = services.oauth.accounts
    for region in ("europe-west4", "global", "us"):
        services.place(NAME, email, region=region)
        policies = {NAME: keyed(NAME, file_of(services), region=region)}
        with serving(policies, services, authority) as rig:
            _, used = rig.answered(NAME, REST.encode())
            assert (used.project, used.region) == (project(NAME), region)


# Attempts at several providers.


KEY = "sk-of-the-plain-provider-77aa"
ORDERS = ["vertex-plain", "plain-vertex", "vertex-second", "second-vertex"]


@dataclass
class Attempts:
    """A running Envoy in front of three providers."""

    envoy: Envoy
    providers: dict[str, Upstream]
    google: Google

    def post(self, order: str, target: str) -> raw.Response:
        """One request to the cluster of an order."""
        fields = [(b"host", host(order)), *HEADERS]
        return raw.request(self.envoy.port(), b"POST", target.encode(), fields, BODY)


@pytest.fixture(scope="module", params=["Strip", "Keep"])
def attempts(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Attempts]:
    """For each order a cluster with two priorities: two projects at Vertex, and one with a key."""
    names = ("vertex", "second", "plain")
    with (
        Google(authority) as services,
        Upstream() as one,
        Upstream() as two,
        Upstream() as three,
    ):
        policies = []
        for name in ("vertex", "second"):
            account = ServiceAccount(f"{name}@proj.iam.gserviceaccount.com")
            services.oauth.accounts[account.email] = account
            services.place(name, account.email)
            policies += keyed(name, account.file())
        policies += key_policy("plain", "APIKey", KEY)
        settings: Config = {**SETTINGS, "backend": BY_ENDPOINT, "clientCredentials": request.param}
        filters = [wasm_filter(config(policies, **settings))]
        providers = dict(zip(names, (one, two, three), strict=True))
        way = egress(ca_pem=authority.pem, hosts=services.hosts)
        clusters = []
        for order in ORDERS:
            first, second = order.split("-")
            ends = [endpoint(providers[first], first), endpoint(providers[second], second, 1)]
            clusters.append(cluster(order, ends, filters=filters))
        policy = retry(2, "5xx,reset", next_priority=True)
        front = listener([by_host(order, order, retry=policy) for order in ORDERS])
        everything = [*way.clusters, *clusters]
        whole = bootstrap([front, *way.listeners], everything, **way.bootstrap_extras)
        with Envoy(whole) as envoy:
            yield Attempts(envoy, providers, services)
            assert_no_panic(envoy)
        assert services.refused == []


def assert_own(attempts: Attempts, request: Request, name: str, target: str) -> None:
    """An attempt carries the credential and the path of its provider."""
    text = bearer_text(request)
    assert text is not None
    if name == "plain":
        assert text == KEY
        assert request.target.decode() == target
        return
    token = attempts.google.ledger.alive(text)
    assert token
    assert token.who == f"{name}@proj.iam.gserviceaccount.com"
    place = f"/v1/projects/{project(name)}/locations/{REGION}"
    assert request.target.decode() == f"{place}{REST}?alt=sse"


@pytest.mark.parametrize("target", [f"{REST}?alt=sse", f"/v1{OTHER}{REST}?alt=sse"])
@pytest.mark.parametrize("order", ORDERS)
def test_every_attempt_has_the_path_and_the_token_of_its_provider(
    attempts: Attempts, order: str, target: str
) -> None:
    first, second = order.split("-")
    for name, upstream in attempts.providers.items():
        upstream.reset()
        if name in order:
            upstream.reply_with(503, times=1)
    assert attempts.post(order, target).status == 200
    one, three = attempts.providers[first].wait_for(2)
    (two,) = attempts.providers[second].wait_for(1)
    visits: Sequence[tuple[str, Request]] = ((first, one), (second, two), (first, three))
    for name, request in visits:
        assert_own(attempts, request, name, target)
        assert json.loads(request.body) == json.loads(BODY)
