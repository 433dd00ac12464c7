"""Keys, tokens and signatures are seen nowhere but on requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import raw
from aws import STATIC, TEMPORARY, THEIRS, Keys, ambient, bedrock, parsed, verify
from bootstrap import Config, bootstrap, cluster, listener, retry, route, wasm_filter
from gateway import Gateway, host, running
from launch import validate
from manifests import config
from wire import Header

TRACE = ["--component-log-level", "wasm:trace"]
TARGET = b"/model/m%3A0/invoke"
UPGRADE: list[Header] = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
SENT: list[Header] = [
    (b"authorization", b"AWS4-HMAC-SHA256 Credential=" + THEIRS.access.encode()),
    (b"x-amz-security-token", (THEIRS.token or "").encode()),
    (b"x-api-key", THEIRS.secret.encode()),
]


def texts(keys: Keys) -> list[str]:
    """What nobody may read."""
    return [keys.secret, *([keys.token] if keys.token else [])]


def from_file() -> tuple[Config, dict[str, str]]:
    """A policy whose credentials file is in the environment."""
    entry = {"name": "bedrock-file", "key": "credentials", "variable": "AIGW_TEST_FILE"}
    plugin = config(bedrock()[0], secrets={"env": [entry]})
    return plugin, {"AIGW_TEST_FILE": TEMPORARY.ini()}


def from_environment() -> tuple[Config, dict[str, str]]:
    """A policy that takes the keys from the environment."""
    return config(ambient()), TEMPORARY.environment()


SOURCES = {"file": from_file, "environment": from_environment}


@pytest.fixture(scope="module", params=SOURCES)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """An Envoy that tells all that it knows of the filter, for keys that are not in its
    configuration. What is asked for below `/again` may be tried twice."""
    plugin, env = SOURCES[request.param]()
    hcm = {"upgrade_configs": [{"upgrade_type": "websocket"}]}
    options = {"host_env_keys": list(env)}
    again = route("/again", "bedrock", retry=retry(1))
    plugins = {"bedrock": plugin, "unknown": plugin}
    made: dict[str, Any] = {"hcm": hcm, "options": options, "first": [again]}
    with running(plugins, **made, env=env, args=TRACE) as gateway:
        yield gateway


def test_nothing_that_envoy_tells_holds_a_key_a_token_or_a_signature(gateway: Gateway) -> None:
    gateway.upstream.reset()
    gateway.upstream.reply_with(503, times=1, path="/again")
    name = host("bedrock")
    asked: Mapping[str, tuple[bytes, bytes, list[Header], bytes]] = {
        "signed": (b"POST", TARGET, [(b"host", name)], b"{}"),
        "without a body": (b"GET", TARGET, [(b"host", name)], b""),
        "tried twice": (b"POST", b"/again", [(b"host", name)], b"{}"),
        "unsignable": (b"GET", TARGET, [(b"host", name), *UPGRADE], b""),
        "too large": (b"POST", TARGET, [(b"host", name)], b"x" * (4 << 20)),
        "unknown": (b"POST", TARGET, [(b"host", host("unknown"))], b"{}"),
    }
    answers = {
        label: raw.request(gateway.envoy.port(), method, target, [*fields, *SENT], body)
        for label, (method, target, fields, body) in asked.items()
    }
    statuses = [answer.status for answer in answers.values()]
    assert statuses == [200, 200, 200, 400, 413, 500]
    requests = gateway.upstream.requests
    assert len(requests) == 4
    signatures = [verify(seen, TEMPORARY).signature for seen in requests]

    gateway.envoy.wait_for_metric("policy.default/bedrock.injected", 4)
    told = {
        "replies": repr(answers),
        "config_dump": json.dumps(gateway.envoy.config_dump()),
        "stats": gateway.envoy.get("/stats").text,
        "prometheus": gateway.envoy.prometheus(),
        "clusters": gateway.envoy.get("/clusters").text,
        "listeners": gateway.envoy.get("/listeners").text,
        "server_info": gateway.envoy.get("/server_info").text,
        "log": gateway.envoy.log(),
    }
    # These are what they are taken for.
    assert "proxy_on_request_body" in told["log"]
    assert "UnsignableRequest" in told["replies"]
    assert "default/bedrock.injected" in told["stats"]
    hidden = [*texts(TEMPORARY), *texts(THEIRS), THEIRS.access, *signatures]
    for text in hidden:
        assert [place for place, said in told.items() if text in said] == [], text


def test_a_signature_is_found_where_it_may_be(gateway: Gateway) -> None:
    """The texts that the other test looks for are those that a request carries."""
    gateway.upstream.reset()
    seen = gateway.send("bedrock", SENT, TARGET, b"POST", b"{}")
    carried = repr(seen.headers)
    assert parsed(seen).signature in carried
    assert (TEMPORARY.token or "-") in carried
    assert THEIRS.secret not in carried


BROKEN = {
    "a process": f"[default]\ncredential_process = /bin/x {STATIC.secret}\n",
    "a line without a sign": f"[default]\n{STATIC.secret.replace('=', '')}\n",
    "a value in place of a name": f"[default]\n{STATIC.secret} = x\n",
    "a profile in place of a value": f"[{STATIC.secret}\n",
    "a control character": STATIC.ini().replace(STATIC.secret, STATIC.secret + "\x02"),
    "no key": f"[default]\naws_secret_access_key = {STATIC.secret}\n",
    "no file": STATIC.secret,
}


def test_what_is_wrong_with_a_file_is_said_without_a_word_of_it() -> None:
    names = {label: "file-" + label.replace(" ", "-") for label in BROKEN}
    plugin = config(*(bedrock(names[label], text) for label, text in BROKEN.items()))
    backend = cluster("bedrock", [1], filters=[wasm_filter(plugin)])
    setup = bootstrap([listener([route("/", "bedrock")])], [backend])
    status, output = validate(setup)
    assert status == 1
    for name in names.values():
        assert f"BackendSecurityPolicy default/{name}: " in output
    assert STATIC.secret not in output
    assert STATIC.secret.replace("=", "") not in output
