"""The examples whose credential is obtained, as they are but for addresses and folders.

What an example meets is a `Scene`; those of each cloud are in test_examples_*.py.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

import mounts
from bootstrap import EXTENSIONS, ROOT, extension
from egress import DYNAMIC, REMOVED
from envoy import Envoy
from gateway import appears, assert_no_panic
from launch import poll
from oidc import WELL_KNOWN, OidcProvider
from test_demonstration import EXAMPLES, OBTAINED, load, redirect, wasm_configs
from upstream import Authority, Upstream
from wire import Handler, Request

Start = Callable[..., Envoy]
Play = Callable[[Authority, Path], contextlib.AbstractContextManager["Scene"]]
"""Sets a scene: its services have certificates of that authority, its files are in that folder."""

MOUNT = "/etc/aigw-auth/secrets"
PLATFORM = "/var/run/secrets"
"""Where the platforms mount tokens of service accounts."""

CALLER = "of-the-caller-40c7"
WRONG = {
    "authorization": f"Bearer {CALLER}",
    "proxy-authorization": f"Basic {CALLER}",
    "cookie": f"session={CALLER}",
    "x-api-key": CALLER,
    "api-key": CALLER,
    "x-goog-api-key": CALLER,
    "ocp-apim-subscription-key": CALLER,
    "x-amz-date": "20150830T123600Z",
    "x-amz-security-token": CALLER,
    "x-amz-content-sha256": CALLER,
}
"""Credentials of the caller's own, none of which is right."""

STATE = "set_filter_state"


class Server(Protocol):
    """A service that an example calls."""

    port: int

    @property
    def requests(self) -> Sequence[Any]:
        """What it was asked."""


@dataclass
class Scene:
    """What an example meets, and what has to be true in the end."""

    target: str
    """What is asked for."""
    provider: Handler
    """What the provider answers: an error, unless the credential counts."""
    judge: Callable[[Request], Sequence[str]]
    """Fails unless the request that the provider got, and all before it, were right; gives what
    nobody may show."""
    hosts: Mapping[str, Server]
    """Who stands in for the hosts that the filter calls."""
    env: Mapping[str, str] = field(default_factory=dict)
    """What is set in the environment."""
    folder: Path | None = None
    """What is mounted in place of `PLATFORM`."""


@dataclass
class Playing:
    """An example in its scene."""

    envoy: Envoy
    provider: Upstream
    scene: Scene
    backend: str

    def post(self, client: httpx.Client) -> httpx.Response:
        """The answer to a request with credentials of the caller's own."""
        joint = "&" if "?" in self.scene.target else "?"
        target = f"{self.scene.target}{joint}api_key={CALLER}"
        return client.post(self.envoy.url(target, "gateway"), headers=WRONG, json={"a": 1})


class Impostor(Authority):
    """An authority that certifies another name in place of one."""

    def __init__(self, authority: Authority, host: str) -> None:
        self.ca = self
        self.real = authority.ca
        self.cert_pem = authority.ca.cert_pem
        self.other = {host: "other.example"}

    def issue_cert(self, *names: str) -> Any:
        """A certificate for these names, but for the one."""
        return self.real.issue_cert(*(self.other.get(name, name) for name in names))


def clusters(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The clusters by name."""
    return {cluster["name"]: cluster for cluster in config["static_resources"]["clusters"]}


def backend_of(config: dict[str, Any]) -> tuple[str, str]:
    """The one cluster with the filter, and the host behind it."""
    (name,) = [name for name in clusters(config) if not name.startswith("egress")]
    return name, clusters(config)[name]["transport_socket"]["typed_config"]["sni"]


def wanted(config: dict[str, Any]) -> list[str]:
    """The variables of the environment that the filter gets."""
    (plugin,) = wasm_configs(config)
    return plugin["vm_config"].get("environment_variables", {}).get("host_env_keys", [])


def egress_manager(config: dict[str, Any]) -> dict[str, Any]:
    """The connection manager of the listener for the filter's own calls."""
    listeners = config["static_resources"]["listeners"]
    (own,) = [one for one in listeners if one["name"] == "egress"]
    return own["filter_chains"][0]["filters"][0]["typed_config"]


def others(config: dict[str, Any]) -> dict[str, Any]:
    """The virtual host of all other hosts in that listener."""
    hosts = egress_manager(config)["route_config"]["virtual_hosts"]
    (own,) = [one for one in hosts if one["domains"] == ["*"]]
    return own


def lead(config: dict[str, Any], hosts: Mapping[str, Server]) -> None:
    """Looks these hosts up here, and nowhere else.

    The routes and clusters stay, and with them which call goes over TLS, the name that is asked for
    and the name that has to be proved: the dynamic forward proxy is only told the address.
    """
    message = f"filters.http.{STATE}.v3.Config"
    filters = egress_manager(config)["http_filters"]
    (proxy,) = [one for one in filters if one["name"].endswith(DYNAMIC)]
    proxy["typed_config"]["allow_dynamic_host_from_filter_state"] = True
    filters.insert(filters.index(proxy), extension(STATE, message))
    own = others(config)["routes"]
    routes = []
    for host, server in hosts.items():
        address = {"host": "127.0.0.1", "port": str(server.port)}
        for route in copy.deepcopy(own):
            exact = {"name": ":authority", "string_match": {"exact": host}}
            route["match"].setdefault("headers", []).append(exact)
            objects = [
                {
                    "object_key": f"envoy.upstream.dynamic_{name}",
                    "format_string": {"text_format_source": {"inline_string": value}},
                }
                for name, value in address.items()
            ]
            told = {"@type": EXTENSIONS + message, "on_request_headers": objects}
            route["typed_per_filter_config"] = {STATE: told}
            routes.append(route)
    own[:0] = routes


@contextlib.contextmanager
def playing(
    name: str,
    play: Play,
    start_envoy: Start,
    authority: Authority,
    folder: Path,
    stranger: str = "",
) -> Iterator[Playing]:
    """An example in its scene, in which the host `stranger` proves to be another one."""
    certifier = Impostor(authority, stranger)
    config = load(ROOT / f"examples/{name}.yaml")
    backend, host = backend_of(config)
    with (
        play(certifier, folder) as scene,
        Upstream(tls=certifier.server_context([host]), default=scene.provider) as provider,
    ):
        if scene.folder:
            text = json.dumps(config)
            # Both paths of the mapping, which stands twice.
            assert text.count(PLATFORM) == 4
            config = json.loads(text.replace(PLATFORM, str(scene.folder)))
        redirect(clusters(config)[backend], provider.port, authority)
        tls = clusters(config)["egress_https"]["transport_socket"]["typed_config"]
        trusted = tls["common_tls_context"]["validation_context"]
        trusted["trusted_ca"] = {"inline_string": authority.pem}
        lead(config, scene.hosts)
        if stranger in scene.hosts:
            # There is nothing to wait for.
            (plugin,) = wasm_configs(config)
            plugin["configuration"]["value"]["credentialWait"] = "500ms"
        yield Playing(start_envoy(config, env=scene.env), provider, scene, backend)
        assert provider.errors == []


def assert_sends_what_it_obtained(on: Playing, client: httpx.Client) -> None:
    """The provider gets the right credential at the first request, and no other; nobody else does,
    and nothing shows it."""
    envoy, scene = on.envoy, on.scene
    config = envoy.bootstrap
    answer = on.post(client)
    assert answer.status_code == 200, f"{answer.text}\n{mounts.complaints(envoy)}"
    seen = on.provider.only()
    host = backend_of(config)[1]
    assert seen.authority == host.encode()
    assert appears(CALLER, seen) == []
    hidden = scene.judge(seen)
    assert on.provider.server_names == [host]
    policy = f"policy.default/{on.backend}"
    assert [envoy.metric(f"{policy}.{what}") for what in ("injected", "fetched")] == [1, 1]
    assert mounts.failed(envoy, f"default/{on.backend}") == {}
    assert re.search(
        rf'_injected\{{aigw_policy="default/{on.backend}"[^}}]*\}} 1\n', envoy.prometheus()
    )
    target = re.escape(scene.target.partition("?")[0])
    envoy.wait_for_log(rf"(?m)^POST {target} 200 default/{on.backend} injected$")
    assert mounts.complaints(envoy) == []
    dump = json.dumps(envoy.config_dump())
    # The policy is there to be seen, and so is which variables are taken.
    assert all(text in dump for text in ("BackendSecurityPolicy", *wanted(config)))
    assert hidden
    for text in (*hidden, CALLER):
        assert len(text) > 10
        assert text not in dump
        assert text not in envoy.log()
        assert text not in answer.text
    assert_no_panic(envoy)


def assert_trusts_no_other_name(on: Playing, client: httpx.Client, host: str) -> None:
    """Whoever has a certificate for another name is asked for it, and for nothing else."""
    behind = host == backend_of(on.envoy.bootstrap)[1]
    server = on.provider if behind else on.scene.hosts[host]
    answer = on.post(client)
    assert answer.status_code == 503, answer.text
    cluster = on.backend if behind else "egress_https"
    on.envoy.wait_for_stat(f"cluster.{cluster}.ssl.fail_verify_san", 1)
    assert list(server.requests) == []
    assert on.provider.begun == []
    if not behind:
        assert answer.json()["error"]["type"] == "CredentialUnavailable"
        assert set(mounts.failed(on.envoy, f"default/{on.backend}")) == {"connect"}


def assert_came_from_the_filter(issuer: OidcProvider, form: Mapping[str, str]) -> None:
    """An identity provider was looked up and asked for one token, and saw nothing of Envoy's."""
    # Its keys are what the next stand-in asked for.
    requests = [request for request in issuer.requests if request["path"] != "/jwks"]
    assert [request["path"] for request in requests] == [WELL_KNOWN, "/token"]
    (asked,) = issuer.tokens()
    assert (asked["status"], asked["client"], asked["basic"]) == (200, "envoy", True)
    assert asked["form"] == form
    own = {"host", "user-agent", "accept", "content-type", "content-length", "authorization"}
    for request in requests:
        assert set(request["names"]) <= own


def clouds() -> dict[str, Play]:
    """The scenes of every cloud by the names of the examples; each has one."""
    found: dict[str, Play] = {}
    for file in Path(__file__).parent.glob("test_examples_*.py"):
        scenes = getattr(importlib.import_module(file.stem), "SCENES", {})
        assert not found.keys() & scenes.keys()
        found |= scenes
    return found


def test_every_example_is_tried() -> None:
    files = {path.stem for path in (ROOT / "examples").glob("*.yaml")}
    obtained = {*clouds(), "mounted-secrets"}
    assert obtained == OBTAINED
    assert obtained | set(EXAMPLES) == files


def test_the_example_of_mounted_secrets_follows_the_file(
    start_envoy: Start, client: httpx.Client, authority: Authority, tmp_path: Path
) -> None:
    text = json.dumps(load(ROOT / "examples/mounted-secrets.yaml"))
    assert text.count(MOUNT) == 3
    config = json.loads(text.replace(MOUNT, str(tmp_path)))
    host = "api.openai.com"
    secret = mounts.Secret(tmp_path, "openai")
    secret.swap({"apiKey": "real-key\n"})
    with Upstream(tls=authority.server_context([host])) as provider:
        redirect(clusters(config)["openai"], provider.port, authority)
        envoy = start_envoy(config)

        def key() -> list[bytes]:
            provider.clear()
            url = envoy.url("/openai/v1/models", "gateway")
            answer = client.get(url, headers={"authorization": "Bearer wrong"})
            assert answer.status_code == 200, answer.text
            return provider.only().values("authorization")

        assert key() == [b"Bearer real-key"]
        secret.swap({"apiKey": "newer-key"})
        poll(lambda: key() == [b"Bearer newer-key"], 15, "the newer key")
        assert "newer-key" not in json.dumps(envoy.config_dump())


def test_no_example_lets_other_hosts_see_headers_of_envoy() -> None:
    lists = []
    for name in OBTAINED - {"mounted-secrets"}:
        config = load(ROOT / f"examples/{name}.yaml")
        lists.append(others(config)["request_headers_to_remove"])
    assert lists == [list(REMOVED)] * 9
