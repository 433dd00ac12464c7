"""A connection of the recording upstream that speaks HTTP/2, with prior knowledge or after ALPN."""

from __future__ import annotations

import asyncio
import contextlib

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from wire import READ, Header, Recorder, Reply, Request, framed, pieces, prepared


class Http2:
    """Many requests at once, one task each from the end of its body on."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, recorder: Recorder
    ) -> None:
        self.reader, self.writer, self.recorder = reader, writer, recorder
        # Nothing is checked and nothing is decoded: the test judges what came.
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=False, header_encoding=None, validate_inbound_headers=False
            )
        )
        self.h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1000,
                h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
            },
        )
        self.requests: dict[int, Request] = {}
        self.replies: dict[int, asyncio.Task[None]] = {}
        self.window_grew = asyncio.Event()

    async def serve(self, first: bytes) -> None:
        """Until either side closes."""
        self.h2.initiate_connection()
        data = first
        try:
            while data:
                for event in self.h2.receive_data(data):
                    self.handle(event)
                await self.flush()
                data = await self.reader.read(READ)
        except h2.exceptions.ProtocolError:
            await self.flush()
            raise
        finally:
            for task in self.replies.values():
                task.cancel()

    async def flush(self) -> None:
        """Writes what h2 has to say."""
        if data := self.h2.data_to_send():
            self.writer.write(data)
        await self.writer.drain()

    def handle(self, event: h2.events.Event) -> None:
        """One event of one stream."""
        if isinstance(event, h2.events.RequestReceived):
            request = decoded(list(event.headers))
            self.requests[event.stream_id] = request
            self.recorder.began(request)
            # A tunnel never ends its body.
            if request.method == "CONNECT":
                self.reply(event.stream_id)
        elif isinstance(event, h2.events.DataReceived):
            self.requests[event.stream_id].body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.requests[event.stream_id].trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            request = self.requests[event.stream_id]
            request.complete = True
            self.recorder.ended(request)
            if event.stream_id not in self.replies:
                self.reply(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.requests[event.stream_id].reset = True
            if task := self.replies.get(event.stream_id):
                task.cancel()
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self.window_grew.set()

    def reply(self, stream: int) -> None:
        """Starts the task that answers a stream."""
        self.replies[stream] = asyncio.get_running_loop().create_task(self.answer(stream))

    async def answer(self, stream: int) -> None:
        """Answers one stream; a caller that has left is no error."""
        with contextlib.suppress(ConnectionError, h2.exceptions.ProtocolError):
            reply = await self.recorder.answer(self.requests[stream])
            await prepared(reply)
            await self.send(stream, reply)

    async def send(self, stream: int, reply: Reply) -> None:
        """Sends a whole reply, or breaks off where it says."""
        if reply.abort and reply.body == b"":
            return await self.abort(stream)
        self.h2.send_headers(stream, [(b":status", str(reply.status).encode()), *framed(reply)])
        await self.flush()
        if self.requests[stream].method != "HEAD":
            async for piece in pieces(reply.body):
                await self.data(stream, piece)
        if reply.abort:
            return await self.abort(stream)
        if reply.trailers:
            self.h2.send_headers(stream, list(reply.trailers), end_stream=True)
        elif self.requests[stream].method != "CONNECT":
            self.h2.end_stream(stream)
        return await self.flush()

    async def abort(self, stream: int) -> None:
        """Resets the stream."""
        self.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        await self.flush()

    async def data(self, stream: int, piece: bytes) -> None:
        """Sends bytes as fast as the peer's window lets them go."""
        while piece:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.window_grew.clear()
                await self.window_grew.wait()
                continue
            self.h2.send_data(stream, piece[:room])
            await self.flush()
            piece = piece[room:]


def decoded(headers: list[Header]) -> Request:
    """The request that a HEADERS frame opens."""
    pseudo = dict(header for header in headers if header[0].startswith(b":"))
    return Request(
        method=pseudo.get(b":method", b"").decode("latin-1"),
        target=pseudo.get(b":path", b""),
        authority=pseudo.get(b":authority", b""),
        http_version="2",
        headers=[header for header in headers if not header[0].startswith(b":")],
        protocol=pseudo.get(b":protocol", b"").decode("latin-1"),
    )
