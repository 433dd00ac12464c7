"""A server that is not ours gives the roles and checks every signature: moto, over TLS.

It answers XML only, gives sessions of an hour, and does not look at tokens; what those are good for
is shown by the stand-in (test_sts_*.py). It writes a form anew before it checks the signature, so a
space in it has to be a plus sign; the stand-in shows spaces too.
"""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

import raw
import sdk
from aws import Keys, ambient, bedrock
from bootstrap import bootstrap, cluster, listener, upstream_tls, wasm_filter
from egress import FILES, SETTINGS, calls, egress
from envoy import Envoy
from gateway import assert_no_panic, host, routes
from launch import poll
from manifests import config
from mounts import Secret, complaints, failed
from oidc import PASSWORD, OidcProvider, oidc
from sts import HOST, arn, exchanging
from sts_rig import IDP, JSON, THEIRS
from sts_rules import CHAIN, FORM, WEB
from upstream import Authority

ALLOW = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
TRUST = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",'
    '"Principal":{"AWS":"*"}}]}'
)
EXTERNAL = "e:1/2"
TRUST_BY_ID = TRUST.replace(
    '"*"}', '"*"},"Condition":{"StringEquals":{"sts:ExternalId":"' + EXTERNAL + '"}}'
)
BODY = '{"prompt": "Grüße"}'.encode()
TARGET = b"/model/anthropic.claude-v2%3A0/invoke"
RESOURCE = "https://sts.amazonaws.com"
BEDROCK = "bedrock-runtime.us-east-1.amazonaws.com"
MAY, MAY_NOT = ("web", "next", "by-id", "pod"), ("idle", "idle-next")
"""Roles that may do everything, and others that may do nothing."""


@dataclass
class Moto:
    """Where it listens, and the keys of its user."""

    port: int
    user: Keys


@pytest.fixture(scope="module")
def moto(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """With authentication switched on."""
    folder = tmp_path_factory.mktemp("moto")
    log, chain, key, trusted = (folder / name for name in ("log", "chain", "key", "trusted"))
    leaf = authority.ca.issue_cert(HOST, BEDROCK, "127.0.0.1")
    chain.write_bytes(b"".join(one.bytes() for one in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    trusted.write_text(authority.pem)
    program = Path(__file__).parent / "sts_moto.py"
    command = [sys.executable, str(program), "-H", "127.0.0.1", "-p", "0"]
    command += ["-s", "-c", str(chain), "-k", str(key)]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with (
        log.open("wb") as file,
        pytest.MonkeyPatch.context() as monkeypatch,
        subprocess.Popen(command, env=kept, stdout=file, stderr=file) as process,
    ):
        sdk.isolate(monkeypatch)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
        try:
            port = int(poll(lambda: address(log), 60, log.read_text))
            yield prepared(port, authority)
        finally:
            process.terminate()


def address(log: Path) -> str | None:
    """The port, once it is known."""
    found = re.search(r"https://127\.0\.0\.1:(\d+)", log.read_text())
    return found[1] if found else None


def prepared(port: int, authority: Authority) -> Moto:
    """A user and roles, and from now on nobody else."""
    url = f"https://127.0.0.1:{port}"
    iam = sdk.boto(url, Keys("any", "any"), "us-east-1", "iam")
    iam.create_user(UserName="gateway")
    iam.put_user_policy(UserName="gateway", PolicyName="all", PolicyDocument=ALLOW)
    made = iam.create_access_key(UserName="gateway")["AccessKey"]
    for name in (*MAY, *MAY_NOT):
        trust = TRUST_BY_ID if name == "by-id" else TRUST
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    for name in MAY:
        iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=ALLOW)
    kind = {"content-type": "text/plain"}
    with trusting(authority) as client:
        client.post(f"{url}/moto-api/reset-auth", content="0", headers=kind).raise_for_status()
    return Moto(port, Keys(made["AccessKeyId"], made["SecretAccessKey"]))


def trusting(authority: Authority) -> httpx.Client:
    """A client that takes nothing from the environment."""
    return httpx.Client(verify=ssl.create_default_context(cadata=authority.pem), trust_env=False)


@dataclass
class Setup:
    """The gateway and what is around it."""

    envoy: Envoy
    idp: OidcProvider
    token: Path

    def invoke(self, name: str) -> raw.Response:
        """An InvokeModel with a signature of the caller's own, which is worth nothing."""
        fields = [(b"host", host(name)), JSON, *THEIRS]
        return raw.request(self.envoy.port(), b"POST", TARGET, fields, BODY)

    def wait_for(self, name: str, what: str) -> int:
        """A counter of a policy, as soon as it is not zero."""
        return self.envoy.wait_for_metric(f"policy.default/{name}.{what}")


def policies(user: Keys) -> dict[str, Any]:
    """By what they do: with a token, with keys, with both, and what has to go wrong."""
    wrong = Keys(user.access, user.secret[::-1])
    tokens = {name: oidc(IDP, name=name) for name in ("web", "idle", "web-next")}
    return {
        "web": exchanging("web", tokens["web"]),
        "idle": exchanging("idle", tokens["idle"]),
        "web-next": exchanging("web-next", tokens["web-next"], role=arn("web")),
        "next": bedrock("next", user),
        "by-id": bedrock("by-id", user),
        "other-id": bedrock("other-id", user),
        "idle-next": bedrock("idle-next", user),
        "wrong": bedrock("wrong", wrong),
        "pod": [ambient("pod")],
        "pod-next": [ambient("pod-next")],
    }


MORE = {"sessionName": "named@here", "tags": {"team": "a+b/c", "cost": ""}, "durationSeconds": 900}
ROLES: Mapping[str, dict[str, Any]] = {
    "web-next": {"roleArn": arn("next")},
    "next": {"roleArn": arn("next")},
    "by-id": {"roleArn": arn("by-id"), "externalID": EXTERNAL, **MORE},
    "other-id": {"roleArn": arn("by-id"), "externalID": EXTERNAL + "3"},
    "idle-next": {"roleArn": arn("idle-next")},
    "wrong": {"roleArn": arn("next")},
    "pod-next": {"roleArn": arn("next")},
}


@pytest.fixture(scope="module")
def setup(
    moto: Moto, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setup]:
    """One Envoy with all policies, in front of moto as STS and as Bedrock."""
    root = tmp_path_factory.mktemp("pod")
    volume = Secret(root, "token")
    with OidcProvider(IDP, authority, audiences={RESOURCE: "jwt"}) as idp:
        volume.swap({"token": token_of(idp)})
        env = {"AWS_ROLE_ARN": arn("pod"), "AWS_WEB_IDENTITY_TOKEN_FILE": str(volume.path("token"))}
        way = egress([root], ca_pem=authority.pem, hosts={HOST: moto.port, idp.host: idp.port})
        every = policies(moto.user)
        roles = {f"default/{name}": {"assumeRole": role} for name, role in ROLES.items()}
        plugin = config(*every.values(), policies=roles, credentialWait="2s", **SETTINGS)
        tls = upstream_tls(authority.pem, BEDROCK)
        filters = [wasm_filter(plugin, vm_env=env)]
        behind = [cluster(name, [moto.port], filters=filters, tls=tls) for name in every]
        behind.append(cluster("none", [moto.port], tls=tls))
        front = listener(routes([one["name"] for one in behind]))
        whole = bootstrap([front, *way.listeners], [*behind, *way.clusters], **way.bootstrap_extras)
        with Envoy(whole) as envoy:
            yield Setup(envoy, idp, volume.path("token"))
            assert_no_panic(envoy)


def token_of(idp: OidcProvider) -> str:
    """A token that somebody else has got."""
    form = {"grant_type": "client_credentials", "client_id": "the-gateway"}
    answer = idp.ask("POST", "/token", data={**form, "client_secret": PASSWORD})
    return answer.raise_for_status().json()["access_token"]


@pytest.mark.parametrize("name", ["web", "next", "by-id", "web-next", "pod", "pod-next"])
def test_what_a_session_has_signed_is_accepted(setup: Setup, name: str) -> None:
    assert setup.invoke("none").status != 200
    answer = setup.invoke(name)
    assert (answer.status, answer.body) == (200, b"{}"), complaints(setup.envoy)
    assert failed(setup.envoy, f"default/{name}") == {}
    assert setup.wait_for(name, "fetched") == 1


@pytest.mark.parametrize("name", ["idle", "idle-next"])
def test_a_role_that_may_do_nothing_is_the_one_that_signs(setup: Setup, name: str) -> None:
    answer = setup.invoke(name)
    assert answer.status == 403
    assert f"assumed-role/{name}/ai-gateway-{name}".encode() in answer.body
    assert b"not authorized" in answer.body
    assert setup.wait_for(name, "fetched") == 1


REFUSED = {
    "wrong": "SignatureDoesNotMatch",
    "other-id": "AccessDenied",
}


@pytest.mark.parametrize("name", REFUSED)
def test_who_is_not_trusted_gets_no_role(setup: Setup, name: str) -> None:
    setup.wait_for(name, "fetch_failed.denied")
    assert setup.invoke(name).status == 503
    (line, *_) = [one for one in complaints(setup.envoy, f"default/{name}") if "fail" in one]
    assert REFUSED[name] in line
    assert "403" in line
    assert failed(setup.envoy, f"default/{name}") == {"denied": 1}


def test_each_token_was_asked_for_once_and_the_file_was_read(setup: Setup) -> None:
    for name in ("web", "idle", "web-next", "pod", "pod-next"):
        setup.wait_for(name, "fetched")
    made = [one for one in calls(setup.envoy, HOST) if one.status == 200]
    assert {(one.method, one.path) for one in made} == {("POST", "/")}
    # A role each, and a further one for some.
    assert len(made) == 5 + 5
    assert [one.status for one in calls(setup.envoy, FILES, str(setup.token))] == [200, 200]
    # One more is that of the file.
    assert len([one for one in setup.idp.tokens() if one["status"] == 200]) == 3 + 1


def test_moto_is_what_it_is_taken_for(moto: Moto, authority: Authority) -> None:
    form = {"Version": "2011-06-15", "RoleArn": arn("web"), "RoleSessionName": "someone"}
    headers = {"host": HOST, "content-type": FORM, "accept": "application/json"}
    with trusting(authority) as client:

        def ask(**fields: str) -> httpx.Response:
            body = urlencode({**form, **fields})
            return client.post(f"https://127.0.0.1:{moto.port}/", content=body, headers=headers)

        answer = ask(Action=WEB, WebIdentityToken="a.b.c")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/xml")
        assert ask(Action=CHAIN).status_code >= 400
