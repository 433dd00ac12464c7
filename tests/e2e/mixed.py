"""Providers behind one Envoy, two that want signatures and two that want keys, and what each of
them must and must not receive."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise

from aws import STATIC, TEMPORARY, Keys, bedrock, parsed, verify
from bootstrap import Config
from gateway import appears
from manifests import HEADERS, config, header_value, keyed
from providers import CREDENTIALS, MARKER, M, Providers, credentials
from upstream import Upstream
from wire import Header, Request

SIGNED: Mapping[str, tuple[Keys, str]] = {
    "east": (STATIC, "us-east-1"),
    "west": (TEMPORARY, "eu-west-1"),
}
"""Providers of Bedrock, with their keys and regions."""
KEYED: Mapping[str, tuple[str, str]] = {
    "bearer": ("APIKey", "sk-of-bearer-4be1"),
    "plain": ("AnthropicAPIKey", "sk-of-plain-9ac0"),
}
"""Providers with keys, in the header that a signature is in too, and in another."""
NAMES = (*SIGNED, *KEYED)

THEIRS: list[Header] = [
    (b"Authorization", b"Bearer " + M),
    (b"authorization", b"AWS4-HMAC-SHA256 Credential=" + M),
    (b"X-Amz-Date", b"20150830T123600Z"),
    (b"x-amz-date", M),
    (b"x-amz-security-token", M),
    (b"x-amz-content-sha256", M),
    (b"cookie", b"session=" + M),
    (b"x-api-key", M),
    (b"api-key", M),
    (b"x-aigw-key", M),
]
"""Credentials of the caller."""
QUERY = b"?X-Amz-Signature=" + M + b"&b=2&key=" + M + b"&a=1&x%2Damz-Date=" + M
LEFT = b"?b=2&a=1"
"""What is left of that query."""
LATE = 1.1
"""So late answers a provider whose failure must not be repaired within the same second."""


def plugin(*names: str, targets: Sequence[str] = ("{}",), **settings: object) -> Config:
    """A plugin configuration with the policies of these providers; each is for the backends
    `targets`, in which `{}` stands for the provider's name."""
    resources = []
    for name in names:
        backends = [one.format(name) for one in targets]
        if name in SIGNED:
            keys, region = SIGNED[name]
            resources.append(bedrock(name, keys, region, backends))
        else:
            resources.append(keyed(name, *KEYED[name], backends))
    return config(*resources, **settings)


@contextlib.contextmanager
def all_providers() -> Iterator[Providers]:
    """Their recording upstreams."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Upstream()) for name in NAMES}


def bedrock_host(name: str) -> bytes:
    """Where a provider of Bedrock is."""
    return f"bedrock-runtime.{SIGNED[name][1]}.amazonaws.com".encode()


def assert_own(
    request: Request,
    name: str,
    authority: bytes,
    *,
    region: str | None = None,
    beside: Sequence[Header] = (),
) -> None:
    """It carries this provider's credential, what is expected `beside` it, and no other one.

    `authority` is the one of the request before the filter saw it; a provider of Bedrock has a host
    of its own, unless the region of the authority is named.
    """
    if name in SIGNED:
        keys, home = SIGNED[name]
        host = authority if region else bedrock_host(name)
        verify(request, keys, region=region or home, host=host.decode())
        ours = ["authorization", "x-amz-date"] + (["x-amz-security-token"] if keys.token else [])
        own = [(one.encode(), value) for one in ours for value in request.values(one)]
    else:
        kind, key = KEYED[name]
        own = [(HEADERS[kind].encode(), header_value(kind, key))]
        assert request.authority == authority, f"{name} got {request.authority!r}"
    expected = sorted([*own, *beside])
    assert credentials(request) == expected, f"{name} got {credentials(request)}, not {expected}"
    amz = [header[0] for header in request.headers if header[0].startswith(b"x-amz-")]
    assert set(amz) <= CREDENTIALS, amz
    for other in NAMES:
        if other != name:
            for text in texts(other):
                assert appears(text, request) == [], f"{name} got something of {other}"
    if not beside:
        assert appears(MARKER, request) == [], f"{name} got something of the caller"


def texts(name: str) -> list[str]:
    """What tells a provider's credential."""
    if name in SIGNED:
        keys = SIGNED[name][0]
        return [keys.access, keys.secret] + ([keys.token] if keys.token else [])
    return [KEYED[name][1]]


def assert_each_in_its_time(*requests: Request) -> None:
    """They are signed one after the other, not with the same date."""
    dates = [parsed(request).date for request in requests]
    for before, after in pairwise(dates):
        assert after - before >= timedelta(seconds=1), f"{after} is not after {before}"
