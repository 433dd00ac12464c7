"""google-auth exchanges subject tokens at the stand-ins for Google, and sends what was recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google.auth
import google.auth._exponential_backoff
import pytest
from google.auth import exceptions
from google.auth.transport.requests import Request as Transport

from google_iam import Target, url_of
from google_keys import CLOUD, ServiceAccount
from google_official import (
    SUBJECT,
    assert_recorded,
    external,
    official,
    refreshed,
    short,
)
from google_recordings import REQUESTS
from google_services import Google
from google_sts import ID_TYPE, Provider
from upstream import Authority, Upstream

WORKFORCE = "//iam.googleapis.com/locations/global/workforcePools/p/providers/q"


@pytest.fixture(scope="module")
def account() -> ServiceAccount:
    """The account of the recordings."""
    return ServiceAccount(delegated=["user@example.com"])


@pytest.fixture
def services(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, account: ServiceAccount, tmp_path: Path
) -> Iterator[Google]:
    """The stand-ins, to which that account is known."""
    with official(monkeypatch, authority, tmp_path) as services:
        services.oauth.accounts[account.email] = account
        yield services


Source = Callable[[Path], dict[str, Any]]


def file_of(path: Path, text: str, **form: Any) -> dict[str, Any]:
    """A source that is a file with this text."""
    file = path / "subject"
    file.write_text(text)
    return {"file": str(file), **form}


AS_JSON = {"format": {"type": "json", "subject_token_field_name": "access_token"}}
SOURCES: dict[str, Source] = {
    "wif-file": lambda path: file_of(path, SUBJECT),
    "wif-file-json": lambda path: file_of(path, json.dumps({"access_token": SUBJECT}), **AS_JSON),
}


@pytest.mark.parametrize("run", SOURCES)
def test_a_file_with_a_subject_token_gets_a_token(
    services: Google, tmp_path: Path, run: str
) -> None:
    provider = Provider(listed={SUBJECT})
    services.sts.providers[provider.name] = provider
    refreshed(services, external(provider, SOURCES[run](tmp_path)))
    assert_recorded(services, run)


def test_a_url_with_a_subject_token_gets_a_token(services: Google) -> None:
    provider = Provider(listed={SUBJECT})
    services.sts.providers[provider.name] = provider
    with Upstream() as server:
        server.reply_with(body={"access_token": SUBJECT}, path="/subject")
        url = f"http://127.0.0.1:{server.port}/subject"
        refreshed(services, external(provider, {"url": url, "headers": {"X-K": "v"}, **AS_JSON}))
        asked = short(server.only())
    recorded = REQUESTS["wif-url/1"]
    assert (asked.method, asked.target, asked.headers) == ("GET", recorded.target, recorded.headers)
    assert_recorded(services, "wif-url", "wif-url/1")


def test_a_client_that_proves_who_it_is_gets_a_token(services: Google, tmp_path: Path) -> None:
    provider = Provider(listed={SUBJECT}, client=("cid", "csec"))
    services.sts.providers[provider.name] = provider
    source = SOURCES["wif-file"](tmp_path)
    refreshed(services, external(provider, source, client_id="cid", client_secret="csec"))
    assert_recorded(services, "wif-client-auth")
    for other in ({}, {"client_id": "cid", "client_secret": "other"}):
        with pytest.raises(exceptions.OAuthError, match="invalid_client"):
            external(provider, source, **other).refresh(Transport())


def test_a_workforce_gets_a_token(services: Google, tmp_path: Path) -> None:
    provider = Provider(WORKFORCE, listed={SUBJECT}, types=[ID_TYPE], user_project="proj")
    services.sts.providers[provider.name] = provider
    source = SOURCES["wif-file"](tmp_path)
    refreshed(services, external(provider, source, workforce_pool_user_project="proj"))
    assert_recorded(services, "wif-workforce")


def test_a_federated_principal_that_acts_as_an_account_gets_a_token(
    services: Google, account: ServiceAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = Provider(listed={SUBJECT}, impersonating=True)
    services.sts.providers[provider.name] = provider
    services.iam.targets[account.email] = Target({provider.principal("listed")})
    url = {"service_account_impersonation_url": url_of(account.email)}
    source = SOURCES["wif-file"](tmp_path)
    refreshed(services, external(provider, source, **url))
    assert_recorded(services, "wif-file-impersonation")
    file = tmp_path / "ea.json"
    file.write_text(json.dumps(provider.file(source, **url)))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "proj")
    for server in services.servers:
        server.clear()
    credentials, _ = google.auth.default(scopes=[CLOUD])
    refreshed(services, credentials)
    assert_recorded(services, "adc-external-account-file")
