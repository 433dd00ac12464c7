"""What is printed while it runs, and the file with all figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def say(text: str) -> None:
    """One line of progress."""
    print(f"==> {text}", file=sys.stderr, flush=True)


def write(file: Path, content: Mapping[str, Any]) -> None:
    """Writes the results; lists of numbers take one line each."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_text(content, 0) + "\n")


def _text(value: object, depth: int) -> str:
    if isinstance(value, Mapping) and value:
        inner = "  " * (depth + 1)
        entries = [
            f"{inner}{json.dumps(str(key))}: {_text(one, depth + 1)}" for key, one in value.items()
        ]
        return "{\n" + ",\n".join(entries) + "\n" + "  " * depth + "}"
    return json.dumps(value)
