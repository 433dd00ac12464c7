"""The examples of Vertex AI, in front of strict services of Google and of an identity provider."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import pytest

import google_iam
import google_metadata
import google_oauth
import google_sts
from entra_rules import Federation
from google_iam import Target
from google_keys import CLOUD, IAM, ServiceAccount
from google_services import REGION, Google
from google_sts import Provider, provider_name
from oidc import PASSWORD, OidcProvider
from test_examples import (
    Play,
    Scene,
    Start,
    assert_came_from_the_filter,
    assert_sends_what_it_obtained,
    assert_trusts_no_other_name,
    playing,
)
from upstream import Authority
from wire import Request

TARGET = "/vertex/v1/publishers/google/models/gemini-2.5-flash:generateContent"
PATH = (
    "/v1/projects/my-project/locations/us-central1"
    "/publishers/google/models/gemini-2.5-flash:generateContent"
)
PROVIDER = f"{REGION}-aiplatform.googleapis.com"
IDP = "idp.example.com"
AUDIENCE = "https://idp.example.com/for-google"
"""Of the provider's tokens, which the pool is told to take."""

ACCOUNT = "my-account@my-project.iam.gserviceaccount.com"


def token_of(google: Google, request: Request, kind: str, who: str) -> list[str]:
    """The token that a request carries and Vertex took: of that kind, for that account."""
    assert google.refused == []
    assert google.errors == []
    (used,) = google.vertex.used
    assert (used.path, used.who) == (PATH, who)
    assert request.values("authorization") == [f"Bearer {used.token}".encode()]
    token = google.ledger.alive(used.token)
    assert token
    assert (token.kind, token.scopes) == (kind, (CLOUD,))
    return list(google.ledger.tokens)


def allowed(google: Google, who: str) -> None:
    """Lets one in."""
    google.vertex.places = {("my-project", REGION): {who}}


@contextlib.contextmanager
def of_key(authority: Authority, _folder: Path) -> Iterator[Scene]:
    """The key of a service account."""
    account = ServiceAccount(ACCOUNT)
    with Google(authority) as google:
        google.oauth.accounts[ACCOUNT] = account
        allowed(google, ACCOUNT)

        def judge(request: Request) -> Sequence[str]:
            (given,) = google.oauth.given
            assert (given.who, given.scopes) == (ACCOUNT, (CLOUD,))
            assert google.oauth.server_names == [google_oauth.HOST]
            line = account.pem().splitlines()[3]
            return [*token_of(google, request, "service_account", ACCOUNT), line]

        hosts = {google_oauth.HOST: google.oauth}
        env = {"SERVICE_ACCOUNT_JSON": json.dumps(account.file(), indent=2)}
        yield Scene(TARGET, google.vertex.served, judge, hosts, env)


@contextlib.contextmanager
def of_federation(authority: Authority, _folder: Path) -> Iterator[Scene]:
    """A client of an identity provider that a pool trusts, and that may act as an account."""
    clients, audiences = {"envoy": PASSWORD}, {AUDIENCE: "jwt"}
    issuer = OidcProvider(f"https://{IDP}", authority, clients=clients, audiences=audiences)
    with issuer, Google(authority) as google:
        federation = Federation(issuer.issuer, "envoy", issuer.keys, AUDIENCE)
        name = provider_name("my-pool", "my-provider", "123456789012")
        pool = Provider(name, federations=[federation], impersonating=True)
        google.sts.providers[name] = pool
        google.iam.targets[ACCOUNT] = Target({pool.principal("envoy")})
        allowed(google, ACCOUNT)

        def judge(request: Request) -> Sequence[str]:
            assert_came_from_the_filter(issuer, {"grant_type": "client_credentials"})
            (asked,) = google.iam.asked
            assert (asked.email, asked.by.who) == (ACCOUNT, pool.principal("envoy"))
            assert asked.by.scopes == (IAM,)
            assert google.sts.server_names == [google_sts.HOST]
            assert google.iam.server_names == [google_iam.HOST]
            (form,) = google.sts.asked
            hidden = token_of(google, request, "impersonated", ACCOUNT)
            assert len(hidden) == 2
            return [*hidden, form["subject_token"], PASSWORD]

        hosts = {IDP: issuer, google_sts.HOST: google.sts, google_iam.HOST: google.iam}
        env = {"OIDC_CLIENT_SECRET": PASSWORD + "\n"}
        yield Scene(TARGET, google.vertex.served, judge, hosts, env)


@contextlib.contextmanager
def of_metadata(authority: Authority, _folder: Path) -> Iterator[Scene]:
    """A workload of GKE."""
    with Google(authority) as google:
        allowed(google, google.metadata.email)

        def judge(request: Request) -> Sequence[str]:
            assert len(google.metadata.asked) == 1
            return token_of(google, request, "metadata", google.metadata.email)

        hosts = {google_metadata.HOST: google.metadata}
        yield Scene(TARGET, google.vertex.served, judge, hosts)


SCENES: Mapping[str, Play] = {
    "gke": of_metadata,
    "vertex-federation": of_federation,
    "vertex-service-account": of_key,
}

STRANGERS = [
    *((name, PROVIDER) for name in SCENES),
    ("vertex-service-account", google_oauth.HOST),
    ("vertex-federation", IDP),
    ("vertex-federation", google_sts.HOST),
    ("vertex-federation", google_iam.HOST),
]


@pytest.mark.parametrize("name", SCENES)
def test_an_example_sends_a_token_of_google_and_names_the_project(
    name: str, start_envoy: Start, client: httpx.Client, authority: Authority, tmp_path: Path
) -> None:
    with playing(name, SCENES[name], start_envoy, authority, tmp_path) as on:
        assert_sends_what_it_obtained(on, client)


@pytest.mark.parametrize(("name", "host"), STRANGERS)
def test_an_example_sends_nothing_to_a_host_with_another_name(
    name: str,
    host: str,
    start_envoy: Start,
    client: httpx.Client,
    authority: Authority,
    tmp_path: Path,
) -> None:
    with playing(name, SCENES[name], start_envoy, authority, tmp_path, host) as on:
        assert_trusts_no_other_name(on, client, host)
