"""An Envoy whose policies obtain tokens, and a provider that knows the tokens that were given."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap import PROTOCOL_OPTIONS, Config, bootstrap, cluster, listener
from egress import NAME, Egress, egress
from envoy import Envoy
from gateway import Gateway, assert_no_panic, clusters, routes
from launch import poll
from manifests import Manifest, config, policy, secret
from replies import default_reply, json_reply
from tokens import TENANT, Client, Token, TokenServer
from upstream import Upstream
from wire import Request

LOGIN = "login.test"
DIRECT = "direct"
ENVIRONMENT = {"AZURE_AUTHORITY_HOST": f"http://{LOGIN}"}


def entra(client: Client, name: str | None = None) -> list[Manifest]:
    """A policy for a token of that client, and the Secret; it has the client's name or another."""
    azure = {
        "clientID": client.name,
        "tenantID": TENANT,
        "clientSecretRef": {"name": f"{client.name}-secret"},
    }
    return [
        policy(name or client.name, "AzureCredentials", azureCredentials=azure),
        secret(f"{client.name}-secret", "client-secret", client.secret),
    ]


def settings(timeout: str | None = None, direct: bool = False, **more: Any) -> Config:
    """What a plugin configuration needs beside policies; `timeout` is that of one call, and with
    `direct` calls go to the cluster `DIRECT`, not to the egress listener."""
    out: Config = {"cluster": NAME, "plaintextHosts": [LOGIN]}
    if direct:
        out = {"plaintextCluster": DIRECT, "plaintextHosts": [LOGIN]}
    if timeout:
        out["timeout"] = timeout
    return {"egress": out, **more}


def plugin(clients: Iterable[Client], timeout: str | None = None, **more: Any) -> Config:
    """A plugin configuration with a policy for each client."""
    return config(*(entra(client) for client in clients), **settings(timeout, **more))


@dataclass
class Rig(Gateway):
    """A running Envoy, the token server, and the provider behind each of its clusters."""

    server: TokenServer
    provider: Provider

    def metric(self, name: str) -> int:
        """A statistic of a policy of the default namespace, such as `first.fetched`."""
        return self.envoy.metric(f"policy.default/{name}")

    def wait_for_metric(self, name: str, at_least: int = 1, timeout: float = 10.0) -> int:
        """The same, as soon as it is so high."""
        return self.envoy.wait_for_metric(f"policy.default/{name}", at_least, timeout)

    def failures(self, name: str) -> dict[str, int]:
        """How often a policy's fetches failed, by reason; no zeros."""
        prefix = f"policy.default/{name}.fetch_failed."
        found = {n.partition(prefix)[2]: v for n, v in self.envoy.stats().items() if prefix in n}
        return {reason: count for reason, count in found.items() if count}

    def wait_for_failure(self, name: str, timeout: float = 10.0) -> None:
        """Until a policy's fetch has failed, for whatever reason."""
        poll(lambda: self.failures(name), timeout, f"a failure of {name}")

    def active(self) -> int:
        """How many requests are not answered yet."""
        return self.envoy.stats("http.main.")["http.main.downstream_rq_active"]

    def wait_for_active(self, count: int) -> None:
        """Until so many requests are there that are not answered yet."""
        self.envoy.wait_for_stat("http.main.downstream_rq_active", count)

    def token(self, request: Request) -> Token:
        """The token that a request carried."""
        token = bearer(self.server, request)
        assert token, f"{request.values('authorization')}"
        return token


@contextlib.contextmanager
def running(
    server: TokenServer,
    *,
    provider: Provider | None = None,
    plugins: Mapping[str, Config | None] | None = None,
    timeout: str | None = None,
    http2: Collection[str] = (),
    front: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    first: Sequence[Config] = (),
    more: Sequence[Config] = (),
    behind: Mapping[str, Any] | None = None,
    dynamic: bool = False,
    may_panic: bool = False,
    concurrency: int = 4,
    extras: Mapping[str, Any] | None = None,
    envoy: Mapping[str, Any] | None = None,
    **of_plugin: Any,
) -> Iterator[Rig]:
    """A backend of its name for each client of the server, or what `plugins` says.

    `front` are fields of the listener, `behind` those of every cluster, `http2` names the clusters
    that speak it, `options` are those of the filter, `first` are routes before the others, `more`
    clusters beside them, `extras` fields of the bootstrap, `envoy` options of `Envoy`; with
    `dynamic` the clusters come from CDS. The rest goes into the plugin configuration.
    """
    if plugins is None:
        one = plugin(server.clients.values(), timeout, **of_plugin)
        plugins = dict.fromkeys(server.clients, one)
    with contextlib.ExitStack() as stack:
        if provider is None:
            provider = stack.enter_context(Provider(server))
        mine = backends(plugins, provider.port, http2=http2, options=options, fields=behind)
        way = patient(egress(hosts={LOGIN: server.port}))
        direct = cluster(DIRECT, [server.port])
        static = [*way.clusters, direct, *more, *([] if dynamic else mine)]
        entry = listener([*first, *routes(list(plugins))], **(front or {}))
        whole = bootstrap([entry, *way.listeners], static, **way.bootstrap_extras, **(extras or {}))
        arguments = {"concurrency": concurrency, "cds": mine if dynamic else None, **(envoy or {})}
        one_envoy = stack.enter_context(Envoy(whole, **arguments))
        yield Rig(one_envoy, provider, server, provider)
        if not may_panic:
            assert_no_panic(one_envoy)
        assert server.refused == []
        assert server.errors == []
        assert provider.errors == []


def backends(
    plugins: Mapping[str, Config | None],
    port: int,
    *,
    http2: Collection[str] = (),
    options: Mapping[str, Any] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> list[Config]:
    """A cluster for each plugin configuration; those in `http2` speak that."""
    of_filter = {"vm_env": ENVIRONMENT, **(options or {})}
    made = []
    for name, plugin in plugins.items():
        (one,) = clusters({name: plugin}, port, http2=name in http2, **of_filter)
        if name in http2:
            protocol = one["typed_extension_protocol_options"][PROTOCOL_OPTIONS]
            # Until a server has told how many it takes, Envoy would send it more at once.
            protocol["explicit_http_config"]["http2_protocol_options"] = {
                "max_concurrent_streams": 500
            }
        made.append(one | dict(fields or {}))
    return made


def patient(way: Egress) -> Egress:
    """The same listener, without a limit of its own to the time of a call."""
    for one in way.listeners:
        manager = one["filter_chains"][0]["filters"][0]["typed_config"]
        for virtual in manager["route_config"]["virtual_hosts"]:
            for route in virtual["routes"]:
                if "route" in route:
                    route["route"]["timeout"] = "0s"
    return way


class Provider(Upstream):
    """Takes the tokens of some clients alone: 401 for any other, and past a token's end.

    Without names the client is the one that the host `<client>.test` names.
    """

    def __init__(self, server: TokenServer, *clients: str, answer: Any = default_reply) -> None:
        super().__init__(default=self._checked)
        self.server = server
        self.clients = clients
        self.accepted = answer
        self.revoked: set[str] = set()
        """Texts of tokens that it takes no longer."""
        self.refused: list[str] = []
        """Why it answered 401."""
        self.used: list[tuple[float, Token]] = []
        """When each request came, in unix seconds, and with which token."""

    def _checked(self, request: Request) -> Any:
        wrong = self.problem(request)
        if wrong is None:
            return self.accepted(request)
        self.refused.append(wrong)
        return json_reply({"error": {"code": "401", "message": "Unauthorized"}}, 401)

    def problem(self, request: Request) -> str | None:
        """What is wrong with the credential of a request that has just come."""
        token = bearer(self.server, request)
        if token is None:
            return f"{len(request.values('authorization'))} values, none of which was given"
        self.used.append((time.time(), token))
        wanted = self.clients or (request.authority.decode().partition(".test")[0],)
        if token.client not in wanted:
            return f"a token of {token.client} for {wanted}"
        if time.time() > token.end:
            return f"{time.time() - token.end:.3f} s past its end"
        return "revoked" if token.text in self.revoked else None


def usable(token: Token) -> float:
    """The moment from which it must not be used."""
    return token.end - min(10.0, (token.end - token.issued) / 10)


def bearer(server: TokenServer, request: Request) -> Token | None:
    """The token of a request: the only value of its header, and given by the server."""
    values = request.values("authorization")
    if len(values) != 1 or not values[0].startswith(b"Bearer "):
        return None
    return server.tokens.get(values[0].removeprefix(b"Bearer ").decode("latin-1"))
