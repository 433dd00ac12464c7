"""Where keys come from, and that they are seen nowhere but on requests."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bootstrap import Config, bootstrap, cluster, listener, route, wasm_filter
from gateway import Gateway, running
from launch import validate
from manifests import HEADERS, TYPES, Manifest, config, header_value, policy, secret

KEY = "sk-of-the-gateway-5bd2f0"
CALLER = b"sk-of-the-caller-11c9"
TRACE = ["--component-log-level", "wasm:trace"]


def variable(name: str, text: str, namespace: str | None = None) -> Manifest:
    """An entry of `secrets.env`: the variable that holds the key of a Secret."""
    entry = {"name": name, "key": "apiKey", "variable": text}
    return entry if namespace is None else {**entry, "namespace": namespace}


def from_environment(*entries: Manifest, resources: Sequence[Manifest] = ()) -> Config:
    """The policy `provider`, whose key is not in the configuration."""
    return config(policy("provider"), *resources, secrets={"env": list(entries)})


def checked(plugin: Config, env: Mapping[str, str] | None = None, **options: Any) -> list[str]:
    """The error lines of a configuration that has to be refused, without the key anywhere."""
    filters = [wasm_filter(plugin, **options)]
    backend = cluster("provider", [1], filters=filters)
    status, output = validate(bootstrap([listener([route("/", "provider")])], [backend]), env)
    assert status == 1, output
    assert KEY not in output
    return re.findall(r"\[error\]\[wasm\].*wasm log[^:]*: (.*)", output)


@pytest.mark.parametrize("encoded", [False, True], ids=["stringData", "data"])
@pytest.mark.parametrize("kind", TYPES)
def test_a_key_may_stand_in_a_secret_of_the_configuration(kind: str, encoded: bool) -> None:
    plugin = config(
        policy("provider", kind), secret("provider-key", value=KEY + "ä", encoded=encoded)
    )
    with running({"provider": plugin}) as gateway:
        seen = gateway.send("provider", [(b"authorization", CALLER)])
    assert seen.values(HEADERS[kind]) == [header_value(kind, KEY + "ä")]


@pytest.mark.parametrize("kind", ["string", "struct"])
def test_a_key_of_the_environment_works_and_is_seen_nowhere(kind: str) -> None:
    plugin = from_environment(variable("provider-key", "AIGW_TEST_KEY"))
    options = {"host_env_keys": ["AIGW_TEST_KEY"], "kind": kind}
    env = {"AIGW_TEST_KEY": f" {KEY}\n"}
    plugins = {"provider": plugin, "unknown": plugin}
    with running(plugins, options=options, env=env, args=TRACE) as gateway:
        seen = gateway.send("provider", [(b"authorization", CALLER)])
        assert seen.values("authorization") == [header_value("APIKey", KEY)]
        assert_seen_nowhere(gateway)


def assert_seen_nowhere(gateway: Gateway) -> None:
    """Neither our key nor the caller's is in anything that Envoy tells."""
    sent = [(b"authorization", CALLER), (b"x-api-key", CALLER)]
    answers = [gateway.ask(name, sent) for name in ("provider", "unknown")]
    assert [answer.status for answer in answers] == [200, 500]
    gateway.envoy.wait_for_metric("policy.default/provider.injected", 2)
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
    assert "proxy_on_request_headers" in told["log"]
    assert "AIGW_TEST_KEY" in told["config_dump"]
    assert "default/provider.injected" in told["stats"]
    for key in (KEY, CALLER.decode()):
        assert [name for name, text in told.items() if key in text] == []


def test_the_environment_of_the_vm_may_be_given_in_the_configuration() -> None:
    plugin = from_environment(
        variable("provider-key", "FROM_THE_HOST"),
        variable("second-key", "FROM_THE_FILE", "team"),
        resources=[policy("second", "AnthropicAPIKey", namespace="team")],
    )
    options = {"host_env_keys": ["FROM_THE_HOST"], "vm_env": {"FROM_THE_FILE": "key-in-file"}}
    plugins = {"provider": plugin, "team/second": plugin}
    env = {"FROM_THE_HOST": KEY}
    with running(plugins, options=options, env=env, args=TRACE) as gateway:
        assert gateway.send("provider").header("authorization") == f"Bearer {KEY}"
        assert gateway.send("team/second").header("x-api-key") == "key-in-file"
        log = gateway.envoy.log()
        assert "proxy_on_request_headers" in log
        assert KEY not in log
        assert "key-in-file" not in log


def test_a_secret_of_the_configuration_goes_before_the_environment() -> None:
    plugin = from_environment(
        variable("provider-key", "AIGW_TEST_KEY"), resources=[secret("provider-key", value=KEY)]
    )
    options = {"vm_env": {"AIGW_TEST_KEY": "other"}}
    with running({"provider": plugin}, options=options) as gateway:
        assert gateway.send("provider").header("authorization") == f"Bearer {KEY}"


def test_a_variable_answers_for_its_own_namespace_alone() -> None:
    plugin = config(
        policy("provider", namespace="team"),
        secrets={"env": [variable("provider-key", "AIGW_TEST_KEY")]},
    )
    (line,) = checked(plugin, {"AIGW_TEST_KEY": KEY}, host_env_keys=["AIGW_TEST_KEY"])
    assert line.startswith("BackendSecurityPolicy team/provider: spec.apiKey.secretRef: ")
    assert "team/provider-key" in line


@pytest.mark.parametrize(
    ("env", "options"),
    [
        ({}, {"host_env_keys": ["AIGW_TEST_KEY"]}),
        # The variable is there, but the VM does not get it.
        ({"AIGW_TEST_KEY": KEY}, {}),
        ({"AIGW_TEST_KEY": KEY}, {"host_env_keys": ["AIGW_TEST_KEY_2"]}),
        ({"aigw_test_key": KEY}, {"host_env_keys": ["aigw_test_key"]}),
    ],
    ids=["nowhere", "not handed over", "another handed over", "another letter case"],
)
def test_a_variable_that_is_not_set_is_named(env: dict[str, str], options: dict[str, Any]) -> None:
    lines = checked(from_environment(variable("provider-key", "AIGW_TEST_KEY")), env, **options)
    assert lines == [
        "secrets.env[0].variable: AIGW_TEST_KEY is not set in the environment of the VM "
        "(vm_config.environment_variables)"
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "must not be empty"),
        (" \n\t ", "must not be empty"),
        *[
            (f"{KEY}{character}{KEY}", "must not contain CR, LF, NUL")
            for character in ("\r", "\n", "\r\nx-injected: ")
        ],
    ],
    ids=["empty", "blank", "CR", "LF", "CRLF"],
)
@pytest.mark.parametrize("given", ["host_env_keys", "key_values"])
def test_a_variable_that_holds_no_key_is_named_and_not_shown(
    given: str, text: str, complaint: str
) -> None:
    plugin = from_environment(variable("provider-key", "AIGW_TEST_KEY"))
    values = {"AIGW_TEST_KEY": text}
    if given == "key_values":
        lines = checked(plugin, vm_env=values)
    else:
        lines = checked(plugin, values, host_env_keys=list(values))
    (line,) = lines
    assert line.startswith("secrets.env[0].variable: AIGW_TEST_KEY ")
    assert complaint in line


def test_every_variable_that_is_missing_is_reported() -> None:
    plugin = from_environment(
        variable("provider-key", "AIGW_FIRST"),
        variable("second-key", "AIGW_SECOND"),
        variable("third-key", "AIGW_THIRD"),
        resources=[policy("second"), policy("third")],
    )
    lines = checked(plugin, vm_env={"AIGW_SECOND": KEY})
    named = [re.sub(r" is not set .*", "", line) for line in lines]
    assert named == [
        "secrets.env[0].variable: AIGW_FIRST",
        "secrets.env[2].variable: AIGW_THIRD",
    ]
