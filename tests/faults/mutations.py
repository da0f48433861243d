"""What befalls the bytes of a file: damage, other encodings, and mistakes of people and programs."""

from __future__ import annotations

import gzip
import io
import random
import re
import zipfile
from collections.abc import Callable

Mutation = Callable[[random.Random, bytes], bytes]


def place_in(rng: random.Random, seed: bytes) -> int:
    return rng.randrange(len(seed) + 1)


def insert(*pieces: bytes) -> Mutation:
    def mutation(rng: random.Random, seed: bytes) -> bytes:
        at = place_in(rng, seed)
        return seed[:at] + rng.choice(pieces) + seed[at:]

    return mutation


def instead(pattern: bytes, *pieces: bytes) -> Mutation:
    """Put a piece where the pattern matches, at one of its places."""

    def mutation(rng: random.Random, seed: bytes) -> bytes:
        matches = list(re.finditer(pattern, seed))
        if not matches:
            return seed
        match = rng.choice(matches)
        return seed[: match.start()] + rng.choice(pieces) + seed[match.end() :]

    return mutation


def flip_bits(rng: random.Random, seed: bytes) -> bytes:
    flipped = bytearray(seed)
    for _ in range(rng.randint(1, 8) if seed else 0):
        flipped[rng.randrange(len(seed))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def truncate(rng: random.Random, seed: bytes) -> bytes:
    return seed[: place_in(rng, seed)]


def cut_out(rng: random.Random, seed: bytes) -> bytes:
    start, end = sorted((place_in(rng, seed), place_in(rng, seed)))
    return seed[:start] + seed[end:]


def double(rng: random.Random, seed: bytes) -> bytes:
    start, end = sorted((place_in(rng, seed), place_in(rng, seed)))
    return seed[:end] + seed[start:]


def noise(rng: random.Random, seed: bytes) -> bytes:
    at = place_in(rng, seed)
    return seed[:at] + rng.randbytes(rng.randint(1, 40)) + seed[at:]


def nest(rng: random.Random, seed: bytes) -> bytes:
    depth = rng.choice((50, 150, 900, 3000))
    return instead(rb'"[^"\n]*"', b"[" * depth + b"]" * depth, b'{"a":' * depth)(rng, seed)


def exchange_values(rng: random.Random, seed: bytes) -> bytes:
    """Put values of JSON in the place of others: names that point elsewhere, texts for numbers."""
    values = rb'(?<=": )("[^"]*"|null|true|false|[0-9]+)'
    found = [*re.findall(values, seed), b"null", b"7", b"[]"]
    for _ in range(rng.randint(1, 3)):
        seed = instead(values, *found)(rng, seed)
    return seed


def encoded_as(*encodings: str) -> Mutation:
    def mutation(rng: random.Random, seed: bytes) -> bytes:
        return seed.decode("utf-8", "replace").encode(rng.choice(encodings), "replace")

    return mutation


ANY_BYTES: tuple[Mutation, ...] = (flip_bits, truncate, cut_out, double, noise, insert(b"\0", b"\xff"))
ANY_TEXT: tuple[Mutation, ...] = (
    *ANY_BYTES,
    lambda rng, seed: b"\xef\xbb\xbf" + seed,
    encoded_as("utf-16", "utf-16-le", "utf-32", "windows-1256"),
    lambda rng, seed: seed.replace(b"\n", b"\r\n"),
    lambda rng, seed: seed.replace(b"\n", b"\r"),
    lambda rng, seed: gzip.compress(seed, mtime=0),
    nest,
    insert(
        "\u2028".encode(),
        "\u0085".encode(),
        b"\xed\xa0\xbd",
        b"\\ud83d",
        b"\\u0000",
        b'"',
        b"\r",
        b"\x1b[2J",
    ),
    instead(rb"(?<=\{)", b'"output": "twice", ', b'"output": 1, "output": 2, '),
    instead(
        rb"(?<=: )[^\n}]*(?=\})",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"9" * 5000,
        b"null",
        b"[1]",
        b"{}",
        b"true",
    ),
    instead(rb",?\n", b" ", b"", b"\n\n", b",\n,\n"),
    instead(b"instruction", b"in\\nstruction", "\u2028".encode() * 300, b'"a\nb"', b"output"),
)


IN_XML: tuple[Mutation, ...] = (
    *ANY_BYTES,
    insert(b"&#0;", b"_xD83D_", b"<row>", b"&lol;"),
    instead(
        rb'(?<=")[A-Z]?[0-9]+(?=")', b"-1", b"0", b"99999", b"1e9", b"ZZZZ1", b"A9999999", b"9" * 5000, b""
    ),
    instead(rb' t="[a-z]+"', b' t="e"', b' t="d"', b' t="b"', b' t="inlineStr"', b' t="?"', b""),
)


def mutated(rng: random.Random, seed: bytes, mutations: tuple[Mutation, ...]) -> bytes:
    for mutation in rng.choices(mutations, k=rng.choice((1, 1, 1, 2, 3))):
        seed = mutation(rng, seed)
    return seed


def mutated_file(rng: random.Random, seed: bytes, suffix: str, *, inside: bool) -> bytes:
    """Return a mutated file; of what is packed, the packed bytes or what is inside."""
    if suffix == ".xlsx" and inside:
        return mutated_workbook(rng, seed)
    if suffix in (".parquet", ".xlsx"):
        return mutated(rng, seed, ANY_BYTES)
    if not suffix.endswith(".gz"):
        return mutated(rng, seed, ANY_TEXT)
    if inside:
        return gzip.compress(mutated(rng, seed, ANY_TEXT), mtime=0)
    return mutated(rng, gzip.compress(seed, mtime=0), ANY_BYTES)


def mutated_workbook(rng: random.Random, seed: bytes) -> bytes:
    """Mutate the XML of one member, in an archive that is whole."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(seed)) as old, zipfile.ZipFile(packed, "w") as new:
        chosen = rng.choice([*old.namelist(), *["xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"] * 5])
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, mutated(rng, content, IN_XML) if name == chosen else content)
    return packed.getvalue()
