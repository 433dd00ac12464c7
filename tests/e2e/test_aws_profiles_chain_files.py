"""A shared credentials file that changes while the filter runs, that comes late, and that goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aws import Keys, parsed
from aws_container import ECS, TASK_PATH, Container
from aws_identity_rig import Rig, serving
from aws_imds import ADDRESS, Imds
from aws_metadata import Ledger
from launch import poll
from mounts import Secret

FILE, PROFILE = "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE"
TASK = {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": TASK_PATH}


@dataclass
class World:
    """A machine, a task, and a volume for the file."""

    ledger: Ledger
    imds: Imds
    task: Container
    volume: Secret
    root: Path

    def put(self, user: str, profile: str = "default") -> Keys:
        """Puts other keys into the file, in one step; gives them."""
        word = user.upper()
        keys = Keys(f"AKIDOF{word}", f"secret/of+{word}=%17")
        self.ledger.issue(user, 3600, keys)
        self.volume.swap({"credentials": keys.ini(profile)})
        return keys

    def serving(self, **environment: str) -> Any:
        """An Envoy whose chain reads the file."""
        env = {FILE: str(self.volume.path("credentials")), **environment}
        hosts = {ADDRESS: self.imds.port, ECS: self.task.port}
        plugin = {"credentialWait": "200ms"}
        services = (self.imds, self.task)
        return serving(
            {"vm": env}, self.ledger, *services, hosts=hosts, mounts=[self.root], plugin=plugin
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Without a file."""
    ledger = Ledger()
    with Imds(ledger, hosts=[ADDRESS]) as imds, Container(ledger, hosts=[ECS]) as task:
        yield World(ledger, imds, task, Secret(tmp_path, "file", "aws"), tmp_path)
        assert imds.refused == task.refused == []


def signer(rig: Rig) -> str | None:
    """Who has signed a request, if it was answered."""
    rig.upstream.clear()
    if rig.ask_bedrock("vm") != 200:
        return None
    return rig.ledger.lent[parsed(rig.upstream.only()).access].role


def test_keys_that_are_replaced_in_the_file_are_used_without_a_restart(world: World) -> None:
    world.put("first")
    with world.serving() as rig:
        poll(lambda: signer(rig) == "first", 15, "keys")
        world.put("second")
        poll(lambda: signer(rig) == "second", 25, "the keys that are in the file now")
        assert rig.failures("vm") == {}


def test_a_profile_that_is_wanted_by_name_is_waited_for(world: World) -> None:
    with world.serving(**{PROFILE: "wanted"}, **TASK) as rig:
        assert set(rig.wait_for_failures("vm")) == {"denied"}
        assert "credentials" in rig.complaint("vm")
        rig.refused("vm")
        world.put("other", "other")
        rig.envoy.wait_for_log("no profile wanted", 15)
        rig.refused("vm")
        world.put("wanted", "wanted")
        poll(lambda: signer(rig) == "wanted", 15, "the profile")
        assert world.task.requests == world.imds.requests == []


def test_a_file_that_comes_late_is_waited_for_and_nothing_else_asked(world: World) -> None:
    with world.serving(**TASK) as rig:
        assert set(rig.wait_for_failures("vm")) == {"denied"}
        rig.refused("vm")
        world.put("first")
        poll(lambda: signer(rig) == "first", 15, "keys of the file")
        assert world.task.requests == world.imds.requests == []


def test_a_profile_that_comes_late_answers_at_the_next_renewal(world: World) -> None:
    world.task.life = 6
    world.put("other", "other")
    with world.serving(**TASK) as rig:
        poll(lambda: signer(rig) == "of-the-container", 15, "keys of the task")
        world.put("first")
        poll(lambda: signer(rig) == "first", 20, "keys of the file")
        lines = [line for line in rig.told("vm") if "default chain" in line]
        assert len(lines) == 2
        assert "container" in lines[0]
        assert "profile default" in lines[1]
        assert rig.failures("vm") == {}
        assert world.imds.requests == []


def test_an_empty_file_is_one_that_is_not_written_yet(world: World) -> None:
    world.volume.swap({"credentials": ""})
    with world.serving(**TASK) as rig:
        assert set(rig.wait_for_failures("vm")) == {"malformed"}
        rig.refused("vm")
        world.put("first")
        poll(lambda: signer(rig) == "first", 15, "keys of the file")
        assert world.task.requests == world.imds.requests == []


def test_a_source_that_cannot_be_had_stops_the_chain(world: World) -> None:
    role = "role_arn = arn:aws:iam::123456789012:role/r\n"
    text = f"[default]\n{role}credential_source = Ec2InstanceMetadata\n"
    world.volume.swap({"credentials": text})
    world.imds.role = None
    with world.serving(**TASK) as rig:
        rig.wait_for_failures("vm")
        rig.refused("vm")
        line = rig.complaint("vm")
        assert "instance metadata" in line
        assert "profile default" in line
        assert world.task.requests == []


def test_a_file_that_cannot_be_read_does_not_let_the_chain_go_on(world: World) -> None:
    # It is too large to be one of profiles.
    world.volume.swap({"credentials": "#" * 3_000_000})
    with world.serving(**TASK) as rig:
        rig.wait_for_failures("vm")
        rig.refused("vm")
        assert world.task.requests == []
        world.put("first")
        poll(lambda: signer(rig) == "first", 15, "keys of the file")


def test_keys_stay_while_the_file_is_away(world: World) -> None:
    world.put("first")
    with world.serving(**TASK) as rig:
        poll(lambda: signer(rig) == "first", 15, "keys")
        world.volume.delete()
        end = time.monotonic() + 15
        # Longer than it takes until a file is read again.
        poll(lambda: signer(rig) != "first" or time.monotonic() > end, 20)
        assert signer(rig) == "first"
        assert world.task.requests == []
