"""Credential files of every type that google-auth knows, in a Secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from google_iam import Target, impersonated, path_of
from google_keys import CLOUD, IAM, File, ServiceAccount
from google_oauth import User
from google_recordings import REQUESTS
from google_rig import Rig, serving
from google_rules import Life
from google_services import Google, default, keyed
from google_sts import Provider, provider_name
from launch import poll
from manifests import Manifest
from upstream import Authority, Upstream

SUBJECTS = "subjects.googleapis.com"
"""A host that a file may name as the source of its subject token."""

USER = User()
SOURCE = ServiceAccount("source@proj.iam.gserviceaccount.com")
TARGET = "target@proj.iam.gserviceaccount.com"
MIDDLE = "middle@proj.iam.gserviceaccount.com"
AS_JSON = {"format": {"type": "json", "subject_token_field_name": "id_token"}}


@dataclass
class Case:
    """A file, and whose token comes of it."""

    file: File
    who: str
    scopes: tuple[str, ...] = (CLOUD,)


def provider_of(services: Google, name: str, **options: Any) -> Provider:
    """A provider of its own for a case; it takes one subject token."""
    one = Provider(provider_name(name), listed={f"subject-of-{name}"}, **options)
    services.sts.providers[one.name] = one
    return one


def text_source(folder: Path, name: str, **form: Any) -> File:
    """A source that is a file, which ends its line."""
    file = folder / f"{name}.token"
    token = f"subject-of-{name}"
    file.write_text(json.dumps({"id_token": token}) if form else f"{token}\n")
    return {"file": str(file), **form}


def url_source(name: str, **form: Any) -> File:
    """A source that is a URL."""
    return {
        "url": f"https://{SUBJECTS}/{name}?v=1",
        "headers": {"X-K": "v", "accept": "*/*"},
        **form,
    }


def cases(services: Google, folder: Path) -> dict[str, Case]:
    """By the names of policies."""

    def external(name: str, source: File, other: File | None = None, **options: Any) -> Case:
        one = provider_of(services, name, **options)
        return Case(one.file(source, **(other or {})), one.principal("listed"))

    def acting(name: str, lifetime: int | None) -> Case:
        email = f"{name}@proj.iam.gserviceaccount.com"
        other: File = {
            "service_account_impersonation_url": f"https://iamcredentials.googleapis.com{path_of(email)}"
        }
        if lifetime is not None:
            other["service_account_impersonation"] = {"token_lifetime_seconds": lifetime}
        case = external(name, text_source(folder, name), other, impersonating=True)
        services.iam.targets[email] = Target({case.who})
        return Case(case.file, email)

    services.oauth.accounts[SOURCE.email] = SOURCE
    services.oauth.users.append(USER)
    services.iam.targets[TARGET] = Target({SOURCE.email, USER.client_id})
    delegated = "delegated@proj.iam.gserviceaccount.com"
    services.iam.targets[delegated] = Target({SOURCE.email}, [MIDDLE])
    return {
        "user": Case(USER.file(), USER.client_id),
        "user-of-old": Case(
            USER.file(universe_domain="googleapis.com", account="a"), USER.client_id
        ),
        "text": external("text", text_source(folder, "text")),
        "json": external("json", text_source(folder, "json", **AS_JSON)),
        "url": external("url", url_source("url")),
        "url-json": external("url-json", url_source("url-json", **AS_JSON)),
        "client": external(
            "client",
            text_source(folder, "client"),
            {"client_id": "cid", "client_secret": "c:s+e/c=%"},
            client=("cid", "c:s+e/c=%"),
        ),
        "acting": acting("acting", None),
        "acting-long": acting("acting-long", 1200),
        "by-key": Case(impersonated(TARGET, SOURCE.file()), TARGET),
        "by-user": Case(impersonated(TARGET, USER.file()), TARGET),
        "delegated": Case(impersonated(delegated, SOURCE.file(), [MIDDLE]), delegated),
    }


@dataclass
class Served:
    """A running rig and its cases."""

    rig: Rig
    cases: dict[str, Case]
    subjects: Upstream


Build = Callable[[str, File], Manifest | list[Manifest]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where files are mounted."""
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture(scope="module")
def served(authority: Authority, folder: Path) -> Iterator[Served]:
    """One Envoy with a policy for each case."""
    tls = authority.server_context([SUBJECTS], http2=False)
    with ExitStack() as stack:
        services = stack.enter_context(Google(authority))
        subjects = stack.enter_context(Upstream(tls=tls))
        subjects.reply_with(body="subject-of-url\n", path="/url")
        subjects.reply_with(body={"id_token": "subject-of-url-json"}, path="/url-json")
        made = cases(services, folder)
        for name, case in made.items():
            services.place(name, case.who)
        policies = {name: keyed(name, case.file) for name, case in made.items()}
        options: dict[str, Any] = {"hosts": {SUBJECTS: subjects.port}, "folders": [folder]}
        plugin = {"secrets": {"mountPath": str(folder)}}
        rig = stack.enter_context(serving(policies, services, authority, plugin=plugin, **options))
        yield Served(rig, made, subjects)
        assert services.refused == []


NAMES = (
    "user",
    "user-of-old",
    "text",
    "json",
    "url",
    "url-json",
    "client",
    "acting",
    "acting-long",
    "by-key",
    "by-user",
    "delegated",
)


def test_every_case_is_tried(served: Served) -> None:
    assert set(NAMES) == set(served.cases)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_any_type_gets_a_token(served: Served, name: str) -> None:
    case = served.cases[name]
    _, used = served.rig.answered(name)
    token = served.rig.google.ledger.tokens[used.token]
    assert (token.who, token.scopes) == (case.who, case.scopes)
    assert served.rig.metric(name, "fetched") == 1
    assert served.rig.failures(name) == {}
    assert abs(served.rig.metric(name, "expires_at") - token.end) < 2


def test_what_is_asked_on_the_way_is_what_the_official_client_asks(served: Served) -> None:
    services = served.rig.google
    for name in ("acting", "acting-long", "by-key", "by-user", "delegated"):
        served.rig.token(name)
    asked = {(one.email.partition("@")[0], one.by.who): one for one in services.iam.asked}
    lives = {email: one.body["lifetime"] for (email, _), one in asked.items()}
    assert (lives["acting"], lives["acting-long"]) == ("3600s", "1200s")
    assert {tuple(one.body["scope"]) for one in asked.values()} == {(CLOUD,)}
    assert asked["delegated", SOURCE.email].body["delegates"] == [MIDDLE]
    # Whose token only has to act as another needs no more than that.
    assert {one.by.scopes for one in asked.values() if one.by.kind == "federated"} == {(IAM,)}
    for request in services.iam.requests:
        recorded = REQUESTS["wif-file-impersonation/2"]
        assert request.header("content-type") == recorded.kind
        assert request.json().keys() <= recorded.body.keys()


def test_a_source_by_url_gets_the_headers_of_the_file(served: Served) -> None:
    served.rig.token("url")
    requests = [one for one in served.subjects.requests if one.path == "/url"]
    assert requests
    for request in requests:
        assert (request.method, request.target) == ("GET", b"/url?v=1")
        assert request.header("x-k") == "v"
        assert request.header("authorization") is None


def test_a_subject_token_is_read_anew_for_every_exchange(
    authority: Authority, tmp_path: Path
) -> None:
    with Google(authority) as services:
        one = provider_of(services, "again", life=Life(6))
        services.place("again", one.principal("listed"))
        source = text_source(tmp_path, "again")
        policies = {"again": keyed("again", one.file(source))}
        plugin = {"secrets": {"mountPath": str(tmp_path)}}
        with serving(policies, services, authority, plugin=plugin, folders=[tmp_path]) as rig:
            rig.token("again")
            one.listed = {"the-next-one"}
            Path(source["file"]).write_text("the-next-one")
            poll(lambda: len(services.sts.asked) > 1, 15, "another exchange")
            assert services.sts.asked[-1]["subject_token"] == "the-next-one"
        assert services.sts.refused == []


@pytest.mark.parametrize("place", ["outside", "up"])
def test_a_file_outside_of_the_mounted_folder_is_not_read(
    authority: Authority, tmp_path: Path, place: str
) -> None:
    inside, outside = tmp_path / "mounted", tmp_path / "outside"
    for one in (inside, outside):
        one.mkdir()
    source = text_source(outside, "away")
    if place == "up":
        source["file"] = f"{inside}/../outside/away.token"
    with Google(authority) as services:
        provider = provider_of(services, "away")
        # The file is not at hand when the configuration is read, so this is judged when it is used.
        adc = inside / "adc.json"
        adc.write_text(json.dumps(provider.file(source)))
        plugin = {"secrets": {"mountPath": str(inside)}, "credentialWait": "1s"}
        options: dict[str, Any] = {"vm_env": {"GOOGLE_APPLICATION_CREDENTIALS": str(adc)}}
        with serving(
            {"away": default("away")},
            services,
            authority,
            plugin=plugin,
            folders=[inside, outside],
            options=options,
        ) as rig:
            line = rig.complaint("away")
            rig.refused("away")
            assert "credential_source" in line
            assert services.count() == 0
