"""How STS words an answer."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from entra_rules import WORDS
from replies import JSON, json_reply
from sts_rules import AUDIENCE, VERSION, WEB, Asked, Session
from wire import Reply

NAMESPACE = f"https://sts.amazonaws.com/doc/{VERSION}/"
XML = (b"content-type", b"text/xml")


def exponent(seconds: float) -> str:
    """A moment as STS writes it in JSON: 1.514869445E9."""
    digits = f"{int(seconds)}"
    return f"{digits[0]}.{digits[1:].rstrip('0') or '0'}E{len(digits) - 1}"


def iso(seconds: float) -> str:
    """A moment as STS writes it in XML."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def parts(asked: Asked, session: Session) -> tuple[dict[str, str], dict[str, Any]]:
    """The credentials, all but their end, and what else there is in an answer."""
    keys = {"AccessKeyId": session.keys.access, "SecretAccessKey": session.keys.secret}
    keys["SessionToken"] = session.keys.token or ""
    user = {"AssumedRoleId": f"AROAOFTHEROLE:{session.name}", "Arn": session.arn}
    rest: dict[str, Any] = {"AssumedRoleUser": user}
    if asked.action == WEB:
        rest |= {"SubjectFromWebIdentityToken": session.source, "Audience": AUDIENCE}
    return keys, rest


def json_answer(asked: Asked, session: Session, expiration: str | None = None) -> Reply:
    """A session in JSON; `expiration` is the text of that value if it is an odd one."""
    keys, rest = parts(asked, session)
    result = {**rest, "Credentials": {"Expiration": "<end>", **keys}}
    metadata = {"ResponseMetadata": {"RequestId": secrets.token_hex(8)}}
    value = {f"{asked.action}Response": {f"{asked.action}Result": result, **metadata}}
    end = exponent(session.end) if expiration is None else expiration
    return Reply(headers=[JSON], body=json.dumps(value).replace('"<end>"', end).encode())


def xml_answer(asked: Asked, session: Session, expiration: str | None = None) -> Reply:
    """The same in XML."""
    keys, rest = parts(asked, session)
    end = iso(session.end) if expiration is None else expiration
    credentials = elements({**keys, "Expiration": end})
    result = f"<Credentials>{credentials}</Credentials>{elements(rest)}"
    return wrapped(asked.action, result)


def wrapped(action: str, result: str) -> Reply:
    """An answer around what it tells."""
    whole = (
        f'<{action}Response xmlns="{NAMESPACE}">\n  <{action}Result>{result}</{action}Result>\n'
        f"  <ResponseMetadata><RequestId>{secrets.token_hex(8)}</RequestId></ResponseMetadata>\n"
        f"</{action}Response>\n"
    )
    return Reply(headers=[XML], body=whole.encode())


def elements(values: Mapping[str, Any]) -> str:
    """Elements of these names."""
    return "".join(
        f"<{name}>{elements(value) if isinstance(value, Mapping) else escape(value)}</{name}>"
        for name, value in values.items()
    )


def failure(status: int, code: str, text: str = "", *, form: str = "json", **headers: str) -> Reply:
    """An error as STS writes it, with words that nobody else has to repeat; `form` may be `xml`."""
    kind, number = ("Sender" if status < 500 else "Receiver"), secrets.token_hex(8)
    told = {"Code": code, "Message": f"{text} {WORDS}", "Type": kind}
    reply = json_reply({"Error": told, "RequestId": number}, status)
    if form == "xml":
        inner = f"<Error>{elements(told)}</Error><RequestId>{number}</RequestId>"
        whole = f'<ErrorResponse xmlns="{NAMESPACE}">{inner}</ErrorResponse>'
        reply = Reply(status, headers=[XML], body=whole.encode())
    more = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    reply.headers = [*reply.headers, *more]
    return reply
