"""google-auth gets its tokens from the stand-ins for Google, and sends what was recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import google.auth
import google.auth._exponential_backoff
import pytest
from google.auth import compute_engine, exceptions, impersonated_credentials
from google.auth.transport.requests import Request as Transport
from google.oauth2 import credentials as of_users

from google_iam import Target, impersonated
from google_keys import CLOUD, ServiceAccount
from google_metadata import EMAIL
from google_official import (
    USER,
    assert_recorded,
    by_key,
    official,
    refreshed,
)
from google_services import Google
from upstream import Authority
from wire import Reply

EMAIL_SCOPE = "https://www.googleapis.com/auth/userinfo.email"


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


@pytest.mark.parametrize("form", ["pkcs8", "pkcs1", "crlf", "bare"])
def test_a_key_in_any_form_gets_a_token(
    services: Google, account: ServiceAccount, form: str
) -> None:
    refreshed(services, by_key(account, form=form))
    (given,) = services.oauth.given
    assert given.claims["scope"] == CLOUD
    assert_recorded(services, "sa-jwt-bearer")


@pytest.mark.parametrize("form", ["locked", "ec"])
def test_the_client_refuses_a_key_that_cannot_sign(account: ServiceAccount, form: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        by_key(account, form=form).refresh(Transport())


def test_a_delegated_user_with_two_scopes_gets_a_token(
    services: Google, account: ServiceAccount
) -> None:
    credentials = by_key(account, (CLOUD, EMAIL_SCOPE)).with_subject("user@example.com")
    refreshed(services, credentials)
    assert_recorded(services, "sa-jwt-bearer-two-scopes-subject")
    with pytest.raises(exceptions.RefreshError, match="unauthorized_client"):
        credentials.with_subject("somebody@example.com").refresh(Transport())
    assert len(services.oauth.refused) == 1


def test_an_old_file_gets_its_token_elsewhere(services: Google) -> None:
    """google-auth writes the same audience whatever the file says; only for it that is taken."""
    old = ServiceAccount(token_uri="https://www.googleapis.com/oauth2/v4/token")
    services.oauth.accounts[old.email] = old
    refreshed(services, by_key(old))
    assert_recorded(services, "sa-legacy-token-uri")
    services.oauth.official = False
    with pytest.raises(exceptions.RefreshError, match="invalid_grant"):
        by_key(old).refresh(Transport())


def test_a_user_gets_a_token(services: Google) -> None:
    refreshed(services, of_users.Credentials.from_authorized_user_info(USER.file()))
    assert_recorded(services, "authorized-user")


def test_an_account_that_acts_as_another_gets_a_token(
    services: Google, account: ServiceAccount
) -> None:
    target, middle = "target@proj.iam.gserviceaccount.com", "mid@proj.iam.gserviceaccount.com"
    services.iam.targets[target] = Target({account.email}, [middle])
    made = impersonated_credentials.Credentials(
        by_key(account), target, [CLOUD], delegates=[middle], lifetime=1200
    )
    refreshed(services, made)
    assert_recorded(services, "impersonated-from-sa")
    file = impersonated(target, USER.file())
    read = impersonated_credentials.Credentials.from_impersonated_service_account_info(
        file, scopes=[CLOUD]
    )
    with pytest.raises(exceptions.RefreshError, match="PERMISSION_DENIED"):
        read.refresh(Transport())
    services.iam.targets[target] = Target({USER.client_id})
    read.refresh(Transport())
    (asked, other) = services.iam.asked
    assert (asked.by.kind, other.by.kind) == ("service_account", "user")
    assert services.ledger.alive(read.token)


# The metadata server.


def test_a_machine_gets_a_token(services: Google) -> None:
    refreshed(services, compute_engine.Credentials(scopes=[CLOUD]))
    assert_recorded(services, "gce-token")
    (_, token) = services.metadata.given[0]
    assert (token.who, token.scopes) == (EMAIL, (CLOUD,))


def test_a_machine_gets_a_token_with_two_scopes(services: Google) -> None:
    refreshed(services, compute_engine.Credentials(scopes=[CLOUD, EMAIL_SCOPE]))
    assert_recorded(services, "gce-token-scopes")


def test_a_machine_is_found_when_nothing_is_configured(services: Google) -> None:
    services.metadata.universe = "googleapis.com"
    credentials, project = google.auth.default(scopes=[CLOUD])
    refreshed(services, credentials)
    assert (project, credentials.universe_domain) == ("proj", "googleapis.com")
    assert_recorded(services, "adc-metadata")


def test_the_metadata_server_is_found_where_the_environment_says(services: Google) -> None:
    """The client reads that when it is loaded, so another process does it."""
    code = (
        "from google.auth import compute_engine\n"
        "from google.auth.transport.requests import Request\n"
        "credentials = compute_engine.Credentials()\n"
        "credentials.refresh(Request())\n"
        "print(credentials.token)"
    )
    address = f"127.0.0.1:{services.metadata.port}"
    environment = {**os.environ, "GCE_METADATA_HOST": address}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert services.ledger.alive(done.stdout.strip())
    assert {request.authority.decode() for request in services.metadata.requests} == {address}
    assert services.refused == []


def test_a_machine_without_an_account_gets_none(services: Google) -> None:
    services.metadata.script(lambda _: Reply(404, body=b"not found"))
    with pytest.raises(exceptions.RefreshError, match="not found"):
        compute_engine.Credentials(scopes=[CLOUD]).refresh(Transport())
