"""Both versions of the metadata service, and tokens that count no longer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from aws_identity_rig import Rig, serving
from aws_imds import TOKEN, Imds, text
from aws_metadata import Ledger
from entra_rules import WORDS
from wire import Reply

ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
ONLY_2 = "AWS_EC2_METADATA_V1_DISABLED"
OLD = {"forbidden": 403, "missing": 404, "method": 405}
"""How a machine of version 1 answers who wants a token."""
SWITCHES = {"off": "true", "off-upper": "TRUE"}
ALLOWED = {"on": "false", "on-empty": "", "on-odd": "1"}
MACHINES = [*OLD, *SWITCHES, *ALLOWED, "restarted", "late-restart", "confused", "optional", "hop"]


@dataclass
class World:
    """An Envoy with a VM for each machine."""

    rig: Rig
    machines: Mapping[str, Imds]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Every machine has a peculiarity."""
    ledger = Ledger()
    with contextlib.ExitStack() as stack:
        machines = {name: stack.enter_context(Imds(ledger, role=name)) for name in MACHINES}
        for name, status in OLD.items():
            machines[name].version_1 = status
        for name in (*SWITCHES, *ALLOWED):
            machines[name].version_1 = 404
        machines["optional"].version_2 = False
        # The token that is given counts no longer when it is used first, and when it is used next.
        machines["restarted"].script("role", lambda: text("Unauthorized", 401))
        machines["late-restart"].script("keys", lambda: text("Unauthorized", 401))
        machines["confused"].script("role", lambda: text(WORDS, 401), times=None)
        # An answer with a token goes one hop far, and does not come.
        machines["hop"].script("token", never, times=None)
        environments = {name: {ENDPOINT: imds.url} for name, imds in machines.items()}
        for name, value in (SWITCHES | ALLOWED).items():
            environments[name][ONLY_2] = value
        plugin = {"credentialWait": "300ms"}
        with serving(
            environments,
            ledger,
            *machines.values(),
            plugin=plugin,
            egress_settings={"timeout": "2s"},
        ) as rig:
            yield World(rig, machines)


def never() -> Reply:
    """A reply that comes after everybody has gone."""
    reply = text("")
    reply.delay = 600
    return reply


@pytest.mark.parametrize("name", [*OLD, *ALLOWED])
def test_a_machine_that_knows_no_tokens_is_asked_without_one(world: World, name: str) -> None:
    world.rig.wait_for_metric(name, "fetched")
    assert world.rig.lent(name).role == name
    imds = world.machines[name]
    assert imds.steps() == ["token", "role", "keys"]
    assert [request.values(TOKEN) for request in imds.requests] == [[], [], []]
    assert imds.refused == []
    assert world.rig.failures(name) == {}


@pytest.mark.parametrize("name", SWITCHES)
def test_where_that_is_switched_off_it_is_not(world: World, name: str) -> None:
    world.rig.wait_for_failures(name)
    assert set(world.rig.failures(name)) == {"denied"}
    line = world.rig.complaint(name)
    assert re.search(r"\b404\b", line)
    assert "version 1" in line
    world.rig.refused(name)
    assert set(world.machines[name].steps()) == {"token"}


@pytest.mark.parametrize("name", ["restarted", "late-restart"])
def test_a_token_that_counts_no_longer_is_replaced_at_once(world: World, name: str) -> None:
    world.rig.wait_for_metric(name, "fetched")
    assert world.rig.lent(name).role == name
    imds = world.machines[name]
    first = ["token", "role"] + (["keys"] if name == "late-restart" else [])
    assert imds.steps() == [*first, "token", "role", "keys"]
    one, two = imds.tokens
    sent = [request.header(TOKEN) for request in imds.requests]
    assert sent == [None, *[one] * (len(first) - 1), None, two, two]
    assert world.rig.failures(name) == {}
    assert world.rig.complaints(name) == []


def test_a_token_is_replaced_once_and_then_it_is_a_failure(world: World) -> None:
    rig, imds = world.rig, world.machines["confused"]
    rig.wait_for_failures("confused")
    assert rig.failures("confused") == {"denied": 1}
    assert imds.steps() == ["token", "role", "token", "role"]
    line = rig.complaint("confused")
    assert re.search(r"\b401\b", line)
    assert WORDS not in rig.envoy.log()
    assert rig.refused("confused") > 5


def test_a_token_is_asked_for_where_it_could_be_left_out(world: World) -> None:
    assert world.rig.lent("optional").role == "optional"
    imds = world.machines["optional"]
    assert [bool(request.values(TOKEN)) for request in imds.requests] == [False, True, True]


def test_a_token_that_does_not_come_is_no_reason_to_do_without(world: World) -> None:
    rig, imds = world.rig, world.machines["hop"]
    rig.wait_for_failures("hop")
    assert set(rig.failures("hop")) == {"timeout"}
    assert "hop limit" in rig.complaint("hop")
    rig.refused("hop")
    assert set(imds.steps()) == {"token"}


@pytest.mark.parametrize("status", [400, 401, 500, 503])
def test_another_status_is_no_reason_to_do_without(status: int) -> None:
    with Imds(role="r") as imds:
        imds.version_2 = False
        imds.script("token", lambda: text("", status), times=None)
        plugin = {"credentialWait": "300ms"}
        machines = {"vm": {ENDPOINT: imds.url}}
        with serving(machines, imds.ledger, imds, plugin=plugin) as rig:
            rig.wait_for_failures("vm")
            rig.refused("vm")
            assert set(imds.steps()) == {"token"}
            assert imds.given == []
