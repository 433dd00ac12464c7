"""A connection of the recording upstream that speaks HTTP/1.1.

The usual servers tidy requests up; a test of credentials wants duplicates, order, raw query bytes
and values that are no UTF-8 exactly as they came.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11

from wire import READ, Recorder, Reply, Request, framed, pieces, prepared


class Http1:
    """One request after another."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, recorder: Recorder
    ) -> None:
        self.reader, self.writer, self.recorder = reader, writer, recorder
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)

    async def serve(self, first: bytes) -> None:
        """Until either side closes."""
        self.h11.receive_data(first)
        while request := await self.receive():
            reply = await self.recorder.answer(request)
            await prepared(reply)
            if not await self.send(request, reply):
                return
            self.h11.start_next_cycle()

    async def next_event(self) -> Any:
        """The next event that is not a lack of data."""
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            self.h11.receive_data(await self.reader.read(READ))
        return event

    async def receive(self) -> Request | None:
        """One request with its body, or nothing at the end of the connection."""
        event = await self.next_event()
        if not isinstance(event, h11.Request):
            return None
        headers = [(name.lower(), value) for name, value in event.headers.raw_items()]
        fields = dict(headers)
        request = Request(
            method=event.method.decode(),
            target=bytes(event.target),
            authority=fields.get(b"host", b""),
            http_version=event.http_version.decode(),
            headers=headers,
            protocol=fields.get(b"upgrade", b"").decode("latin-1"),
        )
        self.recorder.began(request)
        body = bytearray()
        while isinstance(event := await self.next_event(), h11.Data):
            body += event.data
        if not isinstance(event, h11.EndOfMessage):
            return None
        request.body = bytes(body)
        request.trailers = [(name.lower(), value) for name, value in event.headers.raw_items()]
        request.complete = True
        self.recorder.ended(request)
        return request

    async def send(self, request: Request, reply: Reply) -> bool:
        """Sends a reply; tells whether the connection can take another request."""
        if reply.abort and reply.body == b"":
            self.writer.transport.abort()
            return False
        if reply.status == 101:
            await self.put(h11.InformationalResponse(status_code=101, headers=list(reply.headers)))
        else:
            await self.put(h11.Response(status_code=reply.status, headers=framed(reply)))
        if self.h11.our_state is h11.SWITCHED_PROTOCOL:
            await self.echo()
            return False
        if request.method != "HEAD":
            async for piece in pieces(reply.body):
                await self.put(h11.Data(data=piece))
        if reply.abort:
            self.writer.transport.abort()
            return False
        await self.put(h11.EndOfMessage(headers=list(reply.trailers)))
        return self.h11.our_state is h11.DONE and self.h11.their_state is h11.DONE

    async def put(self, event: Any) -> None:
        """Writes one event."""
        self.writer.write(self.h11.send(event) or b"")
        await self.writer.drain()

    async def echo(self) -> None:
        """After an upgrade: whatever comes goes back."""
        data, _ = self.h11.trailing_data
        while data or (data := await self.reader.read(READ)):
            self.writer.write(data)
            await self.writer.drain()
            data = b""
