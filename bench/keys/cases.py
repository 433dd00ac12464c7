"""What is compared: each filter, alone and as a chain of copies, and the same without a filter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import manifests
from bootstrap import Config, extension, wasm_filter

KEY = "sk-bench-0123456789abcdefghijklmnopqrstuvwxyz"
"""The key that every filter sets; bench/minimal/src/lib.rs has it too."""

REMOVED = (
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
)
"""What the minimal filter and Lua remove; ours removes these and more."""

LUA = """
function envoy_on_request(handle)
  local headers = handle:headers()
{removals}
  headers:replace("authorization", "Bearer {key}")
end
"""

SECRET = "bench-key"
"""The name of Envoy's own secret, which the native filter reads."""

LOGIN = "login.bench"
"""The host, and the cluster, where tokens are obtained."""

TENANT = "tenant"

MANY = 200
"""How many policies and clusters the case with many has."""


@dataclass(frozen=True)
class Filter:
    """One of the filters that are compared."""

    name: str
    title: str
    many: bool = False
    """Whether it has a policy for each of `MANY` clusters."""


FILTERS = (
    Filter("native", "credential_injector (native)"),
    Filter("minimal", "minimal wasm filter"),
    Filter("lua", "Lua"),
    Filter("aigw", "aigw-auth, 1 policy"),
    Filter("aigw-token", "aigw-auth, an Entra token"),
    Filter("aigw-many", f"aigw-auth, {MANY} policies", many=True),
)


@dataclass(frozen=True)
class Case:
    """One way from the client to the provider: a listener, its clusters and their filters."""

    name: str
    title: str
    copies: int = 0
    filter: Filter | None = None
    many: bool = False
    latency: bool = True
    """Whether its latency is measured too."""

    @property
    def base(self) -> str:
        """The case without a filter that this one is compared with."""
        return "none-many" if self.many else "none"

    @property
    def clusters(self) -> list[str]:
        """The names of its clusters; requests are spread evenly over them."""
        if self.many:
            return [f"{self.name}-{number:03}" for number in range(MANY)]
        return [self.name]

    def filters(self, minimal: str) -> list[Config]:
        """The upstream chain of each of its clusters; `minimal` is the module to compare with."""
        if self.filter is None:
            return []
        return [self._filter(self.filter.name, minimal)] * self.copies

    def keys(self) -> list[str]:
        """The values of `authorization` that the provider may see."""
        if self.filter is None:
            return []
        keys = [key_of(name) for name in self.clusters] if self.many else [KEY]
        return [f"Bearer {key}" for key in keys]

    def _filter(self, name: str, minimal: str) -> Config:
        if name == "native":
            return native()
        if name == "lua":
            return lua()
        if name == "minimal":
            return wasm_filter(None, name=self.name, vm_id=self.name, module=minimal)
        plugin, environment = policies(self.clusters, many=self.many), {}
        if name == "aigw-token":
            (backend,) = self.clusters
            plugin, environment = tokens(backend), {"AZURE_AUTHORITY_HOST": f"http://{LOGIN}"}
        # JSON in a StringValue: the configuration of Envoy stays readable with 200 of them.
        text = json.dumps(plugin, separators=(",", ":"))
        return wasm_filter(text, name=self.name, vm_id=self.name, vm_env=environment)


def all_cases(copies: int) -> list[Case]:
    """Every case; `copies` is the length of the chains."""
    cases = [
        Case("none", "no filter"),
        # The same once more: what the benchmark finds between two equal things is its error.
        Case("control", "no filter again", latency=False),
        Case("none-many", f"no filter, {MANY} clusters", many=True),
    ]
    for one in FILTERS:
        cases.append(Case(one.name, one.title, 1, one, one.many))
        name, title = f"{one.name}-chain", f"{one.title}, x {copies}"
        cases.append(Case(name, title, copies, one, one.many, latency=False))
    return cases


# Filters.


def native() -> Config:
    """Envoy's own filter for a static credential, written in C++."""
    generic = extension(
        "envoy.http.injected_credentials.generic",
        "http.injected_credentials.generic.v3.Generic",
        credential={"name": SECRET},
        header="authorization",
    )
    message = "filters.http.credential_injector.v3.CredentialInjector"
    name = "envoy.filters.http.credential_injector"
    return extension(name, message, overwrite=True, credential=generic)


def native_secret() -> Config:
    """The secret of the native filter, for the bootstrap."""
    return {"name": SECRET, "generic_secret": {"secret": {"inline_string": f"Bearer {KEY}"}}}


def lua() -> Config:
    """Removes the same headers and sets the same one."""
    removals = "\n".join(f'  headers:remove("{name}")' for name in REMOVED)
    code = {"inline_string": LUA.format(removals=removals, key=KEY)}
    message = "filters.http.lua.v3.Lua"
    return extension("envoy.filters.http.lua", message, default_source_code=code)


def policies(backends: Sequence[str], *, many: bool) -> Config:
    """A policy with a key of its own for each backend."""
    resources = [manifests.keyed(name, key=key_of(name) if many else KEY) for name in backends]
    return manifests.config(*resources)


def tokens(backend: str) -> Config:
    """A policy whose token is obtained: the key of the others, so that the header is the same."""
    fields = {"clientID": "client", "tenantID": TENANT, "clientSecretRef": {"name": "secret"}}
    policy = manifests.policy(backend, "AzureCredentials", azureCredentials=fields)
    secret = manifests.secret("secret", "client-secret", "the-secret-of-the-benchmark")
    out = {"clusters": {LOGIN: LOGIN}, "plaintextHosts": [LOGIN]}
    return manifests.config(policy, secret, egress=out)


def key_of(backend: str) -> str:
    """The key of one of many backends, as long as the only one of the others."""
    return f"sk-{backend}-".ljust(len(KEY), "0")
