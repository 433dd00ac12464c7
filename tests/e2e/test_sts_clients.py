"""botocore gets its sessions from the stand-in for STS, and sends what was recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import botocore.exceptions
import botocore.session
import pytest
import urllib3.util.connection

import sdk
from aws import REGION, STATIC, Keys, parsed
from bedrock import MODEL
from entra_rules import Federation, fields
from oidc import ID, Issuer
from sts import HOST, Sts, arn
from sts_answers import failure
from sts_rules import AUDIENCE, CHAIN, Role
from upstream import Authority
from wire import Request

RECORDINGS = Path(__file__).parent / "recordings"
GLOBAL = "sts.amazonaws.com"
BEDROCK = f"bedrock-runtime.{REGION}.amazonaws.com"
SENT = tuple[str, str, str, str | None, list[str], list[str]]


@pytest.fixture
def issuer() -> Issuer:
    """Signs tokens; it need not run."""
    issuer = Issuer("https://idp.test/realms/a")
    issuer.claims["aud"] = AUDIENCE
    return issuer


@pytest.fixture
def sts(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, issuer: Issuer, tmp_path: Path
) -> Iterator[Sts]:
    """The stand-in, with Bedrock at its side: botocore arrives there when it calls either by its
    real name."""
    sdk.isolate(monkeypatch)
    for name in ("ROLE_ARN", "ROLE_SESSION_NAME", "WEB_IDENTITY_TOKEN_FILE", "RETRY_MODE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("STS_REGIONAL_ENDPOINTS", "ENDPOINT_URL_STS", "MAX_ATTEMPTS"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    trusted = tmp_path / "ca.pem"
    trusted.write_text(authority.pem)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    hosts = {HOST: REGION, GLOBAL: "us-east-1"}
    tls = authority.server_context([*hosts, BEDROCK], http2=False)
    roles = {"r": Role(federations=[Federation(issuer.issuer, ID, issuer.keys, AUDIENCE)])}
    with Sts(roles, hosts=hosts, official=True, tls=tls) as server:
        server.on(lambda request: request.authority == BEDROCK.encode(), server.provider)
        real = urllib3.util.connection.create_connection

        def connect(address: tuple[str, int], *args: Any, **options: Any) -> Any:
            assert address in [(name, 443) for name in (*hosts, BEDROCK)], f"a call to {address}"
            return real(("127.0.0.1", server.port), *args, **options)

        monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
        yield server
        assert server.misused == []
        assert server.errors == []


@pytest.fixture
def irsa(sts: Sts, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The environment of a pod with a service account; the file of its token."""
    file = tmp_path / "token"
    file.write_text(issuer.token())
    monkeypatch.setenv("AWS_ROLE_ARN", arn("r"))
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
    return file


def converse(**client: Any) -> dict[str, Any]:
    """A conversation by a new botocore."""
    made = botocore.session.Session().create_client("bedrock-runtime", **client)
    return made.converse(modelId=MODEL, messages=[{"role": "user", "content": [{"text": "hi"}]}])


def recorded(name: str) -> list[SENT]:
    """Each request of a recording: method, host, target, content-type, names of the form's fields,
    names of headers."""
    requests = json.loads((RECORDINGS / f"aws-sts-{name}.json").read_text())["requests"]
    forms = []
    for request in requests:
        headers = {key.lower(): value for key, value in request["headers"]}
        names = [pair[0] for pair in request.get("form") or []]
        kind = headers.get("content-type")
        place = request["method"], request["host"], request["target"]
        forms.append((*place, kind, names, sorted(headers)))
    return forms


def sent(sts: Sts) -> list[SENT]:
    """The same of the requests that the stand-in got."""
    return [
        (
            request.method,
            request.authority.decode(),
            request.target.decode(),
            request.header("content-type"),
            [name for name, _ in fields(request.body)] if request.target == b"/" else [],
            sorted({name.decode() for name, _ in request.headers}),
        )
        for request in sts.requests
    ]


ENVIRONMENTS: Mapping[str, dict[str, str]] = {
    "web-identity-irsa": {"AWS_ROLE_SESSION_NAME": "sess"},
    "web-identity-irsa-no-session-name": {},
    "web-identity-legacy-endpoint": {"AWS_STS_REGIONAL_ENDPOINTS": "legacy"},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_botocore_takes_on_a_role_and_signs_with_it(
    sts: Sts, irsa: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for variable, value in ENVIRONMENTS[name].items():
        monkeypatch.setenv(variable, value)
    assert converse()["stopReason"] == "end_turn"
    assert sent(sts) == recorded(name)
    assert sts.refused == []
    (session,) = sts.sessions("r")
    (form,) = sts.forms("r")
    assert form["WebIdentityToken"] == irsa.read_text()
    assert session.name == form["RoleSessionName"]
    assert session.source == ID
    if "AWS_ROLE_SESSION_NAME" in ENVIRONMENTS[name]:
        assert session.name == "sess"
    assert parsed(sts.requests[1]).access == session.keys.access


def test_botocore_reads_the_end_of_a_session(sts: Sts, irsa: Path) -> None:
    sts.life = 1800
    credentials = botocore.session.Session().get_credentials()
    frozen = credentials.get_frozen_credentials()
    (session,) = sts.sessions("r")
    assert Keys(frozen.access_key, frozen.secret_key, frozen.token) == session.keys
    told = credentials._expiry_time - datetime.fromtimestamp(session.end, timezone.utc)
    assert abs(told.total_seconds()) < 1.1


ERRORS: Mapping[str, int] = {
    "AccessDenied": 403,
    "IDPRejectedClaim": 400,
    "InvalidIdentityToken": 400,
    "RegionDisabledException": 400,
    "ServiceUnavailable": 503,
}


@pytest.mark.parametrize("code", ERRORS)
def test_botocore_understands_an_error_of_the_stand_in(sts: Sts, irsa: Path, code: str) -> None:
    sts.script("r", lambda: failure(ERRORS[code], code, form="xml"), times=None)
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        converse()
    assert raised.value.response["Error"]["Code"] == code
    assert sent(sts) == recorded(f"error-{code}")


def test_botocore_tries_again_when_the_provider_cannot_be_reached(sts: Sts, irsa: Path) -> None:
    sts.script("r", lambda: failure(400, "IDPCommunicationError", form="xml"))
    assert converse()["stopReason"] == "end_turn"
    assert [form["RoleArn"] for form in sts.forms("r")] == [arn("r")]
    assert len(sts.of("r")) == 2


REFUSED: Mapping[str, tuple[Callable[[Issuer], str], str]] = {
    "ended": (lambda one: one.token(exp=1, iat=0), "ExpiredTokenException"),
    "other audience": (lambda one: one.token(aud="sts"), "InvalidIdentityToken"),
    "other issuer": (lambda one: one.token(iss="https://idp.test"), "InvalidIdentityToken"),
    "other subject": (lambda one: one.token(sub="somebody"), "AccessDenied"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_botocore_understands_that_a_token_is_refused(
    sts: Sts, irsa: Path, issuer: Issuer, name: str
) -> None:
    bend, code = REFUSED[name]
    irsa.write_text(bend(issuer))
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        converse()
    assert raised.value.response["Error"]["Code"] == code
    assert [line.partition(":")[0] for line in sts.refused] == [code]
    assert not sts.issued


def test_botocore_takes_on_a_role_of_a_profile(
    sts: Sts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    user = sts.user("gateway", STATIC)
    sts.roles[arn("team/next")] = Role(principals=[user], external="e:1/2", longest=7200)
    file = tmp_path / "config"
    file.write_text(
        f"[profile next]\nrole_arn = {arn('team/next')}\nsource_profile = first\n"
        "external_id = e:1/2\nduration_seconds = 7200\nrole_session_name = sess\n"
        f"[profile first]\n{STATIC.ini().partition(chr(10))[2]}"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "next")
    assert converse()["stopReason"] == "end_turn"
    assert sts.refused == []
    (form,) = sts.forms("team/next")
    assert form == {
        "Action": CHAIN,
        "Version": "2011-06-15",
        "RoleArn": arn("team/next"),
        "RoleSessionName": "sess",
        "ExternalId": "e:1/2",
        "DurationSeconds": "7200",
    }
    (session,) = sts.sessions("team/next")
    assert session.arn == "arn:aws:sts::123456789012:assumed-role/next/sess"
    assert 7190 < session.end - session.issued < 7210
    first, second = sts.requests
    assert signature(first) == (STATIC.access, "sts", ("content-type", "host", "x-amz-date"))
    assert signature(second)[0] == session.keys.access


def signature(request: Request) -> tuple[str, str, tuple[str, ...]]:
    """Whose it is, for which service, and of which headers."""
    found = parsed(request)
    return found.access, found.service, found.signed


def test_botocore_takes_on_one_role_after_another(sts: Sts, irsa: Path) -> None:
    sts.roles[arn("second")] = Role(principals=[arn("r")])
    client = botocore.session.Session().create_client("sts")
    tags = [{"Key": "team", "Value": "a b"}, {"Key": "Cost", "Value": ""}]
    client.assume_role(RoleArn=arn("second"), RoleSessionName="next", Tags=tags)
    (first,), (second,) = sts.sessions("r"), sts.sessions("second")
    assert second.source == first.arn
    assert second.tags == {"team": "a b", "Cost": ""}
    assert sts.refused == []
    request = sts.requests[1]
    assert signature(request)[2][2:] == ("x-amz-date", "x-amz-security-token")
    with pytest.raises(client.exceptions.ClientError) as raised:
        client.assume_role(RoleArn=arn("second"), RoleSessionName="next", DurationSeconds=3601)
    assert raised.value.response["Error"]["Code"] == "ValidationError"


def test_botocore_understands_that_its_keys_are_refused(sts: Sts) -> None:
    sts.user("gateway", STATIC)
    sts.roles[arn("r")] = Role(principals=[sts.user("other", Keys("AKIDOTHER", "x"))], external="e")

    def code(keys: Keys, **options: Any) -> str:
        client = sdk.boto(None, keys, REGION, "sts")
        with pytest.raises(client.exceptions.ClientError) as raised:
            client.assume_role(RoleArn=arn("r"), RoleSessionName="sess", **options)
        return raised.value.response["Error"]["Code"]

    assert code(STATIC, ExternalId="ee") == "AccessDenied"
    assert code(Keys("AKIDOTHER", "x"), ExternalId="ee") == "AccessDenied"
    assert code(Keys("AKIDOTHER", "x")) == "AccessDenied"
    assert code(Keys(STATIC.access, "wrong")) == "SignatureDoesNotMatch"
    assert code(Keys(STATIC.access, STATIC.secret, "token")) == "InvalidClientTokenId"
    assert code(Keys("AKIDNOBODY", "x")) == "InvalidClientTokenId"
    assert not sts.issued
