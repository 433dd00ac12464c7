"""The real clients of Vertex."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import google.auth.credentials
import pytest
from google import genai
from google.genai import types

WRONG = "ya29.token-of-the-caller-1c9f"
THEIRS = "project-of-the-caller-1c9f"
WAIT = 10.0
SAY: Any = [{"role": "user", "content": "hi"}]
Ask = Callable[["Caller", str], Iterator[str]]


@dataclass(frozen=True)
class Caller:
    """What a client is told to use; by default nothing that counts."""

    token: str = WRONG
    project: str = THEIRS
    region: str = "europe-west4"


class Static(google.auth.credentials.Credentials):
    """A token that is never renewed."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token

    def refresh(self, request: Any) -> None:
        """There is nothing to refresh."""


@dataclass
class Client:
    """One client, the model that it asks and how."""

    name: str
    path: str
    ask: Ask


def gemini(caller: Caller, url: str) -> genai.Client:
    """Google's client in Vertex mode."""
    options = types.HttpOptions(base_url=url, api_version="v1", timeout=int(WAIT * 1000))
    return genai.Client(
        vertexai=True,
        project=caller.project,
        location=caller.region,
        credentials=Static(caller.token),
        http_options=options,
    )


def content(caller: Caller, url: str) -> Iterator[str]:
    """A plain answer of Gemini."""
    client = gemini(caller, url)
    yield client.models.generate_content(model="gemini-2.0-flash", contents="hi").text or ""


def parts(caller: Caller, url: str) -> Iterator[str]:
    """A streamed answer of Gemini."""
    client = gemini(caller, url)
    for part in client.models.generate_content_stream(model="gemini-2.0-flash", contents="hi"):
        yield part.text or ""


def claude(caller: Caller, url: str) -> anthropic.AnthropicVertex:
    """Anthropic's client for Vertex."""
    return anthropic.AnthropicVertex(
        base_url=f"{url}/v1",
        project_id=caller.project,
        region=caller.region,
        access_token=caller.token,
        max_retries=0,
        timeout=WAIT,
    )


LIMITS: dict[str, Any] = {
    "model": "claude-3-5-sonnet-v2@20241022",
    "max_tokens": 9,
    "messages": SAY,
}


def message(caller: Caller, url: str) -> Iterator[str]:
    """A plain answer of Claude."""
    with claude(caller, url) as client:
        yield client.messages.create(**LIMITS).content[0].text


def events(caller: Caller, url: str) -> Iterator[str]:
    """A streamed answer of Claude."""
    with claude(caller, url) as client, client.messages.stream(**LIMITS) as stream:
        yield from stream.text_stream


GEMINI = "publishers/google/models/gemini-2.0-flash"
CLAUDE = "publishers/anthropic/models/claude-3-5-sonnet-v2@20241022"
CLIENTS = [
    Client("gemini", f"{GEMINI}:generateContent", content),
    Client("gemini-stream", f"{GEMINI}:streamGenerateContent", parts),
    Client("claude", f"{CLAUDE}:rawPredict", message),
    Client("claude-stream", f"{CLAUDE}:streamRawPredict", events),
]


def isolate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes credentials, projects and proxies out of the clients' environment."""
    for name in ("API_KEY", "CLOUD_PROJECT", "CLOUD_LOCATION", "GENAI_USE_VERTEXAI"):
        monkeypatch.delenv(f"GOOGLE_{name}", raising=False)
    for name in ("GEMINI_API_KEY", "ANTHROPIC_VERTEX_PROJECT_ID", "CLOUD_ML_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
