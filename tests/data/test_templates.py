"""Every template we ship, to the letter: what it writes, what of it is learned; a new one needs its own."""

from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import model_config
from tokenizers_like import BASE, OF_SMOLLM2, SPACED, TURNS, codec_of
from transformers.utils.chat_template_utils import render_jinja_template

from arabic_llm.config import paths
from arabic_llm.config.data import Overflow
from arabic_llm.config.model import ModelKind
from arabic_llm.data.rows import Message, Row
from arabic_llm.data.tokens import chat, chat_template

SYSTEM, SPACED_SYSTEM = Message("system", "كن موجزا."), Message("system", "  كن موجزا.\n")
# name -> (turns, whether an answer is asked for)
CONVERSATIONS = {
    "plain": (TURNS[:2], False),
    "system": ((SYSTEM, *TURNS[:2]), False),
    "turns": ((SYSTEM, *TURNS), False),
    "asked": (TURNS[:1], True),
    "asked again": ((SYSTEM, *TURNS[:3]), True),
    "spaces": ((SPACED_SYSTEM, *SPACED), False),
    "empty system": ((Message("system", ""), *TURNS[:2]), False),
}
MODELS = {
    "acegpt": "acegpt_v2_8b",
    "chatml": "tiny",
    "chatml_eos": BASE,
    "gemma2": "gemma2_2b",
    "glm4": "glm4_9b",
    "llama2": "llama2_7b",
    "llama3": "llama3_8b",
    "llama3_1": "llama3_2_1b",
    "qwen2": "qwen2_7b",
    "qwen2_5": "qwen2_5_7b",
    "qwen3": "qwen3_4b",
    "smollm2": "smollm2_135m",
}
CHATML = {
    "plain": "<|im_start|>user\nما عاصمة مصر؟<|im_end|>\n<|im_start|>assistant\nالقاهرة<|im_end|>\n",
    "system": "<|im_start|>system\nكن موجزا.<|im_end|>\n<|im_start|>user\nما عاصمة مصر؟<|im_end|>\n"
    "<|im_start|>assistant\nالقاهرة<|im_end|>\n",
    "turns": "<|im_start|>system\nكن موجزا.<|im_end|>\n<|im_start|>user\nما عاصمة مصر؟<|im_end|>\n"
    "<|im_start|>assistant\nالقاهرة<|im_end|>\n<|im_start|>user\nوتونس؟<|im_end|>\n"
    "<|im_start|>assistant\nتونس<|im_end|>\n",
    "asked": "<|im_start|>user\nما عاصمة مصر؟<|im_end|>\n<|im_start|>assistant\n",
    "asked again": "<|im_start|>system\nكن موجزا.<|im_end|>\n<|im_start|>user\nما عاصمة مصر؟<|im_end|>\n"
    "<|im_start|>assistant\nالقاهرة<|im_end|>\n<|im_start|>user\nوتونس؟<|im_end|>\n<|im_start|>assistant\n",
    "spaces": "<|im_start|>system\n  كن موجزا.\n<|im_end|>\n"
    "<|im_start|>user\n ما عاصمة\n مصر؟ \n<|im_end|>\n<|im_start|>assistant\n  القاهرة \n<|im_end|>\n",
    "empty system": "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nما عاصمة مصر؟<|im_end|>\n"
    "<|im_start|>assistant\nالقاهرة<|im_end|>\n",
}
QWEN2 = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
QWEN2_5 = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
)
SMOLLM2 = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
)
EMPTY_THOUGHT = "<|im_start|>assistant\n<think>\n\n</think>\n\n"  # before every answer, asked or taught
DATES = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: 26 Jul 2024\n\n"
)
ASSISTANT = "<|im_start|>assistant\n"
WRITTEN = {
    "acegpt": {
        "plain": "<|begin_of_text|><User>: ما عاصمة مصر؟\n<Assistant>: القاهرة<|end_of_text|>\n",
        "system": "<|begin_of_text|><User>: كن موجزا.\n\nما عاصمة مصر؟\n"
        "<Assistant>: القاهرة<|end_of_text|>\n",
        "turns": "<|begin_of_text|><User>: كن موجزا.\n\nما عاصمة مصر؟\n"
        "<Assistant>: القاهرة<|end_of_text|>\n<User>: وتونس؟\n<Assistant>: تونس<|end_of_text|>\n",
        "asked": "<|begin_of_text|><User>: ما عاصمة مصر؟\n<Assistant>:",
        "asked again": "<|begin_of_text|><User>: كن موجزا.\n\nما عاصمة مصر؟\n"
        "<Assistant>: القاهرة<|end_of_text|>\n<User>: وتونس؟\n<Assistant>:",
        "spaces": "<|begin_of_text|><User>: كن موجزا.\n\nما عاصمة\n مصر؟\n"
        "<Assistant>: القاهرة<|end_of_text|>\n",
        "empty system": "<|begin_of_text|><User>: ما عاصمة مصر؟\n<Assistant>: القاهرة<|end_of_text|>\n",
    },
    "chatml": CHATML,
    "chatml_eos": {name: "<s>" + text.replace("<|im_end|>", "</s>") for name, text in CHATML.items()},
    "smollm2": CHATML | {name: SMOLLM2 + CHATML[name] for name in ("plain", "asked")},
    "qwen3": {name: text.replace(ASSISTANT, EMPTY_THOUGHT) for name, text in CHATML.items()},
    "qwen2": CHATML | {name: QWEN2 + CHATML[name] for name in ("plain", "asked")},
    "qwen2_5": CHATML | {name: QWEN2_5 + CHATML[name] for name in ("plain", "asked")},
    "llama2": {
        "plain": "<s>[INST] ما عاصمة مصر؟ [/INST] القاهرة </s>",
        "system": "<s>[INST] <<SYS>>\nكن موجزا.\n<</SYS>>\n\nما عاصمة مصر؟ [/INST] القاهرة </s>",
        "turns": "<s>[INST] <<SYS>>\nكن موجزا.\n<</SYS>>\n\nما عاصمة مصر؟ [/INST] القاهرة </s>"
        "<s>[INST] وتونس؟ [/INST] تونس </s>",
        "asked": "<s>[INST] ما عاصمة مصر؟ [/INST]",
        "asked again": "<s>[INST] <<SYS>>\nكن موجزا.\n<</SYS>>\n\nما عاصمة مصر؟ [/INST] القاهرة </s>"
        "<s>[INST] وتونس؟ [/INST]",
        # Meta trims what stands between the marks, in which the system message is the beginning.
        "spaces": "<s>[INST] <<SYS>>\n  كن موجزا.\n\n<</SYS>>\n\n ما عاصمة\n مصر؟ [/INST] القاهرة </s>",
        "empty system": "<s>[INST] <<SYS>>\n\n<</SYS>>\n\nما عاصمة مصر؟ [/INST] القاهرة </s>",
    },
    "llama3": {
        "plain": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nما عاصمة مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nالقاهرة<|eot_id|>",
        "system": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nكن موجزا.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nما عاصمة مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nالقاهرة<|eot_id|>",
        "turns": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nكن موجزا.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nما عاصمة مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nالقاهرة<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nوتونس؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nتونس<|eot_id|>",
        "asked": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nما عاصمة مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "asked again": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nكن موجزا.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nما عاصمة مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nالقاهرة<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nوتونس؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "spaces": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nكن موجزا.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nما عاصمة\n مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nالقاهرة<|eot_id|>",
        "empty system": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nما عاصمة مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nالقاهرة<|eot_id|>",
    },
    "llama3_1": {
        "plain": DATES + "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nما عاصمة مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nالقاهرة<|eot_id|>",
        "system": DATES + "كن موجزا.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nما عاصمة مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nالقاهرة<|eot_id|>",
        "turns": DATES + "كن موجزا.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nما عاصمة مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nالقاهرة<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nوتونس؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nتونس<|eot_id|>",
        "asked": DATES + "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nما عاصمة مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "asked again": DATES + "كن موجزا.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nما عاصمة مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nالقاهرة<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nوتونس؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "spaces": DATES + "كن موجزا.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nما عاصمة\n مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nالقاهرة<|eot_id|>",
        "empty system": DATES + "<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nما عاصمة مصر؟<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nالقاهرة<|eot_id|>",
    },
    "gemma2": {
        "plain": "<bos><start_of_turn>user\nما عاصمة مصر؟<end_of_turn>\n"
        "<start_of_turn>model\nالقاهرة<end_of_turn>\n",
        "system": "<bos><start_of_turn>user\nكن موجزا.\n\nما عاصمة مصر؟<end_of_turn>\n"
        "<start_of_turn>model\nالقاهرة<end_of_turn>\n",
        "turns": "<bos><start_of_turn>user\nكن موجزا.\n\nما عاصمة مصر؟<end_of_turn>\n"
        "<start_of_turn>model\nالقاهرة<end_of_turn>\n<start_of_turn>user\nوتونس؟<end_of_turn>\n"
        "<start_of_turn>model\nتونس<end_of_turn>\n",
        "asked": "<bos><start_of_turn>user\nما عاصمة مصر؟<end_of_turn>\n<start_of_turn>model\n",
        "asked again": "<bos><start_of_turn>user\nكن موجزا.\n\nما عاصمة مصر؟<end_of_turn>\n"
        "<start_of_turn>model\nالقاهرة<end_of_turn>\n<start_of_turn>user\nوتونس؟<end_of_turn>\n"
        "<start_of_turn>model\n",
        "spaces": "<bos><start_of_turn>user\n  كن موجزا.\n\n\nما عاصمة\n مصر؟<end_of_turn>\n"
        "<start_of_turn>model\nالقاهرة<end_of_turn>\n",
        "empty system": "<bos><start_of_turn>user\n\n\nما عاصمة مصر؟<end_of_turn>\n"
        "<start_of_turn>model\nالقاهرة<end_of_turn>\n",
    },
    "glm4": {
        "plain": "[gMASK]<sop><|user|>\nما عاصمة مصر؟<|assistant|>\nالقاهرة<|user|>",
        "system": "[gMASK]<sop><|system|>\nكن موجزا.<|user|>\nما عاصمة مصر؟<|assistant|>\nالقاهرة<|user|>",
        "turns": "[gMASK]<sop><|system|>\nكن موجزا.<|user|>\nما عاصمة مصر؟<|assistant|>\nالقاهرة<|user|>"
        "\nوتونس؟<|assistant|>\nتونس<|user|>",
        "asked": "[gMASK]<sop><|user|>\nما عاصمة مصر؟<|assistant|>\n",
        "asked again": "[gMASK]<sop><|system|>\nكن موجزا.<|user|>\nما عاصمة مصر؟<|assistant|>\n"
        "القاهرة<|user|>\nوتونس؟<|assistant|>\n",
        "spaces": "[gMASK]<sop><|system|>\n  كن موجزا.\n<|user|>\n ما عاصمة\n مصر؟ \n<|assistant|>\n"
        "  القاهرة \n<|user|>",
        "empty system": "[gMASK]<sop><|system|>\n<|user|>\nما عاصمة مصر؟<|assistant|>\nالقاهرة<|user|>",
    },
}
# What of "turns" and of "spaces" is learned.
LEARNED = {
    "acegpt": ([" القاهرة<|end_of_text|>", " تونس<|end_of_text|>"], [" القاهرة<|end_of_text|>"]),
    "llama3_1": (["القاهرة<|eot_id|>", "تونس<|eot_id|>"], ["القاهرة<|eot_id|>"]),
    "qwen3": (["القاهرة<|im_end|>", "تونس<|im_end|>"], ["  القاهرة \n<|im_end|>"]),
    "smollm2": (["القاهرة<|im_end|>", "تونس<|im_end|>"], ["  القاهرة \n<|im_end|>"]),
    "chatml": (["القاهرة<|im_end|>", "تونس<|im_end|>"], ["  القاهرة \n<|im_end|>"]),
    "chatml_eos": (["القاهرة</s>", "تونس</s>"], ["  القاهرة \n</s>"]),
    "qwen2": (["القاهرة<|im_end|>", "تونس<|im_end|>"], ["  القاهرة \n<|im_end|>"]),
    "qwen2_5": (["القاهرة<|im_end|>", "تونس<|im_end|>"], ["  القاهرة \n<|im_end|>"]),
    "llama2": ([" القاهرة </s>", " تونس </s>"], [" القاهرة </s>"]),
    "llama3": (["القاهرة<|eot_id|>", "تونس<|eot_id|>"], ["القاهرة<|eot_id|>"]),
    "gemma2": (["القاهرة<end_of_turn>", "تونس<end_of_turn>"], ["القاهرة<end_of_turn>"]),
    "glm4": (["القاهرة<|user|>", "تونس<|user|>"], ["  القاهرة \n<|user|>"]),
}
SHIPPED = sorted(path.stem for path in chat_template.TEMPLATES.glob("*.jinja"))


def written(template, name):
    messages, asked = CONVERSATIONS[name]
    return chat_template.render(codec_of(MODELS[template]), messages, add_generation_prompt=asked)


def learned(template, name):
    codec = codec_of(MODELS[template])
    encoded = chat.encode(codec, Row("r", CONVERSATIONS[name][0]), 1000, Overflow.drop)
    assert isinstance(encoded, list), encoded
    return [codec.tokenizer.decode(ids) for supervised, ids in chat.spans(encoded[0]) if supervised]


def test_every_template_has_its_strings():
    for known in (MODELS, WRITTEN, LEARNED):
        assert sorted(known) == SHIPPED
    assert all(strings.keys() == CONVERSATIONS.keys() for strings in WRITTEN.values())
    assert all(
        codec_of(model).template == chat_template.template_text(name) for name, model in MODELS.items()
    )


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("template", SHIPPED)
def test_a_template_writes_to_the_letter_what_its_model_was_made_for(template, name):
    assert written(template, name) == WRITTEN[template][name]


@pytest.mark.parametrize("template", SHIPPED)
def test_what_is_learned_is_the_answers_with_their_ends(template):
    assert (learned(template, "turns"), learned(template, "spaces")) == LEARNED[template]


NAMED = sorted(
    {path.stem for path in paths.CONF.glob("model/*.yaml")} - {"auto", "local"}
)  # those of files


@pytest.mark.parametrize("name", NAMED)
def test_an_answer_ends_with_the_stop_token_that_its_model_names(name):
    model = model_config(name)
    if model.kind is ModelKind.causal:
        assert all(
            text.endswith(model.stop_token) for half in LEARNED[model.chat_template] for text in half
        )


@pytest.mark.parametrize("template", ["acegpt", "gemma2", "llama2"])
def test_a_system_message_between_turns_is_not_lost_where_it_has_no_place(template):
    row = Row("r", (*TURNS[:2], SYSTEM, *TURNS[2:]))
    why = "the chat template refuses it: only the first message can be of the system"
    assert chat.encode(codec_of(MODELS[template]), row, 1000, Overflow.drop) == why


# TRL ships some published templates as they are; Gemma's refuses a system message, Gemma 3's does not.
# Qwen3's takes the empty thought away from all answers but the last: what is asked again is not compared.
PUBLISHED = [
    (ours, published, name)
    for ours, published in (
        *(("llama3", "llama3"), ("llama3_1", "llama3_1"), ("llama3_1", "llama3_2"), ("gemma2", "gemma")),
        *(("gemma2", "gemma3"), ("qwen2_5", "qwen2_5"), ("qwen3", "qwen3")),
        ("chatml", "qwen3_instruct_2507"),
    )
    for name, (messages, _) in CONVERSATIONS.items()
    if (published != "gemma" or messages[0].role != "system")
    and (published != "qwen3" or sum(m.role == "user" for m in messages) == 1)
]


def published_writes(template, published, messages, **options):
    """Return what a published template makes of a conversation, on the tokenizer that ours is tried on."""
    (folder,) = find_spec("trl").submodule_search_locations
    text = (Path(folder) / "chat_templates" / f"{published}.jinja").read_text(encoding="utf-8")
    return written_by(text, template, messages, **options)


def written_by(text, template, messages, **options):
    """Return what another template makes of a conversation, on the tokenizer that ours is tried on."""
    (own,), _ = render_jinja_template(
        [[{"role": m.role, "content": m.content} for m in messages]],
        chat_template=text,
        **codec_of(MODELS[template]).tokenizer.special_tokens_map,
        **options,
    )
    return own


@pytest.mark.parametrize(("template", "published", "name"), PUBLISHED)
def test_a_template_writes_what_the_published_one_does(template, published, name):
    messages, asked = CONVERSATIONS[name]
    fixed = {"date_string": "26 Jul 2024", "enable_thinking": False, "add_generation_prompt": asked}
    assert written(template, name) == published_writes(template, published, messages, **fixed)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_ours_of_smollm2_writes_what_its_own_does(name):
    messages, asked = CONVERSATIONS[name]
    its = written_by(OF_SMOLLM2, "smollm2", messages, add_generation_prompt=asked)
    assert written("smollm2", name) == its


@pytest.mark.parametrize("template", SHIPPED)
def test_what_a_row_masks_before_each_answer_is_what_is_asked_byte_for_byte(template):
    codec = codec_of(MODELS[template])
    row, messages = Row("r", CONVERSATIONS["turns"][0]), CONVERSATIONS["turns"][0]
    (encoded,) = chat.encode(codec, row, 1000, Overflow.drop)
    places = [place for place, m in enumerate(messages) if m.role == "assistant"]
    starts = [
        at
        for at, label in enumerate(encoded.labels)
        if label != chat.IGNORED and encoded.labels[at - 1] == chat.IGNORED
    ]
    assert len(starts) == len(places) == 2
    for place, start in zip(places, starts, strict=True):
        asked = chat_template.render(codec, messages[:place], add_generation_prompt=True)
        plain = [{"role": m.role, "content": m.content} for m in messages[:place]]
        for served in (
            {},
            {"enable_thinking": True},
            {"enable_thinking": False},
        ):  # by whoever has the folder
            saved = codec.tokenizer.apply_chat_template(
                plain, tokenize=False, add_generation_prompt=True, **served
            )
            assert saved == asked
        assert encoded.input_ids[:start] == codec.tokenizer(asked, add_special_tokens=False)["input_ids"]
    assert chat_template.render(codec, TURNS[:2], add_generation_prompt=False).startswith(
        written(template, "asked")
    )


def test_qwen3_thinks_neither_in_what_is_taught_nor_in_what_is_asked():
    codec = codec_of(MODELS["qwen3"])
    thought = Message("assistant", "<think>\nفكرة\n</think>\n\nالقاهرة")
    why = "the chat template refuses it: an answer with a thought (<think>) has no place where thinking is"
    assert chat.encode(codec, Row("r", (TURNS[0], thought)), 1000, Overflow.drop) == (
        f"{why} off; take the thought out"
    )
    assert all("<think>" not in text for half in LEARNED["qwen3"] for text in half)
    thinking = published_writes("qwen3", "qwen3", TURNS[:1], add_generation_prompt=True)
    assert written("qwen3", "asked") == thinking + "<think>\n\n</think>\n\n"
    never = published_writes("qwen3", "qwen3_instruct_2507", TURNS[:1], add_generation_prompt=True)
    assert never == thinking == written("chatml", "asked")


def test_llama_3_2_is_asked_the_same_on_every_day():
    today = published_writes("llama3_1", "llama3_2", TURNS[:1], add_generation_prompt=True)
    assert date.today().strftime("%d %b %Y") in today  # what the published one does
    assert "Today Date: 26 Jul 2024\n" in written("llama3_1", "asked")
