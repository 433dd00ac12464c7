"""Requests for STS that a test makes itself, signed by botocore if it wants them signed."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from unittest import mock
from urllib.parse import urlencode

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import raw
from aws import Keys
from oidc import Issuer
from sts import HOST, Sts, arn
from sts_rules import CHAIN, FORM, WEB
from wire import Header

Form = dict[str, str]
COMMON = {"Version": "2011-06-15", "RoleSessionName": "ai-gateway-x"}


def web(issuer: Issuer, **other: str) -> Form:
    """A form that is right."""
    form = {"Action": WEB, **COMMON, "RoleArn": arn("web"), "WebIdentityToken": issuer.token()}
    return {**form, **other}


def chain(**other: str) -> Form:
    """Another one, if it is signed."""
    return {"Action": CHAIN, **COMMON, "RoleArn": arn("next"), "ExternalId": "e-1", **other}


def without(form: Form, name: str) -> Form:
    """A form without one field."""
    return {key: value for key, value in form.items() if key != name}


def post(
    sts: Sts,
    form: Form | bytes,
    *more: Header,
    method: bytes = b"POST",
    target: bytes = b"/",
    host: str = HOST,
    kind: str | None = FORM,
    accept: str | None = "application/json",
) -> raw.Response:
    """The answer to a form, or to a body as it is."""
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    headers = [(b"host", host.encode()), *more]
    if kind:
        headers.append((b"content-type", kind.encode()))
    if accept:
        headers.append((b"accept", accept.encode()))
    return raw.request(sts.port, method, target, headers, body)


def sign(
    form: Form,
    keys: Keys,
    service: str = "sts",
    region: str = "us-east-1",
    late: timedelta = timedelta(),
    host: str = HOST,
) -> list[Header]:
    """The headers that botocore signs a form with."""
    headers = {"content-type": FORM, "host": host}
    made = AWSRequest("POST", f"https://{HOST}/", headers, urlencode(form).encode())
    signer = SigV4Auth(Credentials(keys.access, keys.secret, keys.token), service, region)
    moment = datetime.now(timezone.utc) - late
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        signer.add_auth(made)
    return [
        (name.lower().encode(), value.encode())
        for name, value in made.headers.items()
        if name.lower() in ("authorization", "x-amz-date", "x-amz-security-token")
    ]


def code(answer: raw.Response) -> tuple[int, str]:
    """The status and the code of an error, which has the form of STS's."""
    body = json.loads(answer.body)
    assert body.keys() == {"Error", "RequestId"}
    assert body["Error"].keys() == {"Code", "Message", "Type"}
    return answer.status, body["Error"]["Code"]
