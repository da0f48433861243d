"""Scoring of multiple choice against lm-eval's HFLM (batch 8, logits cache on): CPU time as a ratio.

    ARABIC_LLM_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/scoring.py

Real items, in the tokens of Qwen2's tokenizer, taken modulo the vocabulary of a random Qwen2 model whose
head weighs as much beside its layers (15%) as that of Qwen2-1.5B. Both sides are given the same ids. The
log-probabilities must agree to 1e-4, and the chosen answers be the same, or the benchmark fails.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

from arabic_llm.config import paths
from arabic_llm.data.tokens import chat_template
from arabic_llm.evaluation.chat_lm import ChatLM, Limits

DATA = Path(os.environ.get("ARABIC_LLM_DATA", Path(__file__).parents[2] / "shared" / "data"))
SEED, ROUNDS, VOCABULARY, MAX_LENGTH = 17, 3, 7000, 2048
TOLERANCE = 1e-4
Pair = tuple[str, str]  # prompt, answer
Question = list[Pair]  # one for each choice
ARC_INTRO = "الأسئلة التالية هي أسئلة متعددة الإختيارات مع الجواب الصحيح\n\n"  # as lm-eval has it
EXAM_INTRO = "السؤال التالي من امتحان. اختر الإجابة الصحيحة.\n\n"


def main() -> None:
    if not DATA.is_dir():
        sys.exit(f"no real data at {DATA}; set ARABIC_LLM_DATA")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    sides = models()
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, one thread")
    print("| items | questions | tokens of a prompt | of an answer | HFLM CPU s | ours | ratio | claimed |")
    print("|---|---|---|---|---|---|---|---|")
    broken = [name for name, claimed, items in sets() if not report(name, claimed, items, sides)]
    if broken:
        sys.exit(f"slower than claimed: {', '.join(broken)}")


def models() -> dict[str, Callable[[], HFLM]]:
    """Return what makes each side anew: ours keeps its answers, and would only look them up."""
    torch.manual_seed(SEED)
    shape = {"hidden_size": 512, "intermediate_size": 2986, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 2}
    config = Qwen2Config(**shape, **heads, vocab_size=VOCABULARY, tie_word_embeddings=True)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(paths.PACKAGE / "models" / "tiny")  # not used: ids are given
    codec = chat_template.Codec(tokenizer, chat_template.template_text("chatml"), 2, 0, ())
    tokenizer.chat_template = codec.template
    return {
        "theirs": lambda: HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, max_length=MAX_LENGTH),
        "ours": lambda: ChatLM(model, codec, Limits(32, MAX_LENGTH, None)),
    }


def sets() -> Iterator[tuple[str, float, list[Question]]]:
    """Yield (name, the least ratio claimed, questions)."""
    draw = random.Random(SEED)  # noqa: S311
    exams = shuffled(draw, json_lines(DATA / "exams_ar" / "exam_test.jsonl"))
    acva = shuffled(draw, json_lines(DATA / "acva" / "acva_test.jsonl"))
    ceval = shuffled(draw, list(ceval_rows()))
    yield "EXAMS, letters", 1.15, [letters(row, EXAM_INTRO) for row in exams[:24]]
    yield "C-Eval, letters", 1.15, [letters(row, "") for row in ceval[:24]]
    yield "ACVA, true or false", 1.15, [true_or_false(row) for row in acva[:48]]
    listed = [texts(row, ARC_INTRO, listed=True) for row in exams[:16]]
    yield "EXAMS, choice texts, asked as Arabic ARC is", 2.5, listed
    yield "EXAMS, choice texts, choices not listed", 2.0, [texts(row, "") for row in exams[:24]]
    yield "ARCD, endings (HellaSwag-like)", 2.0, list(endings(draw))[:12]
    shots = [shot(row) for row in exams[100:300]]
    own = [texts(row, "".join(draw.sample(shots, 5)), listed=True) for row in exams[:5]]
    yield "EXAMS, 5 shots, others for each question", 3.0, own
    same = "".join(shots[:5])
    yield "EXAMS, 5 shots, the same for all", 8.0, [texts(row, same, listed=True) for row in exams[:10]]


def report(name: str, claimed: float, items: list[Question], sides: dict[str, Callable[[], HFLM]]) -> bool:
    """Print a row of the table; return whether the claim holds."""
    tokenizer = AutoTokenizer.from_pretrained(DATA / "tokenizers" / "qwen2")
    requests = [encode(tokenizer, *pair) for question in items for pair in question]
    seconds, answers = {}, {}
    for _ in range(ROUNDS):
        for side, make in sides.items():
            lm = make()
            start = time.process_time()
            answers[side] = lm._loglikelihood_tokens(requests, disable_tqdm=True)
            took = time.process_time() - start
            seconds[side] = min(took, seconds.get(side, took))
    check(items, answers)
    prompt, answer = (sum(len(r[at]) for r in requests) / len(requests) for at in (1, 2))
    ratio = seconds["theirs"] / seconds["ours"]
    print(
        f"| {name} | {len(items)} | {prompt:.0f} | {answer:.1f} | {seconds['theirs']:.2f}"
        f" | {seconds['ours']:.2f} | {ratio:.2f} | {claimed} |",
        flush=True,
    )
    return ratio >= claimed


def check(items: list[Question], answers: dict[str, list[tuple[float, bool]]]) -> None:
    """Refuse a log-probability that differs by more than the tolerance, and another choice."""
    pairs = list(zip(answers["theirs"], answers["ours"], strict=True))
    worst = max(abs(a[0] - b[0]) for a, b in pairs)
    start = 0
    for question in items:
        own = pairs[start : start + len(question)]
        start += len(question)
        chosen = {max(range(len(own)), key=lambda at, s=side: own[at][s][0]) for side in (0, 1)}
        if len(chosen) > 1 or worst > TOLERANCE:
            sys.exit(f"not the same: log-probabilities differ by up to {worst:.1e}")


def encode(tokenizer: Any, prompt: str, answer: str) -> tuple[Pair, list[int], list[int]]:
    whole, context = (tokenizer.encode(text) for text in (prompt + answer, prompt))
    ids = [token % VOCABULARY for token in whole]
    return (prompt, answer), ids[: len(context)], ids[len(context) :]


def letters(row: dict[str, str], intro: str) -> Question:
    options = "".join(f"{letter}. {row[letter]}\n" for letter in "ABCD")
    return [(f"{intro}{row['question']}\n{options}:", f" {letter}") for letter in "ABCD"]


def true_or_false(row: dict[str, str]) -> Question:
    return [(f"السؤال: {row['question']}\nالإجابة:", f" {word}") for word in ("صح", "خطأ")]


def texts(row: dict[str, str], before: str, *, listed: bool = False) -> Question:
    return [(before + asked(row, listed=listed), f" {row[letter]}") for letter in "ABCD"]


def shot(row: dict[str, str]) -> str:
    return f"{asked(row, listed=True)} {row[row['answer']]}\n\n"


def asked(row: dict[str, str], *, listed: bool) -> str:
    """Return the prompt; listed: with its choices, as the leaderboard's ARC and AlGhafa have them."""
    choices = "".join(f"{at}) {row[letter]}\n" for at, letter in enumerate("ABCD")) if listed else ""
    return f"السؤال: {row['question']}\n{choices}الإجابة:"


def endings(draw: random.Random) -> Iterator[Question]:
    """Yield the first 50 words of a paragraph with its next 20, and with those of three others."""
    articles = json.loads((DATA / "arcd" / "arcd-test.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [part["context"].split() for article in articles for part in article["paragraphs"]]
    rows = shuffled(draw, list({tuple(words[:70]) for words in paragraphs if len(words) >= 70}))  # noqa: PLR2004
    for at, words in enumerate(rows[:-3]):
        others = (words, *rows[at + 1 : at + 4])
        yield [(" ".join(words[:50]), " " + " ".join(other[50:])) for other in others]


def ceval_rows() -> Iterator[dict[str, str]]:
    for path in sorted((DATA / "ceval" / "val").glob("*.csv")):
        with path.open(encoding="utf-8") as lines:
            yield from csv.DictReader(lines)


def json_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def shuffled(draw: random.Random, rows: list[Any]) -> list[Any]:
    return draw.sample(sorted(rows, key=str), len(rows))


if __name__ == "__main__":
    main()
