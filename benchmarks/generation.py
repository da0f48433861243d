"""Answers said after few-shot prompts against lm-eval's HFLM (batch 8): CPU time as a ratio.

    ARABIC_LLM_DATA=../shared/data OMP_NUM_THREADS=1 python benchmarks/generation.py [folder of SmolLM2]

GSM8K's test questions behind 5 worked ones of its training split, as lm-eval asks them, with its own limits
and stops: the same examples for all, and others for each question (lm-eval's own way of drawing them). The
model is SmolLM2-135M-Instruct, where its folder is given; else a random one of its shape, whose answers are
cut at 64 tokens. Texts must be the same, or the benchmark fails.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from arabic_llm.data.tokens import chat_template
from arabic_llm.evaluation.chat_lm import ChatLM, Limits

DATA = Path(os.environ.get("ARABIC_LLM_DATA", Path(__file__).parents[2] / "shared" / "data"))
SEED, QUESTIONS, SHOTS, MAX_LENGTH, SHORT = 17, 8, 5, 2048, 64
UNTIL = ["Question:", "</s>", "<|im_end|>"]  # as lm-eval's gsm8k.yaml has them
SETS = (("the same 5 examples for all", 2.0, True), ("5 others for each question", 1.3, False))


def main() -> None:
    if not DATA.is_dir():
        sys.exit(f"no real data at {DATA}; set ARABIC_LLM_DATA")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    folder = sys.argv[1] if len(sys.argv) > 1 else None
    model, codec = load(folder)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, one thread")
    print("| examples | questions | tokens of a prompt | said | HFLM CPU s | ours | ratio | claimed |")
    print("|---|---|---|---|---|---|---|---|")
    broken = []
    for name, claimed, is_same in SETS:
        asked = requests(is_same=is_same, most=256 if folder else SHORT)
        seconds, said = {}, {}
        for side in ("ours", "theirs"):
            seconds[side], said[side] = answer(side, model, codec, asked)
        if said["ours"] != said["theirs"]:
            sys.exit(f"{name}: not the same texts")
        counts = [len(codec.tokenizer(text)["input_ids"]) for text in said["ours"]]
        tokens = [len(codec.tokenizer(request.args[0])["input_ids"]) for request in asked]
        ratio = seconds["theirs"] / seconds["ours"]
        print(
            f"| {name} | {len(asked)} | {sum(tokens) / len(asked):.0f} | {sum(counts) / len(asked):.0f}"
            f" | {seconds['theirs']:.1f} | {seconds['ours']:.1f} | {ratio:.2f} | {claimed} |",
            flush=True,
        )
        broken += [name] if ratio < claimed else []
    if broken:
        sys.exit(f"slower than claimed: {', '.join(broken)}")


def load(folder: str | None) -> tuple[Any, chat_template.Codec]:
    """Return SmolLM2, or a random model of its shape with Qwen2's tokens modulo its vocabulary."""
    if folder is not None:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    else:
        torch.manual_seed(SEED)
        heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "num_hidden_layers": 30}
        sizes = {"hidden_size": 576, "intermediate_size": 1536, "vocab_size": 151_646}
        config = LlamaConfig(**heads, **sizes, tie_word_embeddings=True, initializer_range=0.04)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(DATA / "tokenizers" / "qwen2")
    codec = chat_template.Codec(tokenizer, chat_template.template_text("chatml"), 2, 0, ())
    tokenizer.chat_template = codec.template
    return model, codec


def answer(
    side: str, model: Any, codec: chat_template.Codec, asked: list[Instance]
) -> tuple[float, list[str]]:
    """Return the CPU seconds that a side takes, and what it says."""
    if side == "ours":
        lm: HFLM = ChatLM(model, codec, Limits(32, MAX_LENGTH, None))
    else:
        lm = HFLM(pretrained=model, tokenizer=codec.tokenizer, batch_size=8, max_length=MAX_LENGTH)
    start = time.process_time()
    said = lm.generate_until(asked, disable_tqdm=True)
    return time.process_time() - start, said


def requests(*, is_same: bool, most: int) -> list[Instance]:
    """Return what lm-eval hands over: questions behind examples, raw, with the task's settings."""
    draw = random.Random(SEED)  # noqa: S311
    train, test = (json_lines(DATA / "gsm8k" / f"{split}.jsonl") for split in ("train", "test"))
    same = draw.sample(train, SHOTS)
    how = {"until": UNTIL, "do_sample": False, "temperature": 0.0, "max_gen_toks": most}
    found = []
    for at, row in enumerate(draw.sample(test, QUESTIONS)):
        shots = same if is_same else draw.sample(train, SHOTS)
        text = "".join(f"{asked(shot)} {shot['answer']}\n\n" for shot in shots) + asked(row)
        found.append(Instance("generate_until", row, (text, how), 0, metadata=("gsm8k", at, 1)))
    return found


def asked(row: dict[str, str]) -> str:
    return f"Question: {row['question']}\nAnswer:"


def json_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


if __name__ == "__main__":
    main()
