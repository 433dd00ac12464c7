"""A server that is not ours checks the signatures: moto, with users, roles and keys of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import raw
import sdk
from aws import THEIRS, Keys, bedrock
from bootstrap import bootstrap, cluster, listener, wasm_filter
from envoy import Envoy
from gateway import assert_no_panic, host, routes
from launch import poll
from manifests import config
from wire import Header

ALLOW = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
TRUST = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole",'
    '"Principal":{"AWS":"*"}}]}'
)
ROLE = "arn:aws:iam::123456789012:role/bedrock"
BODY = '{"prompt": "Grüße"}'.encode()
PATHS = {
    "an encoded colon": b"/model/anthropic.claude-v2%3A0/invoke",
    "a raw colon": b"/model/anthropic.claude-v2:0/invoke",
    "lower-case hex": b"/model/anthropic.claude-v2%3a0/invoke",
    "an ARN": b"/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3A"
    b"inference-profile%2Fus.x-v1%3A0/invoke",
}


@dataclass
class Moto:
    """Where it listens, and the keys that it has given."""

    port: int
    user: Keys
    role: Keys


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """A server that wants every request to be signed."""
    log = tmp_path_factory.mktemp("moto") / "log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with (
        log.open("wb") as file,
        pytest.MonkeyPatch.context() as monkeypatch,
        subprocess.Popen(command, env=kept, stdout=file, stderr=file) as process,
    ):
        sdk.isolate(monkeypatch)
        try:
            yield prepared(poll(lambda: address(log), 60, log.read_text))
        finally:
            process.terminate()


def address(log: Path) -> int | None:
    """The port, once it is known."""
    found = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())
    return int(found[1]) if found else None


def prepared(port: int) -> Moto:
    """A user and a role who may do everything, and from now on nobody else."""
    url, anyone = f"http://127.0.0.1:{port}", Keys("any", "any")
    iam, sts = (sdk.boto(url, anyone, "us-east-1", service) for service in ("iam", "sts"))
    iam.create_user(UserName="gateway")
    iam.put_user_policy(UserName="gateway", PolicyName="all", PolicyDocument=ALLOW)
    made = iam.create_access_key(UserName="gateway")["AccessKey"]
    iam.create_role(RoleName="bedrock", AssumeRolePolicyDocument=TRUST)
    iam.put_role_policy(RoleName="bedrock", PolicyName="all", PolicyDocument=ALLOW)
    lent = sts.assume_role(RoleArn=ROLE, RoleSessionName="gateway")["Credentials"]
    kind = {"content-type": "text/plain"}
    with httpx.Client(trust_env=False) as client:
        client.post(f"{url}/moto-api/reset-auth", content="0", headers=kind).raise_for_status()
    user = Keys(made["AccessKeyId"], made["SecretAccessKey"])
    role = Keys(lent["AccessKeyId"], lent["SecretAccessKey"], lent["SessionToken"])
    return Moto(port, user, role)


@pytest.fixture(scope="module")
def envoy(moto: Moto) -> Iterator[Envoy]:
    """In front of it, with good and with wrong keys; `none` is without the filter."""
    policies = {
        "user": moto.user,
        "role": moto.role,
        "wrong-secret": Keys(moto.user.access, moto.role.secret),
        "wrong-token": Keys(moto.role.access, moto.role.secret, "x" + (moto.role.token or "")),
        "no-token": Keys(moto.role.access, moto.role.secret),
        "unknown-key": Keys("AKIAUNKNOWNUNKNOWN00", moto.user.secret),
    }
    plugin = config(*(bedrock(name, keys) for name, keys in policies.items()))
    clusters = [cluster(name, [moto.port], filters=[wasm_filter(plugin)]) for name in policies]
    clusters.append(cluster("none", [moto.port]))
    front = listener(routes([one["name"] for one in clusters]))
    with Envoy(bootstrap([front], clusters)) as envoy:
        yield envoy
        assert_no_panic(envoy)


def invoke(envoy: Envoy, name: str, target: bytes, *headers: Header) -> raw.Response:
    """An InvokeModel without a signature."""
    fields = [(b"host", host(name)), (b"content-type", b"application/json"), *headers]
    return raw.request(envoy.port(), b"POST", target, fields, BODY)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("who", ["user", "role"])
def test_what_the_filter_signs_is_accepted(envoy: Envoy, who: str, path: bytes) -> None:
    assert invoke(envoy, "none", path).status != 200
    answer = invoke(envoy, who, path)
    assert (answer.status, answer.body) == (200, b"{}")


def test_a_signature_of_the_caller_changes_nothing(envoy: Envoy) -> None:
    scope = b"AKIDOFTHECALLER00004/20150830/us-east-1/bedrock/aws4_request"
    signature = b"AWS4-HMAC-SHA256 Credential=" + scope + b", SignedHeaders=host, Signature=00"
    theirs = [
        (b"authorization", signature),
        (b"x-amz-date", b"20150830T123600Z"),
        (b"x-amz-security-token", (THEIRS.token or "").encode()),
        (b"x-amz-content-sha256", b"0" * 64),
    ]
    path = PATHS["an encoded colon"]
    assert invoke(envoy, "none", path, *theirs).status != 200
    assert invoke(envoy, "user", path, *theirs).status == 200


@pytest.mark.parametrize("who", ["wrong-secret", "wrong-token", "no-token", "unknown-key"])
def test_what_is_signed_with_wrong_keys_is_not(envoy: Envoy, who: str) -> None:
    assert invoke(envoy, who, PATHS["an encoded colon"]).status == 403
    assert invoke(envoy, "user", PATHS["an encoded colon"]).status == 200


@pytest.mark.parametrize("keys", [None, THEIRS], ids=["unsigned", "wrong keys"])
def test_boto3_works_through_the_gateway_whatever_its_own_keys_are(
    envoy: Envoy, moto: Moto, keys: Keys | None
) -> None:
    direct = sdk.boto(f"http://127.0.0.1:{moto.port}", keys)
    with pytest.raises(direct.exceptions.ClientError):
        direct.invoke_model(modelId="anthropic.claude-v2:0", body=BODY)
    through = sdk.boto(envoy.url("/user"), keys)
    answer = through.invoke_model(modelId="anthropic.claude-v2:0", body=BODY)
    assert answer["body"].read() == b"{}"
