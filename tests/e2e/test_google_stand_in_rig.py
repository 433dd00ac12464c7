"""The rig of Google works before the filter does: what goes through its egress listener reaches the
stand-ins clean, and what a backend forwards reaches Vertex."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest

import google_iam
import google_metadata
import google_oauth
import google_sts
from bootstrap import Config
from egress import NAME, calls
from entra import FORM
from google_iam import Target, path_of
from google_keys import CLOUD, ServiceAccount
from google_rig import BODY, Rig, serving
from google_services import REGION, Google, default, federated, keyed, project
from google_sts import ACCESS, GRANT, JWT_TYPE, Provider
from launch import poll
from manifests import keyed as key_policy
from raw import Response
from raw import request as raw_request
from upstream import Authority

ACCOUNT = ServiceAccount()
SUBJECT = "subject-token"
TARGET = "target@proj.iam.gserviceaccount.com"
FULL = "/v1/projects/{}/locations/{}/publishers/google/models/m:generateContent"
HOSTS = {
    google_oauth.HOST: "https",
    google_sts.HOST: "https",
    google_iam.HOST: "https",
    google_metadata.HOST: "http",
}


def through(host: str, scheme: str) -> Config:
    """A route that sends what comes for a host to the egress listener."""
    header = {"key": "x-egress-scheme", "value": scheme}
    return {
        "match": {
            "prefix": "/",
            "headers": [{"name": ":authority", "string_match": {"exact": host}}],
        },
        "route": {"cluster": NAME},
        "request_headers_to_add": [{"header": header}],
    }


@pytest.fixture(scope="module")
def rig(authority: Authority) -> Iterator[Rig]:
    """With a backend whose key is a token of an account."""
    with Google(authority) as services:
        services.oauth.accounts[ACCOUNT.email] = ACCOUNT
        provider = Provider(listed={SUBJECT})
        services.sts.providers[provider.name] = provider
        services.iam.targets[TARGET] = Target({ACCOUNT.email})
        services.place("vertex", ACCOUNT.email)
        token = services.ledger.issue("service_account", ACCOUNT.email, [CLOUD], 600).text
        policies = {"vertex": key_policy("vertex", "APIKey", token)}
        routes = [through(host, scheme) for host, scheme in HOSTS.items()]
        with serving(policies, services, authority, first=routes) as rig:
            yield rig
        assert services.refused == []


def call(
    rig: Rig, host: str, target: str, body: bytes = b"", **headers: str
) -> tuple[Response, dict[str, str]]:
    """The answer of a stand-in, by way of the egress listener, and what it holds."""
    named = [(name.replace("_", "-").encode(), headers[name].encode()) for name in headers]
    fields = [(b"host", host.encode()), *named]
    method = b"POST" if body else b"GET"
    answer = raw_request(rig.envoy.port(), method, target.encode(), fields, body)
    assert answer.status == 200, answer
    return answer, json.loads(answer.body)


def test_an_assertion_gets_a_token_that_acts_as_another_account(rig: Rig) -> None:
    form = {"grant_type": google_oauth.JWT_BEARER, "assertion": ACCOUNT.assertion()}
    _, body = call(rig, google_oauth.HOST, "/token", urlencode(form).encode(), content_type=FORM)
    bearer = f"Bearer {body['access_token']}"
    wanted = json.dumps({"scope": [CLOUD], "lifetime": "600s"}).encode()
    kind = "application/json"
    _, body = call(
        rig, google_iam.HOST, path_of(TARGET), wanted, content_type=kind, authorization=bearer
    )
    assert rig.google.ledger.alive(body["accessToken"])
    (made,) = poll(lambda: calls(rig.envoy, google_iam.HOST), 5, "a line of the log")
    assert made.status == 200


def test_a_subject_token_gets_a_token(rig: Rig) -> None:
    form = {"grant_type": GRANT, "audience": Provider().name, "scope": CLOUD}
    types = {"requested_token_type": ACCESS, "subject_token_type": JWT_TYPE}
    text = urlencode({**form, **types, "subject_token": SUBJECT}).encode()
    _, body = call(rig, google_sts.HOST, "/v1/token", text, content_type=FORM)
    assert rig.google.ledger.alive(body["access_token"])


def test_a_machine_gets_a_token(rig: Rig) -> None:
    flavor = {"metadata_flavor": "Google"}
    query = f"?scopes={quote(CLOUD, '')}"
    for target in (google_metadata.TOKEN, google_metadata.TOKEN + query):
        answer, body = call(rig, google_metadata.HOST, target, **flavor)
        assert rig.google.ledger.alive(body["access_token"])
        assert answer.values("metadata-flavor") == [b"Google"]


def test_a_live_token_reaches_vertex_and_nothing_of_the_caller_does(rig: Rig) -> None:
    target = FULL.format(project("vertex"), REGION)
    request, used = rig.answered("vertex", target.encode())
    assert (used.project, used.who) == (project("vertex"), ACCOUNT.email)
    assert request.body == BODY
    answer = rig.post("vertex", target.replace(project("vertex"), "other").encode())
    assert answer.status == 403
    assert len(rig.google.vertex.refused) == 1
    rig.google.vertex.refused.clear()


def test_policies_have_the_fields_of_the_manifest() -> None:
    (policy, file) = keyed("a", ACCOUNT.file())
    reference = policy["spec"]["gcpCredentials"]["credentialsFile"]["secretRef"]["name"]
    assert file["metadata"]["name"] == reference
    assert json.loads(file["stringData"]["service_account.json"]) == ACCOUNT.file()
    (policy, _) = federated("b", account="sa")
    config = policy["spec"]["gcpCredentials"]["workloadIdentityFederationConfig"]
    assert config["serviceAccountImpersonation"] == {"serviceAccountName": "sa"}
    assert config.keys() == {
        "projectID",
        "workloadIdentityPoolName",
        "workloadIdentityProviderName",
        "oidcExchangeToken",
        "serviceAccountImpersonation",
    }
    assert default("c")["spec"]["gcpCredentials"] == {"projectName": project("c"), "region": REGION}
