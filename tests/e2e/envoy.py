"""A real Envoy as a child process."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from bootstrap import CLUSTER, DIR, ROOT
from launch import EnvoyFailed, T, environment, envoy_path, placed, poll, tail


class Envoy:
    """Runs from entering to leaving the `with`; a crash in between makes leaving raise.

    Listeners and admin interface take free ports. With `cds=` the clusters of that list come from
    a watched file, which `update_cds` replaces.
    """

    def __init__(
        self,
        bootstrap: dict[str, Any],
        *,
        cds: Sequence[dict[str, Any]] | None = None,
        env: Mapping[str, str] | None = None,
        concurrency: int = 2,
        log_level: str = "info",
        args: Sequence[str] = (),
        start_timeout: float = 30.0,
    ) -> None:
        self.bootstrap = copy.deepcopy(bootstrap)
        self.cds = cds
        self.env = environment(env)
        self.arguments = ["--concurrency", str(concurrency), "--log-level", log_level, *args]
        self.start_timeout = start_timeout
        self._temporary = tempfile.TemporaryDirectory(prefix="aigw-envoy-")
        self.folder = Path(self._temporary.name)
        """Where its files are; `bootstrap.DIR` in a configuration stands for it."""
        self.process: subprocess.Popen[bytes] | None = None
        self.admin: httpx.Client | None = None
        self.ports: dict[str, int] = {}

    # Life.

    def __enter__(self) -> Envoy:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        status, log = self.stop()
        if kind is None and status != 0:
            raise EnvoyFailed(f"Envoy ended with status {status}\n{tail(log)}")

    def start(self) -> None:
        """Starts Envoy and waits until it is live and its listeners are known."""
        if self.cds is not None:
            self._write_cds(self.cds)
            source = {"path_config_source": {"path": f"{DIR}/cds.json"}}
            self.bootstrap.setdefault("dynamic_resources", {})["cds_config"] = source
        config, address = self.folder / "envoy.json", self.folder / "admin"
        config.write_text(placed(self.bootstrap, self.folder))
        command = [envoy_path(), "-c", str(config), "--admin-address-path", str(address)]
        # No hot restart: no shared memory, so any number of Envoys side by side.
        command += ["--disable-hot-restart", "--file-flush-interval-msec", "20", *self.arguments]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env=self.env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        text = self._wait(lambda: address.exists() and address.read_text(), "admin address")
        # A client makes its own connections: proxies of the environment do not apply.
        self.admin = httpx.Client(base_url=f"http://{text}", timeout=10, trust_env=False)
        self._wait(self._ready, "readiness")
        self.ports = self._listeners()

    def stop(self) -> tuple[int, str]:
        """Ends this process, by force after ten seconds; its exit status and log."""
        status = 0
        if self.admin:
            self.admin.close()
        if self.process:
            if self.process.poll() is None:
                self.process.terminate()
            elif self.process.returncode == 0:
                self.process.returncode = 1  # it was not asked to end
            try:
                status = self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                status = self.process.wait()
        log = self.log()
        self._temporary.cleanup()
        return status, log

    @property
    def pid(self) -> int:
        """The process."""
        assert self.process
        return self.process.pid

    # Where it is.

    def port(self, listener: str | None = None) -> int:
        """The port of a listener, or of the only one that has a port."""
        if listener is None:
            assert len(self.ports) == 1, f"which of {sorted(self.ports)}?"
            return next(iter(self.ports.values()))
        return self.ports[listener]

    def url(self, path: str = "", listener: str | None = None) -> str:
        """The address of a listener, for clients."""
        return f"http://127.0.0.1:{self.port(listener)}{path}"

    # What it says.

    def log(self) -> str:
        """All that Envoy and the filter have logged."""
        file = self.folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def wait_for_log(self, pattern: str, timeout: float = 10.0) -> re.Match[str]:
        """The first match of a regular expression in the log, as soon as there is one."""
        return self._wait(lambda: re.search(pattern, self.log()), f"log line {pattern!r}", timeout)

    def get(self, path: str, **params: str) -> httpx.Response:
        """A page of the admin interface."""
        assert self.admin
        return self.admin.get(path, params=params).raise_for_status()

    def stats(self, prefix: str = "") -> dict[str, int]:
        """Counters and gauges whose name begins so."""
        pattern = "^" + re.escape(prefix)
        entries = self.get("/stats", format="json", filter=pattern).json()["stats"]
        return {entry["name"]: entry["value"] for entry in entries if "value" in entry}

    def wait_for_stat(self, name: str, at_least: int = 1, timeout: float = 10.0) -> int:
        """The value of a counter or gauge, as soon as it is so high."""
        return self._wait(
            lambda: (value := self.stats(name).get(name, 0)) >= at_least and value,
            lambda: f"{name} at {self.stats(name).get(name)}, not {at_least}",
            timeout,
        )

    def metric(self, name: str) -> int:
        """A counter or gauge of the filter, such as `policy.default/openai.injected`.

        Before 1.39 Envoy puts the name of a cluster in front in the upstream position.
        """
        pattern = re.escape(f"wasmcustom.aigw_auth.{name}") + "$"
        entries = self.get("/stats", format="json", filter=pattern).json()["stats"]
        return sum(entry["value"] for entry in entries if "value" in entry)

    def wait_for_metric(self, name: str, at_least: int = 1, timeout: float = 10.0) -> int:
        """The value of a counter or gauge of the filter, as soon as it is so high."""
        return self._wait(
            lambda: (value := self.metric(name)) >= at_least and value,
            lambda: f"{name} at {self.metric(name)}, not {at_least}",
            timeout,
        )

    def prometheus(self) -> str:
        """The statistics as Prometheus reads them, histograms included."""
        return self.get("/stats/prometheus").text

    def config_dump(self) -> dict[str, Any]:
        """The configuration in force, with rejected clusters and their errors."""
        return self.get("/config_dump", include_eds="").json()

    def access_log_lines(self) -> list[str]:
        """The lines of the access log so far (it is written a moment after the response)."""
        file = self.folder / "access.log"
        return file.read_text(errors="replace").splitlines() if file.exists() else []

    def wait_for_access_log(self, count: int = 1, timeout: float = 10.0) -> list[str]:
        """The lines of the access log, as soon as there are so many."""

        def lines() -> list[str] | None:
            found = self.access_log_lines()
            return found if len(found) >= count else None

        return self._wait(lines, f"{count} lines of access log", timeout)

    # What it is told.

    def update_cds(self, clusters: Sequence[dict[str, Any]], timeout: float = 20.0) -> bool:
        """Puts other clusters in place of those from `cds=`; tells whether Envoy took them."""
        names = ("update_success", "update_rejected", "update_failure")
        before = self.stats("cluster_manager.cds.update_")
        self._write_cds(clusters)

        def moved() -> str | None:
            now = self.stats("cluster_manager.")
            if now["cluster_manager.warming_clusters"]:
                return None
            keys = [f"cluster_manager.cds.{name}" for name in names]
            return next((key for key in keys if now[key] > before[key]), None)

        return self._wait(moved, "an answer to new clusters", timeout).endswith("success")

    def _write_cds(self, clusters: Sequence[dict[str, Any]]) -> None:
        resources = [{"@type": CLUSTER, **cluster} for cluster in clusters]
        fresh = self.folder / "cds.json.new"
        fresh.write_text(placed({"resources": resources}, self.folder))
        os.replace(fresh, self.folder / "cds.json")

    def _ready(self) -> bool:
        try:
            return self.get("/ready").text.strip() == "LIVE"
        except httpx.HTTPError:
            return False

    def _listeners(self) -> dict[str, int]:
        ports = {}
        for status in self.get("/listeners", format="json").json().get("listener_statuses", []):
            address = status.get("local_address", {}).get("socket_address")
            if address:
                ports[status["name"]] = address["port_value"]
        return ports

    def _wait(
        self,
        check: Callable[[], T | None],
        what: str | Callable[[], str],
        timeout: float | None = None,
    ) -> T:
        def checked() -> T | None:
            if self.process and self.process.poll() is not None:
                status = self.process.returncode
                raise EnvoyFailed(f"Envoy ended with status {status}\n{tail(self.log())}")
            return check()

        try:
            return poll(checked, timeout or self.start_timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{tail(self.log())}") from None
