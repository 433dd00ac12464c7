"""What a configuration with `GCPCredentials` is refused for before anything is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from egress import NAME, SETTINGS
from entra_rig import checked, errors
from google_iam import impersonated, path_of
from google_keys import File, ServiceAccount
from google_oauth import User
from google_services import default, federated, keyed
from google_sts import Provider
from manifests import Manifest

SUBJECT = "BackendSecurityPolicy default/"
ACCOUNT = ServiceAccount()
USER = User()
PROVIDER = Provider()
SOURCE = {"file": "/var/run/secrets/tokens/gcp"}
IMPERSONATION = "https://iamcredentials.googleapis.com" + path_of(ACCOUNT.email)


def test_a_policy_of_each_kind_is_taken() -> None:
    policies = [
        default("machine"),
        keyed("key", ACCOUNT.file()),
        keyed("user", USER.file()),
        keyed("external", PROVIDER.file(SOURCE)),
        keyed("acting", impersonated(ACCOUNT.email, USER.file())),
        federated("pool", account="sa"),
    ]
    assert checked(*policies) == (0, [])


def words(file: File) -> list[str]:
    """The texts in a file that nobody may repeat."""
    secret = ("private_key", "client_secret", "refresh_token", "private_key_id")
    found = [str(file[name]) for name in secret if file.get(name)]
    return [
        line
        for text in found
        for line in text.splitlines()
        if len(line) > 8 and "-----" not in line
    ]


def line_of(file: File | str, **options: Any) -> str:
    """The one error line of a policy with this file, which tells nothing of it."""
    lines = errors(keyed("key", file), **options)
    assert len(lines) == 1, lines
    (line,) = lines
    assert line.startswith(f"{SUBJECT}key: spec.gcpCredentials.credentialsFile"), line
    if isinstance(file, dict):
        assert [word for word in words(file) if word in line] == []
    return line


TYPES: dict[str, tuple[File, str]] = {
    "no type": (ACCOUNT.file(type=None), "type"),
    "unknown": (ACCOUNT.file(type="service-account"), "type"),
    "gdch": (ACCOUNT.file(type="gdch_service_account"), "gdch_service_account"),
    "session": (
        {**USER.file(), "type": "external_account_authorized_user"},
        "external_account_authorized_user",
    ),
    "program": (PROVIDER.file({"executable": {"command": "/bin/get"}}), "executable"),
    "keys of AWS": (
        PROVIDER.file(
            {"environment_id": "aws1", "regional_cred_verification_url": "https://sts.{region}.x"}
        ),
        "environment_id",
    ),
    "certificate": (
        PROVIDER.file({"certificate": {"use_default_certificate_config": True}}),
        "certificate",
    ),
    "no source": (PROVIDER.file({}), "credential_source"),
    "two sources": (
        PROVIDER.file({**SOURCE, "url": "https://subjects.googleapis.com/"}),
        "credential_source",
    ),
    "client alone": ({"installed": {"client_id": "x"}}, "type"),
    "session inside": (
        impersonated(ACCOUNT.email, {**USER.file(), "type": "external_account_authorized_user"}),
        "external_account_authorized_user",
    ),
}


@pytest.mark.parametrize("name", TYPES)
def test_what_cannot_work_is_refused_by_name(name: str) -> None:
    file, word = TYPES[name]
    assert word in line_of(file)


KEYS: dict[str, Callable[[], Any]] = {
    "locked": lambda: ACCOUNT.pem("locked"),
    "curve": lambda: ACCOUNT.pem("ec"),
    "no PEM": lambda: "not a key",
    "cut": lambda: ACCOUNT.pem()[:400],
    "certificate": lambda: ACCOUNT.pem().replace("PRIVATE KEY", "CERTIFICATE"),
    "empty": lambda: "",
    "number": lambda: 17,
    "absent": lambda: None,
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_cannot_sign_is_refused_by_name(name: str) -> None:
    assert "private_key" in line_of(ACCOUNT.file(private_key=KEYS[name]()))


FIELDS: dict[str, tuple[File, str]] = {
    "no address": (ACCOUNT.file(client_email=None), "client_email"),
    "address with a line": (ACCOUNT.file(client_email="a@b\r\nx: y"), "client_email"),
    "no number": (ACCOUNT.file(private_key_id=17), "private_key_id"),
    "no client": (USER.file(client_id=""), "client_id"),
    "no refresh token": (USER.file(refresh_token=None), "refresh_token"),
    "no audience": (PROVIDER.file(SOURCE, audience=""), "audience"),
    "no type of subject": (PROVIDER.file(SOURCE, subject_token_type=None), "subject_token_type"),
    "life too short": (
        PROVIDER.file(
            SOURCE,
            service_account_impersonation_url=IMPERSONATION,
            service_account_impersonation={"token_lifetime_seconds": 599},
        ),
        "token_lifetime_seconds",
    ),
    "field of no name": (
        PROVIDER.file({**SOURCE, "format": {"type": "json"}}),
        "subject_token_field_name",
    ),
    "format": (PROVIDER.file({**SOURCE, "format": {"type": "xml"}}), "format"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_missing_or_wrong_is_named(name: str) -> None:
    file, word = FIELDS[name]
    assert word in line_of(file)


URLS = {
    "other host": "https://evil.test/token",
    "other end": "https://oauth2.googleapis.com.evil.test/token",
    "other start": "https://evilgoogleapis.com/token",
    "http": "http://oauth2.googleapis.com/token",
    "user": "https://oauth2.googleapis.com@evil.test/token",
    "backslash": "https://evil.test\\.googleapis.com/token",
    "files": "https://files.local/etc/passwd",
    "address": "https://169.254.169.254/token",
    "fragment": "https://evil.test#.googleapis.com/token",
    "none": "oauth2.googleapis.com/token",
}


@pytest.mark.parametrize("name", URLS)
def test_a_url_of_another_host_is_refused(name: str) -> None:
    url = URLS[name]
    assert "token_uri" in line_of(ACCOUNT.file(token_uri=url))
    assert "token_url" in line_of(PROVIDER.file(SOURCE, token_url=url))
    acting = PROVIDER.file(SOURCE, service_account_impersonation_url=url)
    assert "service_account_impersonation_url" in line_of(acting)
    inside = impersonated(ACCOUNT.email, USER.file(), service_account_impersonation_url=url)
    assert "service_account_impersonation_url" in line_of(inside)


def test_a_url_of_the_universe_of_the_file_is_taken() -> None:
    other = {"universe_domain": "my.example", "token_url": "https://sts.my.example/v1/token"}
    assert checked(keyed("key", PROVIDER.file(SOURCE, **other))) == (0, [])
    other["universe_domain"] = "your.example"
    assert "token_url" in line_of(PROVIDER.file(SOURCE, **other))


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/var/run/secrets/../../../etc/passwd", "secrets/x", "/var/run/secretsx/y"],
)
def test_a_source_that_is_no_mounted_file_is_refused(path: str) -> None:
    assert "credential_source" in line_of(PROVIDER.file({"file": path}))


@pytest.mark.parametrize("text", ["{", "[]", "null", '"x"', "{}{}", "type: service_account"])
def test_what_is_no_object_of_json_is_refused(text: str) -> None:
    line = line_of(text)
    assert "service_account.json" in line or "type" in line


BAD_NAMES = {"slash": "a/b", "up": "..", "escape": "a%2fb", "line": "a\nb", "question": "a?b"}


def field_of(name: str, field: str, value: str) -> list[Manifest]:
    """A policy with this value in a field whose text becomes part of a host or path."""
    if field in ("projectName", "region"):
        made = default(name)
        made["spec"]["gcpCredentials"][field] = value
        return [made]
    manifests = federated(name, account="sa")
    pool = manifests[0]["spec"]["gcpCredentials"]["workloadIdentityFederationConfig"]
    if field == "serviceAccountName":
        pool["serviceAccountImpersonation"][field] = value
    else:
        pool[field] = value
    return manifests


@pytest.mark.parametrize(
    "field",
    [
        "projectName",
        "region",
        "projectID",
        "workloadIdentityPoolName",
        "workloadIdentityProviderName",
        "serviceAccountName",
    ],
)
def test_a_name_that_would_not_stay_in_its_place_is_refused(field: str) -> None:
    wrong = [field_of(name, field, value) for name, value in BAD_NAMES.items()]
    lines = errors(*wrong, field_of("empty", field, ""), field_of("right", field, "a.b-c_d"))
    for name in (*BAD_NAMES, "empty"):
        start = f"{SUBJECT}{name}: "
        mine = [line for line in lines if line.startswith(start)]
        assert len(mine) == 1, (name, lines)
        assert field in mine[0]
    assert len(lines) == len(BAD_NAMES) + 1


def test_one_source_may_be_given() -> None:
    both = federated("both")
    both[0]["spec"]["gcpCredentials"]["credentialsFile"] = {"secretRef": {"name": "both-client"}}
    both[1]["stringData"]["service_account.json"] = json.dumps(ACCOUNT.file())
    (line,) = errors(both)
    assert line == (
        f"{SUBJECT}both: spec.gcpCredentials: At most one of credentialsFile or "
        "workloadIdentityFederationConfig may be specified"
    )


def test_a_way_out_is_needed() -> None:
    for resources in ([default("key")], keyed("key", ACCOUNT.file()), federated("key")):
        (line,) = errors(*resources, settings={"files": {"cluster": NAME}})
        assert line.startswith("egress.cluster: ")
        assert f"{SUBJECT}key" in line
    assert checked(*keyed("key", ACCOUNT.file()), settings={"egress": SETTINGS["egress"]}) == (
        0,
        [],
    )


@pytest.mark.parametrize("value", ["https://metadata.test", "a b", "metadata.test/x", "user@host"])
def test_a_metadata_server_that_is_none_is_named(value: str) -> None:
    (line,) = errors(default("machine"), env={"GCE_METADATA_HOST": value})
    assert "GCE_METADATA_HOST" in line
