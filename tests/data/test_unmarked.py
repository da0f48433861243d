"""The tokenizer's own template, as it is: what is learned is found, and which tokens end, pad and close."""

from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import tokenizers_like
from conftest import compose_config, model_config
from tokenizers_like import SPACED, TURNS, codec_of

from arabic_llm.config.data import Overflow
from arabic_llm.data.preparing import sources
from arabic_llm.data.rows import Message, Row
from arabic_llm.data.tokens import chat, chat_template, protocol
from arabic_llm.data.tokens.protocol import Vocabulary
from arabic_llm.errors import ConfigError

SYSTEM = Message("system", "كن موجزا.")
(FOLDER,) = find_spec("trl").submodule_search_locations
CONTROL = (
    *("<|endoftext|>", "<pad>", "<bos>", "<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>"),
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end|>", "<|user|>"),
    *("<|assistant|>", "<|system|>", "[gMASK]", "<sop>", "<think>", "</think>"),
)


def published(name):
    """Return a template as TRL ships it: as its model's tokenizer brings it, but for what TRL mends."""
    return (Path(FOLDER) / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


@cache
def tokenizer():
    return tokenizers_like._build("bytes", list(CONTROL), [], None)


def vocabulary(control=CONTROL, eos="<|endoftext|>", ends=(), size=10_000, **named):
    ids = {token: number for number, token in enumerate(control)}
    return Vocabulary(ids, tuple(control), {"eos_token": eos, **named} if eos else named, ends, size)


def plain(text):
    return partial(
        chat_template.written, text, "tokenizer", {"bos_token": "<bos>", "eos_token": "<|endoftext|>"}
    )


def codec(text, stop, pad="<pad>"):
    own = tokenizer()
    own.bos_token, own.chat_template = "<bos>", text
    config = replace(model_config("tiny"), chat_template="tokenizer", stop_token=stop, pad_token=pad)
    return chat_template.prepare(own, config)


def learned(text, stop, messages):
    """Return what of a conversation is learned, or why it is refused."""
    own = codec(text, stop)
    encoded = chat.encode(own, Row("r", messages), 1000, Overflow.drop)
    if isinstance(encoded, str):
        return encoded
    assert all(chat.stops(own, one) for one in encoded)
    return [own.tokenizer.decode(ids) for one in encoded for learns, ids in chat.spans(one) if learns]


STOPS = {
    "qwen2_5": "<|im_end|>",
    "qwen3_instruct_2507": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "llama3_2": "<|eot_id|>",
    "gemma3": "<end_of_turn>",
    "phi3": "<|end|>",
    "lfm2": "<|im_end|>",
}


@pytest.mark.parametrize(("name", "stop"), STOPS.items())
def test_of_a_published_template_the_answers_with_their_ends_are_learned(name, stop):
    text = published(name)
    assert protocol.stop_token(vocabulary(), plain(text), name) == stop
    assert learned(text, stop, (SYSTEM, *TURNS)) == [f"القاهرة{stop}", f"تونس{stop}"]
    own = codec(text, stop)
    asked = chat_template.render(own, TURNS[:3], add_generation_prompt=True)
    assert chat_template.render(own, TURNS, add_generation_prompt=False).startswith(asked + "تونس" + stop)


def test_it_gives_the_rows_that_the_marked_template_gives():
    marked, config = codec_of("tiny"), compose_config()
    own = replace(marked, template_name="tokenizer", is_marked=False)
    rows = sources.load(config.data, Path("nowhere"), 17).train[:40]
    rows += [Row("turns", (SYSTEM, *TURNS)), Row("spaces", SPACED)]
    rows += [Row("context", (TURNS[0], replace(TURNS[1], supervised=False), *TURNS[2:]))]
    both = [[chat.encode(one, row, 60, Overflow.cut) for row in rows] for one in (marked, own)]
    assert both[0] == both[1]


def test_an_empty_thought_is_learned_where_the_template_writes_it_after_what_asks():
    stop, said = "<|im_end|>", "<think>\n\n</think>\n\nالقاهرة<|im_end|>"
    assert learned(published("qwen3"), stop, TURNS[:2]) == [said]
    assert learned(published("qwen3"), stop, TURNS) == [said, said.replace("القاهرة", "تونس")]  # apart


def test_a_template_that_is_asked_otherwise_than_it_answers_is_refused_with_the_difference():
    text = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    text += "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    said = r"asks for an answer with '<think>\\n' where it writes 'answer 7352<\|im_end\|>\\n' before one"
    with pytest.raises(ConfigError, match=said):
        learned(text, "<|im_end|>", TURNS)


def test_glm4_ends_an_answer_with_the_next_question_and_the_last_one_too():
    text = "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
    text += "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    glm4 = vocabulary(ends=("<|endoftext|>", "<|user|>"))
    assert protocol.stop_token(glm4, plain(text), "glm4") == "<|user|>"
    assert learned(text, "<|user|>", TURNS) == ["القاهرة<|user|>", "تونس<|user|>"]
    assert learned(text, "<|user|>", SPACED) == ["  القاهرة \n<|user|>"]


def test_a_template_that_ends_no_answer_is_given_the_models_own_end():
    text = "{% for m in messages %}{{ m.role }}:\n{{ m.content }}\n\n{% endfor %}"
    text += "{% if add_generation_prompt %}assistant:\n{% endif %}"
    assert protocol.stop_token(vocabulary(), plain(text), "falcon") == "<|endoftext|>"
    assert learned(text, "<|endoftext|>", TURNS[:2]) == ["القاهرة<|endoftext|>"]
    assert learned(text, "<|endoftext|>", TURNS) == ["القاهرة<|endoftext|>", "تونس<|endoftext|>"]


def test_an_answer_that_a_template_cuts_or_hides_is_refused():
    text = published("qwen2_5").replace("message.content", "message.content[:4]")
    assert "does not write answer 1 to its end" in learned_error(text, "<|im_end|>")


def learned_error(text, stop):
    with pytest.raises(ConfigError) as refused:
        learned(text, stop, TURNS)
    return str(refused.value)


def test_a_role_that_the_template_refuses_is_the_reason_of_its_row():
    assert learned(published("gemma"), "<end_of_turn>", (SYSTEM, *TURNS)) == (
        "the chat template refuses it: System role not supported"
    )


def test_a_template_with_a_clock_says_one_day_whatever_the_day():
    said = chat_template.render(
        codec(published("llama3_2"), "<|eot_id|>"), TURNS[:1], add_generation_prompt=True
    )
    assert "Today Date: 26 Jul 2024" in said


def test_a_tokenizer_without_a_template_says_so():
    with pytest.raises(
        ConfigError, match="the tokenizer of tiny brings no template; there are: acegpt, chatml,"
    ):
        codec(None, "<|im_end|>")


CHATML = published("qwen3_instruct_2507")


@pytest.mark.parametrize(
    ("control", "named", "pad"),
    [
        (("<|im_start|>", "<|im_end|>", "<|endoftext|>"), {"pad_token": "<|endoftext|>"}, "<|endoftext|>"),
        (("<|im_start|>", "<|im_end|>", "<|endoftext|>"), {"pad_token": "<|im_end|>"}, "<|endoftext|>"),
        (("<unk>", "<pad>", "<|im_start|>", "<|im_end|>"), {}, "<pad>"),
        (("<unk>", "<|im_start|>", "<|im_end|>"), {}, "<unk>"),
        (("<unused7>", "<unused0>", "<|im_start|>", "<|im_end|>"), {}, "<unused7>"),  # the lowest id
        (("<|im_start|>", "<|im_end|>", "<|reserved_0|>"), {}, "<|reserved_0|>"),
        (("<|im_start|>", "<|im_end|>", "<unk>"), {"pad_token": "<|im_start|>"}, "<unk>"),
        (("<s>", "<|im_start|>", "<|im_end|>", "<unk>"), {"pad_token": "<s>", "bos_token": "<s>"}, "<unk>"),
    ],
)
def test_a_token_for_padding_is_never_one_that_is_learned(control, named, pad):
    found = protocol.pad_token(
        vocabulary(control, "<|im_end|>", **named), plain(CHATML), "mine", "<|im_end|>"
    )
    assert found == pad


def test_a_token_without_a_row_in_the_table_is_not_chosen():
    control = ("<|im_start|>", "<|im_end|>", "<pad>")
    with pytest.raises(ConfigError, match="the tokenizer of mine has no token for padding beside the stop"):
        protocol.pad_token(vocabulary(control, size=2), plain(CHATML), "mine", "<|im_end|>")


def test_a_tokenizer_without_special_tokens_has_nothing_to_end_an_answer_with():
    text = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    with pytest.raises(ConfigError, match="^the tokenizer of mine has no special token that ends an ans"):
        protocol.stop_token(vocabulary((), None), plain(text), "mine")


@pytest.mark.parametrize(
    ("ends", "stop", "found"),
    [
        (("<|im_end|>", "<|endoftext|>"), "<|im_end|>", "<|endoftext|>"),
        (("<|im_end|>",), "<|im_end|>", "<|endoftext|>"),
        (("<|begin_of_text|>", "<|eot_id|>"), "<|eot_id|>", "<|begin_of_text|>"),
        ((), "<|endoftext|>", "<|endoftext|>"),
    ],
)
def test_a_raw_text_ends_with_another_token_than_an_answer_where_there_is_one(ends, stop, found):
    assert protocol.end_of_text(vocabulary(ends=ends), "mine", stop) == found
