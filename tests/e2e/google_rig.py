"""An Envoy whose policies get tokens from the stand-ins of Google, with Vertex behind it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mounts
import raw
from bootstrap import Config
from egress import SETTINGS, egress, running_with_egress
from entra_rig import CALLER, THEIRS
from entra_rules import WORDS
from gateway import Gateway, appears
from google_rules import bearer_text
from google_services import Google
from google_vertex import Used
from launch import poll
from manifests import Manifest, config
from mounts import assert_unavailable
from oidc import Issuer, OidcProvider
from upstream import Authority
from wire import Request

Policies = Mapping[str, Manifest | Sequence[Manifest]]

MODEL = b"publishers/google/models/gemini-2.0-flash:generateContent"
SHORT = b"/v1/" + MODEL
"""A path without project and location, which the filter puts in."""

BODY = json.dumps({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}).encode()
HEADERS = [*THEIRS, (b"x-goog-api-key", CALLER.encode()), (b"content-type", b"application/json")]
"""What a caller brings along; none of its credentials may go on."""


@dataclass
class Rig(Gateway):
    """A backend for each policy, of the same name; behind them all is Vertex."""

    google: Google

    def post(self, name: str, target: bytes = SHORT, body: bytes = BODY) -> raw.Response:
        """The answer to a request with credentials of the caller's own."""
        return self.ask(name, HEADERS, target, b"POST", body)

    def answered(self, name: str, target: bytes = SHORT) -> tuple[Request, Used]:
        """What Vertex received of a request, which carries a token that counts and nothing of the
        caller's, and what it made of it."""
        self.upstream.clear()
        before = len(self.google.vertex.used)
        answer = self.post(name, target)
        assert answer.status == 200, f"{name}: {answer}, {self.google.vertex.refused}"
        request = self.upstream.only()
        assert appears(CALLER, request) == []
        (used,) = self.google.vertex.used[before:]
        assert bearer_text(request) == used.token
        return request, used

    def token(self, name: str) -> str:
        """The token that a request of a backend carries."""
        return self.answered(name)[1].token

    def refused(self, name: str) -> int:
        """The `retry-after` of the filter's own answer while there is no credential."""
        self.upstream.clear()
        answer = self.post(name)
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
        return mounts.failed(self.envoy, f"default/{name}")

    def wait_for_failure(self, name: str, timeout: float = 10) -> dict[str, int]:
        """The same, as soon as one has."""
        return poll(lambda: self.failures(name), timeout, f"a failure of {name}")

    def complaint(self, name: str) -> str:
        """The first line about a fetch of a policy that went wrong, as soon as it is there."""
        return poll(lambda: self.complaints(name), 10, f"a complaint about {name}")[0]

    def complaints(self, name: str) -> list[str]:
        """All of them."""
        lines = mounts.complaints(self.envoy, f"default/{name}")
        return [line for line in lines if "fail" in line]


@contextlib.contextmanager
def serving(
    policies: Policies,
    google: Google,
    authority: Authority,
    *providers: Issuer | OidcProvider,
    hosts: Mapping[str, int] | None = None,
    without: Sequence[str] = (),
    folders: Sequence[Path] = (),
    egress_settings: Config | None = None,
    plugin: Config | None = None,
    **options: Any,
) -> Iterator[Rig]:
    """An Envoy with all of the policies in one configuration, to which `plugin` is added.

    Its egress listener leads to the stand-ins, but for the names in `without`, to the providers and
    to `hosts`, and serves the files below `folders`; the rest goes to `running_with_egress`.
    """
    places = {**google.hosts, **dict(hosts or {})}
    for one in providers:
        places[one.issuer.partition("://")[2].partition("/")[0]] = one.port
    kept = {name: port for name, port in places.items() if name not in without}
    way = egress(folders, ca_pem=authority.pem, hosts=kept)
    settings = {**SETTINGS, "egress": {**SETTINGS["egress"], **(egress_settings or {})}}
    whole = config(*policies.values(), **{**settings, **(plugin or {})})
    with running_with_egress(dict.fromkeys(policies, whole), way, **options) as gateway:
        gateway.upstream.on(None, google.vertex.served)
        yield Rig(gateway.envoy, gateway.upstream, google)
        assert gateway.upstream.errors == []
        assert google.errors == []
