"""Synthesis against one thing at a time: sentences by length, requests in flight, 10,000 paragraphs.

    PYTHONPATH=.:tests:tests/synthesis python benchmarks/synthesis.py      # some minutes of two cores

The translator is a tiny random M2M100 (its path is the real one, its words are noise), the server a local
one that takes 200 ms an answer, the paragraphs are spliced from real text (benchmarks/arabic_rows.py).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import generator_server
import psutil
import tiny_nllb
from arabic_rows import spliced_rows
from conftest import compose_config

from arabic_llm import files
from arabic_llm.evaluation.answers import Answers
from arabic_llm.synthesis import translation
from arabic_llm.synthesis.asking import Asker
from arabic_llm.workflows.synthesize_with import Prompts

SENTENCES, PARAGRAPHS, ANSWER_SECONDS, IN_FLIGHT = 192, 64, 0.2, 16


def translated(folder: Path) -> float:
    """Return how many times the sentences a second of one by one are translated in batches by length."""
    settings = compose_config("task=synthesize", "task.translation.max_tokens=32").task.translation
    settings = replace(settings, path=str(tiny_nllb.save(folder / "nllb")))
    engine = translation.engine(settings, "cpu")
    words = [
        "the",
        "old",
        "town",
        "has",
        "many",
        "houses",
        "near",
        "a",
        "river",
        "and",
        "people",
        "who",
        "live",
    ]
    texts = [
        " ".join(words[: 3 + n % 11]) + f" {'abcdefgh'[n % 8]}{'abcdefgh'[n // 8 % 8]}{n // 64 * 'x'}."
        for n in range(SENTENCES)
    ]
    engine.translate(texts[:2])
    seconds = []
    for batch_tokens in (1, settings.batch_tokens):
        start = time.perf_counter()
        translation.translate(texts, engine, replace(settings, batch_tokens=batch_tokens), Answers())
        seconds.append(time.perf_counter() - start)
    for name, took in zip(("one by one", "by length"), seconds, strict=True):
        print(f"translation {name}: {SENTENCES / took:,.1f} sentences a second")
    return seconds[0] / seconds[1]


def asked() -> float:
    """Return how many times faster 16 requests in flight are than one."""
    made = Prompts("ar", 3)
    paragraphs = [
        {
            "id": str(n),
            "title": f"نهر {n}",
            "text": f"النهر رقم {n} طويل جدا. يجري الماء فيه.",
            "kind": "short",
        }
        for n in range(PARAGRAPHS)
    ]
    seconds = []
    for in_flight in (1, IN_FLIGHT):
        with generator_server.serving(wait=ANSWER_SECONDS) as server:
            given = (f"task.server.endpoint={server.url}", "task.server.model=m", "task.backend=openai")
            task = compose_config("task=synthesize", *given, f"task.server.in_flight={in_flight}").task
            asker = Asker(task.server, task.sampling, Answers(), 17)
            requests = [made.request(paragraph, "m") for paragraph in paragraphs]
            start = time.perf_counter()
            asker.ask(requests, None)
            seconds.append(time.perf_counter() - start)
        print(f"{in_flight} in flight: {PARAGRAPHS / seconds[-1]:,.1f} answers a second")
    return seconds[0] / seconds[1]


def extracted(folder: Path, count: int) -> tuple[float, float]:
    """Return the seconds and the most MiB that the whole program takes for so many paragraphs."""
    rows = (
        {"title": row["instruction"][:40], "text": f"{row['output'].replace(chr(10), ' ')} ({number})."}
        for number, row in enumerate(spliced_rows(count))
    )
    files.write_json_lines(folder / "articles.jsonl", rows)
    command = [sys.executable, "-m", "arabic_llm.run", "task=synthesize", "data=local"]
    start, before = time.perf_counter(), _cpu_of_children()
    process = subprocess.Popen(
        [*command, "data.path=articles.jsonl", "tracking=none"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    most = 0
    while process.poll() is None:
        most = max(most, _resident(process.pid))
        time.sleep(0.2)
    seconds = time.perf_counter() - start
    cpu = _cpu_of_children() - before
    out = process.stdout.read() if process.stdout else ""
    if process.returncode:
        sys.exit(out)
    print(
        "\n".join(line for line in out.splitlines() if line.startswith(("made", "checked", "paragraphs")))
    )
    used = f"{seconds:,.1f} s ({cpu:,.1f} s of CPU), at most {most / 2**20:,.0f} MiB with its children"
    print(f"{count:,} articles of a paragraph: {used}")
    return seconds, most / 2**20


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    """Run all three, and say what each comes to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    count = parser.parse_args().rows
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with TemporaryDirectory() as folder:
        print(f"batches by length: {translated(Path(folder)):.1f} times one by one (at least 3)")
        print(f"{IN_FLIGHT} in flight: {asked():.1f} times one at a time (at least 8)")
        _, small = extracted(Path(folder) / "small", count // 4)
        _, large = extracted(Path(folder) / "large", count)
    print(f"memory of {count:,} paragraphs: {large / small:.2f} times that of a quarter of them")


if __name__ == "__main__":
    main()
