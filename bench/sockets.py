"""HTTP/1.1 over plain sockets, for clients that add as little as they can to what they measure."""

from __future__ import annotations

import socket

TIMEOUT = 20.0
READ = 1 << 16


def connected(port: int) -> socket.socket:
    """A connection to a port of this host."""
    one = socket.create_connection(("127.0.0.1", port))
    one.settimeout(TIMEOUT)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


def answer(connection: socket.socket) -> bytes:
    """The body of the answer; anything but a good one ends the benchmark."""
    data = connection.recv(READ)
    while data and (missing := lacking(data)):
        data += connection.recv(missing)
    if not data.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"error: answered with {data[:1000]!r}")
    return data.partition(b"\r\n\r\n")[2]


def lacking(answer: bytes) -> int:
    """How many bytes of an answer are missing, or any number as long as the head is."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return READ
    _, _, rest = head.partition(b"content-length: ")
    return int(rest.partition(b"\r\n")[0]) - len(body)
