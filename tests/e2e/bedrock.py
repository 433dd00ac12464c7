"""Bedrock's side of a conversation: its answers, and the frames that its streams are made of."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

from replies import TEXT, anthropic, anthropic_stream, body_of, json_reply
from wire import Reply, Request

STREAM = (b"content-type", b"application/vnd.amazon.eventstream")
MODEL = "anthropic.claude-3-5-sonnet-20241022-v2:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-v1:0"


def bedrock_reply(request: Request) -> Reply:
    """What Bedrock answers to an operation, which the path tells."""
    operation = request.path.rpartition("/")[2]
    body = body_of(request)
    if operation == "converse":
        return json_reply(conversation())
    if operation == "converse-stream":
        return Reply(headers=[STREAM], body=[frame(*event) for event in converse_events()])
    if operation == "invoke":
        return anthropic(body) if "anthropic_version" in body else json_reply({"words": TEXT})
    if operation == "invoke-with-response-stream":
        return Reply(headers=[STREAM], body=[chunk(event) for event in invoke_events(body)])
    return json_reply({"message": f"no operation {operation}"}, 404)


def conversation() -> dict[str, Any]:
    """The answer of Converse."""
    message = {"role": "assistant", "content": [{"text": "".join(TEXT)}]}
    return {
        "output": {"message": message},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 3, "outputTokens": 3, "totalTokens": 6},
        "metrics": {"latencyMs": 1},
    }


def converse_events() -> list[tuple[str, dict[str, Any]]]:
    """The same as ConverseStream sends it."""
    words = [
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}) for word in TEXT
    ]
    return [
        ("messageStart", {"role": "assistant"}),
        *words,
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
    ]


def invoke_events(body: dict[str, Any]) -> list[dict[str, Any]]:
    """What the model itself streams: the events of Anthropic's, or one object a word."""
    if "anthropic_version" in body:
        events = anthropic_stream(body).body
        return [json.loads(event.partition(b"data: ")[2]) for event in events]
    return [{"word": word} for word in TEXT]


def chunk(event: dict[str, Any]) -> bytes:
    """A frame of InvokeModelWithResponseStream."""
    return frame("chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode()})


def frame(kind: str, payload: dict[str, Any]) -> bytes:
    """One message of `application/vnd.amazon.eventstream`."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    head = b"".join(named(name, value) for name, value in headers.items())
    body = json.dumps(payload).encode()
    # Both lengths, the sum of both, headers, payload, the sum of all.
    prelude = (len(head) + len(body) + 16).to_bytes(4, "big") + len(head).to_bytes(4, "big")
    message = prelude + checksum(prelude) + head + body
    return message + checksum(message)


def named(name: str, value: str) -> bytes:
    """A header of a frame; 7 says that the value is text."""
    size = len(value).to_bytes(2, "big")
    return bytes([len(name)]) + name.encode() + b"\x07" + size + value.encode()


def checksum(data: bytes) -> bytes:
    """CRC-32 of what came before."""
    return zlib.crc32(data).to_bytes(4, "big")


def carries(message: bytes, word: str) -> bool:
    """Whether a frame holds a word, said by Bedrock or, as bytes, by the model itself."""
    found = re.search(rb'"bytes": "([^"]*)"', message)
    return word.encode() in (base64.b64decode(found[1]) if found else message)
