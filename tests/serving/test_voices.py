"""A model is asked in the tokens it was trained on, says what scoring says, and knows where to stop."""

import re
import shutil
from dataclasses import replace
from itertools import pairwise

import pytest
from conftest import model_config

from arabic_llm.config.chat_task import Show
from arabic_llm.config.data import Overflow
from arabic_llm.config.paths import PACKAGE
from arabic_llm.data.rows import Message, Row
from arabic_llm.data.tokens import chat, chat_template
from arabic_llm.data.tokens.chat import IGNORED
from arabic_llm.data.tokens.chat_template import TEMPLATES
from arabic_llm.errors import ConfigError
from arabic_llm.evaluation import decoding, generating
from arabic_llm.models import adapter, bases, placement, tokenization
from arabic_llm.serving import voices as speaking
from arabic_llm.serving.talk import Talk
from arabic_llm.workflows import talkers

pytest_plugins = ("talking",)
EGYPT = "\u0645\u0627 \u0639\u0627\u0635\u0645\u0629 \u0645\u0635\u0631\u061f"
SUDAN = "\u0648\u0645\u0627 \u0639\u0627\u0635\u0645\u0629 \u0627\u0644\u0633\u0648\u062f\u0627\u0646\u061f"
CAIRO = "\u0627\u0644\u0642\u0627\u0647\u0631\u0629"
KHARTOUM = "\u0627\u0644\u062e\u0631\u0637\u0648\u0645"
CONVERSATION = (
    *(Message("system", "\u0643\u0646 \u0645\u0648\u062c\u0632\u0627"), Message("user", EGYPT)),
    *(Message("assistant", CAIRO), Message("user", SUDAN), Message("assistant", KHARTOUM)),
)


def codec_of(template):
    config = replace(model_config("tiny"), chat_template=template)
    tokenizer = tokenization.load(bases.locate(config, None))
    tokenizer.bos_token = "<|endoftext|>"  # some templates begin with one
    return chat_template.prepare(tokenizer, config)


def unheard(_piece):
    """Hear nothing."""


@pytest.mark.parametrize("template", sorted(path.stem for path in TEMPLATES.glob("*.jinja")))
def test_a_prompt_has_the_tokens_that_training_has_before_the_answer(template):
    codec = codec_of(template)
    row = Row("a", CONVERSATION)
    found = chat.encode(codec, row, 2048, Overflow.drop)
    if isinstance(found, str) or len(found) > 1:
        found = chat.encode(codec, replace(row, messages=CONVERSATION[:3]), 2048, Overflow.drop)
    (whole,) = found
    starts = [at for at, label in enumerate(whole.labels) if label != IGNORED]
    first = starts[0]
    assert chat.encode_prompt(codec, CONVERSATION[:2]) == whole.input_ids[:first]
    gaps = [at for before, at in pairwise(starts) if at > before + 1]
    for second in gaps:  # of the second answer: with the first one before it
        assert chat.encode_prompt(codec, CONVERSATION[:4]) == whole.input_ids[:second]


def likeliest(voice, messages, most=24):
    """Return what scoring's own decoding says."""
    wish = generating.Wish(most, frozenset(voice.ends), (), voice.codec.tokenizer, 2)
    ids = chat.encode_prompt(voice.codec, messages)
    said = decoding.say(voice.model, [ids], ["x"], wish, None)[0]
    return voice.codec.tokenizer.decode(said, skip_special_tokens=True).strip()


def test_both_say_in_each_turn_what_scoring_says_and_their_pieces_are_the_answer(talk):
    said = []
    for question in (EGYPT, SUDAN):
        for voice in talk.voices:
            pieces = []
            answer = talk.ask(voice, question, pieces.append)
            assert answer.text == "".join(pieces)
            with voice.model.disable_adapter() if voice.is_adapter_off else placement.enough_memory("", ""):
                assert answer.text == likeliest(voice, talk.said[voice.name][:-1])
            said.append(answer.text)
    assert said[0] != said[1]


def test_base_and_tuned_have_one_copy_of_the_weights_and_the_base_is_the_one_without_the_adapter(
    talk, configure
):
    base, tuned = talk.voices
    assert base.model is tuned.model
    config = configure()
    talker = talkers.talker(config, config.task)
    alone = adapter.load_trained(
        talker.model, talker.base, talker.adapter, placement.resolve(config.hw), None
    )
    said = talk.ask(base, EGYPT, unheard)
    assert said.text == likeliest(replace(base, model=alone), [Message("user", EGYPT)])


def test_an_answer_that_was_stopped_is_not_remembered_and_the_next_is_as_if_never_asked(talk):
    voice = talk.voices[1]
    wanted = talk.ask(voice, EGYPT, unheard)
    talk.reset()

    def stop(_piece):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        talk.ask(voice, SUDAN, stop)
    assert talk.said == {}
    assert talk.ask(voice, EGYPT, unheard) == wanted


def test_a_drawn_answer_hangs_on_the_seed_alone(talk):
    def drawn(seed):
        how = replace(talk.sampling, temperature=1.5, top_k=200, seed=seed)
        voice = replace(talk.voices[1], num_answers=0)
        return Talk([voice], how).ask(voice, EGYPT, unheard).text

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(4)}) > 1


def test_what_was_asked_again_is_drawn_again(talk):
    how = replace(talk.sampling, temperature=1.5)
    voice = replace(talk.voices[1], num_answers=0)
    assert len({Talk([voice], how).ask(voice, EGYPT, unheard).text for _ in range(6)}) > 1


def test_a_repetition_penalty_keeps_a_model_from_what_it_said(talk):
    endless = replace(talk.voices[0], ends=(1,))  # padding: it is never said
    plain, penalised = (
        Talk([endless], replace(talk.sampling, repetition_penalty=penalty)).ask(endless, EGYPT, unheard)
        for penalty in (1.0, 5.0)
    )
    assert plain.text != penalised.text
    ids = endless.codec.tokenizer(penalised.text)["input_ids"]
    assert len(set(ids)) > len(ids) * 0.9


def test_every_token_that_ends_an_answer_ends_it_and_is_not_said(talk):
    voice = talk.voices[1]
    whole = voice.answer([Message("user", EGYPT)], talk.sampling, unheard)
    assert whole.has_ended
    said = voice.codec.tokenizer(whole.text, add_special_tokens=False)["input_ids"]
    early = replace(voice, ends=(*voice.ends, said[-1]))
    cut = early.answer([Message("user", EGYPT)], talk.sampling, unheard)
    assert (cut.has_ended, cut.num_tokens) == (True, whole.num_tokens - 1)
    short = voice.answer([Message("user", EGYPT)], replace(talk.sampling, max_new_tokens=1), unheard)
    assert (short.has_ended, short.num_tokens) == (False, 1)


def test_a_talk_longer_than_the_model_sees_loses_its_first_questions_never_the_system_message(talk):
    voice = talk.voices[1]
    last = [CONVERSATION[0], Message("user", SUDAN)]
    room = len(chat.encode_prompt(voice.codec, last)) + talk.sampling.max_new_tokens
    narrow = replace(voice, max_length=room)
    answer = narrow.answer(CONVERSATION[:4], talk.sampling, unheard)
    assert answer.num_dropped == 1
    assert answer.text == voice.answer(last, talk.sampling, unheard).text
    with pytest.raises(ConfigError, match=rf"more than the {room - 1} that the model sees; shorten it"):
        replace(voice, max_length=room - 1).answer(CONVERSATION[:4], talk.sampling, unheard)


def test_a_token_of_the_template_in_a_question_is_refused(talk):
    with pytest.raises(ConfigError, match=r"^<\|im_end\|> is a token of the chat template"):
        talk.ask(talk.voices[0], "a<|im_end|>b", unheard)
    assert talk.said == {}


@pytest.mark.parametrize(
    "refuses",
    [
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}",
        "{% if messages[0].role == 'system' %}{% set messages = messages[1:] %}{% endif %}",
    ],
    ids=["refused", "passed over"],
)
def test_a_template_without_a_place_for_a_system_message_says_so(talk, refuses, tmp_path):
    own = tmp_path / "own.jinja"
    own.write_text(refuses + (TEMPLATES / "chatml.jinja").read_text(encoding="utf-8"), encoding="utf-8")
    voice = replace(talk.voices[1], codec=codec_of(str(own)))
    other = Talk([voice], talk.sampling)
    with pytest.raises(ConfigError, match=r"own\.jinja has no place for a system message; say it in the"):
        other.open_with("be brief")
    assert other.system is None
    other.ask(voice, EGYPT, unheard)


def test_a_character_of_several_tokens_is_told_when_it_is_whole(tiny_codec):
    import torch

    text = "\u0634\u0643\u0631\u0627 \U0001f319!"
    ids = tiny_codec.tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = []
    listener = speaking._Listener(tiny_codec, [tiny_codec.stop_id], pieces.append)
    listener.put(torch.tensor([[5, 6]]))  # the prompt
    for token in (*ids, tiny_codec.stop_id):
        listener.put(torch.tensor([token]))
    listener.end()
    assert "".join(pieces) == text == listener.text
    assert " \U0001f319" in pieces
    assert not any("\ufffd" in piece for piece in pieces)
    assert (listener.has_ended, listener.said) == (True, ids)


def test_a_run_in_the_template_that_its_model_brings_talks_in_it(tmp_path, brief, configure):
    from conftest import finished

    own = shutil.copytree(PACKAGE / "models" / "tiny", tmp_path / "own")
    brought = re.sub(r"{%-? *(end)?generation *%}", "", (own / "chat_template.jinja").read_text("utf-8"))
    (own / "chat_template.jinja").write_text(brought, encoding="utf-8")
    (own / "SEALED.json").unlink()
    given = (f"model.path={own}", "model.chat_template=tokenizer", "task.max_steps=1")
    config = configure(run=finished(tmp_path, *brief, *given)[1])
    talker = talkers.talker(config, config.task)
    assert talker.codec.template == brought
    for voice in talkers.voices(config, talker, Show.both):
        assert voice.codec.template == brought
        assert voice.answer([Message("user", EGYPT)], talkers.sampling(config, config.task), unheard)


def test_a_run_of_whole_weights_talks_beside_its_base(tmp_path, brief, configure):
    from conftest import finished

    _, run = finished(tmp_path, *brief, "adapter=full", "task.learning_rate=1e-3", "task.max_steps=2")
    config = configure("task.show=both", run=run)
    talker = talkers.talker(config, config.task)
    base, tuned = talkers.voices(config, talker, talkers.shown(talker, config.task))
    assert base.model is not tuned.model
    assert (base.name, tuned.name) == ("base", "tuned")
    asked = [Message("user", EGYPT)]
    how = talkers.sampling(config, config.task)
    assert base.answer(asked, how, unheard).text == likeliest(base, asked)
