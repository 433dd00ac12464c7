"""The token file of a service account (IRSA): read anew for every exchange, swapped meanwhile."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from aws import STATIC, ambient, parsed
from egress import FILES, calls
from launch import poll
from manifests import Manifest
from mounts import Secret
from oidc import Issuer
from sts import Sts, arn
from sts_answers import failure
from sts_rig import TARGET, Rig, for_tokens, over_tls, serving
from sts_rules import WEB, Role
from token_load import Load
from upstream import Authority
from wire import Reply

ROLE = {"AWS_ROLE_ARN": arn("pod")}
SUBJECT = "system:serviceaccount:ai:gateway"
FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"
STATIC_NAME = "AWS_ACCESS_KEY_ID"
"""Why keys of the environment did not answer: this is not set."""


class Pod:
    """The volume with the token of a service account, which the kubelet replaces."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.volume = Secret(root, "sts.amazonaws.com", "serviceaccount")
        # Nobody asks it for anything: the kubelet brings its tokens.
        self.issuer = Issuer("https://oidc.eks.eu-west-1.amazonaws.com/id/0A1B")
        self.issuer.claims |= {"aud": "sts.amazonaws.com", "sub": SUBJECT}
        self.tokens: list[str] = []

    @property
    def path(self) -> Path:
        """The file."""
        return self.volume.path("token")

    def put(self, form: str = "{}", **claims: Any) -> str:
        """Puts another token there, in one step; gives it."""
        self.tokens.append(self.issuer.token(jti=str(len(self.tokens)), **claims))
        self.volume.swap({"token": form.format(self.tokens[-1])})
        return self.tokens[-1]

    def environment(self, **more: str) -> dict[str, str]:
        """What the pod's webhook puts into the environment."""
        return {**ROLE, FILE: str(self.path), **more}

    def role(self, **conditions: Any) -> Role:
        """The role of the account."""
        return for_tokens(self.issuer, SUBJECT, **conditions)

    def sent(self, sts: Sts) -> list[str]:
        """The tokens that were sent to STS, in order."""
        return [form["WebIdentityToken"] for form in sts.forms("pod")]

    def reads(self, rig: Rig) -> list[int]:
        """The statuses with which the file was read."""
        return [call.status for call in calls(rig.envoy, FILES, str(self.path))]


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """Without a token."""
    return Pod(tmp_path)


@pytest.fixture
def sts(authority: Authority, pod: Pod) -> Iterator[Sts]:
    """With the role of the account."""
    with over_tls(authority, {"pod": pod.role()}) as server:
        yield server


POLICIES: Mapping[str, list[Manifest]] = {"irsa": [ambient("irsa")]}
PLAIN: dict[str, Any] = {"plugin": {"credentialWait": "200ms"}}


@pytest.mark.parametrize("form", ["{}", "{}\n", " \t{}\r\n\n"], ids=["bare", "line", "blanks"])
def test_a_file_with_a_token_is_a_session(
    authority: Authority, pod: Pod, sts: Sts, form: str
) -> None:
    token = pod.put(form)
    env = pod.environment(AWS_ROLE_SESSION_NAME="of-the.pod@1")
    with serving(POLICIES, sts, authority, env=env, mounts=[pod.root]) as rig:
        session = rig.session("irsa")
        assert (session.role, session.source) == (arn("pod"), SUBJECT)
        assert sts.forms("pod") == [
            {
                "Action": WEB,
                "Version": "2011-06-15",
                "RoleArn": arn("pod"),
                "RoleSessionName": "of-the.pod@1",
                "WebIdentityToken": token,
            }
        ]
        poll(lambda: pod.reads(rig) == [200], 5, "one reading")
        assert rig.metric("irsa", "fetched") == 1
        assert rig.failures("irsa") == {}
        assert sts.refused == []
        told = rf"\[info\]\[wasm\].*default/irsa: .*web identity.*{STATIC_NAME}"
        assert len(re.findall(told, rig.envoy.log())) == 1


def test_without_a_name_the_session_has_that_of_its_policy(
    authority: Authority, pod: Pod, sts: Sts
) -> None:
    pod.put()
    policies = {name: [ambient(name)] for name in ("one", "two")}
    env = pod.environment(AWS_ROLE_SESSION_NAME="")
    with serving(policies, sts, authority, env=env, mounts=[pod.root]) as rig:
        for name in policies:
            assert rig.session(name).name == f"ai-gateway-{name}"
    assert len(sts.sessions("pod")) == 2


def test_a_swapped_file_is_read_for_the_next_session_and_no_request_fails(
    authority: Authority, pod: Pod, sts: Sts
) -> None:
    sts.life = 5
    first = pod.put()
    env = pod.environment()
    options: dict[str, Any] = {"env": env, "mounts": [pod.root], "concurrency": 4}
    with serving(POLICIES, sts, authority, **options) as rig:
        rig.session("irsa")
        with Load(rig.envoy.port(), "irsa", rate=50, target=TARGET) as load:
            second = pod.put()
            poll(lambda: second in pod.sent(sts), 10, "the second token")
            third = pod.put()
            poll(lambda: third in pod.sent(sts), 10, "the third token")
            newest = sts.sessions("pod")[-1]
            poll(lambda: used(rig) == newest.keys.access, 5, "the newest session")
        assert load.failed == []
        load.assert_kept_up()
        assert list(dict.fromkeys(pod.sent(sts))) == [first, second, third]
        assert set(pod.reads(rig)) == {200}
        assert len(pod.reads(rig)) == len(sts.of("pod")) == rig.metric("irsa", "fetched")
        assert rig.failures("irsa") == {}
        assert sts.misused == []


def used(rig: Rig) -> str:
    """The access key of the last request."""
    return parsed(rig.upstream.requests[-1]).access


def test_a_token_that_has_expired_is_read_again_at_once(
    authority: Authority, pod: Pod, sts: Sts
) -> None:
    old = pod.put(exp=int(time.time()) - 5)
    fresh: list[str] = []

    def swapped() -> Reply:
        fresh.append(pod.put())
        return failure(400, "ExpiredTokenException")

    sts.script("pod", swapped)
    env = pod.environment()
    with serving(POLICIES, sts, authority, env=env, mounts=[pod.root]) as rig:
        rig.session("irsa")
        assert pod.sent(sts) == fresh
        assert old not in fresh
        assert len(sts.of("pod")) == 2
        assert pod.reads(rig) == [200, 200]
        assert rig.metric("irsa", "fetched") == 1
        assert rig.failures("irsa") == {}
        assert rig.complaints("irsa") == []


def test_a_token_that_stays_expired_is_tried_twice_and_then_later(
    authority: Authority, pod: Pod, sts: Sts
) -> None:
    pod.put(exp=int(time.time()) - 5)
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root], **PLAIN}
    with serving(POLICIES, sts, authority, **options) as rig:
        assert rig.wait_for_failures("irsa") == {"denied": 1}
        assert "ExpiredTokenException" in rig.complaint("irsa")
        assert len(sts.requests) == 2 * sum(rig.failures("irsa").values())
        rig.refused("irsa")
        pod.put()
        poll(lambda: rig.metric("irsa", "fetched"), 15, "a session")
        rig.session("irsa")
        assert set(rig.failures("irsa")) == {"denied"}


def test_a_file_that_is_not_there_yet_is_waited_for(
    authority: Authority, pod: Pod, sts: Sts
) -> None:
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root], **PLAIN}
    with serving(POLICIES, sts, authority, **options) as rig:
        assert sum(rig.wait_for_failures("irsa").values()) >= 1
        line = rig.complaint("irsa")
        assert "file" in line
        assert "404" in line
        rig.refused("irsa")
        assert sts.requests == []
        pod.put()
        poll(lambda: rig.metric("irsa", "fetched"), 15, "a session")
        rig.session("irsa")


def test_a_file_that_goes_away_keeps_the_session_until_its_end(
    authority: Authority, pod: Pod, sts: Sts
) -> None:
    sts.life = 8
    pod.put()
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root], **PLAIN}
    with serving(POLICIES, sts, authority, **options) as rig:
        first = rig.session("irsa")
        pod.volume.delete()
        rig.wait_for_failures("irsa", 15)
        # Its renewal has failed, and it has some life left.
        assert time.time() < first.end
        assert rig.session("irsa") == first
        poll(lambda: time.time() > first.end, 10)
        rig.refused("irsa")
        pod.put()
        poll(lambda: rig.served("irsa"), 15, "a session again")
        assert rig.session("irsa") != first
        assert sts.misused == []


BROKEN: Mapping[str, Callable[[str], str | bytes]] = {
    "empty": lambda _: "",
    "blank": lambda _: " \n\t\n",
    "two lines": lambda token: f"{token}\n{token}\n",
    "CR": lambda token: f"{token}\r{token}",
    "NUL": lambda token: f"{token}\0",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_sent_to_nobody_and_not_shown(
    authority: Authority, pod: Pod, sts: Sts, name: str
) -> None:
    token = pod.put()
    pod.volume.swap({"token": BROKEN[name](token)})
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root], **PLAIN}
    with serving(POLICIES, sts, authority, **options) as rig:
        assert set(rig.wait_for_failures("irsa")) == {"malformed"}
        assert "file" in rig.complaint("irsa")
        rig.refused("irsa")
        assert sts.requests == []
        assert token not in rig.envoy.log()
        pod.put()
        poll(lambda: rig.metric("irsa", "fetched"), 15, "a session")
        rig.session("irsa")


def test_a_role_on_top_of_the_account_is_assumed(authority: Authority, pod: Pod, sts: Sts) -> None:
    pod.put()
    sts.roles[arn("next")] = Role(principals=[arn("pod")], external="e-1")
    role = {"roleArn": arn("next"), "externalID": "e-1"}
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root]}
    plugin = {"policies": {"default/irsa": {"assumeRole": role}}}
    with serving(POLICIES, sts, authority, plugin=plugin, **options) as rig:
        session = rig.session("irsa")
        (first,) = sts.sessions("pod")
        assert (session.role, session.source) == (arn("next"), first.arn)
        assert sts.refused == []


def test_keys_of_the_environment_come_first(authority: Authority, pod: Pod, sts: Sts) -> None:
    env = pod.environment(**STATIC.environment())
    with serving(POLICIES, sts, authority, env=env, mounts=[pod.root]) as rig:
        rig.ask("irsa")
        assert parsed(rig.upstream.only()).access == STATIC.access
        assert sts.requests == []
