"""How a model's conversations are written: its tokenizer with a template, a stop token, an end of text."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from arabic_llm.config.model import OWN_TEMPLATE, ModelConfig, ModelKind
from arabic_llm.data.rows import Message
from arabic_llm.data.tokens import template_checks, unmarked
from arabic_llm.data.tokens.rendering import rendered
from arabic_llm.data.tokens.template_checks import Frame, Rendered
from arabic_llm.errors import ConfigError

TEMPLATES = Path(__file__).parent / "templates"
log = logging.getLogger(__name__)
_LARGEST_TEMPLATE = 2**20  # bytes: the longest that models bring have some ten thousand


@dataclass(frozen=True)
class Codec:
    """A tokenizer that knows how this model talks: its template, its stop token, its end of text."""

    tokenizer: PreTrainedTokenizerBase
    template: str
    stop_id: int
    end_of_text_id: int
    control_tokens: tuple[str, ...]  # of the protocol: no text may hold one
    template_name: str = ""  # a file, for what is said of it
    notes: tuple[str, ...] = field(default=(), compare=False)  # what the user should know of the template
    is_marked: bool = True  # its {% generation %} says what is learned; else that is found by asking

    @property
    def template_hash(self) -> str:
        """Return what tells two ways of talking apart: template and stop token."""
        return hashlib.sha256(f"{self.template}\0{self.stop_id}".encode()).hexdigest()[:16]


def prepare(tokenizer: PreTrainedTokenizerBase, model: ModelConfig) -> Codec:
    """Return the codec of a model; the tokenizer keeps its template, stop and pad tokens when saved.

    Raises ConfigError when the tokenizer lacks a token that the model's YAML names, or the model an
    embedding of it, and for a masked model, which does not talk.
    """
    if model.kind is ModelKind.masked:
        raise ConfigError(
            f"model={model.name} is a masked language model: it neither talks nor continues a text;"
            " task=evaluate judges it and task=classify trains it, else choose a causal model"
        )
    vocabulary = tokenizer.get_vocab()
    for key in ("stop_token", "pad_token", "end_of_text"):
        if (token := getattr(model, key)) not in vocabulary:
            raise ConfigError(
                f"model.{key}: the tokenizer of {model.name} has no token '{token}'; name one that it has,"
                " or take model=auto, which reads them from the model"
            )
        size = model.architecture.vocab_size
        if isinstance(size, int) and vocabulary[token] >= size:
            raise ConfigError(
                f"model.{key}: '{token}' is token {vocabulary[token]} of the tokenizer of {model.name}, and"
                f" the model has embeddings of {size} (vocab_size); name another one, or take the tokenizer"
                " that belongs to these weights"
            )
    own = own_template(tokenizer)
    is_own = model.chat_template == OWN_TEMPLATE
    template = _brought(own, model) if is_own else template_text(model.chat_template)
    own_rendering = partial(written, own or template, "the tokenizer's", dict(tokenizer.special_tokens_map))
    tokenizer.chat_template = template
    tokenizer.eos_token = model.stop_token
    tokenizer.pad_token = model.pad_token
    # Not all_special_tokens: Llama 3 names most of its control tokens nowhere else than here.
    control = tuple(str(t) for t in tokenizer.added_tokens_decoder.values() if t.special)
    stop, end = vocabulary[model.stop_token], vocabulary[model.end_of_text]
    codec = Codec(tokenizer, template, stop, end, control, model.chat_template, is_marked=not is_own)
    notes = template_checks.notes(model.chat_template, own_rendering if own else None, rendering(codec))
    return replace(codec, notes=notes)


def notes(codec: Codec, name: str, earlier: str | None) -> tuple[str, ...]:
    """Return what a user should know of the template `name`, also beside that of an earlier adapter."""
    saved = template_checks.saved_template(Path(earlier)) if earlier else None
    if earlier is None or saved is None or saved == codec.template:
        return codec.notes
    its = partial(written, saved, earlier, codec.tokenizer.special_tokens_map)
    return (*codec.notes, *template_checks.note_of_trained(name, earlier, its, rendering(codec)))


def say_notes(codec: Codec, model: ModelConfig, earlier: str | None) -> None:
    """Say what a user should know of the template before anything is asked or taught in it."""
    for line in notes(codec, model.chat_template, earlier):
        log.info("%s", line)


def own_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the template that came with a tokenizer; of several, the one for plain conversations."""
    own = tokenizer.chat_template
    return own.get("default") if isinstance(own, dict) else own


def _brought(own: str | None, model: ModelConfig) -> str:
    """Return the template that a tokenizer brings. Raises ConfigError where it brings none."""
    if own is None:
        raise ConfigError(
            f"model.chat_template={OWN_TEMPLATE}: the tokenizer of {model.name} brings no template; there"
            f" are: {shipped()}, or give the path of a .jinja"
        )
    return own


def shipped() -> str:
    """Return the names of the templates that we ship, in one line."""
    return ", ".join(sorted(path.stem for path in TEMPLATES.glob("*.jinja")))


def template_text(name: str) -> str:
    """Return the Jinja text of a template we ship, or of a .jinja file of the user's.

    Raises ConfigError when there is none, or when it does not mark what the assistant says.
    """
    path = Path(name) if name.endswith(".jinja") else TEMPLATES / f"{name}.jinja"
    if not path.is_file():
        raise ConfigError(
            f"model.chat_template: no file '{path}'; there are: {shipped()}, and {OWN_TEMPLATE} (its own)"
        )
    if path.stat().st_size > _LARGEST_TEMPLATE:
        raise ConfigError(f"{path}: {path.stat().st_size:,} bytes are no chat template; give its file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from error
    if "endgeneration" not in text:
        raise ConfigError(
            f"{path}: put {{% generation %}} and {{% endgeneration %}} around what is learned"
        )
    return text


def render(codec: Codec, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
    """Return the conversation as the model reads it, up to where its next answer begins if asked.

    Raises ConfigError with what Jinja says, when the template is wrong or refuses the conversation.
    """
    text, _ = rendering(codec)(messages, add_generation_prompt=add_generation_prompt)
    return text


def answer_opening(codec: Codec) -> str:
    """Return what the template puts before an answer and lets the model learn: " " for Llama 2."""
    question = Message("user", "?")
    prompt = render(codec, [question], add_generation_prompt=True)
    whole = render(codec, [question, Message("assistant", "!")], add_generation_prompt=False)
    return whole[len(prompt) :].partition("!")[0] if whole.startswith(prompt) else ""


def rendering(codec: Codec) -> template_checks.Render:
    """Return what writes conversations as a codec does."""
    plain = partial(written, codec.template, codec.template_name, codec.tokenizer.special_tokens_map)
    if codec.is_marked:
        return plain
    return partial(unmarked.rendered, plain, str(codec.tokenizer.eos_token))


@lru_cache(maxsize=16)
def frame(codec: Codec) -> Frame:
    """Return what the template writes around every conversation."""
    return template_checks.frame(rendering(codec))


def written(
    template: str,
    name: str,
    tokens: dict[str, str],
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool,
) -> Rendered:
    """Return the text and the (start, end) characters of what the assistant says in it."""
    chat = [{"role": m.role, "content": m.content} for m in messages]
    return rendered(template, name, chat, tokens, add_generation_prompt=add_generation_prompt)
