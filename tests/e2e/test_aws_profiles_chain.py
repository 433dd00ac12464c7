"""Profiles of the shared credentials file that build on a machine, a container, a token or on each
other. A server that is not ours gives the roles and checks every signature: moto, as in
test_aws_moto_roles.py. The machine and the container are stand-ins with keys of moto's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import raw
import sdk
import test_aws_moto_roles
from aws import REGION, Keys, ambient
from aws_container import ECS, TASK_PATH, Container
from aws_imds import ADDRESS, Imds, text
from aws_metadata import Ledger
from bootstrap import bootstrap, cluster, listener, upstream_tls, wasm_filter
from egress import FILES, SETTINGS, calls, egress
from envoy import Envoy
from gateway import assert_no_panic, host, routes
from launch import poll
from manifests import config
from mounts import complaints, failed
from replies import json_reply
from sts import HOST, arn
from sts_rig import JSON, THEIRS
from test_aws_moto_roles import BEDROCK, BODY, EXTERNAL, TARGET, Moto
from upstream import Authority

moto = test_aws_moto_roles.moto

FILE, PROFILE = "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE"
RELATIVE = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
TASK = {RELATIVE: TASK_PATH}
NO_MACHINE = {"AWS_EC2_METADATA_DISABLED": "true"}

PROFILES = """\
[container]
role_arn = {next}
credential_source = EcsContainer
[machine]
role_arn = {next}
credential_source = Ec2InstanceMetadata
[source]
role_arn = {next}
source_profile = user
[two]
role_arn = {next}
source_profile = middle
[middle]
role_arn = {web}
source_profile = user
[two-machine]
role_arn = {next}
source_profile = middle-machine
[middle-machine]
role_arn = {web}
credential_source = Ec2InstanceMetadata
[by-id]
role_arn = {by_id}
source_profile = user
external_id = {external}
duration_seconds = 900
[itself]
role_arn = {next}
source_profile = itself
{keys}
[web]
role_arn = {pod}
web_identity_token_file = {token}
[on-web]
role_arn = {next}
source_profile = web
[named]
role_arn = {idle}
source_profile = user
role_session_name = named-by.the@profile
[unnamed]
role_arn = {idle}
credential_source = EcsContainer
[default]
{keys}
[user]
{keys}
[other-id]
role_arn = {by_id}
source_profile = user
external_id = {external}3
[loop]
role_arn = {next}
source_profile = loop-back
[loop-back]
role_arn = {next}
source_profile = loop
[nowhere]
role_arn = {next}
source_profile = not-there
[both]
role_arn = {next}
source_profile = user
credential_source = EcsContainer
[neither]
role_arn = {next}
[environment]
role_arn = {next}
credential_source = Environment
[other-word]
role_arn = {next}
credential_source = Ecs
[no-container]
role_arn = {next}
credential_source = EcsContainer
[mfa]
role_arn = {next}
source_profile = user
mfa_serial = arn:aws:iam::123456789012:mfa/user
[process]
credential_process = /bin/true
[short]
role_arn = {next}
source_profile = user
duration_seconds = 899
[half]
aws_access_key_id = AKIDHALF000000000001
[relative]
role_arn = {next}
web_identity_token_file = token
"""


WORK: Mapping[str, dict[str, str]] = {
    "container": TASK | NO_MACHINE,
    "machine": {},
    # A profile counts before the container, whatever it builds on.
    "machine-in-task": TASK | {PROFILE: "machine"},
    "source": {},
    "two": {},
    "two-machine": {},
    "by-id": {},
    "itself": {},
    "web": {},
    "on-web": {},
    "user": {},
    "default": {PROFILE: ""},
}
PASSED_ON: Mapping[str, dict[str, str]] = {
    "no-default": TASK | {FILE: "<root>/other", PROFILE: ""},
    "comment": TASK | {FILE: "<root>/comment", PROFILE: ""},
    "no-keys": TASK | {FILE: "<root>/silent", PROFILE: ""},
}
IDLE = {"named": "named-by.the@profile", "unnamed": "ai-gateway-unnamed"}
BROKEN: Mapping[str, Sequence[str]] = {
    "other-id": ("AccessDenied", "403"),
    "loop": ("loop",),
    "nowhere": ("nowhere", "source_profile"),
    "both": ("both", "source_profile", "credential_source"),
    "neither": ("neither", "role_arn", "source_profile", "credential_source"),
    "environment": ("environment", "Environment"),
    "other-word": ("other-word", "credential_source"),
    "no-container": ("EcsContainer",),
    "mfa": ("mfa", "mfa_serial"),
    "process": ("process", "credential_process"),
    "short": ("short", "duration_seconds"),
    "half": ("half", "aws_secret_access_key"),
    "relative": ("relative", "web_identity_token_file"),
    "absent": ("absent",),
    "no-file": ("not-there", "404"),
    "no-named-file": ("not-there", "404"),
    "no-ini": ("other-form",),
}
"""Profiles of which nothing comes, and what the log has to name."""
OF_ANOTHER: Mapping[str, dict[str, str]] = {
    "no-file": TASK | {FILE: "<root>/not-there", PROFILE: ""},
    "no-named-file": {FILE: "<root>/not-there", PROFILE: "user"},
    "no-ini": {FILE: "<root>/other-form", PROFILE: "user"},
}


@dataclass
class Setup:
    """The gateway and what is around it."""

    envoy: Envoy
    moto: Moto
    imds: Imds
    task: Container
    root: Path

    def invoke(self, name: str) -> raw.Response:
        """An InvokeModel with a signature of the caller's own, which is worth nothing."""
        fields = [(b"host", host(name)), JSON, *THEIRS]
        return raw.request(self.envoy.port(), b"POST", TARGET, fields, BODY)

    def told(self, name: str) -> list[str]:
        """The lines of the log about a policy."""
        return [line for line in self.envoy.log().splitlines() if f"default/{name}: " in line]


def session(moto: Moto, role: str) -> Keys:
    """Keys that moto gives the user for a role."""
    client = sdk.boto(f"https://127.0.0.1:{moto.port}", moto.user, REGION, "sts")
    made = client.assume_role(RoleArn=arn(role), RoleSessionName="lent")["Credentials"]
    return Keys(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])


def write(root: Path, user: Keys) -> None:
    """The files of profiles, and a token, which moto does not look at."""
    keys = user.ini().partition("\n")[2].strip()
    roles = {name.replace("-", "_"): arn(name) for name in ("next", "web", "by-id", "pod", "idle")}
    token = root / "token"
    token.write_text("a.b.c\n")
    whole = PROFILES.format(**roles, keys=keys, token=token, external=EXTERNAL)
    (root / "credentials").write_text(whole)
    (root / "other").write_text(user.ini("other"))
    (root / "silent").write_text("[default]\nregion = us-east-1\n")
    (root / "comment").write_text("# nothing yet\n\n")
    (root / "other-form").write_text("{}\n")


def environments(root: Path) -> dict[str, dict[str, str]]:
    """Of each policy."""
    every = {name: {FILE: "<root>/credentials", PROFILE: name} for name in (*WORK, *IDLE, *BROKEN)}
    every |= {name: {} for name in PASSED_ON}
    for name in ("unnamed", "other-word", "both", "nowhere"):
        every[name] |= TASK
    for name, more in (WORK | PASSED_ON | OF_ANOTHER).items():
        every[name] |= more
    return {
        name: {key: value.replace("<root>", str(root)) for key, value in environment.items()}
        for name, environment in every.items()
    }


@pytest.fixture(scope="module")
def setup(
    moto: Moto, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setup]:
    """One Envoy with a VM for each environment, in front of moto as STS and as Bedrock."""
    root = tmp_path_factory.mktemp("aws")
    write(root, moto.user)
    ledger = Ledger()
    with Imds(ledger, hosts=[ADDRESS]) as imds, Container(ledger, hosts=[ECS]) as task:
        lend(imds, task, ledger, moto)
        hosts = {HOST: moto.port, ADDRESS: imds.port, ECS: task.port}
        way = egress([root], ca_pem=authority.pem, hosts=hosts)
        tls = upstream_tls(authority.pem, BEDROCK)
        behind = [cluster("none", [moto.port], tls=tls)]
        for name, environment in environments(root).items():
            plugin = config([ambient(name)], credentialWait="200ms", **SETTINGS)
            filters = [wasm_filter(plugin, vm_env=environment, vm_id=name)]
            behind.append(cluster(name, [moto.port], filters=filters, tls=tls))
        front = listener(routes([one["name"] for one in behind]))
        whole = bootstrap([front, *way.listeners], [*behind, *way.clusters], **way.bootstrap_extras)
        with Envoy(whole, concurrency=1) as envoy:
            yield Setup(envoy, moto, imds, task, root)
            assert_no_panic(envoy)
        assert imds.refused == task.refused == []


def lend(imds: Imds, task: Container, ledger: Ledger, moto: Moto) -> None:
    """The machine and the container have roles of moto's."""
    for_machine, for_task = (ledger.issue("pod", 3600, session(moto, "pod")) for _ in range(2))
    imds.script("keys", lambda: text(json.dumps(imds.document(for_machine))), times=None)
    task.script(lambda: json_reply(task.document(for_task)), times=None)


@pytest.mark.parametrize("name", [*WORK, *PASSED_ON])
def test_what_a_profile_means_signs(setup: Setup, name: str) -> None:
    setup.envoy.wait_for_metric(f"policy.default/{name}.fetched", timeout=20)
    assert setup.invoke("none").status != 200
    answer = setup.invoke(name)
    assert (answer.status, answer.body) == (200, b"{}")
    assert failed(setup.envoy, f"default/{name}") == {}


@pytest.mark.parametrize("name", WORK)
def test_the_log_tells_which_profile_answered(setup: Setup, name: str) -> None:
    setup.envoy.wait_for_metric(f"policy.default/{name}.fetched")
    profile = environments(setup.root)[name][PROFILE] or "default"
    (line,) = [line for line in setup.told(name) if "default chain" in line]
    assert "[info]" in line
    assert f"profile {profile} " in line
    assert "AWS_ACCESS_KEY_ID" in line


@pytest.mark.parametrize("name", PASSED_ON)
def test_without_a_profile_the_chain_goes_on_and_the_log_tells_why(setup: Setup, name: str) -> None:
    setup.envoy.wait_for_metric(f"policy.default/{name}.fetched")
    (line,) = [line for line in setup.told(name) if "default chain" in line]
    assert "[info]" in line
    assert "container" in line
    assert PASSED_ON[name][FILE].replace("<root>", str(setup.root)) in line


@pytest.mark.parametrize("name", IDLE)
def test_the_session_has_the_name_of_the_profile_or_of_the_policy(setup: Setup, name: str) -> None:
    setup.envoy.wait_for_metric(f"policy.default/{name}.fetched", timeout=20)
    answer = setup.invoke(name)
    assert answer.status == 403
    assert f"assumed-role/idle/{IDLE[name]}".encode() in answer.body


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_profile_stops_the_chain_and_is_named(setup: Setup, name: str) -> None:
    def lines() -> list[str]:
        found = complaints(setup.envoy, f"default/{name}")
        return [line for line in found if " failed: " in line]

    (line, *_) = poll(lines, 15, f"a complaint about {name}")
    for word in BROKEN[name]:
        assert word in line
    assert setup.moto.user.secret not in setup.envoy.log()
    assert setup.invoke(name).status == 503
    assert setup.envoy.metric(f"policy.default/{name}.fetched") == 0


def test_each_source_was_asked_for_what_builds_on_it(setup: Setup) -> None:
    for name in (*WORK, *PASSED_ON):
        setup.envoy.wait_for_metric(f"policy.default/{name}.fetched")
    on_task = ["container", "unnamed", *PASSED_ON]
    assert len(setup.task.requests) == len(on_task)
    assert len(setup.imds.of("keys")) == len(["machine", "machine-in-task", "two-machine"])
    roles = {"two": 2, "two-machine": 2, "on-web": 2, "user": 0, "default": 0}
    expected = sum(roles.get(name, 1) for name in (*WORK, *IDLE))
    made = [one for one in calls(setup.envoy, HOST) if one.status == 200]
    assert len(made) == expected
    assert [one.status for one in calls(setup.envoy, FILES, str(setup.root / "token"))] == [200] * 2


def test_keys_of_the_environment_count_before_any_profile(
    moto: Moto, authority: Authority, tmp_path: Path
) -> None:
    write(tmp_path, moto.user)
    env = {FILE: str(tmp_path / "credentials"), PROFILE: "environment", **moto.user.environment()}
    way = egress([tmp_path], ca_pem=authority.pem, hosts={HOST: moto.port})
    plugin = config([ambient("env")], **SETTINGS)
    tls = upstream_tls(authority.pem, BEDROCK)
    one = cluster("env", [moto.port], filters=[wasm_filter(plugin, vm_env=env)], tls=tls)
    front = listener(routes(["env"]))
    whole = bootstrap([front, *way.listeners], [one, *way.clusters], **way.bootstrap_extras)
    with Envoy(whole) as envoy:
        fields = [(b"host", host("env")), JSON]
        assert raw.request(envoy.port(), b"POST", TARGET, fields, BODY).status == 200
        assert calls(envoy, FILES, str(tmp_path / "credentials")) == []
        assert calls(envoy, HOST) == []
