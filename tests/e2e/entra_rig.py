"""An Envoy whose policies get tokens from the stand-ins of Entra and of identity providers."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import raw
from bootstrap import Config, bootstrap, cluster, listener, route, wasm_filter
from egress import SETTINGS, egress, running_with_egress
from entra import PUBLIC, Entra
from entra_rules import WORDS
from gateway import Gateway, appears
from launch import poll, validate
from manifests import Manifest, config
from oidc import Issuer, OidcProvider
from upstream import Authority
from wire import Request

Policies = Mapping[str, Sequence[Manifest]]

CALLER = "of-the-caller-5a31"
THEIRS = [
    (b"authorization", f"Bearer token-{CALLER}".encode()),
    (b"cookie", f"session={CALLER}".encode()),
    (b"api-key", CALLER.encode()),
    (b"ocp-apim-subscription-key", CALLER.encode()),
    (b"x-aigw-anything", CALLER.encode()),
]
"""What a caller may bring along; none of it may go on."""

TARGET = b"/openai/deployments/d/chat/completions?api-version=1&api-key=" + CALLER.encode()

REASONS = ("timeout", "connect", "denied", "throttled", "server", "malformed")


@dataclass
class Rig(Gateway):
    """A backend for each policy, of the same name; the provider behind them takes only tokens
    that its Entra has issued and that are alive."""

    entra: Entra

    def answered(self, name: str) -> Request:
        """What the provider received of a request, which carries a token of ours and nothing of
        the caller's."""
        self.upstream.clear()
        answer = self.ask(name, THEIRS, TARGET)
        assert answer.status == 200, f"{name}: {answer}"
        request = self.upstream.only()
        assert appears(CALLER, request) == []
        return request

    def token(self, name: str) -> str:
        """The token that a request of a backend carries."""
        value = self.answered(name).header("authorization") or ""
        assert value.startswith("Bearer ")
        assert self.entra.alive(value.removeprefix("Bearer "))
        return value.removeprefix("Bearer ")

    def refused(self, name: str) -> int:
        """The `retry-after` of the filter's own answer while there is no credential."""
        self.upstream.clear()
        answer: raw.Response = self.ask(name, THEIRS, TARGET)
        assert answer.status == 503, f"{name}: {answer}"
        error = json.loads(answer.body)
        assert (error["type"], error["error"]["code"]) == ("error", "503")
        assert error["error"]["type"] == "CredentialUnavailable"
        assert WORDS not in repr(answer)
        assert CALLER not in repr(answer)
        assert self.upstream.begun == []
        (wait,) = answer.values("retry-after")
        return int(wait)

    def metric(self, name: str, what: str) -> int:
        """A counter or gauge of a policy."""
        return self.envoy.metric(f"policy.default/{name}.{what}")

    def wait_for_metric(self, name: str, what: str, timeout: float = 10) -> int:
        """The same, as soon as it is not zero."""
        return self.envoy.wait_for_metric(f"policy.default/{name}.{what}", timeout=timeout)

    def failures(self, name: str) -> dict[str, int]:
        """How often fetches of a policy have failed, by reason, without zeros."""
        counts = {reason: self.metric(name, f"fetch_failed.{reason}") for reason in REASONS}
        return {reason: count for reason, count in counts.items() if count}

    def complaints(self, name: str) -> list[str]:
        """What the log tells of fetches of a policy that went wrong."""
        pattern = rf".*\[(?:warning|error)\]\[wasm\].*\bdefault/{re.escape(name)}(?![\w-]).*"
        lines = [found.group(0) for found in re.finditer(pattern, self.envoy.log())]
        return [line for line in lines if "fail" in line]

    def complaint(self, name: str) -> str:
        """The first of them, as soon as it is there."""
        what = f"a complaint about {name}"
        return poll(lambda: self.complaints(name), 10, what)[0]


@contextlib.contextmanager
def serving(
    policies: Policies,
    entra: Entra,
    authority: Authority,
    *providers: Issuer | OidcProvider,
    hosts: Mapping[str, int] | None = None,
    egress_settings: Config | None = None,
    plugin: Config | None = None,
    **options: Any,
) -> Iterator[Rig]:
    """An Envoy with all of the policies in one configuration, to which `plugin` is added; `hosts`
    are further ones that it may call, the rest goes to `running_with_egress`."""
    places = {entra.name: entra.port, **dict(hosts or {})}
    for one in providers:
        places[one.issuer.partition("://")[2].partition("/")[0]] = one.port
    way = egress(ca_pem=authority.pem, hosts=places)
    settings = {**SETTINGS, "egress": {**SETTINGS["egress"], **(egress_settings or {})}}
    whole = config(*policies.values(), **{**settings, **(plugin or {})})
    with running_with_egress(dict.fromkeys(policies, whole), way, **options) as gateway:
        gateway.upstream.on(None, entra.provider)
        yield Rig(gateway.envoy, gateway.upstream, entra)
        assert gateway.upstream.errors == []
        assert entra.errors == []


def checked(
    *resources: Manifest | Sequence[Manifest],
    env: Mapping[str, str] | None = None,
    egress_settings: Config | None = None,
    settings: Config | None = None,
) -> tuple[int, list[tuple[str, str]]]:
    """What `envoy --mode validate` says of a configuration: its status, and the errors and warnings
    of the filter, level and text, each once: more than one VM reads the configuration."""
    both = {**SETTINGS, "egress": {**SETTINGS["egress"], **(egress_settings or {})}}
    plugin = config(*resources, **(both if settings is None else settings))
    way = egress(hosts={PUBLIC: 1})
    backend = cluster("azure", [1], filters=[wasm_filter(plugin, vm_env=env)])
    front = listener([route("/", "azure")])
    whole = bootstrap([front, *way.listeners], [backend, *way.clusters], **way.bootstrap_extras)
    status, output = validate(whole)
    lines = re.findall(r"\[(warning|error)\]\[wasm\].*wasm log[^:]*: (.*)", output)
    return status, list(dict.fromkeys(lines))


def errors(*resources: Manifest | Sequence[Manifest], **options: Any) -> list[str]:
    """The error lines of a configuration that has to be refused."""
    status, lines = checked(*resources, **options)
    assert status == 1, lines
    return [text for level, text in lines if level == "error"]
