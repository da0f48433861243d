"""What is said to prompts in batches is what transformers' generate says to each of them alone."""

import random
from dataclasses import replace

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from test_asking import asked, built_in, judge  # noqa: F401 (a fixture)
from test_scoring import SHAPES, SIZE, SLIDING, ids, model_of
from transformers import Gemma3TextConfig, GptOssConfig, LlamaConfig, Qwen3MoeConfig

from arabic_llm.data.rows import Message
from arabic_llm.data.tokens import chat_template
from arabic_llm.evaluation import decoding, scoring
from arabic_llm.evaluation.answers import Answers
from arabic_llm.evaluation.chat_lm import ChatLM, Limits
from arabic_llm.evaluation.generating import Wish
from arabic_llm.evaluation.row_cache import RowCache

MORE = {
    "gemma3": Gemma3TextConfig(**SIZE, sliding_window=9, query_pre_attn_scalar=8, layer_types=SLIDING),
    "moe": Qwen3MoeConfig(**SIZE, num_experts=4, moe_intermediate_size=16, num_experts_per_tok=2),
    "sinks": GptOssConfig(
        **SIZE, sliding_window=9, layer_types=SLIDING, num_local_experts=2, num_experts_per_tok=1
    ),  # its attention has more to it than queries and keys
    "one head of keys": LlamaConfig(**{**SIZE, "num_key_value_heads": 1}),
    "as many heads of keys": LlamaConfig(**{**SIZE, "num_key_value_heads": 4}),
}
ALL = {name: config for name, config in (SHAPES | MORE).items() if name != "mistral"}
MOST, ENDS = 12, frozenset(range(5, 300, 7))


def alone(model, prompt):
    """Return what transformers says to one prompt."""
    with torch.inference_mode():
        (whole,) = model.generate(
            torch.tensor([prompt]),
            max_new_tokens=MOST,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=sorted(ENDS),
        )
    return whole[len(prompt) :].tolist()


def said(model, prompts, tokenizer, shared=()):
    """Return what is said to prompts at once, whose first ids are these."""
    beginning = decoding.Beginning(model).read(shared)
    own = [prompt[len(shared) :] for prompt in prompts]
    return decoding.say(model, own, [""] * len(prompts), Wish(MOST, ENDS, (), tokenizer, 2), beginning)


@pytest.mark.parametrize("num_shared", [0, 25])
@pytest.mark.parametrize("shape", ALL)
def test_what_is_said_is_what_transformers_says_to_each_alone(tiny_codec, shape, num_shared):
    model, draw = model_of(ALL[shape]), random.Random(5)
    assert scoring.can_share(model)
    shared = tuple(ids(draw, num_shared))
    prompts = [[*shared, *ids(draw, length)] for length in (300, 31, 30, 30, 13, 7, 2, 1)]
    wanted = [alone(model, prompt) for prompt in prompts]
    assert wanted[0] != wanted[1]
    assert said(model, prompts, tiny_codec.tokenizer, shared) == wanted
    assert said(model, prompts[1:2], tiny_codec.tokenizer, shared) == wanted[1:2]
    assert model.config._attn_implementation in ("sdpa", "eager")


@pytest.fixture
def passes():
    """Return the shapes (rows, tokens) of what a model runs, once it is watched."""
    seen = []

    def watch(model):
        model.register_forward_pre_hook(
            lambda _module, _args, inputs: seen.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
        )
        return seen

    return watch


def test_what_all_begin_with_is_read_once_and_who_has_ended_is_not_asked_again(tiny_codec, passes):
    model, draw = model_of(LlamaConfig(**SIZE)), random.Random(5)
    shared = tuple(ids(draw, 40))
    prompts = [[*shared, *ids(draw, 9)] for _ in range(6)]
    seen = passes(model)
    answers = said(model, prompts, tiny_codec.tokenizer, shared)
    assert seen[:2] == [(1, 40), (6, 9)]
    lengths = sorted(map(len, answers))
    assert lengths[0] < lengths[-1]
    steps = [sum(length > step for length in lengths) for step in range(1, lengths[-1])]
    assert [rows for rows, _ in seen[2:]] == steps


def test_what_is_shared_is_not_copied_for_each_row(tiny_codec, monkeypatch):
    model, draw = model_of(SHAPES["gemma2"]), random.Random(5)
    shared = tuple(ids(draw, 40))
    prompts = [[*shared, *ids(draw, 9)] for _ in range(6)]
    most, attend = [], RowCache.attend

    def watched(self, module, query, key, *rest, **options):
        most.append(key.shape[2])
        return attend(self, module, query, key, *rest, **options)

    monkeypatch.setattr(RowCache, "attend", watched)
    said(model, prompts, tiny_codec.tokenizer, shared)
    assert set(most) == set(range(10, max(most) + 1))


UNTIL = ["\n\n", "الجواب", "<|im_end|>"]
SETTINGS = [
    {"until": UNTIL, "max_gen_toks": 20, "do_sample": False, "temperature": 0.0},
    {"until": "ا", "max_new_tokens": 9},
    {"max_gen_toks": 24},
]
WORDS = (
    "كتاب",
    "مدرسة",
    "قلم",
    "عاصمة مصر",
    "جمع كلمة باب",
    "ضد كلمة كبير",
    "بيت",
    "ثلاثة في أربعة",
    "ماء",
)


def questions(codec, *, as_chat):
    """Return prompts behind the same examples, and two that are longer than the model sees."""
    examples = [
        ("ما عاصمة فرنسا؟", "باريس"),
        ("ما جمع ولد؟", "أولاد"),
        ("كم شهرا في السنة؟", "اثنا عشر"),
    ] * 3
    if as_chat:
        turns = [
            Message(*turn) for pair in examples for turn in zip(("user", "assistant"), pair, strict=True)
        ]
        texts = [
            chat_template.render(
                codec, [*turns, Message("user", f"ما {word}؟")], add_generation_prompt=True
            )
            for word in WORDS
        ]
    else:
        before = "".join(f"س: {asked}\nج: {answer}\n\n" for asked, answer in examples)
        texts = [f"{before}س: ما {word}؟\nج:" for word in WORDS]
    return [*texts, texts[0] * 4, "كتاب " * 300]


@pytest.mark.parametrize("as_chat", [False, True], ids=["raw", "chat"])
def test_texts_are_those_of_lm_evals_class_that_is_asked_for_each_alone(built_in, tiny_codec, as_chat):  # noqa: F811
    model = built_in[0].model
    ours = ChatLM(model, tiny_codec, Limits(4, 256, None))
    theirs = HFLM(pretrained=model, tokenizer=tiny_codec.tokenizer, batch_size=1, max_length=256)
    requests = asked(
        "generate_until",
        *((text, how) for text in questions(tiny_codec, as_chat=as_chat)[4:] for how in SETTINGS),
    )
    wanted = theirs.generate_until(requests, disable_tqdm=True)
    assert len(set(wanted)) > 3
    assert ours.generate_until(requests, disable_tqdm=True) == wanted


def test_batches_are_alike_in_wishes_and_beginnings_and_a_run_carried_on_makes_the_same(tiny_codec):
    texts = questions(tiny_codec, as_chat=False)
    requests = asked("generate_until", *((text, how) for text in texts for how in SETTINGS))
    whole = judge(tiny_codec, max_length=256)
    prompts = [whole._prompt(request, str(at)) for at, request in enumerate(requests)]
    batches = list(whole._batches(prompts))
    assert sorted(index for batch in batches for index in batch.prompts) == list(range(len(requests)))
    for batch in batches:
        some = [prompts[index] for index in batch.prompts]
        assert len({str(prompt.settings) for prompt in some}) == 1
        assert len({prompt.is_cut for prompt in some}) == 1
        lengths = [len(prompt.ids) for prompt in some]
        assert lengths == sorted(lengths, reverse=True)
        assert all(prompt.ids[: len(batch.shared)] == batch.shared for prompt in some)
        assert len(batch.shared) > 90 or some[0].is_cut
    answered = whole.generate_until(requests, disable_tqdm=True)
    kept = Answers()
    kept.add({key: text for at, (key, text) in enumerate(whole._answers._known.items()) if at % 5})
    again = judge(tiny_codec, max_length=256)
    again._answers = kept
    assert again.generate_until(requests, disable_tqdm=True) == answered


def test_two_tasks_share_within_each_and_those_without_examples_are_asked_together(tiny_codec):
    lm, how = judge(tiny_codec, max_length=256), {"max_gen_toks": 8}
    requests = asked("generate_until", *((text, how) for text in questions(tiny_codec, as_chat=False)[:9]))
    other = [replace(r, arguments=("غير ذلك " * 20 + r.args[0], how)) for r in requests]
    short = [replace(r, arguments=(word, how)) for r, word in zip(requests, WORDS, strict=True)]
    for name, some in (("other", other), ("short", short[:2]), ("shorter", short[2:])):
        for request in some:
            request.task_name = name
    prompts = [lm._prompt(r, "") for r in (*requests, *other[:5], *short[:2], *short[2:4])]
    batches = list(lm._batches(prompts))
    shared = {
        tuple(sorted(prompts[i].request.task_name for i in b.prompts)): len(b.shared) for b in batches
    }
    assert {names[0] for names, length in shared.items() if length} == {"other", "school"}
    assert shared["short", "short", "shorter", "shorter"] == 0
