"""Which authority is asked, and for which scope, as `AZURE_AUTHORITY_HOST` says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from bootstrap import Config, bootstrap, listener
from egress import NAME, egress
from entra import CHINA, CLIENT, GOVERNMENT, PUBLIC, Application, Entra, azure, scope_of
from entra_rig import CALLER, TARGET, THEIRS
from envoy import Envoy
from gateway import Gateway, appears, assert_no_panic, clusters, routes
from manifests import config
from upstream import Authority, Upstream

PARTNER = "login.partner.microsoftonline.cn"
STACK = "login.stack.test"
PLAIN_HOST = "login.inside.test"


class Case(NamedTuple):
    """What the environment says, who has to be asked, and whether by TLS."""

    value: str | None
    host: str
    secure: bool = True


CASES = {
    "unset": Case(None, PUBLIC),
    "empty": Case("", PUBLIC),
    "public": Case(f"https://{PUBLIC}/", PUBLIC),
    "government": Case(GOVERNMENT, GOVERNMENT),
    "government-url": Case(f"https://{GOVERNMENT}", GOVERNMENT),
    "government-slash": Case(f"{GOVERNMENT}/", GOVERNMENT),
    "government-upper": Case(f"HTTPS://{GOVERNMENT.upper()}/", GOVERNMENT),
    "china": Case(f"https://{CHINA}/", CHINA),
    "partner": Case(PARTNER, PARTNER),
    "unknown": Case(f"https://{STACK}", STACK),
    "unknown-port": Case(f"https://{STACK}:8443/", f"{STACK}:8443"),
    "plain": Case(f"http://{PLAIN_HOST}", PLAIN_HOST, secure=False),
}


class Clouds(NamedTuple):
    """A gateway and the stand-ins behind it, by host."""

    gateway: Gateway
    entras: dict[str, Entra]


def plugin(name: str) -> Config:
    """A configuration with a policy whose tenant has its name."""
    settings = {"cluster": NAME, "plaintextHosts": [PLAIN_HOST]}
    return config(azure(name, "s", name), egress=settings)


@pytest.fixture(scope="module")
def clouds(authority: Authority) -> Iterator[Clouds]:
    """One Envoy with a VM for each case, as the environment belongs to the VM."""
    with contextlib.ExitStack() as stack:
        entras: dict[str, Entra] = {}
        for case in CASES.values():
            if case.host not in entras:
                name = case.host.partition(":")[0]
                tls = authority.server_context([name], http2=False) if case.secure else None
                entras[case.host] = stack.enter_context(Entra(host=case.host, tls=tls))
        for name, case in CASES.items():
            entras[case.host].applications[name, CLIENT] = Application(secret="s")
        hosts = {host: entra.port for host, entra in entras.items()}
        way = egress(ca_pem=authority.pem, hosts=hosts)
        upstream = stack.enter_context(Upstream())
        behind = []
        for name, case in CASES.items():
            env = {} if case.value is None else {"AZURE_AUTHORITY_HOST": case.value}
            behind += clusters({name: plugin(name)}, upstream.port, vm_id=name, vm_env=env)
        front = listener(routes(list(CASES)))
        whole = bootstrap([front, *way.listeners], [*behind, *way.clusters], **way.bootstrap_extras)
        envoy = stack.enter_context(Envoy(whole, concurrency=1))
        yield Clouds(Gateway(envoy, upstream), entras)
        assert_no_panic(envoy)
        assert [entra.refused for entra in entras.values()] == [[]] * len(entras)


@pytest.mark.parametrize("name", CASES)
def test_the_environment_names_the_authority_and_so_the_scope(clouds: Clouds, name: str) -> None:
    entra = clouds.entras[CASES[name].host]
    clouds.gateway.upstream.on(None, entra.provider)
    clouds.gateway.upstream.clear()
    answer = clouds.gateway.ask(name, THEIRS, TARGET)
    assert answer.status == 200, answer
    assert appears(CALLER, clouds.gateway.upstream.only()) == []
    (request,) = entra.of(name)
    assert request.authority == CASES[name].host.encode()
    (form,) = [one.form for one in entra.asked if one.tenant == name]
    assert form["scope"] == scope_of(CASES[name].host)
    # Nobody else was asked for this tenant.
    others = [one for one in clouds.entras.values() if one is not entra]
    assert [one.of(name) for one in others] == [[]] * len(others)
