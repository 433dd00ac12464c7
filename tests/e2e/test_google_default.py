"""What a policy without a source gets: the file that the environment names, or the machine's own
token."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from google_iam import Target, path_of
from google_keys import CLOUD, File, ServiceAccount
from google_metadata import EMAIL, HOST, TOKEN
from google_oauth import User
from google_recordings import REQUESTS
from google_rig import CALLER, Rig, serving
from google_rules import Life
from google_services import Google, default
from google_sts import Provider
from launch import poll
from replies import json_reply
from upstream import Authority
from wire import Reply

NAME = "machine"
FILE = "GOOGLE_APPLICATION_CREDENTIALS"
OF_FILTER = {"host", "metadata-flavor", "user-agent", "accept", "content-length"}
"""Headers that a request for a token may have."""


@contextmanager
def surrounded(
    services: Google, authority: Authority, env: Mapping[str, str] | None = None, **options: Any
) -> Iterator[Rig]:
    """An Envoy with a policy that says nothing, in this environment."""
    with serving(
        {NAME: default(NAME)}, services, authority, options={"vm_env": dict(env or {})}, **options
    ) as rig:
        yield rig


@pytest.fixture
def services(authority: Authority) -> Iterator[Google]:
    """The token of the machine counts in the project of the policy."""
    with Google(authority) as services:
        services.place(NAME, EMAIL)
        yield services


# The metadata server.


def test_a_machine_s_own_token_is_used(services: Google, authority: Authority) -> None:
    with surrounded(services, authority, concurrency=4) as rig:
        tokens = {rig.token(NAME) for _ in range(24)}
        assert len(tokens) == 1
        assert abs(rig.metric(NAME, "expires_at") - services.ledger.tokens[tokens.pop()].end) < 3
        (request,) = services.metadata.requests
        recorded = REQUESTS["adc-metadata/4"]
        assert (request.method, request.authority.decode()) == (recorded.method, recorded.host)
        assert request.target.decode() in (recorded.target, TOKEN)
        assert request.header("metadata-flavor") == "Google"
        assert {name.decode() for name, _ in request.headers} <= OF_FILTER
        assert CALLER not in repr(request)
        assert rig.failures(NAME) == {}
    assert services.refused == []


@pytest.mark.parametrize("place", ["name", "name and port", "address"])
def test_the_metadata_server_is_where_the_environment_says(
    services: Google, authority: Authority, place: str
) -> None:
    host = {
        "name": "metadata.test",
        "name and port": "metadata.test:8080",
        "address": f"127.0.0.1:{services.metadata.port}",
    }[place]
    services.metadata.hosts = {host}
    hosts = {} if place == "address" else {host: services.metadata.port}
    env = {"GCE_METADATA_HOST": host}
    with surrounded(services, authority, env, hosts=hosts, without=[HOST]) as rig:
        rig.token(NAME)
        assert {one.authority.decode() for one in services.metadata.requests} == {host}
    assert services.refused == []


@pytest.mark.parametrize("flavor", [None, b"AWS", b"google"])
def test_who_does_not_say_that_it_is_the_metadata_server_is_not_believed(
    services: Google, authority: Authority, flavor: bytes | None
) -> None:
    services.metadata.flavor = flavor
    with surrounded(services, authority, plugin={"credentialWait": "500ms"}) as rig:
        assert set(rig.wait_for_failure(NAME)) == {"malformed"}
        assert "metadata" in rig.complaint(NAME)
        rig.refused(NAME)
        assert services.metadata.given
        services.metadata.flavor = b"Google"
        poll(lambda: rig.metric(NAME, "fetched"), 15, "a token")
        rig.token(NAME)


def test_a_token_with_minutes_left_is_served_and_not_asked_for_again(
    services: Google, authority: Authority
) -> None:
    services.metadata.life = Life(299.9)
    services.metadata.held = 0
    with surrounded(services, authority) as rig:
        first = rig.token(NAME)
        # What is renewed too early would be so at once, on the ticks of some seconds.
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert rig.token(NAME) == first
        assert len(services.metadata.asked) == 1
        assert rig.metric(NAME, "expires_at") > time.time() + 250


def test_a_token_that_comes_again_is_served_to_its_end_without_spinning(
    services: Google, authority: Authority
) -> None:
    services.metadata.life = Life(14)
    services.metadata.held = 0
    with surrounded(services, authority) as rig:
        first = rig.token(NAME)
        end = services.ledger.tokens[first].end
        while services.ledger.alive(first) and time.time() < end - 2:
            assert rig.token(NAME) == first
        poll(lambda: not services.ledger.alive(first), 5, "its end")
        poll(lambda: rig.post(NAME).status == 200, 15, "another token")
        assert rig.token(NAME) != first
        # It was asked for again when it was stale, and then seldom.
        asked = [at for at, token in services.metadata.given if token.text == first]
        assert 2 <= len(asked) <= 15
        assert asked[1] - asked[0] > 5
    assert services.vertex.refused == []


ERRORS = {
    "no account": (404, "denied"),
    "forbidden": (403, "denied"),
    "throttled": (429, "throttled"),
    "server": (500, "server"),
    "unavailable": (503, "server"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_of_the_metadata_server_is_counted_by_its_kind(
    services: Google, authority: Authority, name: str
) -> None:
    status, reason = ERRORS[name]
    body = b"<!DOCTYPE html><p>no"
    flavor = [(b"metadata-flavor", b"Google")]
    services.metadata.script(lambda _: Reply(status, flavor, body), times=None)
    with surrounded(services, authority, plugin={"credentialWait": "500ms"}) as rig:
        assert set(rig.wait_for_failure(NAME)) == {reason}
        line = rig.complaint(NAME)
        assert str(status) in line
        assert "metadata" in line
        assert "DOCTYPE" not in line
        rig.refused(NAME)


def test_a_machine_that_is_none_is_told_apart(services: Google, authority: Authority) -> None:
    env = {"GCE_METADATA_HOST": "127.0.0.1:1"}
    with surrounded(services, authority, env, plugin={"credentialWait": "500ms"}) as rig:
        assert set(rig.wait_for_failure(NAME)) == {"connect"}
        rig.refused(NAME)


# A file that the environment names.


SUBJECT = "subject-of-the-file"
USER = User()
ACCOUNT = ServiceAccount()


def prepared(services: Google, kind: str, folder: Path) -> tuple[File, str]:
    """A file of a type, and whose token comes of it."""
    services.oauth.accounts[ACCOUNT.email] = ACCOUNT
    services.oauth.users.append(USER)
    provider = Provider(listed={SUBJECT}, impersonating=kind == "acting")
    services.sts.providers[provider.name] = provider
    services.iam.targets[ACCOUNT.email] = Target({provider.principal("listed")})
    (folder / "subject").write_text(SUBJECT + "\n")
    source = {"file": str(folder / "subject")}
    url = f"https://iamcredentials.googleapis.com{path_of(ACCOUNT.email)}"
    other = {"service_account_impersonation_url": url}
    return {
        "key": (ACCOUNT.file(), ACCOUNT.email),
        "user": (USER.file(), USER.client_id),
        "external": (provider.file(source), provider.principal("listed")),
        "acting": (provider.file(source, **other), ACCOUNT.email),
    }[kind]


@pytest.mark.parametrize("kind", ["key", "user", "external", "acting"])
def test_a_file_that_the_environment_names_is_used(
    services: Google, authority: Authority, tmp_path: Path, kind: str
) -> None:
    file, who = prepared(services, kind, tmp_path)
    services.place(NAME, who)
    path = tmp_path / "adc.json"
    path.write_text(json.dumps(file))
    plugin = {"secrets": {"mountPath": str(tmp_path)}}
    env = {FILE: str(path)}
    with surrounded(services, authority, env, plugin=plugin, folders=[tmp_path]) as rig:
        _, used = rig.answered(NAME)
        token = services.ledger.tokens[used.token]
        assert (token.who, token.scopes) == (who, (CLOUD,))
        assert rig.failures(NAME) == {}
        assert services.metadata.requests == []
    assert services.refused == []


def test_a_file_that_is_not_there_is_not_passed_over(
    services: Google, authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "adc.json"
    plugin = {"secrets": {"mountPath": str(tmp_path)}, "credentialWait": "1s"}
    env = {FILE: str(path)}
    with surrounded(services, authority, env, plugin=plugin, folders=[tmp_path]) as rig:
        assert rig.wait_for_failure(NAME)
        assert str(path) in rig.complaint(NAME)
        rig.refused(NAME)
        assert services.metadata.requests == []
        file, who = prepared(services, "key", tmp_path)
        services.place(NAME, who)
        path.write_text(json.dumps(file))
        rig.wait_for_metric(NAME, "fetched", timeout=20)
        rig.token(NAME)


def test_a_file_that_is_replaced_is_used_at_the_next_renewal(
    services: Google, authority: Authority, tmp_path: Path
) -> None:
    path = tmp_path / "adc.json"
    file, first = prepared(services, "key", tmp_path)
    other = ServiceAccount("other@proj.iam.gserviceaccount.com")
    services.oauth.accounts[other.email] = other
    services.place(NAME, first, other.email)
    path.write_text(json.dumps(file))
    services.oauth.life = Life(8)
    plugin = {"secrets": {"mountPath": str(tmp_path)}}
    env = {FILE: str(path)}
    with surrounded(services, authority, env, plugin=plugin, folders=[tmp_path]) as rig:
        assert rig.answered(NAME)[1].who == first
        path.write_text(json.dumps(other.file()))
        poll(lambda: rig.answered(NAME)[1].who == other.email, 30, "the other account")
        assert services.oauth.refused == []


def test_an_answer_that_lacks_its_token_is_malformed(
    services: Google, authority: Authority
) -> None:
    flavor = (b"metadata-flavor", b"Google")
    reply = json_reply({"expires_in": 3599, "token_type": "Bearer"})
    reply.headers = [*reply.headers, flavor]
    services.metadata.script(lambda _: reply)
    with surrounded(services, authority) as rig:
        rig.wait_for_metric(NAME, "fetched")
        rig.token(NAME)
        assert rig.failures(NAME) == {"malformed": 1}
