"""The real clients of Bedrock, with no keys or with wrong ones: every request is signed anew, with
the keys of the policy and for its region."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from anthropic import AnthropicBedrock

import sdk
from aws import STATIC, TEMPORARY, THEIRS, Keys, bedrock, verify
from bedrock import ARN, MODEL, bedrock_reply, carries
from gateway import PLAIN, Gateway, appears, others, running
from manifests import config
from replies import TEXT
from wire import Reply, Request, opened

SAY: Any = [{"role": "user", "content": [{"text": "Grüße \N{WAVING HAND SIGN}"}]}]
PROMPT = json.dumps({"prompt": "Grüße"}, ensure_ascii=False).encode()
CALL: Any = {"max_tokens": 9, "messages": [{"role": "user", "content": "Grüße"}]}
BACKENDS = {"static": STATIC, "temporary": TEMPORARY}
MARKERS = [THEIRS.access, THEIRS.secret, THEIRS.token or ""]
SIGNED = ("authorization", "x-amz-date", "x-amz-security-token", "x-envoy-original-path")
HOST = "bedrock-runtime.us-east-1.amazonaws.com"

Run = Callable[[str], Iterator[str]]
"""Given the base address, the texts of an answer as they come."""


@dataclass
class Client:
    """One way to ask a model."""

    name: str
    run: Run
    path: bytes
    stream: bool = False


def converse(model: str, keys: Keys | None) -> Run:
    """boto3's Converse."""

    def run(url: str) -> Iterator[str]:
        answer = sdk.boto(url, keys).converse(modelId=model, messages=SAY)
        yield answer["output"]["message"]["content"][0]["text"]

    return run


def converse_stream(model: str, keys: Keys | None) -> Run:
    """The same as a stream."""

    def run(url: str) -> Iterator[str]:
        answer = sdk.boto(url, keys).converse_stream(modelId=model, messages=SAY)
        for event in answer["stream"]:
            yield event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")

    return run


def invoke(model: str, keys: Keys | None) -> Run:
    """boto3's InvokeModel, which says nothing of the body's type unless it is asked to."""

    def run(url: str) -> Iterator[str]:
        answer = sdk.boto(url, keys).invoke_model(modelId=model, body=PROMPT)
        yield from json.load(answer["body"])["words"]

    return run


def invoke_stream(model: str, keys: Keys | None) -> Run:
    """The same as a stream, with both types said."""

    def run(url: str) -> Iterator[str]:
        types = {"contentType": "application/json; charset=utf-8", "accept": "application/json"}
        call = sdk.boto(url, keys).invoke_model_with_response_stream
        for event in call(modelId=model, body=PROMPT, **types)["body"]:
            yield json.loads(event["chunk"]["bytes"])["word"]

    return run


def anthropic(url: str) -> AnthropicBedrock:
    """Anthropic's own client, which signs for a region of its own."""
    return AnthropicBedrock(
        aws_access_key=THEIRS.access,
        aws_secret_key=THEIRS.secret,
        aws_session_token=THEIRS.token,
        aws_region="ap-south-1",
        base_url=url,
        max_retries=0,
        timeout=20,
    )


def messages(url: str) -> Iterator[str]:
    """A message of Anthropic's client."""
    with anthropic(url) as client:
        yield client.messages.create(model=MODEL, **CALL).content[0].text


def messages_stream(url: str) -> Iterator[str]:
    """The same as a stream."""
    with anthropic(url) as client, client.messages.stream(model=MODEL, **CALL) as stream:
        yield from stream.text_stream


ENCODED = b"/model/" + MODEL.replace(":", "%3A").encode()
ENCODED_ARN = b"/model/" + ARN.replace(":", "%3A").replace("/", "%2F").encode()
RAW = b"/model/" + MODEL.encode()


def clients() -> Iterator[Client]:
    """All of them."""
    for which, keys in {"no-keys": None, "wrong-keys": THEIRS}.items():
        yield Client(f"converse-{which}", converse(MODEL, keys), ENCODED + b"/converse")
        yield Client(f"converse-arn-{which}", converse(ARN, keys), ENCODED_ARN + b"/converse")
        yield Client(
            f"converse-stream-{which}",
            converse_stream(MODEL, keys),
            ENCODED + b"/converse-stream",
            stream=True,
        )
        yield Client(f"invoke-{which}", invoke(MODEL, keys), ENCODED + b"/invoke")
        yield Client(
            f"invoke-stream-{which}",
            invoke_stream(MODEL, keys),
            ENCODED + b"/invoke-with-response-stream",
            stream=True,
        )
    yield Client("anthropic", messages, RAW + b"/invoke")
    yield Client(
        "anthropic-stream", messages_stream, RAW + b"/invoke-with-response-stream", stream=True
    )


CLIENTS = list(clients())


@pytest.fixture(autouse=True)
def nothing_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes keys, files and proxies away from the clients."""
    sdk.isolate(monkeypatch)


@pytest.fixture(scope="module", params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def shared(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """One Envoy for all clients, Bedrock behind it speaking one of both versions."""
    plugin = config(*(bedrock(name, keys) for name, keys in BACKENDS.items()))
    plugins = {**dict.fromkeys(BACKENDS, plugin), PLAIN: None}
    with running(plugins, http2=request.param) as gateway:
        gateway.upstream.default = bedrock_reply
        yield gateway


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """The same with nothing recorded and nothing scripted."""
    shared.upstream.reset()
    return shared


def recorded(gateway: Gateway) -> Request:
    """The one request, taken out of the record."""
    request = gateway.upstream.only()
    gateway.upstream.clear()
    return request


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_request_is_signed_anew_and_otherwise_untouched(
    gateway: Gateway, client: Client, backend: str
) -> None:
    assert "".join(client.run(gateway.url(PLAIN))) == "".join(TEXT)
    untouched = recorded(gateway)
    assert "".join(client.run(gateway.url(backend))) == "".join(TEXT)
    seen = recorded(gateway)

    verify(seen, BACKENDS[backend], host=HOST)
    assert [place for marker in MARKERS for place in appears(marker, seen)] == []
    assert (seen.method, seen.target) == ("POST", client.path)
    # Nothing is new but the signature; a client's number of a call is.
    changing = (*SIGNED, "amz-sdk-invocation-id")
    assert others(seen, *changing) == others(untouched, *changing)
    assert (seen.target, seen.body) == (untouched.target, untouched.body)
    assert seen.body
    assert not gateway.upstream.errors


@pytest.mark.parametrize(
    "client", [client for client in CLIENTS if client.stream], ids=lambda client: client.name
)
def test_a_stream_reaches_the_client_frame_by_frame(gateway: Gateway, client: Client) -> None:
    gate, sent = threading.Event(), []
    gateway.upstream.on(None, lambda request: held(bedrock_reply(request), gate, sent))
    texts = client.run(gateway.url("temporary"))
    assert next(filter(None, texts)) == TEXT[0]
    assert not any(carries(one, TEXT[1]) for one in sent), "the upstream did not wait"
    gate.set()
    assert "".join(texts) == "".join(TEXT[1:])
    assert any(carries(one, TEXT[1]) for one in sent)
    verify(recorded(gateway), TEMPORARY, host=HOST)
    assert not gateway.upstream.errors


def held(reply: Reply, gate: threading.Event, sent: list[bytes]) -> Reply:
    """The reply with everything after its first word held back until the gate opens."""
    assert isinstance(reply.body, Sequence)
    frames = list(reply.body)

    async def slowly() -> AsyncIterator[bytes]:
        for one in frames:
            if carries(one, TEXT[1]):
                await opened(gate)
            sent.append(one)
            yield one

    reply.body = slowly()
    return reply
