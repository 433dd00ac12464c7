"""Clients for requests that no well-behaved library would send."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import NamedTuple

import h2.config
import h2.connection
import h2.events
import h11

Header = tuple[bytes, bytes]
READ = 65536


class Response(NamedTuple):
    """A whole answer; status 0 means that none came."""

    status: int
    headers: list[Header]
    body: bytes

    def values(self, name: str) -> list[bytes]:
        """Every value of a header, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower().encode()]


def request(
    port: int,
    method: bytes = b"GET",
    target: bytes = b"/",
    headers: Sequence[Header] = ((b"host", b"test"),),
    body: bytes = b"",
    timeout: float = 15.0,
) -> Response:
    """Sends one HTTP/1.1 request, byte for byte what the arguments say.

    Only a `content-length` is added, if there is a body and no header that frames it.
    """
    names = {name.lower() for name, _ in headers}
    lines = [method + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in headers]
    if body and not names & {b"content-length", b"transfer-encoding"}:
        lines.append(b"content-length: " + str(len(body)).encode())
    return exchange(port, b"\r\n".join(lines) + b"\r\n\r\n" + body, method=method, timeout=timeout)


def exchange(port: int, data: bytes, *, method: bytes = b"GET", timeout: float = 15.0) -> Response:
    """Sends any bytes and reads one answer of HTTP/1.1."""
    parser = h11.Connection(h11.CLIENT)
    # The parser wants to know what may be answered; this request is not sent.
    upgrade = [(b"host", b"x"), (b"connection", b"upgrade"), (b"upgrade", b"any")]
    parser.send(h11.Request(method=method, target=b"/", headers=upgrade))
    parser.send(h11.EndOfMessage())
    status, headers, body = 0, [], b""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.sendall(data)
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                try:
                    parser.receive_data(connection.recv(READ))
                except ConnectionResetError:
                    break
            elif isinstance(event, (h11.Response, h11.InformationalResponse)):
                status, headers = event.status_code, list(event.headers.raw_items())
                if status == 101:
                    break
            elif isinstance(event, h11.Data):
                body += event.data
            else:  # the end of the message or of the connection
                break
    return Response(status, headers, body)


def request_h2(
    port: int,
    headers: Sequence[Header],
    pieces: Sequence[bytes] = (),
    trailers: Sequence[Header] = (),
    *,
    end: bool = True,
    timeout: float = 15.0,
) -> Response:
    """Sends one request over HTTP/2 with prior knowledge.

    `headers` include the pseudo-headers and are not checked; each piece is a DATA frame; without
    `end` the stream stays open (CONNECT, say) and the answer is what came with its first DATA.
    """
    config = h2.config.H2Configuration(
        header_encoding=None,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
        validate_inbound_headers=False,
    )
    client = h2.connection.H2Connection(config)
    client.initiate_connection()
    status, fields, body = 0, [], b""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        bare = end and not pieces and not trailers
        client.send_headers(1, list(headers), end_stream=bare)
        for number, piece in enumerate(pieces, 1):
            last = end and not trailers and number == len(pieces)
            client.send_data(1, piece, end_stream=last)
        if trailers:
            client.send_headers(1, list(trailers), end_stream=True)
        connection.sendall(client.data_to_send())
        while data := connection.recv(READ):
            for event in client.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    fields = [header for header in event.headers if header[0] != b":status"]
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                    client.acknowledge_received_data(event.flow_controlled_length, 1)
                    if not end:
                        return Response(status, fields, body)
                elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                    return Response(status, fields, body)
            connection.sendall(client.data_to_send())
    return Response(status, fields, body)
