"""An Envoy whose policies get the keys of the machine, task or pod on which it runs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aws import REGION, ambient, parsed, verify
from aws_metadata import Ledger, Lent, Service
from bootstrap import Config, bootstrap, cluster, listener, wasm_filter
from egress import SETTINGS, Place, egress
from entra_rules import WORDS
from envoy import Envoy
from gateway import Gateway, appears, assert_no_panic, routes
from launch import poll
from manifests import Manifest, config
from mounts import assert_unavailable, complaints, failed
from sts_rig import BODY, CALLER, JSON, TARGET, THEIRS
from upstream import Upstream
from wire import Request

Environment = Mapping[str, str]


@dataclass
class Rig(Gateway):
    """A backend for each policy, of the same name; the Bedrock behind them takes only requests
    that keys of the ledger have signed that are alive."""

    ledger: Ledger

    def ask_bedrock(self, name: str) -> int:
        """The status of a request of a backend, with all that a caller may bring along."""
        return self.ask(name, [JSON, *THEIRS], TARGET, b"POST", BODY).status

    def answered(self, name: str) -> Request:
        """What Bedrock received of a request, which holds nothing of the caller's."""
        self.upstream.clear()
        status = self.ask_bedrock(name)
        assert status == 200, f"{name}: {status}, {self.ledger.misused}, {complaints(self.envoy)}"
        request = self.upstream.only()
        assert appears(CALLER, request) == []
        return request

    def lent(self, name: str) -> Lent:
        """The keys that have signed a request of a backend."""
        request = self.answered(name)
        lent = self.ledger.lent[parsed(request).access]
        verify(request, lent.keys, region=REGION)
        return lent

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

    def wait_for_metric(self, name: str, what: str, at_least: int = 1, timeout: float = 15) -> int:
        """The same, as soon as it is so high."""
        return self.envoy.wait_for_metric(f"policy.default/{name}.{what}", at_least, timeout)

    def failures(self, name: str) -> dict[str, int]:
        """How often fetches of a policy have failed, by reason, without zeros."""
        return failed(self.envoy, f"default/{name}")

    def wait_for_failures(self, name: str, timeout: float = 15) -> dict[str, int]:
        """The same, as soon as there are any."""
        return poll(lambda: self.failures(name), timeout, f"a failure of {name}")

    def complaints(self, name: str) -> list[str]:
        """What the log tells of a policy that went wrong."""
        return complaints(self.envoy, f"default/{name}")

    def complaint(self, name: str) -> str:
        """The first of it, as soon as it is there."""
        return poll(lambda: self.complaints(name), 10, f"a complaint about {name}")[0]

    def told(self, name: str) -> list[str]:
        """What the log tells of a policy that is worth knowing, but wrong in no way."""
        pattern = rf"\[info\]\[wasm\].*wasm log[^:]*: (default/{re.escape(name)}(?![\w.-]).*)"
        return re.findall(pattern, self.envoy.log())


@contextlib.contextmanager
def serving(
    machines: Mapping[str, Environment],
    ledger: Ledger,
    *services: Service,
    policies: Mapping[str, Sequence[str]] | None = None,
    hosts: Mapping[str, Place] | None = None,
    ca_pem: str | None = None,
    mounts: Sequence[Path] = (),
    egress_settings: Config | None = None,
    plugin: Config | None = None,
    more: Sequence[Config] = (),
    **options: Any,
) -> Iterator[Rig]:
    """An Envoy with a VM for each machine, in the environment that is given for it.

    Each has an id of its own: Envoy 1.38 gives VMs of the same id the environment of the first.
    The policies of a machine are one with its name, or those of `policies`. `hosts` are places
    that the filter may call by name, `mounts` the folders whose files it may read, `plugin` is
    added to each configuration, `more` are further clusters, and the rest goes to `Envoy`.
    """
    way = egress(mounts, ca_pem=ca_pem, hosts=hosts)
    settings = {**SETTINGS, "egress": {**SETTINGS["egress"], **(egress_settings or {})}}
    with Upstream(default=ledger.provider) as upstream:
        behind = []
        for machine, environment in machines.items():
            names = (policies or {}).get(machine, [machine])
            resources: list[Manifest] = [ambient(name) for name in names]
            whole = config(resources, **{**settings, **(plugin or {})})
            filters = [wasm_filter(whole, vm_env=environment, vm_id=machine)]
            behind += [cluster(name, [upstream.port], filters=filters) for name in names]
        front = listener(routes([one["name"] for one in behind]))
        static = [*behind, *way.clusters, *more]
        setup = bootstrap([front, *way.listeners], static, **way.bootstrap_extras)
        with Envoy(setup, **options) as envoy:
            yield Rig(envoy, upstream, ledger)
            assert_no_panic(envoy)
        assert [error for one in (upstream, *services) for error in one.errors] == []
