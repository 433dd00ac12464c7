"""Where the keys of a policy come from: a credentials file, or the environment of the VM."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest

from aws import OTHER, REGION, STATIC, TEMPORARY, Keys, ambient, bedrock, verify
from bootstrap import Config, bootstrap, cluster, listener, route, wasm_filter
from gateway import Gateway, running
from launch import validate
from manifests import Manifest, config, keyed, policy, secret

MARKER = "marker-of-a-secret-5e20"
HOST = "bedrock-runtime.us-east-1.amazonaws.com"


def lines(keys: Keys, form: str = "{} = {}", upper: bool = False) -> str:
    """The values, each in a form of its own."""
    names = {name.upper() if upper else name: value for name, value in keys.fields().items()}
    return "".join(form.format(*field) + "\n" for field in names.items())


S, T = STATIC.ini(), TEMPORARY.ini()
MANY = OTHER.ini() + STATIC.ini("work") + TEMPORARY.ini("work-temporary")
FILES: Mapping[str, tuple[str, Keys]] = {
    "static": (S, STATIC),
    "temporary": (T, TEMPORARY),
    "no line feed at the end": (T.rstrip(), TEMPORARY),
    "empty lines": ("\n\n" + T.replace("\n", "\n\n"), TEMPORARY),
    "the first of many": (MANY, OTHER),
    "CRLF": (T.replace("\n", "\r\n"), TEMPORARY),
    "BOM": ("\ufeff" + T, TEMPORARY),
    "BOM and CRLF": ("\ufeff" + S.replace("\n", "\r\n"), STATIC),
    "lines of comment": ("# one\n; two\n[default]\n# three\n" + lines(STATIC), STATIC),
    "comments behind values": ("[default] # d\n" + lines(TEMPORARY, "{} = {} # c"), TEMPORARY),
    "no blanks": ("[default]\n" + lines(TEMPORARY, "{}={}"), TEMPORARY),
    "many blanks": ("[ default ]\t\n" + lines(STATIC, "{}\t =  {} \t"), STATIC),
    "names in upper case": ("[default]\n" + lines(TEMPORARY, upper=True), TEMPORARY),
    "other settings": (S + "region = eu-west-3\noutput = json\n", STATIC),
    "nested settings": ("[default]\ns3 =\n  a = 1\n  b = 2\n" + lines(STATIC), STATIC),
    "a profile that occurs twice": (OTHER.ini() + S, STATIC),
    "a name that occurs twice": (OTHER.ini() + lines(STATIC), STATIC),
    "another profile that is of no use": (f"[x]\ncredential_process = {MARKER}\n" + S, STATIC),
    "an empty token": (S + "aws_session_token =\n", STATIC),
}
PROFILES = {"default": OTHER, "work": STATIC, "work-temporary": TEMPORARY}


def named(kind: str, name: str) -> str:
    """A name for Kubernetes."""
    return f"{kind}-" + re.sub(r"[^a-z]", "-", name.lower())


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """A policy for each file, and for each profile of one file."""
    policies = {named("file", name): bedrock(named("file", name), FILES[name][0]) for name in FILES}
    for name in PROFILES:
        policies[f"profile-{name}"] = bedrock(f"profile-{name}", MANY, profile=name)
    policies["encoded"] = encoded("encoded", T)
    with running(dict.fromkeys(policies, config(*policies.values()))) as gateway:
        yield gateway


def encoded(name: str, text: str) -> list[Manifest]:
    """The same with a Secret in base64."""
    file = secret(f"{name}-file", "credentials", text, encoded=True)
    return [bedrock(name)[0], file]


@pytest.mark.parametrize("name", FILES)
def test_keys_are_read_from_a_credentials_file(gateway: Gateway, name: str) -> None:
    seen = gateway.send(named("file", name), (), b"/model/m/invoke", b"POST", b"{}")
    verify(seen, FILES[name][1], host=HOST)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_chosen_by_its_name(gateway: Gateway, name: str) -> None:
    verify(gateway.send(f"profile-{name}"), PROFILES[name], host=HOST)


def test_a_secret_may_be_encoded(gateway: Gateway) -> None:
    verify(gateway.send("encoded"), TEMPORARY, host=HOST)


def refused(
    *resources: Manifest | list[Manifest], env: Mapping[str, str] | None = None, **settings: Config
) -> list[str]:
    """The error lines of a configuration that has to be refused, with no secret in any."""
    filters = [wasm_filter(config(*resources, **settings), vm_env=env)]
    backend = cluster("provider", [1], filters=filters)
    status, output = validate(bootstrap([listener([route("/", "provider")])], [backend]))
    assert status == 1, output
    assert MARKER not in output
    return re.findall(r"\[error\]\[wasm\].*wasm log[^:]*: (.*)", output)


ROLE = "role_arn = arn:aws:iam::123456789012:role/r\n"
ID, KEY = "aws_access_key_id = AKIA\n", f"aws_secret_access_key = {MARKER}\n"
BAD: Mapping[str, tuple[str, list[str]]] = {
    "a process": (f"[default]\ncredential_process = /bin/x {MARKER}\n", ["credential_process"]),
    "SSO": ("[default]\nsso_session = s\nsso_account_id = 1\n", ["sso_session|sso_account_id"]),
    "old SSO": ("[default]\nsso_start_url = https://x.example\n", ["sso_start_url"]),
    "a role of a profile": (
        "[default]\n" + ROLE + "source_profile = x\n[x]\n" + ID + KEY,
        ["role_arn"],
    ),
    "a role of a source": (
        "[default]\n" + ROLE + "credential_source = Environment\n",
        ["role_arn"],
    ),
    "a role of a token": (
        "[default]\n" + ROLE + "web_identity_token_file = /x\n",
        ["role_arn|web_identity_token_file"],
    ),
    "no secret": ("[default]\n" + ID, ["aws_secret_access_key"]),
    "no id": ("[default]\n" + KEY, ["aws_access_key_id"]),
    "an empty secret": (
        "[default]\n" + ID + "aws_secret_access_key =\n",
        ["aws_secret_access_key"],
    ),
    "an empty profile": ("[default]\n", ["aws_access_key_id"]),
    "another profile": (f"[work]\n{ID}{KEY}[play]\n{ID}{KEY}", ["default", "work", "play"]),
    "no profile at all": ("# nothing\n", ["default"]),
    "no section": (ID + KEY, []),
    "no equals sign": (f"[default]\n{ID}{MARKER}\n", []),
    "a colon": (f"[default]\n{ID}aws_secret_access_key : {MARKER}\n", []),
    "a control character": (f"[default]\n{ID}aws_secret_access_key = {MARKER}\x01\n", []),
    "a NUL in the token": (
        f"[default]\n{ID}{KEY}aws_session_token = a\0b\n",
        ["aws_session_token"],
    ),
    "a continued secret": (f"[default]\n{ID}{KEY}  {MARKER}\n", []),
}


def test_a_file_that_gives_no_keys_is_refused_with_a_line_that_says_why() -> None:
    files = [bedrock(named("file", name), text) for name, (text, _) in BAD.items()]
    profiles = bedrock("profile", f"[work]\n{ID}{KEY}[play]\n{ID}{KEY}", profile="sleep")
    found = refused(*files, profiles)
    expected = {named("file", name): words for name, (_, words) in BAD.items()}
    expected["profile"] = ["sleep", "work", "play"]
    assert len(found) == len(expected), found
    for name, words in expected.items():
        subject = f"BackendSecurityPolicy default/{name}: spec.awsCredentials"
        (line,) = [line for line in found if line.startswith(subject)]
        assert all(re.search(word, line) for word in words), line


def test_a_secret_without_the_key_of_a_credentials_file_is_refused() -> None:
    wrong = secret("bedrock-file", "apiKey", MARKER)
    (line,) = refused(bedrock()[0], wrong)
    assert "BackendSecurityPolicy default/bedrock" in line
    assert "credentials" in line


def started(env: Mapping[str, str], *, host: bool) -> dict[str, object]:
    """The options of an Envoy whose VM has this environment, given or taken from the host's."""
    if host:
        return {"options": {"host_env_keys": list(env)}, "env": env}
    return {"options": {"vm_env": env}}


@pytest.mark.parametrize("host", [False, True], ids=["key_values", "host_env_keys"])
@pytest.mark.parametrize("keys", [STATIC, TEMPORARY], ids=["static", "temporary"])
def test_keys_of_the_environment_sign(keys: Keys, host: bool) -> None:
    policies = config(ambient(), ambient("far", "ap-south-1"), bedrock("own", OTHER))
    plugins = dict.fromkeys(["bedrock", "far", "own"], policies)
    with running(plugins, **started(keys.environment(), host=host)) as gateway:
        verify(gateway.send("bedrock", (), b"/x", b"POST", b"{}"), keys, host=HOST)
        verify(gateway.send("far"), keys, region="ap-south-1")
        # A file of the policy wins.
        verify(gateway.send("own"), OTHER, host=HOST)


def test_an_empty_token_of_the_environment_is_none() -> None:
    env = STATIC.environment() | {"AWS_SESSION_TOKEN": ""}
    with running({"bedrock": config(ambient())}, options={"vm_env": env}) as gateway:
        verify(gateway.send("bedrock"), STATIC, host=HOST)


SURROUNDINGS: Mapping[str, Mapping[str, str]] = {
    "nothing": {},
    "both empty": {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
    "an empty secret": {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": ""},
    "no secret": {"AWS_ACCESS_KEY_ID": "AKIA"},
    "no id": {"AWS_SECRET_ACCESS_KEY": MARKER},
    "an empty id": {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": MARKER},
    "a token alone": {"AWS_SESSION_TOKEN": MARKER},
    "other variables": {"AWS_REGION": REGION, "AWS_PROFILE": "x"},
}


@pytest.mark.parametrize("env", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_an_environment_without_keys_is_refused(env: Mapping[str, str]) -> None:
    # Either nobody could be asked for any, or nobody may.
    egress = {"egress": {"cluster": "egress"}, "files": {"cluster": "egress"}}
    alone = {"AWS_EC2_METADATA_DISABLED": "true"}
    for settings, further in (({}, {}), (egress, alone)):
        (line,) = refused(ambient(), keyed("good"), env={**env, **further}, **settings)
        assert "BackendSecurityPolicy default/bedrock" in line
        assert re.search("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY|no link of the", line)


@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
)
def test_a_value_of_the_environment_that_cannot_be_sent_is_refused(name: str) -> None:
    (line,) = refused(ambient(), env=TEMPORARY.environment() | {name: f"{MARKER}\n{MARKER}"})
    assert line.startswith("BackendSecurityPolicy default/bedrock: spec.awsCredentials")
    assert name.lower() in line.lower()


@pytest.mark.parametrize("region", ["", "us east", "us-east-1/x", "us-east-1\n", "üs"])
def test_a_region_that_cannot_be_part_of_a_host_is_refused(region: str) -> None:
    found = refused(bedrock(region=region))
    assert found
    assert all("spec.awsCredentials.region" in line for line in found)


def test_a_file_and_an_exchange_exclude_each_other() -> None:
    both: Config = {
        "region": REGION,
        "credentialsFile": {"secretRef": {"name": "s"}},
        "oidcExchangeToken": {
            "awsRoleArn": "arn:aws:iam::123456789012:role/r",
            "oidc": {
                "provider": {"issuer": "https://idp.example"},
                "clientID": "c",
                "clientSecret": {"name": "s"},
            },
        },
    }
    values = {"credentials": S, "client-secret": MARKER}
    found = refused(
        policy("both", "AWSCredentials", awsCredentials=both), secret("s") | {"stringData": values}
    )
    assert any("credentialsFile" in line and "oidcExchangeToken" in line for line in found)
