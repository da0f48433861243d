"""Translates texts sentence by sentence: batches by length, each once, protected parts put back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.synthesize_task import TranslationConfig, Translator
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation.answers import Answers
from arabic_llm.synthesis import protection, sentences
from arabic_llm.synthesis.local_model import by_length

_LINES = re.compile(r"(\n+)")
_CODE = re.compile(r"(```.*?(?:```|\Z))", re.DOTALL)
_BREAKS = re.compile(r"((?<=[,;:،؛])\s+)")
_SPACES = re.compile(r"(\s+)")


class TranslationEngine(Protocol):
    """What translates a batch of sentences."""

    def num_tokens(self, text: str) -> int:
        """Return how many tokens a sentence has."""

    def translate(self, batch: Sequence[str]) -> list[str]:
        """Return each sentence in the other language."""


class Nllb:
    """NLLB-200, or another M2M100 model, by transformers' classes: 5.23 has no pipeline for it."""

    def __init__(self, settings: TranslationConfig, folder: Path, device: str) -> None:
        """Read tokenizer and weights."""
        from transformers import AutoModelForSeq2SeqLM

        self._settings = settings
        self._tokenizer = tokenizer_of(settings, folder)
        self._target = _language_id(self._tokenizer, settings.target)
        model = AutoModelForSeq2SeqLM.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        self._model = model.to(device).eval()

    def num_tokens(self, text: str) -> int:
        """Return how many tokens a sentence has."""
        return len(self._tokenizer(text)["input_ids"])

    def translate(self, batch: Sequence[str]) -> list[str]:
        """Return each sentence in the other language."""
        import torch

        read = self._tokenizer(list(batch), return_tensors="pt", padding=True).to(self._model.device)
        with torch.inference_mode():
            said = self._model.generate(
                **read,
                forced_bos_token_id=self._target,
                num_beams=self._settings.num_beams,
                max_new_tokens=int(self._settings.max_tokens),
                do_sample=False,
            )
        return [text.strip() for text in self._tokenizer.batch_decode(said, skip_special_tokens=True)]


class CTranslate2:
    """The same weights in 8 bits on the CPU, as ct2-transformers-converter has written them."""

    def __init__(self, settings: TranslationConfig, folder: Path) -> None:
        """Read tokenizer and weights."""
        try:
            import ctranslate2
        except ImportError as error:
            raise ConfigError(
                "task.translation.engine=ctranslate2 needs ctranslate2: pip install 'arabic-llm[translate]'"
            ) from error
        self._settings = settings
        self._tokenizer = tokenizer_of(settings, folder)
        _language_id(self._tokenizer, settings.target)
        self._translator: Any = ctranslate2.Translator(str(folder), device="cpu", compute_type="int8")

    def num_tokens(self, text: str) -> int:
        """Return how many tokens a sentence has."""
        return len(self._tokenizer(text)["input_ids"])

    def translate(self, batch: Sequence[str]) -> list[str]:
        """Return each sentence in the other language."""
        of = self._tokenizer.convert_ids_to_tokens
        read = [of(self._tokenizer(text)["input_ids"]) for text in batch]
        found = self._translator.translate_batch(
            read,
            target_prefix=[[self._settings.target]] * len(read),
            beam_size=self._settings.num_beams,
            max_decoding_length=int(self._settings.max_tokens),
        )
        ids = [self._tokenizer.convert_tokens_to_ids(one.hypotheses[0][1:]) for one in found]
        return [text.strip() for text in self._tokenizer.batch_decode(ids, skip_special_tokens=True)]


def engine(settings: TranslationConfig, device: str) -> TranslationEngine:
    """Return what translates. Raises ConfigError where its weights are not there."""
    if settings.path is None:
        raise ConfigError(
            "task.translation.path is not set: rows come in another language than Arabic, and NLLB-200's"
            " weights make Arabic of them (hf download facebook/nllb-200-distilled-600M --local-dir"
            " models/nllb; task.translation.path=models/nllb)"
        )
    folder = Path(settings.path).expanduser()
    wanted = "model.bin" if settings.engine is Translator.ctranslate2 else "config.json"
    if not (folder / wanted).is_file():
        raise ConfigError(
            f"task.translation.path={settings.path}: no {wanted} there; give the folder of the weights"
        )
    if settings.engine is Translator.ctranslate2:
        return CTranslate2(settings, folder)
    return Nllb(settings, folder, device)


def tokenizer_of(settings: TranslationConfig, folder: Path) -> Any:
    """Return the tokenizer of the weights, told which languages it is between."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        folder,
        src_lang=settings.source,
        tgt_lang=settings.target,
        local_files_only=True,
        trust_remote_code=False,
    )


def _language_id(tokenizer: Any, language: str) -> int:
    found = tokenizer.convert_tokens_to_ids(language)
    if found is None or found == tokenizer.unk_token_id:
        raise ConfigError(f"task.translation.target={language}: the tokenizer has no such language")
    return int(found)


def translate(
    texts: Iterable[str], engine: TranslationEngine, settings: TranslationConfig, kept: Answers
) -> dict[str, str]:
    """Return text -> translation. A sentence that was translated before is not translated again."""
    whole = {text: list(_parts(text, settings, engine)) for text in dict.fromkeys(texts)}
    asked = [part for parts in whole.values() for part, is_said in parts if is_said]
    shields = {sentence: protection.shield(sentence) for sentence in dict.fromkeys(asked)}
    _fetch([one.text for one in shields.values()], engine, settings, kept)
    known: dict[str, str] = {}
    apart: dict[str, list[tuple[str, bool]]] = {}
    for sentence, shielded in shields.items():
        said = protection.restored(kept[key(shielded.text)], shielded)
        if said is not None:
            known[sentence] = said
        else:
            apart[sentence] = protection.pieces(sentence)
    _fetch(
        [piece.strip() for some in apart.values() for piece, is_said in some if is_said],
        engine,
        settings,
        kept,
    )
    for sentence, some in apart.items():
        said_of = [_without_numbers(kept[key(p.strip())]) if is_said else p for p, is_said in some]
        known[sentence] = protection.joined(said_of, some)
    return {
        text: "".join(known[p] if is_said else p for p, is_said in parts) for text, parts in whole.items()
    }


def key(sentence: str) -> str:
    """Return what tells a sentence apart."""
    return fingerprint(sentence)


def _without_numbers(said: str) -> str:
    """Return the translation of a piece that has no number, without one: the piece beside it says it."""
    return " ".join(re.sub(r"\d+", " ", said).split())


def _fetch(
    wanted: Sequence[str], engine: TranslationEngine, settings: TranslationConfig, kept: Answers
) -> None:
    """Translate what is not kept, like lengths together; each batch is on the disk before the next."""
    missing = [text for text in dict.fromkeys(wanted) if key(text) not in kept]
    lengths = [engine.num_tokens(text) for text in missing]
    batches = list(by_length(lengths, settings.batch_tokens))
    for batch in tqdm(batches, "translating", unit="batch"):
        some = [missing[place] for place in batch]
        kept.add({key(text): said for text, said in zip(some, engine.translate(some), strict=True)})
        kept.flush()


def _parts(text: str, settings: TranslationConfig, engine: TranslationEngine) -> Iterable[tuple[str, bool]]:
    """Yield a text in parts, each with whether it is translated: sentences, and no code."""
    for block in _CODE.split(text):
        if _CODE.fullmatch(block):
            yield block, False
            continue
        for line in _LINES.split(block):
            if not any(map(str.isalpha, line)):
                yield line, False
                continue
            for sentence in protection.whole(sentences.split(line, "en")):
                for piece in _within(sentence, settings.max_tokens, engine):
                    said = piece.strip()
                    if not any(map(str.isalpha, said)):
                        yield piece, False
                        continue
                    start = piece.index(said)
                    yield piece[:start], False
                    yield said, True
                    yield piece[start + len(said) :], False


def _within(sentence: str, most: int, engine: TranslationEngine) -> list[str]:
    """Return a sentence in pieces that the model can see: cut at commas, else between words.

    What is protected is cut nowhere, and may be longer.
    """
    if engine.num_tokens(protection.shield(sentence).text) <= most:
        return [sentence]
    for breaks in (_BREAKS, _SPACES):
        cut = protection.whole([piece for piece in breaks.split(sentence) if piece])
        if len(cut) > 1:
            middle = len(cut) // 2
            halves = ("".join(cut[:middle]), "".join(cut[middle:]))
            return [piece for half in halves for piece in _within(half, most, engine)]
    return [sentence]
