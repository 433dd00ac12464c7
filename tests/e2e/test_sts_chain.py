"""A role on top of any source: `assumeRole`, signed with the keys or the session of the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from aws import OTHER, STATIC, TEMPORARY, Keys, ambient, bedrock, parsed
from launch import poll
from manifests import Manifest
from sts import HOST, Sts, arn, exchanging
from sts_answers import failure, xml_answer
from sts_rig import Rig, for_tokens, identity, over_tls, serving
from sts_rules import CHAIN, WEB, Role
from upstream import Authority

TAGS = {"team": "ai models", "Cost-Center": "1+2=3", "empty": "", "über": "ä@:/.=+-_"}
EXTERNAL = "id:of/the+gateway=@,.-_"


def assuming(**policies: Manifest) -> Manifest:
    """Settings of policies of the default namespace, whose next roles these are."""
    names = {name.replace("_", "-"): fields for name, fields in policies.items()}
    return {"policies": {f"default/{name}": {"assumeRole": names[name]} for name in names}}


def next_role(name: str, **more: Any) -> Manifest:
    """An `assumeRole` for the role `next-<name>`."""
    return {"roleArn": arn(f"next-{name}"), **more}


SETTINGS = assuming(
    plain=next_role("plain"),
    temporary=next_role("temporary"),
    environment=next_role("environment"),
    token=next_role("token"),
    external=next_role("external", externalID=EXTERNAL),
    named=next_role("named", sessionName="named.by=the,policy@+-_"),
    timed=next_role("timed", durationSeconds=7200),
    tagged=next_role("tagged", tags=TAGS),
    xml=next_role("xml"),
)


@pytest.fixture(scope="module")
def rig(authority: Authority) -> Iterator[Rig]:
    """One Envoy with a policy for each source and each setting."""
    issuer = identity(authority)
    with over_tls(authority, {"token": for_tokens(issuer)}) as sts, issuer:
        user = sts.user("gateway", STATIC)
        policies: dict[str, Any] = {
            name: bedrock(name) for name in ("plain", "external", "named", "timed", "tagged", "xml")
        }
        policies["temporary"] = bedrock("temporary", TEMPORARY)
        policies["environment"] = [ambient("environment")]
        policies["token"] = exchanging("token")
        principals = {
            "temporary": sts.user("lent", TEMPORARY),
            "environment": sts.user("ambient", OTHER),
            "token": arn("token"),
        }
        for name in policies:
            trust = [principals.get(name, user)]
            external = EXTERNAL if name == "external" else None
            longest = 7200 if name == "timed" else 3600
            sts.roles[arn(f"next-{name}")] = Role((), trust, external, longest)
        sts.writers[arn("next-xml")] = xml_answer
        env = OTHER.environment()
        with serving(policies, sts, authority, issuer, plugin=SETTINGS, env=env) as rig:
            yield rig
        assert sts.refused == []


def form_of(rig: Rig, name: str) -> dict[str, str]:
    """What was asked for a policy's next role, which has signed a request."""
    assert rig.session(name).role == arn(f"next-{name}")
    (form,) = rig.sts.forms(f"next-{name}")
    return form


SOURCES: Mapping[str, Keys] = {"plain": STATIC, "temporary": TEMPORARY, "environment": OTHER}


@pytest.mark.parametrize("name", SOURCES)
def test_keys_get_a_session_of_the_next_role(rig: Rig, name: str) -> None:
    keys = SOURCES[name]
    assert form_of(rig, name) == {
        "Action": CHAIN,
        "Version": "2011-06-15",
        "RoleArn": arn(f"next-{name}"),
        "RoleSessionName": f"ai-gateway-{name}",
    }
    (request,) = rig.sts.of(f"next-{name}")
    found = parsed(request)
    token = ("x-amz-security-token",) if keys.token else ()
    assert found.signed == ("content-type", "host", "x-amz-date", *token)
    assert (found.access, found.service, found.region) == (keys.access, "sts", "us-east-1")
    assert request.authority.decode() == HOST
    assert rig.metric(name, "fetched") == 1
    assert rig.failures(name) == {}


def test_a_token_gets_one_session_and_that_one_the_next(rig: Rig) -> None:
    session = rig.session("token")
    ((first,), (second,)) = rig.sts.sessions("token"), rig.sts.sessions("next-token")
    assert session == second
    assert second.source == first.arn
    assert (first.name, second.name) == ("ai-gateway-token", "ai-gateway-token")
    assert rig.sts.forms("token")[0]["Action"] == WEB
    assert abs(rig.metric("token", "expires_at") - second.end) < 2
    assert rig.metric("token", "fetched") == 1
    assert rig.failures("token") == {}


def test_an_external_id_is_sent_as_it_is(rig: Rig) -> None:
    assert form_of(rig, "external")["ExternalId"] == EXTERNAL


def test_a_session_may_have_another_name(rig: Rig) -> None:
    assert form_of(rig, "named")["RoleSessionName"] == "named.by=the,policy@+-_"


def test_a_session_may_last_longer(rig: Rig) -> None:
    assert form_of(rig, "timed")["DurationSeconds"] == "7200"
    (session,) = rig.sts.sessions("next-timed")
    assert abs(rig.metric("timed", "expires_at") - session.end) < 2
    assert 7198 < session.end - session.issued < 7202


def test_tags_are_sent_as_they_are(rig: Rig) -> None:
    form = form_of(rig, "tagged")
    (session,) = rig.sts.sessions("next-tagged")
    assert session.tags == TAGS
    assert len(form) == 4 + 2 * len(TAGS)


def test_an_answer_in_xml_is_taken_too(rig: Rig) -> None:
    assert form_of(rig, "xml")["Action"] == CHAIN


def test_the_keys_of_the_source_sign_no_request(rig: Rig) -> None:
    for name in SOURCES:
        used = parsed(rig.answered(name)).access
        assert used not in [keys.access for keys in SOURCES.values()]
    assert rig.sts.misused == []


def denied(sts: Sts) -> dict[str, Any]:
    """Policies each of which is refused at its second step, and their settings."""
    user = sts.user("gateway", STATIC)
    sts.roles[arn("next-trust")] = Role(principals=[arn("somebody")])
    sts.roles[arn("next-external")] = Role(principals=[user], external="other")
    sts.roles[arn("next-timed")] = Role(principals=[user])
    return assuming(
        trust=next_role("trust"),
        external=next_role("external", externalID="e-1"),
        timed=next_role("timed", durationSeconds=3601),
        secret=next_role("secret"),
        unknown=next_role("unknown"),
        chained=next_role("chained"),
    )


def test_a_refusal_of_the_next_role_is_told_as_such(authority: Authority) -> None:
    issuer = identity(authority)
    codes = {
        "trust": "AccessDenied",
        "external": "AccessDenied",
        "timed": "ValidationError",
        "secret": "SignatureDoesNotMatch",
        "unknown": "InvalidClientTokenId",
        "chained": "AccessDenied",
    }
    policies: dict[str, Any] = {name: bedrock(name) for name in ("trust", "external", "timed")}
    policies["secret"] = bedrock("secret", Keys(STATIC.access, OTHER.secret))
    policies["unknown"] = bedrock("unknown", OTHER)
    policies["chained"] = exchanging("chained")
    with over_tls(authority, {"chained": for_tokens(issuer)}) as sts, issuer:
        plugin = {**denied(sts), "credentialWait": "200ms"}
        with serving(policies, sts, authority, issuer, plugin=plugin) as rig:
            for name, code in codes.items():
                assert rig.wait_for_failures(name) == {"denied": 1}
                line = rig.complaint(name)
                assert code in line
                assert "sts" in line
                assert rig.refused(name) > 5
                assert rig.metric(name, "fetched") == 0
            hidden = [STATIC.secret, OTHER.secret, *issuer.given]
            log = rig.envoy.log()
            assert [text for text in hidden if text in log] == []
            assert len(sts.sessions("chained")) == 1


def test_the_whole_chain_is_gone_through_again_when_its_end_has_failed(
    authority: Authority,
) -> None:
    issuer = identity(authority)
    with over_tls(authority, {"token": for_tokens(issuer)}) as sts, issuer:
        sts.roles[arn("next-token")] = Role(principals=[arn("token")])
        sts.script("next-token", lambda: failure(503, "ServiceUnavailable"))
        plugin = assuming(token=next_role("token"))
        policies = {"token": exchanging("token")}
        with serving(policies, sts, authority, issuer, plugin=plugin) as rig:
            rig.wait_for_metric("token", "fetched")
            session = rig.session("token")
            assert rig.failures("token") == {"server": 1}
            assert len(sts.sessions("token")) == 2
            assert session.source == sts.sessions("token")[1].arn
            assert len(issuer.given) == 2


def test_a_chain_is_renewed_from_its_beginning(authority: Authority) -> None:
    issuer = identity(authority)
    with over_tls(authority, {"token": for_tokens(issuer)}) as sts, issuer:
        sts.life = 5
        sts.roles[arn("next-token")] = Role(principals=[arn("token")])
        plugin = assuming(token=next_role("token"))
        policies = {"token": exchanging("token")}
        with serving(policies, sts, authority, issuer, plugin=plugin, concurrency=4) as rig:
            first = rig.session("token")
            poll(lambda: rig.session("token") != first, 10, "another session")
            second = rig.session("token")
            assert second.role == arn("next-token")
            given = len(sts.sessions("next-token"))
            assert len(sts.sessions("token")) in (given, given + 1)
            assert rig.failures("token") == {}
        assert sts.misused == []
