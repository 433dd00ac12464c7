"""The provenance of the module: an in-toto statement with a SLSA predicate.

It says what a rebuild needs, so it holds no time, no machine and no folder: whoever builds the same
commit gets the same text. Who built a release is what its signature tells.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Document = dict[str, Any]

INPUTS = (
    "Cargo.lock",
    "Cargo.toml",
    ".cargo/config.toml",
    "rust-toolchain.toml",
    "scripts/build",
    "scripts/lib.sh",
    "scripts/wasm-linker",
)
"""The files that decide on dependencies, compiler and flags."""


def sha256(path: Path) -> str:
    """The digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rustflags(root: Path) -> list[str]:
    """The compiler's flags in `.cargo/config.toml`."""
    text = (root / ".cargo/config.toml").read_text(encoding="utf-8")
    found = re.search(r"^rustflags = (\[.*\])$", text, re.MULTILINE)
    if not found:
        raise SystemExit("error: .cargo/config.toml has no line `rustflags = [...]`")
    return list(json.loads(found[1]))


def profile(root: Path) -> Document:
    """The release profile in `Cargo.toml`, that of single packages under their names."""
    settings: Document = {}
    into: Document | None = None
    for line in (root / "Cargo.toml").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = re.fullmatch(r"\[profile\.release(?:\.package\.(\S+))?\]", line)
            into = settings if section else None
            if section and section[1]:
                into = settings.setdefault("package", {}).setdefault(section[1], {})
        elif into is not None and (setting := re.fullmatch(r"([\w-]+) = (.+)", line)):
            into[setting[1]] = json.loads(setting[2])
    if "opt-level" not in settings:
        raise SystemExit("error: Cargo.toml has no release profile")
    return settings


def statement(
    root: Path,
    home: str,
    commit: str | None,
    rust: tuple[str, str],
    tools: dict[str, str],
    module: Path,
    images: dict[str, str],
) -> Document:
    """The whole statement."""
    dependencies: list[Document] = [
        {"name": path, "digest": {"sha256": sha256(root / path)}} for path in INPUTS
    ]
    if commit:
        source: Document = {"name": "source", "digest": {"gitCommit": commit}}
        if home.startswith("https://"):
            source["uri"] = f"git+{home}"
        dependencies.insert(0, source)
    dependencies.append(
        {"name": "rustc", "digest": {"gitCommit": rust[1]}, "annotations": {"version": rust[0]}}
    )
    dependencies += [{"uri": f"pkg:{name}@{version}"} for name, version in sorted(tools.items())]
    subjects = [{"name": module.name, "digest": {"sha256": sha256(module)}}]
    subjects += [
        {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}
        for name, digest in sorted(images.items())
    ]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": f"{home}#scripts/package",
                "externalParameters": {"command": ["scripts/package"]},
                "internalParameters": {
                    "target": "wasm32-wasip1",
                    "profile": profile(root),
                    "rustflags": rustflags(root),
                    # Otherwise nothing vouches for what it was built from.
                    "builtFromCommit": commit is not None,
                },
                "resolvedDependencies": dependencies,
            },
            "runDetails": {"builder": {"id": f"{home}#scripts/package"}},
        },
    }


def pair(text: str) -> tuple[str, str]:
    """`name=value`."""
    name, _, value = text.rpartition("=")
    return name, value


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """Several of them."""
    return dict(pair(text) for text in texts)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--home", required=True, help="the repository, or a URN")
    parser.add_argument("--commit", help="none if it does not tell all")
    parser.add_argument("--rust", nargs=2, metavar=("VERSION", "COMMIT"), required=True)
    parser.add_argument("--tool", action="append", default=[], metavar="PURL=VERSION")
    parser.add_argument("--module", type=Path, required=True)
    parser.add_argument("--image", action="append", default=[], metavar="NAME=DIGEST")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    document = statement(
        given.root,
        given.home,
        given.commit,
        (given.rust[0], given.rust[1]),
        pairs(given.tool),
        given.module,
        pairs(given.image),
    )
    given.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
