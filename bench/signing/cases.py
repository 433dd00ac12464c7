"""What is compared: who signs, how large the body is, and how it arrives."""

from __future__ import annotations

from dataclasses import dataclass

import manifests
from bootstrap import Config, extension, wasm_filter

ACCESS_KEY = "AKIDOFTHEBENCHMARK01"
SECRET_KEY = "se/cret+key/of/the+benchmark/0123456789A"
"""The keys that both signers have, as long as real ones."""

REGION = "us-east-1"
SERVICE = "bedrock"
HOST = f"bedrock-runtime.{REGION}.amazonaws.com"
PATH = "/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"

HEADERS = (
    ("host", HOST),
    ("accept-encoding", "identity"),
    ("content-type", "application/json"),
    ("user-agent", "Boto3/1.42.0 md/Botocore#1.42.0 ua/2.1 os/linux md/arch#x86_64 lang/python"),
    ("x-amz-date", "20250101T000000Z"),
    (
        "authorization",
        "AWS4-HMAC-SHA256 Credential=AKIDOFTHECALLER00004/20250101/us-east-1/bedrock/aws4_request,"
        f" SignedHeaders=content-type;host;x-amz-date, Signature={'0' * 64}",
    ),
    ("amz-sdk-invocation-id", "6b1c2d38-3b0e-4f44-9d0c-0f2a5f3d9e11"),
    ("amz-sdk-request", "attempt=1"),
)
"""What AWS's own client sends, signed with keys that are worth nothing."""

BUFFER = 4 << 20
"""How much a listener and a cluster may hold: more than any body."""


@dataclass(frozen=True)
class Signer:
    """What stands in the upstream chain of a cluster."""

    name: str
    title: str
    signs: bool = False

    def filters(self) -> list[Config]:
        """The chain."""
        if self.name == "held":
            return [held()]
        if self.name == "native":
            return [native()]
        if self.name == "aigw":
            return [ours(self.name)]
        return []


NONE = Signer("none", "no filter")
AGAIN = Signer("again", "no filter again")
HELD = Signer("held", "held back, not signed (buffer)")
NATIVE = Signer("native", "aws_request_signing (native)", signs=True)
OURS = Signer("aigw", "aigw-auth", signs=True)
SIGNERS = (NONE, AGAIN, HELD, NATIVE, OURS)


@dataclass(frozen=True)
class Body:
    """A body and how it arrives."""

    size: int
    pieces: int = 1
    """More than one arrive over time."""

    @property
    def name(self) -> str:
        """For the file of results."""
        return f"{self.size}-{'over-time' if self.over_time else 'at-once'}"

    @property
    def title(self) -> str:
        """For people."""
        return f"{size_title(self.size)}, {'over time' if self.over_time else 'at once'}"

    @property
    def over_time(self) -> bool:
        """Whether time passes between its pieces."""
        return self.pieces > 1


SIZES = (1 << 10, 100 << 10, 1 << 20)
PIECES = 20
BODIES = (*(Body(size) for size in SIZES), *(Body(size, PIECES) for size in SIZES))


def size_title(size: int) -> str:
    """`1 KB`, `100 KB`, `1 MB`."""
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} KB"


# Filters.


def held() -> Config:
    """Waits for the whole body and does nothing else: what a signer cannot save, since a signature
    stands before the body."""
    message = "filters.http.buffer.v3.Buffer"
    return extension("envoy.filters.http.buffer", message, max_request_bytes=BUFFER)


def native() -> Config:
    """Envoy's own signer, in C++."""
    keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}
    return extension(
        "envoy.filters.http.aws_request_signing",
        "filters.http.aws_request_signing.v3.AwsRequestSigning",
        service_name=SERVICE,
        region=REGION,
        use_unsigned_payload=False,
        credential_provider={"inline_credential": keys},
    )


def ours(backend: str) -> Config:
    """The filter, with one policy for one backend."""
    file = f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    credentials = {"region": REGION, "credentialsFile": {"secretRef": {"name": "keys"}}}
    policy = manifests.policy(backend, "AWSCredentials", awsCredentials=credentials)
    secret = manifests.secret("keys", "credentials", file)
    return wasm_filter(manifests.config(policy, secret), name=backend, vm_id=backend)
