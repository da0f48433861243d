"""The house in figures, read off the imports: lines by room, arrows between rooms, circles.

`python tests/house.py` prints the table that docs/design.md holds.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "arabic_llm"
ROOT_ROOM = "(root)"  # modules that lie beside the rooms; each is a room of its own for arrows


def table() -> str:
    """Return the figures as Markdown."""
    counted = rooms()
    arrows = arrows_between_rooms()
    rows = [
        (f"`{name}`" if name == ROOT_ROOM else f"`{name}/`", len(sizes), sum(sizes), max(sizes))
        for name, sizes in sorted(counted.items(), key=lambda room: -sum(room[1]))
    ]
    every = [size for sizes in counted.values() for size in sizes]
    rows.append(("all", len(every), sum(every), max(every)))
    lines = ["| room | files | lines | longest file |", "|---|---|---|---|"]
    lines += [f"| {name} | {files:,} | {total:,} | {longest:,} |" for name, files, total, longest in rows]
    said = f"{len(arrows)} arrows between rooms ({sum(arrows.values()):,} imports)"
    return "\n".join([*lines, "", f"{said}, {len(back_edges(set(arrows)))} back edges.", ""])


def rooms() -> dict[str, list[int]]:
    """Return room -> lines of each of its files."""
    counted: dict[str, list[int]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).parts
        lines = file.read_text(encoding="utf-8").count("\n")
        counted.setdefault(parts[0] if len(parts) > 1 else ROOT_ROOM, []).append(lines)
    return counted


def arrows_between_rooms() -> Counter[tuple[str, str]]:
    """Return (room, room that it imports) -> how many of its modules' imports do, wherever they stand."""
    arrows: Counter[tuple[str, str]] = Counter()
    for file in sorted(PACKAGE.rglob("*.py")):
        own = _room(file)
        for used in _imported(ast.parse(file.read_text(encoding="utf-8"))):
            if own not in (used, "__init__"):
                arrows[own, used] += 1
    return arrows


def back_edges(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the arrows from which imports lead back to where they come from."""
    below: dict[str, set[str]] = {}
    for own, used in arrows:
        below.setdefault(own, set()).add(used)
    return {(own, used) for own, used in arrows if own in _reached(used, below)}


def _reached(start: str, below: dict[str, set[str]]) -> set[str]:
    seen, waiting = set(), [start]
    while waiting:
        for room in below.get(waiting.pop(), set()) - seen:
            seen.add(room)
            waiting.append(room)
    return seen


def _room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported(tree: ast.Module) -> list[str]:
    """Return the room of each name that is imported from our package."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name.split(".")[1] for name in names if name.startswith("arabic_llm.")]


if __name__ == "__main__":
    print(table())
