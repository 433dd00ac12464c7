"""The check of signatures that the other tests trust: it takes what boto3 has signed, and nothing
that differs from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from unittest import mock

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import sdk
from aws import OTHER, STATIC, TEMPORARY, Keys, parsed, verify
from bedrock import ARN, MODEL, bedrock_reply
from replies import TEXT
from upstream import Upstream
from wire import Header, Request

SAY = [{"role": "user", "content": [{"text": "Grüße"}]}]


@pytest.fixture(scope="module")
def bedrock() -> Iterator[Upstream]:
    """A provider that boto3 reaches without anything in between."""
    with pytest.MonkeyPatch.context() as monkeypatch, Upstream(default=bedrock_reply) as upstream:
        sdk.isolate(monkeypatch)
        yield upstream


def signed(bedrock: Upstream, keys: Keys = STATIC, model: str = MODEL) -> Request:
    """What boto3 sends."""
    bedrock.clear()
    client = sdk.boto(f"http://127.0.0.1:{bedrock.port}", keys, "us-east-1")
    answer = client.converse(modelId=model, messages=SAY)
    assert answer["output"]["message"]["content"][0]["text"] == "".join(TEXT)
    return bedrock.only()


@pytest.mark.parametrize("model", [MODEL, ARN])
@pytest.mark.parametrize("keys", [STATIC, TEMPORARY], ids=["static", "temporary"])
def test_it_takes_what_boto3_has_signed(bedrock: Upstream, keys: Keys, model: str) -> None:
    seen = signed(bedrock, keys, model)
    assert b"%3A" in seen.target
    verify(seen, keys, host=f"127.0.0.1:{bedrock.port}")


def test_it_takes_a_header_that_boto3_signs_besides_if_it_is_told(bedrock: Upstream) -> None:
    bedrock.clear()
    client = sdk.boto(f"http://127.0.0.1:{bedrock.port}", STATIC, "eu-west-3")
    answer = client.invoke_model_with_response_stream(modelId=MODEL, body=b"{}", accept="*/*")
    assert len(list(answer["body"])) == len(TEXT)
    seen = bedrock.only()
    verify(seen, STATIC, region="eu-west-3", also=["x-amzn-bedrock-accept"])
    with pytest.raises(AssertionError, match="x-amzn-bedrock-accept"):
        verify(seen, STATIC, region="eu-west-3")


def changed(request: Request, name: str, *values: bytes) -> Request:
    """The request with other values of a header."""
    kept = [header for header in request.headers if header[0] != name.encode()]
    added: list[Header] = [(name.encode(), value) for value in values]
    return dataclasses.replace(request, headers=[*kept, *added])


def edited(request: Request, old: bytes, new: bytes) -> Request:
    """The request with another text in its `authorization`."""
    (value,) = request.values("authorization")
    assert old in value
    return changed(request, "authorization", value.replace(old, new))


DATE = b"20150830T123600Z"
CHANGES: dict[str, tuple[Callable[[Request], Request], str]] = {
    "method": (lambda r: dataclasses.replace(r, method="PUT"), "is wrong"),
    "body": (lambda r: dataclasses.replace(r, body=r.body + b"\n"), "is wrong"),
    "no body": (lambda r: dataclasses.replace(r, body=b""), "is wrong"),
    "decoded path": (
        lambda r: dataclasses.replace(r, target=r.target.replace(b"%3A", b":")),
        "is wrong",
    ),
    "case of the hex": (
        lambda r: dataclasses.replace(r, target=r.target.replace(b"%3A", b"%3a")),
        "is wrong",
    ),
    "query": (lambda r: dataclasses.replace(r, target=r.target + b"?a=b"), "is wrong"),
    "host": (lambda r: changed(dataclasses.replace(r, authority=b"x"), "host", b"x"), "is wrong"),
    "two hosts": (lambda r: changed(r, "host", r.authority, r.authority), "host: "),
    "content type": (lambda r: changed(r, "content-type", b"text/plain"), "is wrong"),
    "two content types": (lambda r: changed(r, "content-type", b"a/b", b"a/b"), "content-type"),
    "no content type": (lambda r: changed(r, "content-type"), "content-type"),
    "two signatures": (
        lambda r: changed(r, "authorization", *r.values("authorization") * 2),
        "authorization occurs 2 times",
    ),
    "no signature": (lambda r: changed(r, "authorization"), "authorization occurs 0 times"),
    "bearer": (lambda r: changed(r, "authorization", b"Bearer x"), "no signature"),
    "region": (lambda r: edited(r, b"/us-east-1/", b"/us-east-2/"), "region us-east-2"),
    "service": (lambda r: edited(r, b"/bedrock/", b"/bedrock-runtime/"), "bedrock-runtime"),
    "access key": (lambda r: edited(r, b"AKIDOFTHEGATEWAY", b"AKIDOFANOTHER"), "AKIDOFANOTHER"),
    "fewer headers": (lambda r: edited(r, b"content-type;", b""), "content-type"),
    "order of headers": (
        lambda r: edited(r, b"content-type;host;", b"host;content-type;"),
        "content-type",
    ),
    "signature": (
        lambda r: edited(r, parsed(r).signature.encode(), b"0" * 64),
        "is wrong",
    ),
    "date": (lambda r: changed(r, "x-amz-date", DATE), "signed for"),
    "two dates": (lambda r: changed(r, "x-amz-date", DATE, DATE), "x-amz-date occurs 2 times"),
    "no date": (lambda r: changed(r, "x-amz-date"), "x-amz-date occurs 0 times"),
    "token": (lambda r: changed(r, "x-amz-security-token", b"t"), "not the session token"),
    "hash": (lambda r: changed(r, "x-amz-content-sha256", b"0" * 64), "a hash that nobody"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_refuses_a_changed_request(bedrock: Upstream, change: str) -> None:
    seen = signed(bedrock)
    verify(seen)
    make, why = CHANGES[change]
    with pytest.raises(AssertionError, match=why):
        verify(make(seen))


def test_it_refuses_keys_regions_and_hosts_that_were_not_expected(bedrock: Upstream) -> None:
    seen = signed(bedrock)
    verify(seen)
    for why, keys, options in (
        ("signed with", OTHER, {}),
        ("signed with", TEMPORARY, {}),
        ("is wrong", Keys(STATIC.access, OTHER.secret), {}),
        ("x-amz-security-token", Keys(STATIC.access, STATIC.secret, "token"), {}),
        ("region", STATIC, {"region": "us-east-2"}),
        ("sent to", STATIC, {"host": "bedrock-runtime.us-east-1.amazonaws.com"}),
    ):
        with pytest.raises(AssertionError, match=why):
            verify(seen, keys, **options)


def by_hand(service: str, region: str, age: timedelta = timedelta()) -> Request:
    """A request that botocore signed for a service, so long ago."""
    host = f"bedrock-runtime.{region}.amazonaws.com"
    request = AWSRequest("POST", f"https://{host}/model/m%3A0/invoke", {"host": host}, b"{}")
    signer = SigV4Auth(Credentials(STATIC.access, STATIC.secret), service, region)
    when = datetime.now(timezone.utc) - age
    with mock.patch("botocore.auth.get_current_datetime", return_value=when):
        signer.add_auth(request)
    headers = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    return Request("POST", b"/model/m%3A0/invoke", host.encode(), "1.1", headers, b"{}")


@pytest.mark.parametrize(
    ("service", "region", "minutes", "why"),
    [
        ("bedrock-runtime", "us-east-1", 0, "service bedrock-runtime"),
        ("bedrock", "us-west-2", 0, "region us-west-2"),
        ("bedrock", "us-east-1", 2, "away"),
        ("bedrock", "us-east-1", -2, "away"),
    ],
)
def test_it_refuses_what_is_signed_well_but_for_something_else(
    service: str, region: str, minutes: int, why: str
) -> None:
    verify(by_hand("bedrock", "us-east-1"))
    with pytest.raises(AssertionError, match=why):
        verify(by_hand(service, region, timedelta(minutes=minutes)))
