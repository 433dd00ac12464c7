"""Finds dead links and paths in the documentation: every Markdown file of the repository.

A link has to lead to a file that is there, its anchor to a heading. A path in backticks or in a
code block has to exist, where it can be nothing but a path of the repository: it begins with one of
its folders, or is the name of a Rust or Python file. What lies outside is not fetched.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[2]

BASES = ("", "src", "tests/e2e")
"""Folders that a path in the text may start from, besides its own file's."""

LINK = re.compile(
    r"(?<!\\)\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^()\s<>]+(?:\([^()\s]*\))?)>?(?:\s+\"[^\"]*\")?\)"
)
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s+<?(\S+?)>?(?:\s|$)")
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
PATH = re.compile(r"[\w@.*-]+(?:/[\w@.*-]+)*/?")
SOURCE = re.compile(r"(?:[\w-]+/)*[\w-]+\.(?:rs|py)")


class Line(NamedTuple):
    """A line of text: its number, and whether it stands in a code block."""

    number: int
    text: str
    code: bool


@cache
def tracked() -> frozenset[str]:
    """Files that git has, or would have with `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return frozenset(name for name in done.stdout.split("\0") if name and (ROOT / name).exists())


@cache
def folders() -> frozenset[str]:
    """All folders that hold one of those files."""
    return frozenset(str(up) for name in tracked() for up in Path(name).parents if str(up) != ".")


def exists(path: str) -> bool:
    """A file or folder of the repository, or a pattern that fits one."""
    path = path.rstrip("/")
    if path in tracked() or path in folders():
        return True
    return "*" in path and any(ROOT.glob(path))


def lines(text: str) -> Iterator[Line]:
    """The lines of a file; those of code blocks are marked."""
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
        else:
            yield Line(number, line, bool(fence))


@cache
def anchors(path: str) -> frozenset[str]:
    """The anchors of a Markdown file's headings, as GitHub makes them."""
    found: set[str] = set()
    for line in lines((ROOT / path).read_text(encoding="utf-8")):
        heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line.text)
        if line.code or not heading:
            continue
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        # The second heading of the same text is slug-1.
        count = 0
        while (unique := slug if count == 0 else f"{slug}-{count}") in found:
            count += 1
        found.add(unique)
    return frozenset(found)


def dead_link(file: str, target: str) -> str | None:
    """What is wrong with a link, if anything."""
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return None
    path, _, anchor = unquote(target).partition("#")
    whole = file if not path else normal(f"{Path(file).parent}/{path}")
    if whole is None or not exists(whole):
        return f"link to {target}: no such file"
    if anchor and (not whole.endswith(".md") or anchor not in anchors(whole)):
        return f"link to {target}: no such heading"
    return None


def normal(path: str) -> str | None:
    """Without `.` and `..`; None if it leaves the repository."""
    parts: list[str] = []
    for part in Path(path).parts:
        if part != "..":
            parts.append(part)
        elif not parts:
            return None
        else:
            parts.pop()
    return "/".join(parts)


@cache
def ignored(path: str) -> bool:
    """What builds leave, such as `dist/`, is not there before."""
    return subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT).returncode == 0


def dead_path(file: str, word: str) -> str | None:
    """What is wrong with a word of code, if it is a path of the repository."""
    word = word.removeprefix("./")
    if not PATH.fullmatch(word) or "..." in word:
        return None
    places = [str(Path(base) / word) for base in (*BASES, str(Path(file).parent))]
    if any(exists(place) for place in places):
        return None
    first, slash, _ = word.partition("/")
    if slash and first in folders() and not ignored(word):
        return f"{word}: no such file"
    if SOURCE.fullmatch(word) and not any(f"/{name}".endswith(f"/{word}") for name in tracked()):
        return f"{word}: no such source file"
    return None


def problems(file: str) -> Iterator[str]:
    """What is wrong in a file, line by line."""
    for line in lines((ROOT / file).read_text(encoding="utf-8")):
        spans = [line.text] if line.code else CODE.findall(line.text)
        found = [dead_path(file, word) for span in spans for word in span.split()]
        if not line.code:
            prose = CODE.sub("", line.text)
            found += [
                dead_link(file, target)
                for target in LINK.findall(line.text if "](" in prose else "")
            ]
            found += [dead_link(file, target) for target in REFERENCE.findall(prose)]
        yield from (f"{file}:{line.number}: {problem}" for problem in found if problem)


def main() -> int:
    """Prints what is wrong; the exit status is 1 if anything is."""
    files = sorted(name for name in tracked() if name.endswith(".md"))
    found = [problem for file in files for problem in problems(file)]
    print("\n".join([*found, f"{len(files)} files, {len(found)} dead links and paths"]))
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
