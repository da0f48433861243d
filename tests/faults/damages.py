"""What befalls a file that the program has written: a full disk, a flipped bit, a program, a person."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

Damage = Callable[[random.Random, Path], None]


def put(content: bytes | str) -> Damage:
    """Return what puts other bytes in the file's place."""
    written = content.encode() if isinstance(content, str) else content
    return lambda _draw, path: path.write_bytes(written) and None


def cut(draw: random.Random, path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def noise(draw: random.Random, path: Path) -> None:
    path.write_bytes(draw.randbytes(max(40, path.stat().st_size)))


def noise_inside(draw: random.Random, path: Path) -> None:
    whole = path.read_bytes()
    at = draw.randrange(len(whole) + 1)
    path.write_bytes(whole[:at] + draw.randbytes(12) + whole[at + 12 :])


def changed_byte(draw: random.Random, path: Path) -> None:
    """Put another digit or letter in the place of one: what is read still."""
    whole = bytearray(path.read_bytes())
    places = [at for at, byte in enumerate(whole) if chr(byte).isalnum() and byte < 128] or range(
        len(whole)
    )
    at = draw.choice(places)
    others = [n for n in b"0123456789" if n != whole[at]] if chr(whole[at]).isdigit() else [whole[at] ^ 1]
    whole[at] = draw.choice(others)
    path.write_bytes(whole)


def folder(_draw: random.Random, path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


def dead_link(_draw: random.Random, path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def link_to_itself(_draw: random.Random, path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def gone(_draw: random.Random, path: Path) -> None:
    path.unlink()


def unreadable(_draw: random.Random, path: Path) -> None:
    path.chmod(0)


def in_json(change: Callable[[random.Random, object], object]) -> Damage:
    """Return what changes the JSON of a file, or of a line of it; a file of something else gets JSON."""

    def damage(draw: random.Random, path: Path) -> None:
        text = path.read_bytes().decode(errors="replace")
        try:
            path.write_text(json.dumps(change(draw, json.loads(text))))
        except ValueError:
            lines = text.split("\n")
            at = draw.randrange(len(lines))
            try:
                lines[at] = json.dumps(change(draw, json.loads(lines[at])))
            except ValueError:
                lines[at] = "{}"
            path.write_text("\n".join(lines))

    return damage


def without_a_key(draw: random.Random, value: object) -> object:
    if not isinstance(value, dict) or not value:
        return {}
    gone = draw.choice(sorted(value))
    return {key: item for key, item in value.items() if key != gone}


def of_another_type(draw: random.Random, value: object) -> object:
    if not isinstance(value, dict) or not value:
        return {"x": 1}
    key = draw.choice(sorted(value))
    return value | {key: draw.choice([None, [], {}, "text", -7, 1.5, True, [[]], {"a": None}])}


def not_a_number(draw: random.Random, value: object) -> object:
    """Put NaN, infinity or a number out of range in the place of a number, however deep."""
    found = list(_numbers(value))
    if not found:
        return value
    inside, key = draw.choice(found)
    inside[key] = draw.choice([float("nan"), float("inf"), 7, 0, -1])
    return value


def _numbers(value: object) -> Iterator[tuple[dict | list, str | int]]:
    for key, item in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        if isinstance(item, int | float) and not isinstance(item, bool):
            yield value, key
        else:
            yield from _numbers(item)


DAMAGES: dict[str, Damage] = {
    "empty": put(b""),
    "cut in half": cut,
    "noise": noise,
    "noise inside": noise_inside,
    "one byte": changed_byte,
    "zeros": put(b"\0" * 4096),
    "another encoding": lambda _draw, path: path.write_bytes(b"\xff\xfe" + path.read_bytes()) and None,
    "null": put("null"),
    "list": put("[]"),
    "list of one": put('[{"step": "x"}]'),
    "number": put("7"),
    "string": put('"text"'),
    "object": put("{}"),
    "NaN": put("NaN"),
    "deep": put("[" * 100_000),
    "deep object": put('{"a":' * 100_000),
    "long number": put("9" * 5000),
    "a key less": in_json(without_a_key),
    "another type": in_json(of_another_type),
    "no number": in_json(not_a_number),
    "folder": folder,
    "dead link": dead_link,
    "link to itself": link_to_itself,
    "gone": gone,
    "unreadable": unreadable,
}


def restore(before: Path, after: Path) -> None:
    """Put a copy of a folder in the place of another, whatever lies there."""
    if after.exists():
        for path in after.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.rmtree(after)
    shutil.copytree(before, after, symlinks=True)
