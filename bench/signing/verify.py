"""An independent check of what a provider received: a signature that is wrong has no cost worth
knowing. (<https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>)"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any
from urllib.parse import quote

from signing.cases import ACCESS_KEY, HEADERS, HOST, REGION, SECRET_KEY, SERVICE, Body, Signer
from signing.client import content_of

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<scope>\S+), SignedHeaders=(?P<signed>\S+),"
    r" Signature=(?P<signature>[0-9a-f]{64})"
)


def check(signer: Signer, body: Body, seen: dict[str, Any]) -> None:
    """Ends the benchmark if the provider did not get what this case is about."""
    body_hash = hashlib.sha256(content_of(body.size)).hexdigest()
    found = [value for name, value in seen["headers"] if name == "authorization"]
    if seen["body_sha256"] != body_hash:
        wrong = "the body was changed"
    elif signer.signs:
        wrong = _wrong_signature(seen, found, body_hash)
    else:
        wrong = "" if found == [dict(HEADERS)["authorization"]] else f"it has {found}"
    if wrong:
        raise SystemExit(f"error: {signer.title}, {body.title}: {wrong}")


def _wrong_signature(seen: dict[str, Any], authorization: list[str], body_hash: str) -> str:
    match = AUTHORIZATION.fullmatch(authorization[0]) if len(authorization) == 1 else None
    if not match:
        return f"no signature: {authorization}"
    headers: dict[str, list[str]] = {}
    for name, value in seen["headers"]:
        headers.setdefault(name, []).append(value)
    if headers["host"] != [HOST] or len(headers["x-amz-date"]) != 1:
        return f"sent to {headers['host']} at {headers['x-amz-date']}"
    if headers.get("x-amz-content-sha256", [body_hash]) != [body_hash]:
        return "the hash of the body is wrong"
    signed = match["signed"].split(";")
    if not {"host", "x-amz-date", "content-type"} <= set(signed):
        return f"only {signed} are signed"
    lines = [
        seen["method"],
        quote(seen["path"], safe="/-_.~"),
        "",
        *(f"{name}:{','.join(headers[name])}" for name in signed),
        "",
        match["signed"],
        body_hash,
    ]
    date = headers["x-amz-date"][0]
    scope = f"{date[:8]}/{REGION}/{SERVICE}/aws4_request"
    request = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    key = f"AWS4{SECRET_KEY}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{request}"
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    if match["scope"] != f"{ACCESS_KEY}/{scope}" or match["signature"] != signature:
        return f"signed with {authorization[0]}, which should end in {signature}"
    return ""
