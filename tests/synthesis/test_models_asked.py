"""A model here answers the same after a kill; magpie opens a turn; a judge is held against checks."""

import pytest
from conftest import compose_config
from generator_server import ANSWERS, serving

from arabic_llm.evaluation.answers import Answers
from arabic_llm.synthesis import judging, local_model, magpie
from arabic_llm.synthesis.asking import Asker
from arabic_llm.synthesis.judging import JudgeAgreement
from arabic_llm.workflows import synthesize_here

ROW = {"exchanges": [["ما القاهرة؟", "مدينة كبيرة."]], "paragraph": "القاهرة مدينة كبيرة."}


@pytest.fixture(scope="module")
def config():
    small = ("task.sampling.max_new_tokens=6", "task.sampling.batch_tokens=40", "hw=cpu")
    return compose_config(
        "task=synthesize", "task.backend=magpie", "task.sampling.num_conversations=3", *small
    )


@pytest.fixture(scope="module")
def speaker(config, tmp_path_factory):
    config.cache_dir = str(tmp_path_factory.mktemp("cache"))
    return synthesize_here.speaker(config)


def test_what_is_drawn_does_not_depend_on_where_a_run_was_killed(config, speaker):
    prompts = [(str(n), magpie.user_opening(speaker.codec) + [5] * (n % 3)) for n in range(7)]
    whole, rest = Answers(), Answers()
    local_model.answer(speaker, prompts, config.task.sampling, whole)
    lengths = [len(ids) for _, ids in prompts]
    first = next(iter(local_model.by_length(lengths, 40, 6)))
    assert 1 < len(first) < 7
    rest.add({prompts[place][0]: whole[prompts[place][0]] for place in first})
    local_model.answer(speaker, prompts, config.task.sampling, rest)
    assert [rest[name] for name, _ in prompts] == [whole[name] for name, _ in prompts]
    assert len({whole[name] for name, _ in prompts}) > 1


def test_magpie_opens_a_users_turn_and_says_no_word(speaker):
    text = speaker.codec.tokenizer.decode(magpie.user_opening(speaker.codec))
    assert "user" in text
    assert "rules7353" not in text
    assert speaker.codec.stop_id in magpie.turn_ends(speaker.codec)


def test_how_unlike_questions_are_is_counted():
    found = magpie.diversity(["ما هي مصر؟", "ما هي مصرُ", "كيف حال الناس اليوم؟"], 0.8, 17)
    assert (found.questions, found.openings, found.copies) == (3, 2, 1)
    assert found.most_opening == "ما هي مصر"
    assert magpie.diversity([], 0.8, 17).questions == 0


def test_a_judge_is_held_against_the_checks(monkeypatch):
    monkeypatch.setitem(ANSWERS, "yes", '{"keep": true, "reason": "sound"}')
    monkeypatch.setitem(ANSWERS, "no", '{"keep": false, "reason": "wrong"}')
    rows = [({**ROW, "paragraph": f"نص رقم {n} هنا"}, n in (1, 2)) for n in range(1, 6)]
    script = {"رقم 1": ["yes"], "رقم 2": ["no"], "رقم 3": ["yes"], "رقم 4": ["no"], "رقم 5": ["prose"]}
    with serving(script=script) as server:
        given = (f"task.server.endpoint={server.url}", "task.server.model=m", "task.backend=openai")
        quick = ("task.sampling.max_tries=2", "task.server.wait_seconds=0.01")
        task = compose_config("task=synthesize", *given, *quick).task
        found = judging.judged(rows, Asker(task.server, task.sampling, Answers(), 17))
    assert found == JudgeAgreement(both_keep=1, both_drop=1, judge_alone=1, checks_alone=1, unjudged=1)
    assert found.kappa == 0
    assert JudgeAgreement(3, 2, 0, 0, 0).kappa == 1
    assert JudgeAgreement(3, 0, 0, 0, 0).kappa is None
