"""Keys of a machine that end: renewed while requests go on, kept while the service is away, and
used for a while where the service itself is late."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from aws import parsed
from aws_identity_rig import Rig, serving
from aws_imds import Imds, text
from launch import poll
from sts_rig import TARGET
from token_load import Load

ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
GRACE = 600
"""Seconds for which late keys are used."""


@pytest.fixture
def imds() -> Iterator[Imds]:
    """The service of a machine."""
    with Imds() as server:
        yield server


def machine(imds: Imds, **options: Any) -> Any:
    """An Envoy on that machine."""
    return serving({"vm": {ENDPOINT: imds.url}}, imds.ledger, imds, **options)


def used(rig: Rig) -> str:
    """The access key of the last request."""
    return parsed(rig.upstream.requests[-1]).access


def test_no_request_fails_while_keys_of_some_seconds_are_renewed(imds: Imds) -> None:
    imds.life = 7
    with machine(imds, concurrency=4) as rig:
        rig.lent("vm")
        with Load(rig.envoy.port(), "vm", rate=60, target=TARGET) as load:
            poll(lambda: len(imds.ledger.lent) >= 4, 60, "four pairs of keys")
            newest = list(imds.ledger.lent)[-1]
            poll(lambda: used(rig) == newest, 5, "the newest keys")
        assert load.failed == []
        load.assert_kept_up()
        assert imds.ledger.misused == []
        assert imds.refused == []
        assert rig.failures("vm") == {}
        # One exchange a renewal, by whichever worker: each asks for a token of its own.
        steps = imds.steps()
        assert steps[:3] * (len(steps) // 3) == steps
        assert len(imds.given) == len(imds.ledger.lent) == rig.metric("vm", "fetched")
        lines = [line for line in rig.told("vm") if "instance metadata" in line]
        assert len(lines) == 1


def test_another_role_of_the_machine_is_noticed_at_the_next_renewal(imds: Imds) -> None:
    imds.life = 6
    with machine(imds) as rig:
        assert rig.lent("vm").role == "of-the-machine"
        imds.role = "another"
        poll(lambda: rig.ask_bedrock("vm") and imds.ledger.of("another"), 15, "the other role")
        poll(lambda: rig.lent("vm").role == "another", 5, "the other role")
        assert rig.failures("vm") == {}


def test_keys_are_used_until_their_end_while_the_service_is_away(imds: Imds) -> None:
    imds.life = 10
    with machine(imds, plugin={"credentialWait": "200ms"}) as rig:
        first = rig.lent("vm")
        imds.script("token", lambda: text("", 500), times=None)
        rig.wait_for_failures("vm", 20)
        assert rig.lent("vm") == first
        assert set(rig.failures("vm")) == {"server"}
        poll(lambda: time.time() > first.end, 15)
        rig.refused("vm")
        imds.reset()
        poll(lambda: rig.ask_bedrock("vm") == 200, 20, "keys again")
        assert rig.lent("vm") != first
        assert imds.ledger.misused == []


@pytest.mark.long
def test_a_service_that_has_nothing_newer_is_not_asked_all_the_time(imds: Imds) -> None:
    given = imds.ledger.issue("of-the-machine", 60)
    imds.script("keys", lambda: text(json.dumps(imds.document(given))), times=None)
    with machine(imds, concurrency=4) as rig:
        assert rig.lent("vm") == given
        assert len(imds.of("keys")) == 1
        # They are stale from 48 s on, or a little before: to ask every second would be 12 times.
        poll(lambda: time.time() > given.end - 1, 70)
        assert 2 <= len(imds.of("keys")) <= 8
        assert rig.failures("vm") == {}


@pytest.mark.parametrize("late", [1, 4000])
def test_keys_that_come_when_they_have_ended_are_used_and_warned_of(imds: Imds, late: int) -> None:
    imds.late = late
    with machine(imds) as rig:
        asked = time.time()
        lent = rig.lent("vm")
        until = rig.metric("vm", "expires_at")
        assert asked - 5 + GRACE <= until <= time.time() + GRACE + 1
        assert rig.metric("vm", "fetched") == 1
        (line,) = rig.complaints("vm")
        assert "ten minutes from now" in line
        assert rig.failures("vm") == {"server": 1}
        assert lent.keys.secret not in rig.envoy.log()
