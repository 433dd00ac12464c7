"""google-auth understands the errors of the stand-ins for Google."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.auth import exceptions, impersonated_credentials
from google.auth.transport.requests import Request as Transport

from google_iam import Target
from google_keys import CLOUD, ServiceAccount
from google_official import (
    SUBJECT,
    assert_recorded,
    by_key,
    external,
    official,
)
from google_rules import Life, api_error, oauth_error, stamp
from google_services import Google
from google_sts import Provider
from replies import json_reply
from upstream import Authority


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


RETRIED = {
    "sa-error-429": (429, "rate_limited"),
    "sa-error-503": (503, "server_error"),
    "sa-error-internal-failure": (500, "internal_failure"),
}


@pytest.mark.parametrize("run", RETRIED)
def test_the_client_tries_again_what_may_pass(
    services: Google, account: ServiceAccount, run: str
) -> None:
    status, error = RETRIED[run]
    services.oauth.script(account.email, lambda _: oauth_error(status, error, "no"), times=None)
    with pytest.raises(exceptions.RefreshError, match=error):
        by_key(account).refresh(Transport())
    assert_recorded(services, run)


def test_the_client_understands_that_its_key_is_refused(
    services: Google, account: ServiceAccount
) -> None:
    other = ServiceAccount()
    stolen = by_key(account, private_key=other.pem())
    with pytest.raises(exceptions.RefreshError, match=r"invalid_grant: Invalid JWT Signature\."):
        stolen.refresh(Transport())
    assert_recorded(services, "sa-error-invalid-grant-signature")


def test_the_client_understands_that_its_account_is_gone(
    services: Google, account: ServiceAccount
) -> None:
    services.oauth.accounts.clear()
    with pytest.raises(exceptions.RefreshError, match="account not found"):
        by_key(account).refresh(Transport())


def test_the_client_understands_that_a_scope_is_refused(
    services: Google, account: ServiceAccount
) -> None:
    with pytest.raises(exceptions.RefreshError, match="invalid_scope"):
        by_key(account, ("https://www.googleapis.com/auth/nothing",)).refresh(Transport())


def test_an_answer_may_lack_what_the_client_wants(
    services: Google, account: ServiceAccount
) -> None:
    services.oauth.life = Life(raw=None)
    credentials = by_key(account)
    credentials.refresh(Transport())
    assert services.ledger.alive(credentials.token)
    assert credentials.expiry is None
    assert_recorded(services, "sa-no-expires-in")
    services.oauth.script(account.email, lambda _: json_reply({"id_token": "x"}))
    with pytest.raises(exceptions.RefreshError, match="No access token in response"):
        by_key(account).refresh(Transport())


def test_the_client_understands_what_is_wrong_with_a_subject_token(
    services: Google, tmp_path: Path
) -> None:
    provider = Provider(listed={SUBJECT})
    file = tmp_path / "subject"
    file.write_text(SUBJECT)
    credentials = external(provider, {"file": str(file)})
    with pytest.raises(exceptions.OAuthError, match="invalid_target"):
        credentials.refresh(Transport())
    assert_recorded(services, "sts-error-audience")
    services.sts.providers[provider.name] = Provider()
    with pytest.raises(exceptions.OAuthError, match="invalid_grant"):
        credentials.refresh(Transport())
    assert len(services.sts.refused) == 2


def test_the_client_understands_an_error_of_iam(services: Google, account: ServiceAccount) -> None:
    target = "target@proj.iam.gserviceaccount.com"
    made = impersonated_credentials.Credentials(by_key(account), target, [CLOUD])
    with pytest.raises(exceptions.RefreshError, match="NOT_FOUND"):
        made.refresh(Transport())
    services.iam.targets[target] = Target({account.email})
    services.iam.script(target, lambda _: api_error(403, "PERMISSION_DENIED", "not today"))
    with pytest.raises(exceptions.RefreshError, match="not today"):
        made.refresh(Transport())
    made.refresh(Transport())
    assert services.ledger.alive(made.token)


def test_the_client_takes_no_fraction_of_a_second(
    services: Google, account: ServiceAccount
) -> None:
    """That is why the stand-in writes none unless it is told to; Google may."""
    target = "target@proj.iam.gserviceaccount.com"
    services.iam.targets[target] = Target(
        {account.email}, stamp=lambda end: stamp(end, ".123456789")
    )
    made = impersonated_credentials.Credentials(by_key(account), target, [CLOUD])
    with pytest.raises(exceptions.RefreshError, match=r"\.123456789Z"):
        made.refresh(Transport())


def test_the_client_s_own_jwt_counts_at_vertex(services: Google) -> None:
    own = ServiceAccount("sa@proj.my-universe.iam.gserviceaccount.com", universe="my.example")
    services.oauth.accounts[own.email] = own
    credentials = by_key(own)
    credentials.refresh(Transport())
    assert services.vertex.owner(credentials.token) == own.email
    assert services.count() == 0
