"""The official clients of Azure get their tokens from the stand-in, and send what was recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msal
import pytest
import urllib3.util.connection
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientAssertionCredential, ClientSecretCredential

from entra import (
    CHINA,
    CLIENT,
    GOVERNMENT,
    PUBLIC,
    TENANT,
    Application,
    Entra,
    Life,
    scope_of,
    token_path,
)
from entra_rules import fields
from oidc import Issuer
from upstream import Authority

SECRET = "se~cret+/=&%"
RECORDINGS = Path(__file__).parent / "recordings"
Serve = Callable[..., Entra]


@pytest.fixture
def issuer() -> Issuer:
    """Signs assertions."""
    return Issuer()


@pytest.fixture
def serve(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, issuer: Issuer, tmp_path: Path
) -> Iterator[Serve]:
    """Starts the stand-in of an authority, at which the clients of this process then arrive when
    they call it by its real name."""
    trusted = tmp_path / "ca.pem"
    trusted.write_text(authority.pem)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv("AZURE_AUTHORITY_HOST", raising=False)
    monkeypatch.delenv("AZURE_REGIONAL_AUTHORITY_NAME", raising=False)
    started: list[Entra] = []

    def start(host: str = PUBLIC) -> Entra:
        application = Application(secret=SECRET, federations=[issuer.federation()])
        tls = authority.server_context([host], http2=False)
        entra = Entra({(TENANT, CLIENT): application}, host=host, official=True, tls=tls)
        started.append(entra.__enter__())
        real = urllib3.util.connection.create_connection

        def connect(address: tuple[str, int], *args: Any, **options: Any) -> Any:
            assert address == (host, 443), f"a call to {address}"
            return real(("127.0.0.1", entra.port), *args, **options)

        monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
        return entra

    yield start
    for entra in started:
        entra.__exit__()


def by_secret(secret: str = SECRET, host: str = PUBLIC, **options: Any) -> ClientSecretCredential:
    """A credential of azure-identity that does not try again by itself."""
    return ClientSecretCredential(TENANT, CLIENT, secret, authority=host, retry_total=0, **options)


def by_assertion(assertion: str) -> ClientAssertionCredential:
    """Another one."""
    return ClientAssertionCredential(TENANT, CLIENT, lambda: assertion, retry_total=0)


def by_msal(credential: Any) -> dict[str, Any]:
    """What plain msal obtains."""
    application = msal.ConfidentialClientApplication(
        CLIENT, client_credential=credential, authority=f"https://{PUBLIC}/{TENANT}"
    )
    return application.acquire_token_for_client([scope_of(PUBLIC)])


def recorded(name: str) -> list[tuple[str, str, str | None, list[str]]]:
    """Each request of a recording: method, target, content-type, names of the form's fields."""
    requests = json.loads((RECORDINGS / f"azure-{name}.json").read_text())["requests"]
    forms = []
    for request in requests:
        headers = {key.lower(): value for key, value in request["headers"]}
        names = sorted(pair[0] for pair in request.get("form", []))
        forms.append((request["method"], request["target"], headers.get("content-type"), names))
    return forms


def sent(entra: Entra) -> list[tuple[str, str, str | None, list[str]]]:
    """The same of the requests that the stand-in got."""
    return [
        (
            request.method,
            request.target.decode(),
            request.header("content-type"),
            sorted(name for name, _ in fields(request.body)) if request.body else [],
        )
        for request in entra.requests
    ]


def assert_understood(entra: Entra, token: str, life: float, told: float) -> None:
    """The client has a token of ours and knows how long it lives."""
    assert entra.alive(token)
    assert entra.refused == []
    assert abs(told - life) < 5


def test_azure_identity_gets_a_token_by_secret(serve: Serve) -> None:
    entra = serve()
    token = by_secret().get_token_info(scope_of(PUBLIC))
    end = entra.issued[token.token].end
    assert_understood(entra, token.token, end, token.expires_on)
    assert sent(entra) == recorded("client-secret")


def test_azure_identity_needs_no_instance_discovery(serve: Serve) -> None:
    entra = serve()
    token = by_secret(disable_instance_discovery=True).get_token(scope_of(PUBLIC))
    assert entra.alive(token.token)
    assert sent(entra) == recorded("client-secret-no-discovery")


@pytest.mark.parametrize("host", [GOVERNMENT, CHINA])
def test_azure_identity_gets_a_token_of_another_cloud(serve: Serve, host: str) -> None:
    entra = serve(host)
    token = by_secret(host=host).get_token(scope_of(host))
    assert entra.alive(token.token)
    assert sent(entra) == recorded("client-secret-usgov")
    assert set(entra.server_names) == {host}


def test_azure_identity_gets_a_token_by_assertion(serve: Serve, issuer: Issuer) -> None:
    entra = serve()
    token = by_assertion(issuer.token()).get_token_info(scope_of(PUBLIC))
    end = entra.issued[token.token].end
    assert_understood(entra, token.token, end, token.expires_on)
    assert sent(entra) == recorded("client-assertion")


def test_msal_gets_a_token_by_secret(serve: Serve) -> None:
    entra = serve()
    entra.life = Life(seconds=1234, kind="jwt")
    answer = by_msal(SECRET)
    assert_understood(entra, answer["access_token"], 1234, answer["expires_in"])
    assert sent(entra) == recorded("msal-client-secret")


def test_msal_gets_a_token_by_assertion(serve: Serve, issuer: Issuer) -> None:
    entra = serve()
    answer = by_msal({"client_assertion": issuer.token})
    assert_understood(entra, answer["access_token"], 3599, answer["expires_in"])
    assert sent(entra) == recorded("msal-client-assertion")


def test_the_recorded_secret_arrives_as_it_was(serve: Serve) -> None:
    entra = serve()
    by_secret().get_token(scope_of(PUBLIC))
    token = next(one for one in entra.requests if one.path == token_path(TENANT))
    recording = json.loads((RECORDINGS / "azure-client-secret.json").read_text())
    assert dict(fields(token.body)) == dict(recording["requests"][1]["form"])


REFUSED: dict[str, tuple[Callable[[Entra], None], str]] = {
    "AADSTS7000215": (lambda one: None, "wrong"),
    "AADSTS90002": (lambda one: one.applications.clear(), SECRET),
    "AADSTS1002012": (lambda one: None, SECRET),
    "AADSTS700016": (
        lambda one: one.applications.update({(TENANT, "other"): one.applications.popitem()[1]}),
        SECRET,
    ),
}


@pytest.mark.parametrize("code", REFUSED)
def test_azure_identity_understands_a_refusal(serve: Serve, code: str) -> None:
    entra = serve()
    prepare, secret = REFUSED[code]
    prepare(entra)
    scope = "https://a.test/x" if code == "AADSTS1002012" else scope_of(PUBLIC)
    with pytest.raises(ClientAuthenticationError, match=f"{code}: "):
        by_secret(secret).get_token(scope)
    assert sent(entra) == recorded(f"error-{code}")


def test_azure_identity_understands_that_an_assertion_is_refused(
    serve: Serve, issuer: Issuer
) -> None:
    entra = serve()
    with pytest.raises(ClientAuthenticationError, match="AADSTS700213: "):
        by_assertion(issuer.token(sub="somebody")).get_token(scope_of(PUBLIC))
    with pytest.raises(ClientAuthenticationError, match="AADSTS700024: "):
        by_assertion(issuer.token(exp=1)).get_token(scope_of(PUBLIC))
    assert len(entra.refused) == 2


def test_msal_understands_a_refusal(serve: Serve) -> None:
    entra = serve()
    answer = by_msal("wrong")
    assert answer["error"] == "invalid_client"
    assert answer["error_codes"] == [7000215]
    assert len(entra.refused) == 1
