"""How long it takes from the start of Envoy to its first token."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootstrap import Config
from launch import environment, envoy_path, placed, tail
from output import say
from sockets import answer, connected
from tokens.client import CALLS_REQUEST, call, request
from tokens.proxies import with_keys, with_tokens

NAME = "start"
CREDENTIALS = {"key": "aigw-auth, an API key", "token": "aigw-auth, an Entra token"}
WORKERS = 2
PATIENCE = 30.0
PAUSE = 0.0002
"""Seconds between two attempts to connect."""


@dataclass
class Starts:
    """Milliseconds since the program was executed; place `i` of each list is start `i`."""

    listening: list[float] = field(default_factory=list)
    """The port takes connections: Envoy starts its workers."""
    asked: list[float] = field(default_factory=list)
    """The token endpoint has the first call; empty without one."""
    answered: list[float] = field(default_factory=list)
    """The first request, sent as soon as the port took a connection, has its answer."""

    def as_json(self) -> dict[str, Any]:
        """All figures, rounded to what they are worth."""
        named = {
            "listening_ms": self.listening,
            "asked_ms": self.asked,
            "answered_ms": self.answered,
        }
        return {
            name: [round(value, 2) for value in values] for name, values in named.items() if values
        }


class Starter:
    """Starts Envoys, one after the other; what was measured is in `samples`."""

    def __init__(self, server: int) -> None:
        self._server = connected(server)
        # The provider takes nothing but what it gave, so a token serves as key.
        self._server.sendall(call())
        key = json.loads(answer(self._server))["access_token"]
        self._calls()
        self._configs = {
            "key": with_keys([NAME], server, key),
            "token": with_tokens([NAME], server),
        }
        self.samples: dict[str, Starts] = {}
        self.forget()

    def forget(self) -> None:
        """Begins anew."""
        self.samples = {name: Starts() for name in CREDENTIALS}

    def close(self) -> None:
        """Ends the connection to the server."""
        self._server.close()

    def run(self) -> None:
        """One start of each."""
        for name, samples in self.samples.items():
            with kept_port() as port, started(self._configs[name], port) as (begun, process):
                listening, answered = first_answer(port, process)
            calls = self._calls()
            if len(calls) != (name == "token"):
                raise SystemExit(f"error: {len(calls)} calls for a {name}")
            samples.listening.append((listening - begun) / 1e6)
            samples.asked += [(asked - begun) / 1e6 for _, asked, _ in calls]
            samples.answered.append((answered - begun) / 1e6)

    def _calls(self) -> list[tuple[str, int, int]]:
        self._server.sendall(CALLS_REQUEST)
        return json.loads(answer(self._server))


@contextmanager
def kept_port() -> Iterator[int]:
    """A free port that nobody is given by chance, and that Envoy may listen on."""
    with socket.socket() as kept:
        # Two sockets may have one port if both say so and at most one of them listens.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


@contextmanager
def started(config: Config, port: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """An Envoy whose listener has that port; tells when the program was executed."""
    address = config["static_resources"]["listeners"][0]["address"]["socket_address"]
    address["port_value"] = port
    with tempfile.TemporaryDirectory(prefix="aigw-bench-") as name:
        folder = Path(name)
        file, log = folder / "envoy.json", folder / "log"
        file.write_text(placed(config, folder))
        command = [envoy_path(), "-c", str(file), "--disable-hot-restart"]
        command += ["--concurrency", str(WORKERS), "--log-level", "warning"]
        with log.open("wb") as output:
            begun = time.monotonic_ns()
            process = subprocess.Popen(
                command,
                env=environment(None),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            yield begun, process
        except BaseException:
            say(tail(log.read_text(errors="replace")))
            raise
        finally:
            process.terminate()
            process.wait()


def first_answer(port: int, process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """When the port took a connection, and when the first request was answered."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            connection = connected(port)
            break
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("error: Envoy did not start") from None
            time.sleep(PAUSE)
    listening = time.monotonic_ns()
    with connection:
        connection.sendall(request(NAME))
        answer(connection)
        return listening, time.monotonic_ns()
