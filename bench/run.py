"""Entry point of scripts/bench, which gets the programs ready and explains the arguments."""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import keys.section
import signing.section
import tokens.section
from bootstrap import ROOT, wasm_path
from launch import envoy_path
from machine import description
from output import say, write
from section import Outcome, Settings

SECTIONS: Mapping[str, Callable[[Settings], Outcome]] = {
    "keys": keys.section.measure,
    "signing": signing.section.measure,
    "tokens": tokens.section.measure,
}


def main() -> None:
    """Measures, prints the tables and writes the file."""
    arguments = parse()
    only: str | None = arguments.only
    settings = Settings(
        quick=arguments.quick,
        rounds=arguments.rounds,
        oha=arguments.oha,
        minimal=arguments.minimal,
        signature=arguments.signature,
    )
    found: dict[str, Any] = {}
    for name in [only] if only else SECTIONS:
        outcome = SECTIONS[name](settings)
        print(f"\n{outcome.table()}\n", flush=True)
        found[name] = outcome.as_json()
    now = datetime.now(timezone.utc)
    heading = {
        "date": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "commit": git("rev-parse", "HEAD"),
        "modified": git("status", "--porcelain", "--", "src", "bench", "Cargo.lock") != "",
        "machine": description(),
        "envoy": envoy_version(),
        "module_bytes": Path(wasm_path()).stat().st_size,
    }
    name = f"{now:%Y-%m-%d}-{git('rev-parse', '--short', 'HEAD')}" + (f"-{only}" if only else "")
    file = ROOT / ("target/bench/quick.json" if settings.quick else f"bench/results/{name}.json")
    write(file, heading | found)
    say(f"all figures are in {file.relative_to(ROOT)}")


def parse() -> argparse.Namespace:
    """The arguments, checked by scripts/bench already."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", choices=SECTIONS)
    parser.add_argument("--oha", required=True)
    parser.add_argument("--minimal", required=True)
    parser.add_argument("--signature", required=True)
    return parser.parse_args()


def envoy_version() -> str:
    """Its version alone: no commit, no flags of the build."""
    text = subprocess.run([envoy_path(), "--version"], check=True, capture_output=True, text=True)
    found = re.search(r"/(\d+\.\d+\.\d+)", text.stdout)
    return found[1] if found else "unknown"


def git(*arguments: str) -> str:
    """What git says."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
