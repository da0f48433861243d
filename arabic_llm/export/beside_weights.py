"""What lies beside exported weights: configuration, tokenizer, a template that others read, stop tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arabic_llm import files
from arabic_llm.data.rows import Message
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.data.tokens.rendering import rendered
from arabic_llm.errors import ConfigError
from arabic_llm.models import opening

_MARK = re.compile(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}")
_QUESTION, _ANSWER = Message("user", "question 7351"), Message("assistant", "answer 7352")
_SYSTEM, _EMPTY = Message("system", "rules 7353"), Message("user", "")
CONVERSATIONS = {  # that every form of a template must write alike
    "a question": (_QUESTION,),
    "an empty question": (_EMPTY,),
    "several turns": (_QUESTION, _ANSWER, Message("user", "question 7354")),
    "a system message": (_SYSTEM, _QUESTION),
    "a system message and several turns": (_SYSTEM, _QUESTION, _ANSWER, Message("user", "question 7354")),
    "an empty system message": (Message("system", ""), _QUESTION),
}


def template_of(codec: Codec) -> str:
    """Return the template without the marks that only training needs: few programs know them.

    A condition that always holds stands in their place, so that no white space moves. Raises ConfigError
    where the two do not write the same.
    """
    plain = _MARK.sub(lambda m: f"{{%{m[1]} {'endif' if m[2] else 'if true'} {m[3]}%}}", codec.template)
    for name, messages in CONVERSATIONS.items():
        for asked in (True, False):
            if written(codec, messages, plain, asked) != written(codec, messages, codec.template, asked):
                raise ConfigError(
                    f"{codec.template_name}: without {{% generation %}} it writes {name} otherwise; put it"
                    " around the answer alone"
                )
    return plain


def written(codec: Codec, messages: tuple[Message, ...], template: str, asked: bool) -> str | None:
    """Return a conversation as a template writes it; None where the template refuses it."""
    turns = [{"role": m.role, "content": m.content} for m in messages]
    tokens = dict(codec.tokenizer.special_tokens_map)
    try:
        return rendered(template, codec.template_name, turns, tokens, add_generation_prompt=asked)[0]
    except ConfigError:
        return None


def stop_ids(codec: Codec, base: Path) -> list[int]:
    """Return every token that ends an answer: as it was taught, the end of a text, and the base's own."""
    found = [codec.stop_id, codec.end_of_text_id]
    for name in ("generation_config.json", "config.json"):
        said = opening.read_object(base / name) if (base / name).is_file() else {}
        found += _listed(said.get("eos_token_id"))
    return list(dict.fromkeys(found))


def write(folder: Path, base: Path, codec: Codec, changed: dict[str, Any]) -> None:
    """Write configuration, generation settings and tokenizer of exported weights."""
    config = opening.read_object(base / "config.json")
    config.pop("quantization_config", None)
    config.pop("torch_dtype", None)
    files.write_json(folder / "config.json", {**config, **changed, "eos_token_id": codec.stop_id})
    generation = base / "generation_config.json"
    said = opening.read_object(generation) if generation.is_file() else {}
    said.pop("_from_model_config", None)
    said |= {"eos_token_id": stop_ids(codec, base), "pad_token_id": codec.tokenizer.pad_token_id}
    files.write_json(folder / "generation_config.json", said)
    write_tokenizer(folder, codec)


def write_tokenizer(folder: Path, codec: Codec) -> None:
    """Write the tokenizer with a template that others read."""
    tokenizer = codec.tokenizer
    before, tokenizer.chat_template = tokenizer.chat_template, template_of(codec)
    try:
        tokenizer.save_pretrained(folder)
    finally:
        tokenizer.chat_template = before


def _listed(value: Any) -> Iterator[int]:
    yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, int))
