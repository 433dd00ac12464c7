"""An Envoy whose policies take on roles, at the stand-in for STS."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws import REGION, parsed, verify
from bootstrap import Config
from egress import SETTINGS, egress, running_with_egress
from entra_rules import WORDS, Federation
from gateway import Gateway, appears
from launch import poll
from manifests import Manifest, config
from mounts import assert_unavailable, complaints, failed
from oidc import ID, Issuer, OidcProvider
from sts import HOST, Sts
from sts_rules import AUDIENCE, Role, Session
from upstream import Authority
from wire import Request

Policies = Mapping[str, Sequence[Manifest]]

IDP = "https://idp.test"
CALLER = "of-the-caller-73e4"
SCOPE = f"{CALLER}/20150830/us-east-1/bedrock/aws4_request"
SIGNATURE = f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host, Signature=00{CALLER}"
THEIRS = [
    (b"authorization", SIGNATURE.encode()),
    (b"x-amz-date", b"20150830T123600Z"),
    (b"x-amz-security-token", CALLER.encode()),
    (b"x-amz-content-sha256", CALLER.encode()),
    (b"cookie", f"session={CALLER}".encode()),
    (b"x-api-key", CALLER.encode()),
]
"""What a caller may bring along; none of it may go on."""

TARGET = b"/model/anthropic.claude-v2%3A0/invoke"
BODY = b'{"prompt": "hi"}'
JSON = (b"content-type", b"application/json")


@dataclass
class Rig(Gateway):
    """A backend for each policy, of the same name; the Bedrock behind them takes only what a
    session of its STS has signed that is alive."""

    sts: Sts

    def answered(self, name: str) -> Request:
        """What Bedrock received of a request, which holds nothing of the caller's."""
        self.upstream.clear()
        answer = self.ask(name, [JSON, *THEIRS], TARGET, b"POST", BODY)
        assert answer.status == 200, f"{name}: {answer}, {self.sts.misused}"
        request = self.upstream.only()
        assert appears(CALLER, request) == []
        return request

    def session(self, name: str, region: str = REGION) -> Session:
        """The session that has signed a request of a backend, for that region."""
        request = self.answered(name)
        session = self.sts.issued[parsed(request).access]
        verify(request, session.keys, region=region)
        return session

    def served(self, name: str) -> bool:
        """Whether a request of a backend is answered."""
        return self.ask(name, [JSON, *THEIRS], TARGET, b"POST", BODY).status == 200

    def refused(self, name: str) -> int:
        """The `retry-after` of the filter's own answer while there is no credential."""
        self.upstream.clear()
        answer = self.ask(name, [JSON, *THEIRS], TARGET, b"POST", BODY)
        assert_unavailable(answer)
        assert WORDS not in repr(answer)
        assert CALLER not in repr(answer)
        assert self.upstream.begun == []
        return int(answer.values("retry-after")[0])

    def metric(self, name: str, what: str) -> int:
        """A counter or gauge of a policy."""
        return self.envoy.metric(f"policy.default/{name}.{what}")

    def wait_for_metric(self, name: str, what: str, at_least: int = 1, timeout: float = 10) -> int:
        """The same, as soon as it is so high."""
        return self.envoy.wait_for_metric(f"policy.default/{name}.{what}", at_least, timeout)

    def failures(self, name: str) -> dict[str, int]:
        """How often fetches of a policy have failed, by reason, without zeros."""
        return failed(self.envoy, f"default/{name}")

    def wait_for_failures(self, name: str, timeout: float = 10) -> dict[str, int]:
        """The same, as soon as there are any."""
        return poll(lambda: self.failures(name), timeout, f"a failure of {name}")

    def complaints(self, name: str) -> list[str]:
        """What the log tells of fetches of a policy that went wrong."""
        return [line for line in complaints(self.envoy, f"default/{name}") if "fail" in line]

    def complaint(self, name: str) -> str:
        """The first of them, as soon as it is there."""
        return poll(lambda: self.complaints(name), 10, f"a complaint about {name}")[0]


@contextlib.contextmanager
def serving(
    policies: Policies,
    sts: Sts,
    authority: Authority,
    *providers: Issuer | OidcProvider,
    env: Mapping[str, str] | None = None,
    hosts: Mapping[str, int] | None = None,
    mounts: Sequence[Path] = (),
    egress_settings: Config | None = None,
    plugin: Config | None = None,
    **options: Any,
) -> Iterator[Rig]:
    """An Envoy with all of the policies in one configuration, to which `plugin` is added.

    `env` is the environment of the VM, `hosts` are further ones that the filter may call and
    `mounts` the folders whose files it may read; the rest goes to `running_with_egress`.
    """
    places = {**dict.fromkeys(sts.hosts, sts.port), **dict(hosts or {})}
    for one in providers:
        places[one.issuer.partition("://")[2].partition("/")[0]] = one.port
    way = egress(mounts, ca_pem=authority.pem, hosts=places)
    settings = {**SETTINGS, "egress": {**SETTINGS["egress"], **(egress_settings or {})}}
    whole = config(*policies.values(), **{**settings, **(plugin or {})})
    plugins = dict.fromkeys(policies, whole)
    of_filter = {"vm_env": dict(env or {})}
    with running_with_egress(plugins, way, options=of_filter, **options) as gateway:
        gateway.upstream.on(None, sts.provider)
        yield Rig(gateway.envoy, gateway.upstream, sts)
        assert gateway.upstream.errors == []
        assert sts.errors == []


def over_tls(
    authority: Authority,
    roles: Mapping[str, Role] | None = None,
    hosts: Mapping[str, str] | None = None,
) -> Sts:
    """The stand-in with TLS for its hosts."""
    known = hosts or {HOST: REGION}
    names = [name.partition(":")[0] for name in known]
    return Sts(roles, hosts=known, tls=authority.server_context(names, http2=False))


def identity(authority: Authority, audience: str = AUDIENCE, life: float = 600) -> Issuer:
    """An identity provider whose tokens are for STS."""
    issuer = Issuer(IDP, tls=authority.server_context(["idp.test"], http2=False))
    issuer.claims["aud"] = audience
    issuer.life = life
    return issuer


def for_tokens(
    provider: Issuer | OidcProvider, client: str = ID, audience: str = AUDIENCE, **conditions: Any
) -> Role:
    """A role for whoever has a token of that provider, for that audience."""
    federation = Federation(provider.issuer, client, provider.keys, audience)
    return Role(federations=[federation], **conditions)
