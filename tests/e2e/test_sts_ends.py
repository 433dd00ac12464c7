"""Ends of sessions, and keys, in every form in which STS may write them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from xml.sax.saxutils import escape

import pytest

from aws import Keys
from sts import Writer, arn, exchanging
from sts_answers import exponent, iso, json_answer, wrapped, xml_answer
from sts_rig import Rig, for_tokens, identity, over_tls, serving
from sts_rules import Asked, Session
from upstream import Authority
from wire import Reply

DAY = 24 * 3600.0


class End(NamedTuple):
    """What makes the text of an end, how long the session lives, and when it ends to the filter,
    in seconds from now."""

    text: Callable[[float], str]
    life: float = 3600
    told: float | None = None


def stamp(seconds: float, rest: str = "Z", east: int = 0) -> str:
    """ISO text, as a clock so many hours east shows it."""
    return iso(seconds + east * 3600)[:-1] + rest


JSON_ENDS: Mapping[str, End] = {
    "exponent": End(exponent),
    "exponent-sign": End(lambda end: exponent(end).replace("E", "e+0")),
    "round": End(lambda end: f"{int(end) // 1000 * 1000}"),
    "integer": End(lambda end: f"{int(end)}"),
    "float": End(lambda end: f"{end:.3f}"),
    "point": End(lambda end: f"{int(end)}.0"),
    "integer-text": End(lambda end: f'"{int(end)}"'),
    "exponent-text": End(lambda end: f'"{exponent(end)}"'),
    "iso": End(lambda end: f'"{iso(end)}"'),
    "milliseconds": End(lambda end: f'"{stamp(end, ".123Z")}"'),
    "nanoseconds": End(lambda end: f'"{stamp(end, ".123456789Z")}"'),
    "zero": End(lambda end: f'"{stamp(end, "+00:00")}"'),
    "east": End(lambda end: f'"{stamp(end, "+02:00", 2)}"'),
    "west": End(lambda end: f'"{stamp(end, "-05:00", -5)}"'),
    "twelve-hours": End(exponent, 43200),
    "day": End(exponent, DAY),
    "days": End(exponent, 3 * DAY, DAY),
    "far": End(lambda _: "4.0E10", DAY, DAY),
    "farther": End(lambda _: '"9999-12-31T23:59:59Z"', DAY, DAY),
}
XML_ENDS: Mapping[str, End] = {
    "xml": End(iso),
    "xml-milliseconds": End(lambda end: stamp(end, ".500Z")),
    "xml-zone": End(lambda end: stamp(end, "+00:00")),
    "xml-blanks": End(lambda end: f"\n  {iso(end)}\n"),
}
TOKEN = """FwoG/+="<&>'""" + "t" * 40
"""With all that XML has to escape."""


def credentials(session: Session, **texts: str) -> str:
    """The element, with what stands in the others."""
    keys = session.keys
    values = {
        "AccessKeyId": keys.access,
        "SecretAccessKey": escape(keys.secret),
        "SessionToken": escape(keys.token or ""),
        "Expiration": iso(session.end),
        **texts,
    }
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in values.items())
    return f"<Credentials>{inner}</Credentials>"


def cdata(asked: Asked, session: Session) -> Reply:
    """Texts that are not escaped, in one or more sections."""
    token = session.keys.token or ""
    parts = f"{escape(token[:5])}<![CDATA[{token[5:9]}]]><![CDATA[{token[9:]}]]>"
    secret = f"<![CDATA[{session.keys.secret}]]>"
    texts = {"SessionToken": parts, "SecretAccessKey": secret}
    return wrapped(asked.action, credentials(session, **texts))


def references(asked: Asked, session: Session) -> Reply:
    """Every character by its number, or by its name if it has one."""
    names = {'"': "&quot;", "'": "&apos;", "&": "&amp;", "<": "&lt;", ">": "&gt;"}
    token = session.keys.token or ""
    named = "".join(names.get(one, f"&#{ord(one)};") for one in token)
    secret = "".join(f"&#x{ord(one):x};" for one in session.keys.secret)
    texts = {"SessionToken": named, "SecretAccessKey": secret}
    return wrapped(asked.action, credentials(session, **texts))


def turned(asked: Asked, session: Session) -> Reply:
    """The elements in another order, with others between them that are called the same."""
    keys = session.keys
    inner = (
        f"<Expiration>{iso(session.end)}</Expiration>"
        f"<SessionToken>{escape(keys.token or '')}</SessionToken>"
        f"<AccessKeyId>{keys.access}</AccessKeyId><!-- a comment -->"
        f"<SecretAccessKey>{keys.secret}</SecretAccessKey>"
    )
    user = "<AssumedRoleUser><AccessKeyId>ASIAOFSOMEBODYELSE01</AccessKeyId></AssumedRoleUser>"
    return wrapped(asked.action, f"{user}<Credentials>{inner}</Credentials>{user}")


def prefixed(asked: Asked, session: Session) -> Reply:
    """A declaration in front, attributes, and the namespace by a prefix."""
    reply = wrapped(asked.action, credentials(session))
    body = bytes(reply.body).decode().replace(" xmlns=", " xmlns:s=")
    body = body.replace("<", "<s:").replace("<s:/", "</s:").replace("<s:s:", "<s:")
    body = body.replace("<s:Credentials>", "<s:Credentials kind = 'a>b' other=\"&lt;\" >")
    reply.body = f'\ufeff<?xml version="1.0" encoding="UTF-8"?>\r\n{body}'.encode()
    return reply


def compact(asked: Asked, session: Session) -> Reply:
    """JSON in another order, with line feeds, escapes and fields that nobody knows."""
    value = json.loads(json_answer(asked, session).body)
    result = value[f"{asked.action}Response"][f"{asked.action}Result"]
    known = result.pop("Credentials")
    result["Credentials"] = {"Unknown": [1, {"AccessKeyId": "x"}], **dict(reversed(known.items()))}
    text = json.dumps(value, indent=3).replace("/", "\\/").replace("+", "\\u002b")
    return Reply(headers=[(b"content-type", b"text/plain")], body=text.encode())


WRITERS: Mapping[str, Writer] = {
    "cdata": cdata,
    "references": references,
    "turned": turned,
    "prefixed": prefixed,
    "compact": compact,
    "plain-xml": xml_answer,
}
ENDS = {**JSON_ENDS, **XML_ENDS}


@pytest.fixture(scope="module")
def rig(authority: Authority) -> Iterator[Rig]:
    """One Envoy with a policy for each form."""
    issuer = identity(authority)
    names = [*ENDS, *WRITERS, "absent"]
    with over_tls(authority, {name: for_tokens(issuer) for name in names}) as sts, issuer:

        def ending(name: str) -> Writer:
            write = xml_answer if name in XML_ENDS else json_answer

            def answer(asked: Asked, session: Session) -> Reply:
                text, life, _ = ENDS[name]
                lasting = sts.relive(session, life)
                return write(asked, lasting, text(lasting.end))

            return answer

        def absent(asked: Asked, session: Session) -> Reply:
            value = json.loads(json_answer(asked, session).body)
            del value[f"{asked.action}Response"][f"{asked.action}Result"]["Credentials"][
                "Expiration"
            ]
            return Reply(body=json.dumps(value).encode())

        def odd(name: str) -> Writer:
            def answer(asked: Asked, session: Session) -> Reply:
                keys = Keys(session.keys.access, session.keys.secret, TOKEN)
                return WRITERS[name](asked, sts.relive(session, 3600, keys))

            return answer

        for name in names:
            make = ending if name in ENDS else odd
            sts.writers[arn(name)] = absent if name == "absent" else make(name)
        policies = {name: exchanging(name) for name in names}
        with serving(policies, sts, authority, issuer) as rig:
            yield rig


@pytest.mark.parametrize("name", ENDS)
def test_an_end_is_read_whatever_its_form(rig: Rig, name: str) -> None:
    session = rig.session(name)
    assert session.name == f"ai-gateway-{name}"
    end = session.end if ENDS[name].told is None else session.issued + ENDS[name].told
    # One form is told in thousands.
    assert abs(rig.metric(name, "expires_at") - end) < (1002 if name == "round" else 2)
    assert rig.failures(name) == {}
    assert rig.metric(name, "fetched") == 1


@pytest.mark.parametrize("name", WRITERS)
def test_keys_are_read_whatever_their_form(rig: Rig, name: str) -> None:
    session = rig.session(name)
    assert session.name == f"ai-gateway-{name}"
    assert session.keys.token == TOKEN
    assert rig.failures(name) == {}
    assert rig.metric(name, "fetched") == 1


def test_a_session_without_an_end_lasts_five_minutes(rig: Rig) -> None:
    session = rig.session("absent")
    assert abs(rig.metric("absent", "expires_at") - (session.issued + 300)) < 2
    assert time.time() < session.end
    assert rig.failures("absent") == {}
