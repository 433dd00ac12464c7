"""The parts of the two images that hold the module, and the order of a layout's index.

compat: one layer, a tar with `plugin.wasm` at its root, under an ordinary image config.
artifact: two layers, the module as it is and a runtime config; loaders demand exactly two.
Both are of the Wasm Image Specification (solo-io/wasm, spec/), which Istio and Envoy Gateway
implement.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

NAME = "plugin.wasm"
"""The name that loaders look for in the compat form."""


def layer(module: bytes, epoch: int) -> bytes:
    """A tar whose bytes depend on nothing but the module and the time."""
    entry = tarfile.TarInfo(NAME)
    entry.size, entry.mtime, entry.mode = len(module), epoch, 0o644
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(entry, io.BytesIO(module))
    return buffer.getvalue()


def image_config(tar: bytes, created: str) -> dict[str, Any]:
    """What every image has. Loaders of modules do not read it; container runtimes want it to name a
    platform that exists, so it is the one that `FROM scratch` gives."""
    return {
        "created": created,
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
        "history": [{"created": created, "created_by": f"COPY {NAME} /"}],
    }


RUNTIME_CONFIG = {
    "type": "envoy_proxy",
    "abiVersions": ["0.2.1"],
    "config": {"root_ids": ["aigw-auth"]},
}
"""The other layer of the artifact."""


def write(path: Path, value: Any) -> None:
    """JSON in one way only."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def parts(module: Path, epoch: int, created: str, folder: Path) -> None:
    """Writes what the two images are made of."""
    content = module.read_bytes()
    tar = layer(content, epoch)
    (folder / NAME).write_bytes(content)
    (folder / "plugin.tar").write_bytes(tar)
    write(folder / "image-config.json", image_config(tar, created))
    write(folder / "runtime-config.json", RUNTIME_CONFIG)


def sort_index(layout: Path) -> None:
    """Puts the manifests of a layout in order: oras writes them in a random one."""
    path = layout / "index.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    index["manifests"].sort(key=lambda entry: (tag(entry) == "", tag(entry), entry["digest"]))
    write(path, index)


def tag(entry: dict[str, Any]) -> str:
    """The tag of a manifest in an index; referrers have none."""
    return entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("parts")
    make.add_argument("--module", type=Path, required=True)
    make.add_argument("--epoch", type=int, required=True)
    make.add_argument("--created", required=True)
    make.add_argument("--folder", type=Path, required=True)
    commands.add_parser("sort-index").add_argument("layout", type=Path)
    given = parser.parse_args()
    if given.command == "parts":
        parts(given.module, given.epoch, given.created, given.folder)
    else:
        sort_index(given.layout)


if __name__ == "__main__":
    main()
