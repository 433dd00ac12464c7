"""Policies that are edited under a running Envoy."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from bootstrap import Config
from launch import poll
from manifests import Manifest, config, keyed
from token_load import CONNECTIONS, Load, assert_unavailable, crowd
from token_rig import Provider, Rig, backends, entra, running, settings
from tokens import Client, Never, TokenServer

TAKEN = 0.5
"""So long after Envoy has taken new clusters all workers have them."""


def behind(rig_port: int, *resources: Iterable[Manifest], **more: str) -> list[Config]:
    """The one cluster, with these policies in its plugin configuration."""
    plugin = config(*map(list, resources), **settings("30s", **more))
    return backends({"one": plugin}, rig_port)


def served(rig: Rig) -> set[str]:
    """The tokens that requests on all workers carry; all of them succeed."""
    rig.provider.clear()
    answers = crowd(rig.envoy.port(), ["one"] * CONNECTIONS)
    assert [answer.status for answer in answers] == [200] * CONNECTIONS
    return {rig.token(request).text for request in rig.provider.requests}


def plugin(client: Client, **more: str) -> dict[str, Config]:
    """The plugin configuration of the one cluster, with the one policy for this client."""
    return {"one": config(entra(client, "one"), **settings("30s", **more))}


def test_an_edited_policy_takes_effect_under_load_with_a_token_of_its_own() -> None:
    with TokenServer() as server, Provider(server, "old", "new") as provider:
        old, new = server.client("old"), server.client("new")
        with running(server, provider=provider, plugins=plugin(old), dynamic=True) as rig:
            old.wait_for_tokens()
            poll(lambda: rig.ask("one").status == 200, 5)
            provider.clear()
            gate = new.hold()
            with Load(rig.envoy.port(), "one", rate=200) as load:
                provider.wait_for(100)
                begun = time.time()
                assert rig.envoy.update_cds(behind(provider.port, entra(new, "one")))
                taken = time.time() + TAKEN
                new.wait_for_calls()
                poll(lambda: time.time() > taken, 2)
                # There is no token for it yet, and the old one is not taken instead.
                poll(lambda: rig.active() >= CONNECTIONS / 2, 5, "requests that wait")
                gate.set()
                count = len(provider.requests)
                provider.wait_for(count + 200)
            assert load.failed == []
            assert provider.refused == []
            clients = [
                (float(request.header("x-sent") or 0), rig.token(request).client)
                for request in provider.requests
            ]
        assert {client for at, client in clients if at < begun} == {"old"}
        assert {client for at, client in clients if at > taken} == {"new"}
        assert (len(old.calls), len(new.calls)) == (1, 1)
        assert new.tokens[0].issued > taken


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "never answered"])
def test_requests_that_wait_at_the_old_policy_are_answered(answered: bool) -> None:
    wait = 20 if answered else 3
    with TokenServer() as server, Provider(server, "old", "new") as provider:
        old, new = server.client("old"), server.client("new")
        gate = old.hold()
        plugins = plugin(old, credentialWait=f"{wait}s")
        with (
            running(server, provider=provider, plugins=plugins, dynamic=True) as rig,
            ThreadPoolExecutor(1) as pool,
        ):
            asked = time.time()
            answers = pool.submit(crowd, rig.envoy.port(), ["one"] * CONNECTIONS)
            rig.wait_for_active(CONNECTIONS)
            assert rig.envoy.update_cds(behind(provider.port, entra(new, "one")))
            poll(lambda: rig.ask("one").status == 200, 5)
            assert served(rig) == {new.tokens[0].text}
            assert (rig.active(), len(old.tokens)) == (CONNECTIONS, 0)
            provider.clear()
            if answered:
                gate.set()
                assert {answer.status for answer in answers.result()} == {200}
                tokens = {rig.token(request).client for request in provider.requests}
                assert tokens == {"old"}
            else:
                for answer in answers.result():
                    assert_unavailable(answer)
                assert time.time() - asked < wait + 1
                assert provider.begun == []
            # The new policy goes on with its own.
            assert served(rig) == {new.tokens[0].text}
            assert len(new.calls) == 1


def test_a_call_that_the_old_policy_waited_for_does_not_hold_the_new_one_up() -> None:
    with TokenServer() as server, Provider(server, "one") as provider:
        one = server.client("one", Never())
        with running(server, provider=provider, plugins=plugin(one), dynamic=True) as rig:
            one.wait_for_calls()
            edited = behind(provider.port, entra(one, "one"), keyed("other"))
            assert rig.envoy.update_cds(edited)
            one.wait_for_calls(2, 4)
            poll(lambda: rig.ask("one").status == 200, 3)
            assert served(rig) == {one.tokens[0].text}


def test_an_edit_elsewhere_keeps_the_token_and_one_of_the_secret_does_not() -> None:
    with TokenServer() as server, Provider(server, "one") as provider:
        one, other, third = (server.client(name) for name in ("one", "other", "third"))
        with running(server, provider=provider, plugins=plugin(one), dynamic=True) as rig:
            (first,) = one.wait_for_tokens()
            poll(lambda: rig.ask("one").status == 200, 5)
            assert served(rig) == {first.text}
            for added in (other, third):
                edited = behind(provider.port, entra(one, "one"), entra(added))
                assert rig.envoy.update_cds(edited)
                # The new configuration is at work.
                added.wait_for_tokens()
                assert served(rig) == {first.text}
            wrong = behind(provider.port, entra(one, "one"), keyed("other", key="a\nb"))
            assert not rig.envoy.update_cds(wrong)
            assert served(rig) == {first.text}
            assert len(one.calls) == 1
            one.secret = f"another {one.secret}"
            assert rig.envoy.update_cds(behind(provider.port, entra(one, "one")))
            _, second = one.wait_for_tokens(2)
            poll(lambda: served(rig) == {second.text}, 3, "the new token everywhere")
            assert len(one.calls) == 2
            assert (len(other.calls), len(third.calls)) == (1, 1)
