"""The SBOM of the module, from what `cargo cyclonedx` says of the crate.

cargo-cyclonedx resolves the workspace as a whole, so it lists macros and what only tests and
benchmarks switch on; and it names the crate by the folder of the checkout. What `cargo tree` gives
for the module is kept, the folder goes, and what is no crate but in every module, the standard
library, is added.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from pathlib import Path
from typing import Any

Document = dict[str, Any]


def crates(tree: str) -> set[tuple[str, str]]:
    """Name and version of each line of `cargo tree --prefix none`."""
    return {
        (found[1], found[2])
        for line in tree.splitlines()
        if (found := re.match(r"(\S+) v(\S+)", line))
    }


def purl(name: str, version: str) -> str:
    """A crate's package URL, which serves as its reference too."""
    return f"pkg:cargo/{name}@{version}"


def standard_library(version: str, commit: str) -> Document:
    """What rustc links into every module."""
    return {
        "type": "library",
        "bom-ref": f"rust-std@{version}",
        "name": "rust-std",
        "version": version,
        "description": "The standard library of Rust, as rustup has it for the target",
        "scope": "required",
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
        "externalReferences": [
            {"type": "vcs", "url": f"https://github.com/rust-lang/rust#{commit}"}
        ],
    }


def sbom(
    raw: Document, module: bytes, wanted: set[tuple[str, str]], rust: tuple[str, str]
) -> Document:
    """The document of the module."""
    subject = raw["metadata"]["component"]
    own = (subject["name"], subject["version"])
    kept = [one for one in raw["components"] if (one["name"], one["version"]) in wanted]
    missing = wanted - {own} - {(one["name"], one["version"]) for one in kept}
    if missing:
        raise SystemExit(f"error: the SBOM lacks {sorted(missing)}")
    references = {
        one["bom-ref"]: purl(one["name"], one["version"]) for one in [subject, *raw["components"]]
    }
    present = {references[one["bom-ref"]] for one in [subject, *kept]}
    library = standard_library(*rust)
    dependencies = []
    for entry in raw["dependencies"]:
        reference = references[entry["ref"]]
        if reference in present:
            on = {references[ref] for ref in entry.get("dependsOn", [])} & present
            dependencies.append({"ref": reference, "dependsOn": sorted({*on, library["bom-ref"]})})
    root = {key: subject[key] for key in ("name", "version", "description", "licenses")}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": raw["specVersion"],
        "version": 1,
        "metadata": {
            "timestamp": raw["metadata"]["timestamp"],
            "tools": raw["metadata"]["tools"],
            "component": {
                "type": "library",
                "bom-ref": purl(*own),
                **root,
                "purl": purl(*own),
                "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(module).hexdigest()}],
            },
            "properties": raw["metadata"]["properties"],
        },
        "components": sorted(
            [*({**one, "bom-ref": references[one["bom-ref"]]} for one in kept), library],
            key=lambda one: one["bom-ref"],
        ),
        "dependencies": [
            *sorted(dependencies, key=lambda one: one["ref"]),
            {"ref": library["bom-ref"]},
        ],
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="what cargo cyclonedx wrote")
    parser.add_argument("--tree", type=Path, required=True, help="what cargo tree printed")
    parser.add_argument("--module", type=Path, required=True)
    parser.add_argument("--rust", nargs=2, metavar=("VERSION", "COMMIT"), required=True)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    document = sbom(
        json.loads(given.raw.read_text(encoding="utf-8")),
        given.module.read_bytes(),
        crates(given.tree.read_text(encoding="utf-8")),
        (given.rust[0], given.rust[1]),
    )
    given.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
