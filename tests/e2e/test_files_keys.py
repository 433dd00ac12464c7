"""Keys in mounted files: requests carry what the file says, and nothing else shows it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from aws import OTHER, STATIC, TEMPORARY, bedrock, verify
from bootstrap import Config, bootstrap, cluster, listener, route, wasm_filter
from egress import FILES, calls, egress, running_with_egress
from gateway import Gateway
from launch import poll, validate
from manifests import HEADERS, TYPES, Manifest, config, header_value, policy, secret
from mounts import Secret, assert_unavailable, complaints, failed, mounted, on_every_worker

KEY = "sk-in-a-file-77e1b0"
CALLER = b"sk-of-the-caller-4d9a"
TRACE = ["--component-log-level", "wasm:trace"]
LINES = {
    "plain": ("sk-plain", "sk-plain"),
    "line-feed": ("sk-line-feed\n", "sk-line-feed"),
    "crlf": ("sk-crlf\r\n", "sk-crlf"),
    "all-around": ("\n\t sk-all around \t\r\n\n", "sk-all around"),
    "letters": ("sk-ünïcode\n", "sk-ünïcode"),
    "long": ("sk-" + "k" * 5000 + "\n", "sk-" + "k" * 5000),
}
"""What a file holds, and what is the key."""

MARKER = "marker-of-a-broken-file-9c3f"
BROKEN = {
    "empty": "",
    "blank": " \n\t\r\n ",
    "lf": f"{MARKER}\nx",
    "cr": f"x\r{MARKER}",
    "crlf": f"x\r\nx-injected: {MARKER}",
    "nul": f"{MARKER}\0",
}
"""Files that hold no key."""

NO_KEYS = {
    "nothing": "",
    "no-profile": STATIC.ini("other"),
    "half": f"[default]\naws_access_key_id = {MARKER}\n",
    "no-file": f'{{"{MARKER}": 1}}',
    "nul-in-it": STATIC.ini().replace("/", "\0"),
}
"""Credentials files without keys."""


def aws(name: str, profile: str | None = None) -> Manifest:
    """The policy alone: its credentials file is the key `credentials` of `<name>-file`."""
    return bedrock(name, profile=profile)[0]


def test_keys_of_files_are_there_at_the_start_on_every_worker_and_seen_nowhere_else(
    tmp_path: Path,
) -> None:
    resources: list[Manifest] = []
    for kind in TYPES:
        Secret(tmp_path, f"{kind.lower()}-key").swap({"apiKey": f"{KEY}-{kind}\n"})
        resources.append(policy(kind.lower(), kind))
    Secret(tmp_path, "bedrock-file").swap(
        {"credentials": OTHER.ini() + TEMPORARY.ini("work"), "apiKey": "sk-another"}
    )
    Secret(tmp_path, "far-key", "team").swap({"apiKey": f"{KEY}-far"})
    resources += [aws("bedrock", "work"), policy("far", namespace="team")]
    plugin = mounted(tmp_path, resources)
    names = ["apikey", "anthropicapikey", "azureapikey", "bedrock", "team/far"]
    plugins: Mapping[str, Config] = dict.fromkeys([*names, "unknown"], plugin)
    parts = egress([tmp_path])
    with running_with_egress(plugins, parts, concurrency=4, args=TRACE) as gateway:
        started = time.monotonic()
        for kind in TYPES:
            seen = gateway.send(kind.lower(), [(b"authorization", CALLER)])
            assert seen.values(HEADERS[kind]) == [header_value(kind, f"{KEY}-{kind}")]
        assert gateway.send("team/far").header("authorization") == f"Bearer {KEY}-far"
        verify(gateway.send("bedrock", [(b"x-amz-security-token", CALLER)]), TEMPORARY)
        assert time.monotonic() - started < 2.5
        assert_fetched_once(gateway)
        for name in ("apikey", "bedrock"):
            assert {answer.status for answer in on_every_worker(gateway, name)} == {200}
        assert_seen_nowhere(gateway, [f"{KEY}-{kind}" for kind in (*TYPES, "far")])


def secrets_read(gateway: Gateway) -> list[str]:
    """The paths of all reads of Secrets. (The listener may be asked whether it is there, too.)"""
    return [call.path for call in calls(gateway.envoy, FILES) if call.path.count("/") > 1]


def assert_fetched_once(gateway: Gateway) -> None:
    """Each file was read once in the whole process, and no VM has anything to complain of."""
    envoy = gateway.envoy
    for name in ("apikey", "anthropicapikey", "azureapikey", "bedrock"):
        assert envoy.metric(f"policy.default/{name}.fetched") == 1
        assert failed(envoy, f"default/{name}") == {}
    assert envoy.metric("policy.team/far.fetched") == 1
    reads = [
        call.path for call in calls(envoy) if "/default/" in call.path or "/team/" in call.path
    ]
    assert len(reads) == len(set(reads)) == 5
    assert complaints(envoy) == []


def assert_seen_nowhere(gateway: Gateway, keys: list[str]) -> None:
    """Neither a key of a file nor the caller's is in anything that Envoy tells."""
    names = ["apikey", "anthropicapikey", "azureapikey", "bedrock", "unknown"]
    answers = [gateway.ask(name, [(b"authorization", CALLER)]) for name in names]
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 500]
    told = {
        "replies": repr(answers),
        "config_dump": json.dumps(gateway.envoy.config_dump()),
        "stats": gateway.envoy.get("/stats").text,
        "prometheus": gateway.envoy.prometheus(),
        "clusters": gateway.envoy.get("/clusters").text,
        "listeners": gateway.envoy.get("/listeners").text,
        "log": gateway.envoy.log(),
    }
    # These are what they are taken for.
    assert "proxy_on_http_call_response" in told["log"]
    assert "mountPath" in told["config_dump"]
    assert "default/apikey.injected" in told["stats"]
    secrets = [*keys, CALLER.decode(), OTHER.secret, TEMPORARY.secret, str(TEMPORARY.token)]
    for text in secrets:
        assert [name for name, found in told.items() if text in found] == []
    signature = re.compile("Signature=[0-9a-f]{64}")
    assert [name for name, found in told.items() if signature.search(found)] == []


def test_resources_go_before_the_environment_and_the_environment_before_files(
    tmp_path: Path,
) -> None:
    for name in ("first", "second", "third"):
        Secret(tmp_path, f"{name}-key").swap({"apiKey": f"of-the-file-{name}"})
    entries = [
        {"name": f"{name}-key", "key": "apiKey", "variable": f"AIGW_{name.upper()}"}
        for name in ("first", "second")
    ]
    plugin = mounted(
        tmp_path,
        [policy(name) for name in ("first", "second", "third")],
        secret("first-key", value="of-resources"),
        secrets={"mountPath": f"{tmp_path}/", "env": entries},
    )
    options = {"vm_env": {"AIGW_FIRST": "of-env-first", "AIGW_SECOND": "of-env-second"}}
    plugins = dict.fromkeys(("first", "second", "third"), plugin)
    with running_with_egress(plugins, egress([tmp_path]), options=options) as gateway:
        seen = {name: gateway.send(name).header("authorization") for name in plugins}
        read = str(tmp_path / "default/third-key/apiKey")
        poll(lambda: calls(gateway.envoy, path=read), 5, "the read in the log")
        reads = secrets_read(gateway)
    assert seen == {
        "first": "Bearer of-resources",
        "second": "Bearer of-env-second",
        "third": "Bearer of-the-file-third",
    }
    assert reads == [read]


def test_white_space_around_a_key_is_taken_off(tmp_path: Path) -> None:
    for name, (text, _) in LINES.items():
        Secret(tmp_path, f"{name}-key").swap({"apiKey": text})
    plugin = mounted(tmp_path, [policy(name, "AzureAPIKey") for name in LINES])
    with running_with_egress(dict.fromkeys(LINES, plugin), egress([tmp_path])) as gateway:
        seen = {name: gateway.send(name).values("api-key") for name in LINES}
    assert seen == {name: [key.encode()] for name, (_, key) in LINES.items()}


def test_a_file_without_a_key_refuses_and_is_named_but_never_shown(tmp_path: Path) -> None:
    for name, text in BROKEN.items():
        Secret(tmp_path, f"{name}-key").swap({"apiKey": text})
    for name, text in NO_KEYS.items():
        Secret(tmp_path, f"{name}-file").swap({"credentials": text})
    names = [*BROKEN, *NO_KEYS]
    policies = [policy(name) for name in BROKEN] + [aws(name) for name in NO_KEYS]
    # One that works, so that not everything is refused.
    Secret(tmp_path, "good-key").swap({"apiKey": KEY})
    plugin = mounted(tmp_path, policies, policy("good"), credentialWait="100ms")
    plugins = dict.fromkeys([*names, "good"], plugin)
    with running_with_egress(plugins, egress([tmp_path]), args=TRACE) as gateway:
        for name in names:
            gateway.envoy.wait_for_metric(f"policy.default/{name}.fetch_failed.malformed")
            assert failed(gateway.envoy, f"default/{name}").keys() == {"malformed"}
            assert gateway.envoy.metric(f"policy.default/{name}.fetched") == 0
            assert_unavailable(gateway.ask(name))
        assert gateway.send("good").header("authorization") == f"Bearer {KEY}"
        assert len(gateway.upstream.begun) == 1
        log = gateway.envoy.log()
        for name in names:
            file = f"{name}-key" if name in BROKEN else f"{name}-file"
            assert complaints(gateway.envoy, f"default/{name}", f"default/{file}"), name
        assert MARKER not in log
        assert STATIC.secret not in log


ODD_NAMES = [
    "percent",
    "per%63ent",
    "per%2563ent",
    "sp ace",
    "sp%20ace",
    "sp+ace",
    "üñí-ключ-鍵",
    "a;b&c=d,e",
    "a#b",
    "a\\b",
    "...",
    ".hidden",
    "%2e%2e",
    "%",
    "%zz",
]


def test_a_name_reaches_exactly_its_file_whatever_it_is_made_of(tmp_path: Path) -> None:
    policies, plugins = [], {}
    for number, name in enumerate(ODD_NAMES):
        Secret(tmp_path, name).swap({"apiKey": f"sk-{number}"})
        policies.append(policy(f"p{number}", "AnthropicAPIKey", secret=name))
    plugin = mounted(tmp_path, policies)
    plugins = {f"p{number}": plugin for number in range(len(ODD_NAMES))}
    with running_with_egress(plugins, egress([tmp_path])) as gateway:
        seen = [gateway.send(name).header("x-api-key") for name in plugins]
    assert seen == [f"sk-{number}" for number in range(len(ODD_NAMES))]


def checked(plugin: Config) -> list[str]:
    """The error lines of a configuration that has to be refused."""
    filters = [wasm_filter(plugin)]
    parts = egress()
    backend = cluster("provider", [1], filters=filters)
    front = listener([route("/", "provider")])
    static = [*parts.clusters, backend]
    whole = bootstrap([front, *parts.listeners], static, **parts.bootstrap_extras)
    status, output = validate(whole)
    assert status == 1, output
    return re.findall(r"\[error\]\[wasm\].*wasm log[^:]*: (.*)", output)


def referring(number: int, field: str, name: str) -> Manifest:
    """A policy whose Secret has this name or namespace."""
    reference = {"name": "provider-key", "namespace": "default", field: name}
    return policy(f"p{number}", apiKey={"secretRef": reference})


@pytest.mark.parametrize("field", ["name", "namespace"])
def test_names_that_leave_their_folder_are_refused(tmp_path: Path, field: str) -> None:
    names = ["..", ".", "../other", "a/b", "/etc", "a\nb", "a\0b", "a\x7fb", ""]
    policies = [referring(number, field, name) for number, name in enumerate(names)]
    lines = checked(mounted(tmp_path, policies))
    wanted = [
        f"BackendSecurityPolicy default/p{number}: spec.apiKey.secretRef.{field}: "
        for number in range(len(names))
    ]
    assert len(lines) == len(wanted)
    for line, start in zip(lines, wanted, strict=True):
        assert line.startswith(start), line


@pytest.mark.parametrize("field", ["name", "namespace"])
def test_a_name_that_the_file_server_takes_for_another_is_refused(
    tmp_path: Path, field: str
) -> None:
    """To Envoy a question mark ends the name of a file, encoded or not."""
    (line,) = checked(mounted(tmp_path, referring(0, field, "a?b")))
    assert line.startswith(f"BackendSecurityPolicy default/p0: spec.apiKey.secretRef.{field}: ")


def test_files_need_a_cluster_that_serves_them(tmp_path: Path) -> None:
    settings = {"secrets": {"mountPath": str(tmp_path)}, "egress": {"cluster": "egress"}}
    (line,) = checked(config(policy("provider"), **settings))
    assert line.startswith("files.cluster: ")
    assert "default/provider" in line


@pytest.mark.parametrize("workers", [1, 4])
def test_the_vm_of_the_main_thread_neither_counts_nor_logs_nor_delays(
    tmp_path: Path, workers: int
) -> None:
    """It ticks as the workers do, but it cannot reach the listener."""
    Secret(tmp_path, "provider-key").swap({"apiKey": KEY})
    plugin = mounted(tmp_path, policy("provider"))
    with running_with_egress(plugin, egress([tmp_path]), concurrency=workers) as gateway:
        started = time.monotonic()
        gateway.envoy.wait_for_metric("policy.default/provider.fetched", timeout=2.5)
        assert gateway.send("provider").header("authorization") == f"Bearer {KEY}"
        assert time.monotonic() - started < 2.5
        # Long enough for each VM to have ticked twice.
        poll(lambda: time.monotonic() - started > 2.5, 5)
        assert failed(gateway.envoy, "default/provider") == {}
        assert gateway.envoy.metric("policy.default/provider.fetched") == 1
        assert complaints(gateway.envoy) == []
