"""What it takes to push and pull the packaged module: two clients, a registry, and both images."""

from __future__ import annotations

import fcntl
import functools
import io
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from bootstrap import ROOT
from launch import poll

TAR, RAW = (
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.module.wasm.content.layer.v1+wasm",
)
"""The media types by which loaders know the two forms."""
RUNTIME = "application/vnd.module.wasm.config.v1+json"
SBOM, PROVENANCE = "application/vnd.cyclonedx+json", "application/vnd.in-toto+json"

FORMS = ["compat", "artifact"]


@functools.cache
def tool(name: str) -> Path:
    """A program that `scripts/oci.sh` installs on first use, by one process at a time."""
    (ROOT / ".tools").mkdir(exist_ok=True)
    with (ROOT / ".tools/oci.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        script = f'cd "$0" && . scripts/lib.sh && . scripts/oci.sh && ensure_{name}'
        command = ["bash", "-c", script, str(ROOT)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


def run(name: str, *arguments: str | Path, folder: Path | None = None) -> bytes:
    """What a tool prints; it has to succeed."""
    command = [tool(name), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


class Registry:
    """The CNCF's registry on a free port, with its files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def __enter__(self) -> Registry:
        config = {
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
            "http": {"addr": "127.0.0.1:0"},
        }
        file, log = self.folder / "registry.json", self.folder / "log"
        file.write_text(json.dumps(config))
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
        # Traces would go to a collector that nobody runs.
        kept["OTEL_TRACES_EXPORTER"] = "none"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [tool("registry"), "serve", file], env=kept, stdout=output, stderr=output
            )

        def listens() -> re.Match[str] | None:
            assert self.process
            assert self.process.poll() is None, log.read_text()
            return re.search(r"listening on 127\.0\.0\.1:(\d+)", log.read_text())

        port = poll(listens, 20, "a registry that listens")[1]
        # Both tools speak plain HTTP with this host.
        self.address = f"localhost:{port}"
        return self

    def __exit__(self, *_exception: object) -> None:
        assert self.process
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Pushed:
    """A package and where it was pushed to."""

    def __init__(self, dist: Path, reference: str) -> None:
        self.dist = dist
        self.reference = reference

    def image(self, form: str) -> str:
        """The reference of one form."""
        return self.reference + ("" if form == "compat" else "-artifact")

    def manifest(self, form: str) -> dict[str, Any]:
        """A form's manifest, as the registry has it."""
        return json.loads(run("crane", "manifest", self.image(form)))

    def referrers(self, form: str) -> dict[str, str]:
        """What refers to a form: from the type to the digest."""
        listed = json.loads(run("oras", "discover", "--format", "json", self.image(form)))
        return {entry["artifactType"]: entry["digest"] for entry in listed["referrers"]}


def package(*arguments: str | Path) -> None:
    """Runs `scripts/package`."""
    command = [ROOT / "scripts/package", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def plugin_of(tar: bytes) -> bytes:
    """The module in a tar, gzipped or not, which holds nothing else."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        (member,) = archive.getmembers()
        assert member.name == "plugin.wasm"
        content = archive.extractfile(member)
        assert content
        return content.read()


def pulled_by_oras(pushed: Pushed, form: str, folder: Path) -> bytes:
    """The module, by oras."""
    run("oras", "pull", "--output", folder, pushed.image(form))
    if form == "compat":
        return plugin_of((folder / "plugin.tar.gz").read_bytes())
    return (folder / "plugin.wasm").read_bytes()


def pulled_by_crane(pushed: Pushed, form: str, folder: Path) -> bytes:
    """The module, by crane: the file system of the image, or the blob of the layer."""
    if form == "compat":
        run("crane", "export", pushed.image(form), folder / "files.tar")
        return plugin_of((folder / "files.tar").read_bytes())
    (layer,) = [one for one in pushed.manifest(form)["layers"] if one["mediaType"] == RAW]
    repository = pushed.reference.rpartition(":")[0]
    return run("crane", "blob", f"{repository}@{layer['digest']}")
