"""Whether a GGUF file, asked by llama.cpp, is the model: its tokens, answers, stops and template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from arabic_llm.config.task import GgufType
from arabic_llm.data.reading.records import shown
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.errors import ModelError
from arabic_llm.export import beside_weights, llama_cpp, probes
from arabic_llm.export.llama_cpp import Answered, Inquiry

# Of prompts and answers to them: how far each token of each is below the model's own.
Gaps = Callable[[list[list[int]], list[list[int]]], list[list[float]]]

# How far below the best logit a token that llama.cpp says may be, as a share of the spread of logits: with
# float16 and 8 bits it rounds what goes into each product too, with bfloat16 to 2^-8 of it.
_ALLOWED = {GgufType.f32: 2e-3, GgufType.f16: 5e-2, GgufType.bf16: 3e-1, GgufType.q8_0: 3e-1}
# With 8 bits what goes in has one scale for 32 numbers: where one is an outlier (2208.07339) the others are
# all but lost, and a rare token is far off. SmolLM2's: 1 of 982 by half of the spread, in float16 none.
_RARE = {GgufType.q8_0: 1e-2}


@dataclass(frozen=True)
class GgufAgreement:
    """How a file and its model agree."""

    num_texts: int
    num_unlike: int  # texts that become other tokens as they are, and the same once they are composed (NFC)
    num_answers: int
    num_same: int  # answers that are ours to the last token
    largest_gap: float  # of a token that is not ours, below ours
    common_gap: float  # the largest but for the rare tokens that rounding puts far off
    spread: float

    def line(self) -> str:
        """Return what was found, for people."""
        unlike = f" ({self.num_unlike:,} of them only after NFC)" if self.num_unlike else ""
        return (
            f"the tokens of {self.num_texts:,} texts{unlike}, {self.num_same} of {self.num_answers} greedy"
            f" answers to the last token (elsewhere at most {self.largest_gap:.2g} of a logit apart), its"
            " stop tokens and its template are the model's"
        )


def between(
    file: Path,
    codec: Codec,
    stop_ids: list[int],
    reference: tuple[Gaps, float],
    work: Path,
    kind: GgufType,
) -> GgufAgreement:
    """Return how a file agrees with its model; `reference` has the model's gaps and spread of logits.

    Raises ModelError where texts become other tokens, a stop token does not stop, or its template writes
    conversations otherwise.
    """
    tokenizer, texts = codec.tokenizer, probes.texts()
    prompts: list[list[int]] = [
        tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in probes.prompts(codec)
    ]
    turns = [
        [{"role": m.role, "content": m.content} for m in messages]
        for messages in beside_weights.CONVERSATIONS.values()
    ]
    both = [probes.composed(text) for text in texts] + texts
    found = llama_cpp.ask(file, Inquiry(both, prompts, stop_ids, turns), work)
    num_unlike = _refuse_other_tokens(file, tokenizer, texts, found)
    _refuse_others(file, codec, stop_ids, found)
    gaps, spread = reference
    below = gaps(prompts, found.answers)
    furthest = sorted((gap for one in below for gap in one), reverse=True) or [0.0]
    return GgufAgreement(
        num_texts=len(texts),
        num_unlike=num_unlike,
        num_answers=len(below),
        num_same=sum(not any(one) for one in below),
        largest_gap=furthest[0],
        common_gap=furthest[int(_RARE.get(kind, 0) * len(furthest))],
        spread=spread,
    )


def refuse(found: GgufAgreement, kind: GgufType) -> None:
    """Refuse a file that answers otherwise than rounding explains. Raises ModelError with the numbers."""
    if not found.common_gap <= (allowed := _ALLOWED[kind] * found.spread):
        often = f"more than one token of {1 / _RARE[kind]:.0f}" if kind in _RARE else "a token"
        raise ModelError(
            f"llama.cpp says other things with the GGUF file than the model: {often}"
            f" {found.common_gap:.2g} of a logit below the model's own, and {allowed:.2g} is rounding in"
            f" {kind.name}. Nothing was exported; report it"
        )


def _refuse_other_tokens(
    file: Path, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], found: Answered
) -> int:
    """Return how many texts are other tokens only because llama.cpp does not compose them."""
    wanted: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    composed: list[list[int]] = tokenizer(
        [probes.composed(text) for text in texts], add_special_tokens=False
    )["input_ids"]
    for number, text in enumerate(texts):
        if found.tokens[number] != composed[number]:
            raise ModelError(
                f"{file.name}: llama.cpp makes other tokens of {shown(text, 60)!r} than the model was"
                " trained on. Nothing was exported; serve merged weights with transformers or vLLM"
            )
    if found.opened != tokenizer(probes.composed(texts[0]))["input_ids"]:
        raise ModelError(
            f"{file.name}: llama.cpp opens a text otherwise than the tokenizer does; report it"
        )
    as_they_are = found.tokens[len(texts) :]
    return sum(ours != its for ours, its in zip(wanted, as_they_are, strict=True))


def _refuse_others(file: Path, codec: Codec, stop_ids: list[int], found: Answered) -> None:
    """Refuse a file whose answers do not stop, or that writes conversations otherwise."""
    for stop, stopped in zip(stop_ids, found.stopped, strict=True):
        if not stopped:
            token = codec.tokenizer.convert_ids_to_tokens(stop)
            raise ModelError(f"{file.name}: llama.cpp does not stop at {token}. Nothing was exported")
    bos = codec.tokenizer.bos_token or ""
    for (name, messages), its in zip(beside_weights.CONVERSATIONS.items(), found.written, strict=True):
        ours = beside_weights.written(codec, messages, codec.template, True)
        if ours is not None and (its is None or its.removeprefix(bos) != ours.removeprefix(bos)):
            raise ModelError(
                f"{file.name}: its template writes {name} as {shown(str(its), 80)!r}, not as"
                f" {shown(ours, 80)!r}. Nothing was exported; mend {codec.template_name}"
            )
