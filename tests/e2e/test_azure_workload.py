"""Workload identity: the token file of a service account, read anew for every exchange."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from azure_identity_rig import FILE, WORKLOAD, Pod, bare, serving
from entra import (
    CLIENT,
    GOVERNMENT,
    PUBLIC,
    TENANT,
    Application,
    Entra,
    azure,
    scope_of,
    token_path,
)
from entra_rig import TARGET
from entra_rules import BEARER_TYPE, failure, fields
from launch import poll
from token_load import Load
from upstream import Authority
from wire import Reply

RECORDING = Path(__file__).parent / "recordings/azure-workload-identity.json"
ONE: Mapping[str, Any] = {"azure": WORKLOAD}
QUICK: dict[str, Any] = {"plugin": {"credentialWait": "200ms"}}


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """Without a token."""
    return Pod(tmp_path)


@pytest.fixture
def entra(authority: Authority, pod: Pod) -> Iterator[Entra]:
    """With an application that trusts the account."""
    tls = authority.server_context([PUBLIC], http2=False)
    with Entra({(TENANT, CLIENT): Application(federations=[pod.federation()])}, tls=tls) as server:
        yield server


def asserted(entra: Entra, tenant: str = TENANT) -> list[str]:
    """The tokens that were sent to Entra, in order."""
    requests = entra.of(tenant)
    return [dict(fields(request.body))["client_assertion"] for request in requests]


@pytest.mark.parametrize("form", ["{}", "{}\n", " \t{}\r\n\n"], ids=["bare", "line", "blanks"])
def test_a_file_with_a_token_is_a_token_of_entra(
    authority: Authority, pod: Pod, entra: Entra, form: str
) -> None:
    assertion = pod.put(form)
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root], "concurrency": 4}
    with serving(ONE, entra, authority, **options) as rig:
        token = rig.token("azure")
        assert {rig.token("azure") for _ in range(5)} == {token}
        issued = entra.issued[token]
        assert (issued.tenant, issued.client) == (TENANT, CLIENT)
        assert [dict(asked.form) for asked in entra.asked] == [
            {
                "client_id": CLIENT,
                "grant_type": "client_credentials",
                "scope": scope_of(PUBLIC),
                "client_assertion_type": BEARER_TYPE,
                "client_assertion": assertion,
            }
        ]
        poll(lambda: pod.reads(rig) == [200], 5, "one reading")
        assert rig.metric("azure", "fetched") == 1
        assert abs(rig.metric("azure", "expires_at") - issued.end) < 2
        assert rig.failures("azure") == {}
        assert rig.complaints("azure") == []
        assert entra.refused == []
        assert "of-the-webhook" not in repr(entra.requests)


def test_a_request_is_like_that_of_the_official_client(
    authority: Authority, pod: Pod, entra: Entra
) -> None:
    pod.put()
    with serving(ONE, entra, authority, env=pod.environment(), mounts=[pod.root]) as rig:
        rig.token("azure")
    (ours,) = entra.requests
    (theirs,) = json.loads(RECORDING.read_text())["requests"]
    assert (ours.method, ours.target.decode()) == (theirs["method"], theirs["target"])
    assert ours.authority.decode() == theirs["host"]
    headers = {name.lower(): value for name, value in theirs["headers"]}
    assert ours.header("content-type") == headers["content-type"]
    form = dict(fields(ours.body))
    assert form | {"client_assertion": ""} == dict(theirs["form"]) | {"client_assertion": ""}


def test_tenant_and_client_are_those_of_the_manifest(
    authority: Authority, pod: Pod, entra: Entra
) -> None:
    entra.applications = {
        ("one.test", "client-1"): Application(federations=[pod.federation()]),
        ("two.test", "client-2"): Application(federations=[pod.federation()]),
    }
    pod.put()
    policy, _ = azure("named", tenant="two.test", client="client-2")
    manifests = {"one": bare("one", "one.test", "client-1"), "named": policy}
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root]}
    identities = dict.fromkeys(manifests, WORKLOAD)
    with serving(identities, entra, authority, manifests=manifests, **options) as rig:
        assert entra.issued[rig.token("one")].client == "client-1"
        assert entra.issued[rig.token("named")].client == "client-2"
        assert len(entra.requests) == 2


@pytest.mark.parametrize("host", [f"https://{GOVERNMENT}/", GOVERNMENT])
def test_the_environment_names_the_authority(authority: Authority, pod: Pod, host: str) -> None:
    pod.put()
    known = {(TENANT, CLIENT): Application(federations=[pod.federation()])}
    tls = authority.server_context([GOVERNMENT], http2=False)
    with Entra(known, host=GOVERNMENT, tls=tls) as entra:
        env = pod.environment(AZURE_AUTHORITY_HOST=host)
        with serving(ONE, entra, authority, env=env, mounts=[pod.root]) as rig:
            rig.token("azure")
        assert entra.asked[0].form["scope"] == scope_of(GOVERNMENT)
        assert entra.refused == []


def test_a_swapped_file_is_read_for_the_next_token_and_no_request_fails(
    authority: Authority, pod: Pod, entra: Entra
) -> None:
    entra.life.seconds = 5
    first = pod.put()
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root], "concurrency": 4}
    with serving(ONE, entra, authority, **options) as rig:
        rig.token("azure")
        with Load(rig.envoy.port(), "azure", rate=50, target=TARGET) as load:
            second = pod.put()
            poll(lambda: second in asserted(entra), 10, "the second token")
            third = pod.put()
            poll(lambda: third in asserted(entra), 10, "the third token")
            newest = list(entra.issued)[-1]
            poll(lambda: rig.newest() == newest, 5, "the newest token")
        assert load.failed == []
        load.assert_kept_up()
        assert list(dict.fromkeys(asserted(entra))) == [first, second, third]
        tokens = len(entra.issued)
        poll(lambda: len(pod.reads(rig)) >= tokens, 5, "every reading in the log")
        assert set(pod.reads(rig)) == {200}
        assert rig.failures("azure") == {}
        assert entra.refused == []


def test_a_token_that_has_ended_is_read_again_at_once(
    authority: Authority, pod: Pod, entra: Entra
) -> None:
    old = pod.put(exp=int(time.time()) - 5)

    def swapped(_request: Any) -> Reply:
        pod.put()
        return failure(401, "invalid_client", 700024)

    entra.on(token_path(TENANT), swapped, times=1)
    with serving(ONE, entra, authority, env=pod.environment(), mounts=[pod.root]) as rig:
        rig.token("azure")
        assert asserted(entra) == [old, pod.tokens[1]]
        poll(lambda: pod.reads(rig) == [200, 200], 5, "two readings")
        assert rig.metric("azure", "fetched") == 1
        assert rig.failures("azure") == {}
        assert rig.complaints("azure") == []


def test_a_token_that_stays_ended_is_tried_twice_and_then_later(
    authority: Authority, pod: Pod, entra: Entra
) -> None:
    pod.put(exp=int(time.time()) - 5)
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root], **QUICK}
    with serving(ONE, entra, authority, **options) as rig:
        assert rig.wait_for_failures("azure") == {"denied": 1}
        line = rig.complaint("azure")
        assert "entra" in line
        assert "AADSTS700024" in line
        assert "401" in line
        assert len(entra.requests) == 2
        rig.refused("azure")
        assert len(entra.requests) == 2 * sum(rig.failures("azure").values())


@pytest.mark.long
def test_a_token_that_was_ended_for_a_while_works_again_when_it_is_replaced(
    authority: Authority, pod: Pod, entra: Entra
) -> None:
    pod.put(exp=int(time.time()) - 5)
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root], **QUICK}
    with serving(ONE, entra, authority, **options) as rig:
        rig.wait_for_failures("azure")
        pod.put()
        rig.wait_for_fetches("azure", timeout=40)
        rig.token("azure")
        assert rig.failures("azure") == {"denied": 1}


def test_a_file_that_is_not_there_yet_is_waited_for(
    authority: Authority, pod: Pod, entra: Entra
) -> None:
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root], **QUICK}
    with serving(ONE, entra, authority, **options) as rig:
        rig.wait_for_failures("azure")
        line = rig.complaint("azure")
        assert "file" in line
        assert str(pod.path) in line
        assert "404" in line
        assert 1 <= rig.refused("azure") <= 6
        assert entra.requests == []
        pod.put()
        rig.wait_for_fetches("azure", timeout=15)
        rig.token("azure")


def test_a_file_that_goes_away_keeps_the_token_until_its_end(
    authority: Authority, pod: Pod, entra: Entra
) -> None:
    entra.life.seconds = 8
    pod.put()
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root], **QUICK}
    with serving(ONE, entra, authority, **options) as rig:
        first = rig.token("azure")
        end = entra.issued[first].end
        pod.volume.delete()
        rig.wait_for_failures("azure", 15)
        # Its renewal has failed, and it has some life left.
        assert rig.token("azure") == first
        assert time.time() < end
        poll(lambda: time.time() > end, 10)
        rig.refused("azure")
        pod.put()
        poll(lambda: rig.served("azure"), 15, "a token again")
        assert rig.token("azure") != first


def test_a_file_outside_the_mounts_is_never_served(
    authority: Authority, pod: Pod, entra: Entra, tmp_path: Path
) -> None:
    pod.put()
    elsewhere = tmp_path / "another"
    elsewhere.mkdir()
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [elsewhere], **QUICK}
    with serving(ONE, entra, authority, **options) as rig:
        rig.wait_for_failures("azure")
        assert str(pod.path) in rig.complaint("azure")
        rig.refused("azure")
        assert entra.requests == []


def test_policies_with_a_file_share_a_token_only_if_the_application_is_the_same(
    authority: Authority, pod: Pod, entra: Entra
) -> None:
    entra.applications["other", CLIENT] = Application(federations=[pod.federation()])
    pod.put()
    identities = dict.fromkeys(("one", "two", "three"), WORKLOAD)
    manifests = {"three": bare("three", "other")}
    options: dict[str, Any] = {"env": pod.environment(), "mounts": [pod.root], "concurrency": 4}
    with serving(identities, entra, authority, manifests=manifests, **options) as rig:
        tokens: dict[str, str] = {name: rig.token(name) for name in identities}
        assert len(entra.of(TENANT)) == len(entra.of("other")) == 1
        assert tokens["one"] == tokens["two"] != tokens["three"]


def test_the_variable_may_hold_blanks(authority: Authority, pod: Pod, entra: Entra) -> None:
    pod.put()
    env = pod.environment() | {FILE: f" {pod.path}\n"}
    with serving(ONE, entra, authority, env=env, mounts=[pod.root]) as rig:
        rig.token("azure")
        assert rig.failures("azure") == {}
