"""The real clients of the providers, each with a key of its own that must not arrive."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from gateway import PLAIN, Gateway, appears, others, running
from manifests import HEADERS, config, header_value, keyed
from replies import TEXT, default_reply
from wire import Reply, Request, opened

MARKER = "sk-of-the-caller-cbf3d1"
KEY = "sk-of-the-gateway-70e8"
POLICIES = {"openai": "APIKey", "anthropic": "AnthropicAPIKey", "azure": "AzureAPIKey"}
SAY: Any = [{"role": "user", "content": "Grüße \N{WAVING HAND SIGN}"}]
WAIT = 10.0


@dataclass
class Client:
    """One client, and where its requests go."""

    name: str
    backend: str
    ask: Callable[[str], str]
    """Given the base address, the text of a plain answer."""
    stream: Callable[[str], Iterator[str]]
    """The texts of a streamed answer, as they come."""


def chats(make: Callable[[str], openai.OpenAI]) -> tuple[Any, Any]:
    """Both ways to ask a client of OpenAI's family."""

    def ask(url: str) -> str:
        with make(url) as client:
            answer = client.chat.completions.create(model="m", messages=SAY)
        return answer.choices[0].message.content or ""

    def stream(url: str) -> Iterator[str]:
        with make(url) as client:
            for chunk in client.chat.completions.create(model="m", messages=SAY, stream=True):
                yield chunk.choices[0].delta.content or ""

    return ask, stream


def messages(**credentials: str) -> tuple[Any, Any]:
    """Both ways to ask Anthropic's client."""
    limits = {"model": "m", "max_tokens": 9, "messages": SAY}

    def make(url: str) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=url, max_retries=0, timeout=WAIT, **credentials)

    def ask(url: str) -> str:
        with make(url) as client:
            return client.messages.create(**limits).content[0].text

    def stream(url: str) -> Iterator[str]:
        with make(url) as client, client.messages.stream(**limits) as events:
            yield from events.text_stream

    return ask, stream


def contents() -> tuple[Any, Any]:
    """Both ways to ask Google's client."""

    def make(url: str) -> genai.Client:
        options = types.HttpOptions(base_url=url, api_version="v1beta", timeout=int(WAIT * 1000))
        return genai.Client(api_key=MARKER, vertexai=False, http_options=options)

    def ask(url: str) -> str:
        client = make(url)
        return client.models.generate_content(model="m", contents="hi").text or ""

    def stream(url: str) -> Iterator[str]:
        client = make(url)
        for part in client.models.generate_content_stream(model="m", contents="hi"):
            yield part.text or ""

    return ask, stream


def gpt(url: str) -> openai.OpenAI:
    """OpenAI's own client, with an organisation, which a caller may choose."""
    options: Any = {"api_key": MARKER, "max_retries": 0, "timeout": WAIT}
    return openai.OpenAI(base_url=f"{url}/v1", organization="org-1", project="proj-1", **options)


def azure(**credentials: str) -> Callable[[str], openai.OpenAI]:
    """The client for Azure OpenAI."""

    def make(url: str) -> openai.OpenAI:
        options: Any = {"max_retries": 0, "timeout": WAIT, **credentials}
        return openai.AzureOpenAI(azure_endpoint=url, api_version="2024-10-21", **options)

    return make


CLIENTS = [
    Client("openai", "openai", *chats(gpt)),
    Client("anthropic", "anthropic", *messages(api_key=MARKER)),
    Client("anthropic-token", "anthropic", *messages(auth_token=MARKER)),
    Client("azure", "azure", *chats(azure(api_key=MARKER))),
    Client("azure-token", "azure", *chats(azure(azure_ad_token=MARKER))),
    Client("google", "openai", *contents()),
]


@pytest.fixture(autouse=True)
def nothing_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes credentials, addresses and proxies out of the clients' environment."""
    for name in ("API_KEY", "AUTH_TOKEN", "BASE_URL", "ORG_ID", "PROJECT_ID", "AD_TOKEN"):
        for provider in ("OPENAI", "ANTHROPIC", "AZURE_OPENAI"):
            monkeypatch.delenv(f"{provider}_{name}", raising=False)
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module", params=[False, True], ids=["HTTP/1.1", "HTTP/2"])
def shared(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """One Envoy for all clients, its upstream speaking one of both versions."""
    plugin = config(*(keyed(name, kind, KEY) for name, kind in POLICIES.items()))
    plugins = {**dict.fromkeys(POLICIES, plugin), PLAIN: None}
    with running(plugins, http2=request.param) as gateway:
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


def check(untouched: Request, seen: Request, client: Client) -> None:
    """The key of the caller is replaced, and everything else is what the client sent."""
    kind = POLICIES[client.backend]
    (header,) = appears(MARKER, untouched)
    assert appears(MARKER, seen) == []
    assert seen.values(HEADERS[kind]) == [header_value(kind, KEY)]
    assert appears(KEY, seen) == [HEADERS[kind]]
    # The names of the two backends differ in length, and so does the path before the rewriting.
    keys = (header, HEADERS[kind], "x-envoy-original-path")
    assert others(seen, *keys) == others(untouched, *keys)
    assert (seen.method, seen.target, seen.body) == (
        untouched.method,
        untouched.target,
        untouched.body,
    )


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_the_key_of_a_client_is_replaced_and_its_request_is_otherwise_untouched(
    gateway: Gateway, client: Client
) -> None:
    assert client.ask(gateway.url(PLAIN)) == "".join(TEXT)
    untouched = recorded(gateway)
    assert client.ask(gateway.url(client.backend)) == "".join(TEXT)
    seen = recorded(gateway)
    assert untouched.body
    check(untouched, seen, client)
    assert not gateway.upstream.errors


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_stream_reaches_the_client_chunk_by_chunk(gateway: Gateway, client: Client) -> None:
    assert "".join(client.stream(gateway.url(PLAIN))) == "".join(TEXT)
    untouched = recorded(gateway)

    gate, sent = threading.Event(), []
    gateway.upstream.on(None, lambda request: held(default_reply(request), gate, sent))
    texts = client.stream(gateway.url(client.backend))
    assert next(filter(None, texts)) == TEXT[0]
    assert not any(TEXT[1].encode() in piece for piece in sent), "the upstream did not wait"
    gate.set()
    assert "".join(texts) == "".join(TEXT[1:])
    assert any(TEXT[1].encode() in piece for piece in sent)
    check(untouched, recorded(gateway), client)
    assert not gateway.upstream.errors


def held(reply: Reply, gate: threading.Event, sent: list[bytes]) -> Reply:
    """The reply with its second word held back until the gate opens."""
    assert isinstance(reply.body, Sequence)
    events = list(reply.body)

    async def slowly() -> AsyncIterator[bytes]:
        for piece in events:
            if TEXT[1].encode() in piece:
                await opened(gate)
            sent.append(piece)
            yield piece

    reply.body = slowly()
    return reply


def test_what_a_caller_may_choose_still_arrives(gateway: Gateway) -> None:
    openai_client = next(client for client in CLIENTS if client.name == "openai")
    openai_client.ask(gateway.url("openai"))
    seen = recorded(gateway)
    assert seen.header("openai-organization") == "org-1"
    assert seen.header("openai-project") == "proj-1"
