"""What the upstream answers when a test scripts nothing: the shapes of the real providers."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from wire import Reply, Request

TEXT = ["Hello", " from", " the upstream"]
"""The words of every answer; a stream sends them one by one."""

JSON = (b"content-type", b"application/json")
EVENTS = (b"content-type", b"text/event-stream")


def json_reply(value: Any, status: int = 200) -> Reply:
    """A reply of JSON."""
    return Reply(status=status, headers=[JSON], body=json.dumps(value).encode())


def default_reply(request: Request) -> Reply:
    """The provider is told by the path, as a client's SDK would."""
    path = request.path
    body = body_of(request)
    if path.endswith("/chat/completions"):
        return openai_stream(body) if body.get("stream") else openai(body)
    if path.endswith("/v1/messages"):
        return anthropic_stream(body) if body.get("stream") else anthropic(body)
    if path.endswith(":generateContent"):
        return json_reply(gemini("".join(TEXT), last=True))
    if path.endswith(":streamGenerateContent"):
        return gemini_stream(sse=b"alt=sse" in request.query)
    return json_reply({"ok": True})


def body_of(request: Request) -> dict[str, Any]:
    """The JSON object of a request, empty if there is none."""
    with contextlib.suppress(ValueError):
        value = json.loads(request.body)
        if isinstance(value, dict):
            return value
    return {}


def event(data: Any, name: str | None = None) -> bytes:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def openai(body: dict[str, Any]) -> Reply:
    """A chat completion."""
    message = {"role": "assistant", "content": "".join(TEXT), "refusal": None}
    return json_reply(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1700000000,
            "model": body.get("model", "m"),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
        }
    )


def openai_stream(body: dict[str, Any]) -> Reply:
    """The same in chunks."""

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return event(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1700000000,
                "model": body.get("model", "m"),
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            }
        )

    words = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": w}) for w in TEXT)]
    return Reply(headers=[EVENTS], body=[*words, chunk({}, "stop"), event("[DONE]")])


def anthropic_message(body: dict[str, Any]) -> dict[str, Any]:
    """A message that has not begun yet."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body.get("model", "m"),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }


def anthropic(body: dict[str, Any]) -> Reply:
    """A message."""
    content = [{"type": "text", "text": "".join(TEXT)}]
    return json_reply(anthropic_message(body) | {"content": content, "stop_reason": "end_turn"})


def anthropic_stream(body: dict[str, Any]) -> Reply:
    """The same as named events."""
    text = {"type": "text", "text": ""}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": anthropic_message(body)},
        {"type": "content_block_start", "index": 0, "content_block": text},
        {"type": "ping"},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": w}}
            for w in TEXT
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    return Reply(headers=[EVENTS], body=[event(one, one["type"]) for one in events])


def gemini(text: str, last: bool) -> dict[str, Any]:
    """A response of generateContent."""
    candidate: dict[str, Any] = {
        "index": 0,
        "content": {"role": "model", "parts": [{"text": text}]},
    }
    if last:
        candidate["finishReason"] = "STOP"
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 3, "totalTokenCount": 6}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}


def gemini_stream(sse: bool) -> Reply:
    """The same in parts: events with `alt=sse`, else one JSON array."""
    parts = [gemini(word, last=word is TEXT[-1]) for word in TEXT]
    if not sse:
        return json_reply(parts)
    return Reply(
        headers=[EVENTS], body=[f"data: {json.dumps(part)}\r\n\r\n".encode() for part in parts]
    )
