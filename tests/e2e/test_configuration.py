"""Configurations that are refused: by `envoy --mode validate`, and by an Envoy that runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from bootstrap import Config, bootstrap, cluster, listener, route, wasm_filter
from envoy import Envoy
from gateway import Gateway, assert_no_panic
from launch import validate
from manifests import Manifest, config, keyed, policy, secret
from upstream import Upstream

MARKER = "marker-of-a-secret-3e77"
AWS_FILE = f"[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = {MARKER}\n"
BACKEND = "provider"
REF = {"secretRef": {"name": "s"}}
NO_POLICY = "resources: must hold at least one BackendSecurityPolicy"
OF_KEY = "Secret default/provider-key: stringData.apiKey: "
BAD_CHARACTER = re.compile("must not contain CR, LF,? (or )?NUL")
OIDC = {"provider": {"issuer": "https://idp"}, "clientID": "c", "clientSecret": {"name": "s"}}


def ours(*resources: Manifest, **settings: Any) -> Config:
    """A configuration with a secret whose text must not be seen."""
    known = secret("s", value=MARKER)
    known["stringData"] |= {"client-secret": MARKER, "credentials": AWS_FILE}
    return config(*resources, known, **settings)


def about(field: str, name: str = BACKEND) -> str:
    """The beginning of a line about a policy."""
    return f"BackendSecurityPolicy default/{name}: {field}"


def only(kind: str, field: str) -> str:
    """The upstream's message about a field that does not go with a type."""
    return f"When type is {kind}, only {field} field should be set"


def in_body(field: str) -> str:
    """The upstream's message about a text that is empty."""
    return f"{field} in body should be at least 1 chars long"


UNSUPPORTED = (
    'supported values: "APIKey", "AWSCredentials", "AzureAPIKey", "AzureCredentials", '
    '"GCPCredentials", "AnthropicAPIKey"'
)


@dataclass
class Bad:
    """A configuration, and what the lines about it have to hold: each its own, and no more."""

    name: str
    plugin: Config | str | None
    lines: Sequence[tuple[str | re.Pattern[str], ...]]


def key(text: str) -> list[Manifest]:
    """A policy with this key."""
    return keyed(BACKEND, key=text)


def coded(text: str) -> list[Manifest]:
    """A policy whose key is this text under `data`."""
    return [policy(BACKEND), secret("provider-key") | {"stringData": {}, "data": {"apiKey": text}}]


BROKEN = json.dumps(ours(policy(BACKEND, secret="s")))[:-20]

BAD = [
    Bad("nothing", None, [(NO_POLICY,)]),
    Bad("a blank text", " \n", [(NO_POLICY,)]),
    Bad("an empty object", {}, [(NO_POLICY,)]),
    # Envoy remembers what was refused and gives no reasons the next time: no two may be the same.
    Bad("an empty object as a text", "{ }", [(NO_POLICY,)]),
    Bad("no policy", ours(), [(NO_POLICY,)]),
    Bad("no JSON", f"key: {MARKER}", [(re.compile("JSON.* line 1 column 1"),)]),
    Bad("half of a JSON", BROKEN, [(re.compile("JSON.* line 1 column [0-9]+"),)]),
    Bad("a key with CR", ours(key(f"{MARKER}\r{MARKER}")), [(OF_KEY, BAD_CHARACTER)]),
    Bad("a key with LF", ours(key(f"{MARKER}\nx: {MARKER}")), [(OF_KEY, BAD_CHARACTER)]),
    Bad("a key with NUL", ours(key(f"{MARKER}\0")), [(OF_KEY, BAD_CHARACTER)]),
    Bad("an empty key", ours(key(" \r\n")), [(OF_KEY, "must not be empty")]),
    Bad(
        "a key that is no base64",
        ours(coded(f"%{MARKER}")),
        [("Secret default/provider-key: data.apiKey: ", "base64")],
    ),
    Bad(
        "an unknown setting",
        ours(policy(BACKEND, secret="s"), posision=MARKER),
        [("posision: unknown field",)],
    ),
    Bad(
        "an unknown field of a policy",
        ours(policy(BACKEND, secret="s", targetRef=[])),
        [(about("spec.targetRef: unknown field"),)],
    ),
    Bad(
        "an unknown type",
        ours(policy(BACKEND, "ApiKey", apiKey=REF)),
        [(about("spec.type: "), f'Unsupported value: "ApiKey": {UNSUPPORTED}')],
    ),
    Bad(
        "no type",
        ours(policy(BACKEND, "", apiKey=REF)),
        [(about("spec.type: "), f'Unsupported value: "": {UNSUPPORTED}')],
    ),
    Bad(
        "the field of another type",
        ours(policy(BACKEND, secret="s", azureAPIKey=REF)),
        [(about("spec"), only("APIKey", "apiKey"))],
    ),
    Bad(
        "no field of its type",
        ours(policy(BACKEND, "AnthropicAPIKey", anthropicAPIKey=None)),
        [(about("spec"), only("AnthropicAPIKey", "anthropicAPIKey"))],
    ),
    Bad(
        "a secret without a name",
        ours(policy(BACKEND, apiKey={"secretRef": {"name": ""}})),
        [(about("spec.apiKey.secretRef.name: must not be empty"),)],
    ),
    Bad(
        "a secret that is nowhere",
        ours(policy(BACKEND, secret="nowhere")),
        [(about("spec.apiKey.secretRef: "), "default/nowhere")],
    ),
    Bad(
        "a target of another kind",
        ours(policy(BACKEND, targets=["Service/a"], secret="s")),
        [(about("spec.targetRefs"), "must reference AIServiceBackend or InferencePool resources")],
    ),
    Bad(
        "seventeen targets",
        ours(policy(BACKEND, targets=[f"b-{number}" for number in range(17)], secret="s")),
        [(about("spec.targetRefs"), "16")],
    ),
    Bad(
        "two policies for one target",
        ours(policy("a", targets=["t"], secret="s"), policy("b", targets=["t"], secret="s")),
        [
            (
                about("spec.targetRefs", "b"),
                "multiple BackendSecurityPolicies found for AIServiceBackend default/t: "
                "[default/a, default/b]",
            )
        ],
    ),
    Bad(
        "two sources of AWS credentials",
        ours(
            policy(
                BACKEND,
                "AWSCredentials",
                awsCredentials={
                    "region": "",
                    "credentialsFile": {"secretRef": {"name": "s"}},
                    "oidcExchangeToken": {"awsRoleArn": "r", "oidc": OIDC},
                },
            )
        ),
        [
            (about("spec.awsCredentials.region"), in_body("spec.awsCredentials.region")),
            (about("spec.awsCredentials"), "credentialsFile", "oidcExchangeToken"),
        ],
    ),
    Bad(
        "every error of every object",
        ours(
            policy("a", secret="nowhere"),
            policy("b", "Key"),
            clientCredentials="strip",
            credentialWait="61s",
            nonsense=1,
        ),
        [
            ("clientCredentials: ", '"Strip", "Keep"'),
            ("credentialWait: ",),
            ("nonsense: unknown field",),
            (about("spec.apiKey.secretRef: ", "a"), "default/nowhere"),
            (about("spec.type: ", "b"), 'Unsupported value: "Key"'),
        ],
    ),
]

EMPTY = Bad("an empty text", "", [(NO_POLICY,)])


def fits(line: str, parts: tuple[str | re.Pattern[str], ...]) -> bool:
    """Whether a line holds all of these."""
    return all(part in line if isinstance(part, str) else part.search(line) for part in parts)


def check(output: str, expected: Sequence[tuple[str | re.Pattern[str], ...]]) -> None:
    """Every line is one of those expected, and none of them is missing or shows a secret."""
    lines = set(re.findall(r"\[error\]\[wasm\].*wasm log[^:]*: (.*)", output))
    assert len(lines) == len(expected), lines
    for parts in expected:
        assert sum(fits(line, parts) for line in lines) == 1, (parts, lines)
    assert MARKER not in output


def behind(plugin: Config | str | None, port: int, kind: str = "struct") -> Config:
    """The cluster with the filter."""
    return cluster(BACKEND, [port], filters=[wasm_filter(plugin, kind=kind)])


def validated(plugin: Config | str | None, kind: str = "struct") -> tuple[int, str]:
    """What `envoy --mode validate` says of a configuration."""
    return validate(bootstrap([listener([route("/", BACKEND)])], [behind(plugin, 1, kind)]))


@dataclass
class Running(Gateway):
    """An Envoy that takes its cluster from a file, and the key that is in force."""

    key: str
    number: int = 0

    def replace(self, plugin: Config | str | None, kind: str = "struct") -> bool:
        """Gives it another configuration of the filter."""
        return self.envoy.update_cds([behind(plugin, self.upstream.port, kind)])

    def key_that_arrives(self) -> str | None:
        """The key on a request that is sent now."""
        return self.send(BACKEND).header("authorization")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """One Envoy for all updates."""
    with Upstream() as upstream:
        first = [behind(config(key("first")), upstream.port)]
        with Envoy(bootstrap([listener([route("/", BACKEND)])]), cds=first) as envoy:
            yield Running(envoy, upstream, "first")
            assert_no_panic(envoy)


@pytest.mark.parametrize("bad", [*BAD, EMPTY], ids=lambda bad: bad.name)
def test_envoy_does_not_validate_a_bad_configuration(bad: Bad) -> None:
    status, output = validated(bad.plugin)
    assert status == 1, output
    check(output, bad.lines)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_running_envoy_refuses_it_and_goes_on_with_the_old_policy(
    running: Running, bad: Bad
) -> None:
    assert running.key_that_arrives() == f"Bearer {running.key}"
    begin = len(running.envoy.log())
    # As a text here, as a Struct above.
    assert not running.replace(bad.plugin, "string")
    for _ in range(4):  # on either worker
        assert running.key_that_arrives() == f"Bearer {running.key}"
    check(running.envoy.log()[begin:], bad.lines)

    running.number += 1
    fresh = f"key-{running.number}"
    assert running.replace(config(key(fresh)), "string" if running.number % 2 else "struct")
    for _ in range(4):
        assert running.key_that_arrives() == f"Bearer {fresh}"
    running.key = fresh
