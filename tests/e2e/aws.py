"""AWS keys for tests, the policies that hold them, and an independent check of signatures: botocore
signs what a provider received once more, at the time that the request tells of itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest import mock
from urllib.parse import unquote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from manifests import Manifest, policy, secret
from wire import Request

REGION = "us-east-1"
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<access>[^/, ]+)/(?P<day>\d{8})/(?P<region>[^/, ]+)"
    r"/(?P<service>[^/, ]+)/aws4_request, SignedHeaders=(?P<signed>[^, ]+),"
    r" Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Keys:
    """A pair of keys, temporary if there is a token."""

    access: str
    secret: str
    token: str | None = None

    def ini(self, profile: str = "default") -> str:
        """A profile of a credentials file."""
        lines = [f"[{profile}]", *(f"{name} = {value}" for name, value in self.fields().items())]
        return "\n".join(lines) + "\n"

    def fields(self) -> dict[str, str]:
        """The values by their names in a credentials file, which boto3 takes as arguments too."""
        fields = {"aws_access_key_id": self.access, "aws_secret_access_key": self.secret}
        return fields | ({"aws_session_token": self.token} if self.token else {})

    def environment(self) -> dict[str, str]:
        """The same as environment variables."""
        return {name.upper(): value for name, value in self.fields().items()}


STATIC = Keys("AKIDOFTHEGATEWAY0001", "st/Atic+Secret=of/the+gateway==0017")
TEMPORARY = Keys(
    "ASIAOFTHEGATEWAY0002", "teMp/orary+Secret%of/the#gateway0018", "FwoG//session+token/of=0019=="
)
OTHER = Keys("AKIDOFTHEOTHER000003", "otHer/Secret+of/the+gateway0020")
THEIRS = Keys("AKIDOFTHECALLER00004", "secret-of-the-caller-0021", "token-of-the-caller-0022")


def bedrock(
    name: str = "bedrock",
    keys: Keys | str = STATIC,
    region: str = REGION,
    targets: Sequence[str] | None = None,
    profile: str | None = None,
) -> list[Manifest]:
    """A policy and the Secret with its credentials file; a text is the file as it is."""
    text = keys if isinstance(keys, str) else keys.ini(profile or "default")
    file: Manifest = {"secretRef": {"name": f"{name}-file"}}
    if profile is not None:
        file["profile"] = profile
    return [
        policy(
            name,
            "AWSCredentials",
            targets,
            awsCredentials={"region": region, "credentialsFile": file},
        ),
        secret(f"{name}-file", "credentials", text),
    ]


def ambient(name: str = "bedrock", region: str = REGION) -> Manifest:
    """A policy whose keys come from the filter's surroundings."""
    return policy(name, "AWSCredentials", awsCredentials={"region": region})


@dataclass(frozen=True)
class Signature:
    """What an `authorization` tells."""

    access: str
    day: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str
    date: datetime


def verify(
    request: Request,
    keys: Keys = STATIC,
    *,
    region: str = REGION,
    host: str | None = None,
    also: Sequence[str] = (),
) -> Signature:
    """The request is signed with these keys for Bedrock in this region, now, as it was received.

    `host` is what it has to be addressed to; `also` are headers that a client signs of its own.
    """
    found = parsed(request)
    assert found.access == keys.access, f"signed with {found.access}, not {keys.access}"
    assert found.service == "bedrock", f"signed for the service {found.service}"
    assert found.region == region, f"signed for the region {found.region}, not {region}"
    age = abs(datetime.now(timezone.utc) - found.date)
    assert age < timedelta(minutes=1), f"its date is {age} away"
    assert host is None or request.authority == host.encode(), f"sent to {request.authority!r}"

    expected = {"host", "x-amz-date", *also}
    if keys.token:
        expected.add("x-amz-security-token")
    if request.values("content-type"):
        expected.add("content-type")
    assert found.signed == tuple(sorted(expected)), f"{found.signed}, not {sorted(expected)}"
    for name in {*expected, "authorization"} - {"host"}:
        assert len(request.values(name)) == 1, f"{name}: {request.values(name)}"
    hosts = [request.authority] if request.http_version == "1.1" else []
    assert request.values("host") == hosts, f"host: {request.values('host')}"
    wanted = [keys.token.encode()] if keys.token else []
    assert request.values("x-amz-security-token") == wanted, "not the session token of the keys"
    assert request.values("x-amz-content-sha256") == [], "a hash that nobody signed"
    assert b"x-amz-" not in request.query.lower(), request.query

    ours, seen = resigned(request, keys, found), request.header("authorization")
    assert ours == seen, f"the signature of {request.target!r} is wrong: {seen}, not {ours}"
    return found


def parsed(request: Request) -> Signature:
    """The parts of the one `authorization`."""
    values = request.values("authorization")
    assert len(values) == 1, f"authorization occurs {len(values)} times"
    match = AUTHORIZATION.fullmatch(values[0].decode("latin-1"))
    assert match, f"no signature: {values[0]!r}"
    stamps = [value.decode("latin-1") for value in request.values("x-amz-date")]
    assert len(stamps) == 1, f"x-amz-date occurs {len(stamps)} times"
    assert re.fullmatch(r"\d{8}T\d{6}Z", stamps[0]), f"x-amz-date: {stamps[0]}"
    date = datetime.strptime(stamps[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    assert match["day"] == stamps[0][:8], f"signed for {match['day']}, sent at {stamps[0]}"
    parts: dict[str, Any] = match.groupdict()
    return Signature(**parts | {"signed": tuple(match["signed"].split(";")), "date": date})


def resigned(request: Request, keys: Keys, found: Signature) -> str:
    """The `authorization` that botocore gives to the request as it was received."""
    host = request.authority.decode("latin-1")
    headers = {
        name: b",".join(request.values(name)).decode("latin-1")
        for name in found.signed
        if name not in ("host", "x-amz-date", "x-amz-security-token")
    }
    pairs = [pair.partition("=") for pair in request.query.decode("latin-1").split("&") if pair]
    again = AWSRequest(
        method=request.method,
        url=f"https://{host}{request.path}",
        headers={**headers, "host": host},
        data=request.body,
        # Decoded, encoded by the rules of AWS, and sorted. In a URL botocore would only sort.
        params=[(unquote(name), unquote(value)) for name, _, value in pairs],
    )
    signer = SigV4Auth(
        Credentials(keys.access, keys.secret, keys.token), found.service, found.region
    )
    with mock.patch("botocore.auth.get_current_datetime", return_value=found.date):
        signer.add_auth(again)
    return again.headers["Authorization"]
