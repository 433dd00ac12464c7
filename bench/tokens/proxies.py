"""The Envoys, and the process that gives tokens and plays the provider."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import manifests
from bootstrap import Config, bootstrap, cluster, listener, route, wasm_filter
from egress import NAME, egress
from section import QUIET, named_by_dns

LOGIN = "login.bench"
ENVIRONMENT = {"AZURE_AUTHORITY_HOST": f"http://{LOGIN}"}
SECRET = "the-secret-of-the-benchmark"


@contextmanager
def server(delay: float, shortest: int, longest: int) -> Iterator[int]:
    """Runs it; gives its port."""
    file = Path(__file__).with_name("server.py")
    command = [sys.executable, str(file), *(str(one) for one in (delay, shortest, longest))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def token_policy(name: str) -> list[manifests.Manifest]:
    """An application with a secret, in a tenant of the policy's name."""
    fields = {"clientID": "client", "tenantID": name, "clientSecretRef": {"name": "secret"}}
    return [manifests.policy(name, "AzureCredentials", azureCredentials=fields)]


def with_tokens(names: Sequence[str], port: int) -> Config:
    """An Envoy with a cluster of each name, whose token comes from a server by way of the egress
    listener; `/<name>/...` leads there. The server is the provider too."""
    secret = manifests.secret("secret", "client-secret", SECRET)
    out = {"cluster": NAME, "plaintextHosts": [LOGIN]}
    policies = [token_policy(name) for name in names]
    return _with(names, manifests.config(*policies, secret, egress=out), port)


def with_keys(names: Sequence[str], port: int, key: str) -> Config:
    """The same with a key."""
    policies = [manifests.keyed(name, key=key) for name in names]
    return _with(names, manifests.config(*policies), port)


def _with(names: Sequence[str], plugin: Config, port: int) -> Config:
    filters = [wasm_filter(plugin, vm_env=ENVIRONMENT)]
    behind = [named_by_dns(cluster(name, [port], filters=filters)) for name in names]
    way = egress(hosts={LOGIN: port})
    extras: dict[str, Any] = way.bootstrap_extras | QUIET
    entry = listener([route(f"/{name}/", name) for name in names])
    return bootstrap([entry, *way.listeners], [*behind, *way.clusters], **extras)
