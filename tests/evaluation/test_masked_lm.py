"""Masked models are judged by pseudo-log-likelihood, word by word, on what they can be asked."""

import copy
import math

import pytest
import tiny_bert
import torch
from conftest import compose_config, run_in
from transformers import AutoModelForMaskedLM, AutoTokenizer

from arabic_llm import files
from arabic_llm.analysis import scores, statistics
from arabic_llm.errors import ConfigError, DataError, HardwareError, ModelError
from arabic_llm.evaluation.answers import Answers
from arabic_llm.evaluation.chat_lm import Limits
from arabic_llm.evaluation.masked_lm import MaskedLM

PAIRS = [
    ("ما عاصمة مصر؟", " القاهرة"),
    ("ما عاصمة مصر؟", " عمان"),
    ("ما عاصمة مصر؟\nالجواب:", " مدينة القاهرة الكبيرة"),
    ("", "جمع كلمة كتاب هو كتب."),
    ("أكمل: ضد كلمة كبير هو", " صغير"),
    ("أكمل: ضد كلمة كبير هو", " طويل"),
]
MASK = 4  # of the tiny tokenizer


class Asked:
    """What lm-eval hands over: a context and an answer."""

    def __init__(self, *args):
        self.args = args


@pytest.fixture(scope="module")
def bert(tiny_bert_folder):
    """Return (model, tokenizer) of the tiny masked model."""
    model = AutoModelForMaskedLM.from_pretrained(tiny_bert_folder).eval()
    return model, AutoTokenizer.from_pretrained(tiny_bert_folder)


def asked(bert, pairs=PAIRS, batch_size=8, kept=None, max_length=128):
    lm = MaskedLM(*bert, Limits(batch_size, max_length, None), kept)
    return lm.loglikelihood([Asked(*pair) for pair in pairs], disable_tqdm=True)


def slowly(bert, context, answer, *, within_words=True):
    """Return what plain calls of transformers give, a token at a time."""
    model, tokenizer = bert
    encoded = tokenizer(context + answer)
    ids, words = encoded["input_ids"], encoded.word_ids()
    before = len(tokenizer(context)["input_ids"]) - 1  # without SEP
    logprobs, is_greedy = [], True
    for place in range(before, len(ids) - 1):
        masked = list(ids)
        for other in range(place, len(ids) - 1):
            if other == place or (within_words and words[other] == words[place]):
                masked[other] = MASK
        with torch.no_grad():
            logits = model(torch.tensor([masked])).logits[0, place]
        logprobs.append(float(logits.log_softmax(-1)[ids[place]]))
        is_greedy &= int(logits.argmax()) == ids[place]
    return sum(logprobs), is_greedy


def test_a_score_is_that_of_plain_transformers_a_token_at_a_time(bert):
    for (logprob, is_greedy), pair in zip(asked(bert), PAIRS, strict=True):
        expected, greedy = slowly(bert, *pair)
        assert logprob == pytest.approx(expected, abs=1e-4)  # float32, another batch
        assert is_greedy == greedy


def test_the_likeliest_token_is_said_to_be_so(bert):
    model, tokenizer = copy.deepcopy(bert[0]), bert[1]
    (token,) = tokenizer("عاصمة", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        model.cls.predictions.decoder.bias[token] += 1000
    said = [("ضد كبير هو", " عاصمة"), ("ضد كبير هو", " عاصمة عاصمة")]
    answers = asked((model, tokenizer), [*said, PAIRS[0]])
    assert [is_greedy for _, is_greedy in answers] == [True, True, False]
    assert [logprob for logprob, _ in answers[:2]] == [0, 0]


def test_the_rest_of_a_word_is_not_seen_when_its_beginning_is_scored(bert):
    pair = ("ما عاصمة مصر؟", " القاهرة")
    words = bert[1](pair[1], add_special_tokens=False).word_ids()
    assert len(words) > 1
    assert set(words) == {0}
    ((within, _),) = asked(bert, [pair])
    plain, _ = slowly(bert, *pair, within_words=False)
    assert abs(within - plain) > 0.01


def test_a_masked_model_with_one_weight_that_is_nan_gets_no_score(bert):
    model = copy.deepcopy(bert[0])
    with torch.no_grad():
        model.cls.predictions.decoder.bias[77] = float("nan")
    with pytest.raises(ModelError, match=r"the model's logits are not finite there \(nan\)"):
        asked((model, bert[1]))


def test_what_a_context_lost_is_marked(bert):
    lm, long = MaskedLM(*bert, Limits(8, 20, None)), "كتاب كبير " * 20
    lm.loglikelihood([Asked(long, " نعم"), Asked("سؤال", " نعم")], disable_tqdm=True)
    tokens = len(bert[1](long + " نعم", add_special_tokens=False)["input_ids"])
    assert lm.lost.of([(long, " نعم")]) == tokens - 18
    assert lm.lost.of([("سؤال", " نعم")]) == 0


def test_of_the_context_nothing_is_masked_or_scored(bert):
    lm = MaskedLM(*bert, Limits(8, 128, None))
    question = lm.question("ما عاصمة مصر؟", " القاهرة الكبيرة")
    words = bert[1]("ما عاصمة مصر؟ القاهرة الكبيرة").word_ids()
    scored = [masked.start for masked in question.masked]
    assert scored == [place for place, word in enumerate(words) if word is not None and word >= 4]
    assert [words[masked[0]] == words[masked[-1]] for masked in question.masked] == [True] * len(scored)
    assert MASK not in question.ids


def test_scores_do_not_depend_on_the_batch(bert):
    for one, eight in zip(asked(bert, batch_size=1), asked(bert, batch_size=8), strict=True):
        assert one[0] == pytest.approx(eight[0], abs=1e-4)
        assert one[1] == eight[1]


def test_a_long_context_loses_its_beginning_and_a_long_answer_is_refused(bert):
    long = "كتاب " * 60
    cut = "ما عاصمة مصر؟ " * 3
    tokens = len(bert[1](cut + " القاهرة")["input_ids"])
    assert asked(bert, [(long + cut, " القاهرة")], max_length=tokens) == asked(bert, [(cut, " القاهرة")])
    with pytest.raises(DataError, match=r"an answer has \d+ tokens; it must have between 1 and 126"):
        asked(bert, [("", long * 3)])
    with pytest.raises(DataError, match="an answer has 0 tokens"):
        asked(bert, [("سؤال", " ")])


def test_diacritics_and_tatweel_are_left_out_as_in_pretraining(bert):
    assert asked(bert, [("ما عَاصِمَةُ مصـــر؟", " القَاهِرَة")]) == asked(bert, [("ما عاصمة مصر؟", " القاهرة")])


def test_what_was_answered_is_not_asked_again_and_the_rest_is_the_same_to_the_bit(bert, tmp_path):
    whole = asked(bert, kept=Answers(tmp_path / "whole.jsonl"))
    kept = Answers(tmp_path / "part.jsonl")
    asked(bert, PAIRS[2:4], kept=kept)
    runs = count_of_passes(bert[0])
    assert asked(bert, kept=Answers(tmp_path / "whole.jsonl")) == whole
    assert runs == []
    again = asked(bert, kept=Answers(tmp_path / "part.jsonl"))
    assert runs
    assert [value for value, _ in again] == pytest.approx([value for value, _ in whole], abs=1e-4)
    assert [again[i] for i in (0, 1, 4, 5)] == [whole[i] for i in (0, 1, 4, 5)]


def count_of_passes(model):
    """Return a list that grows with each forward pass of the model."""
    runs = []
    model.register_forward_pre_hook(lambda *_: runs.append(1))
    return runs


def test_answers_of_one_token_share_their_pass(bert):
    model, tokenizer = bert
    words = [w for w in tokenizer.get_vocab() if len(w) > 1 and w.isalpha()][:4]
    rows = []
    hook = model.register_forward_pre_hook(
        lambda _module, _args, given: rows.append(len(given["input_ids"])), with_kwargs=True
    )
    answers = asked(bert, [("ما عاصمة مصر؟", f" {word}") for word in words])
    hook.remove()
    assert rows == [1]
    assert len({logprob for logprob, _ in answers}) == 4
    assert math.fsum(math.exp(logprob) for logprob, _ in answers) < 1


def test_out_of_memory_halves_the_rows_and_one_row_too_large_is_said(bert, monkeypatch):
    model = bert[0]
    whole, forward = asked(bert), model.forward

    def small_card(limit):
        def run(input_ids, **rest):
            if len(input_ids) > limit:
                raise torch.OutOfMemoryError
            return forward(input_ids=input_ids, **rest)

        monkeypatch.setattr(model, "forward", run)

    small_card(2)
    assert [v for v, _ in asked(bert)] == pytest.approx([v for v, _ in whole], abs=1e-4)
    small_card(0)
    with pytest.raises(HardwareError, match=r"no memory to score \d+ tokens at once"):
        asked(bert)


@pytest.fixture(scope="module")
def judged(tiny_bert_folder, tmp_path_factory):
    """Return (exit code, what was said, folder) of task=evaluate with the tiny masked model."""
    folder = tmp_path_factory.mktemp("judged")
    return (*run_in(folder, *command(tiny_bert_folder)), folder)


ONLY_GENERATED = tuple(f"~suite.tasks.sample_{name}" for name in ("choice", "dialect", "known"))


def command(model, *overrides):
    options = ("task=evaluate", "hw=cpu", "suite.limit=20", "hydra.run.dir=run", *overrides)
    return (*tiny_bert.OVERRIDES, f"model.path={model}", *options)


def test_a_suite_is_judged_and_what_is_generated_is_not_applicable(judged):
    status, said, folder = judged
    line = "sample_short: not applicable: a masked language model scores given answers and says none"
    assert status == 0, said
    assert said.count(line) == 2  # before anything is asked, and below the scores
    assert (folder / "run/evaluation/scores.md").read_text().count(line) == 1
    evaluation = scores.read(folder / "run" / "evaluation")
    names = [score.name for score in evaluation.scores]
    assert names == ["sample_choice", "sample_dialect", "sample_known"]
    assert all(score.n == 20 for score in evaluation.scores)
    assert evaluation.judged["tasks"]["sample_choice"]["chat"] is False
    assert evaluation.model["template"] is None
    assert len({item.answer for item in evaluation.items}) > 5


def test_the_chosen_answers_are_the_likeliest(judged, bert):
    (item, *_) = scores.read(judged[2] / "run" / "evaluation").items
    from arabic_llm.evaluation import suites

    task = suites.load(compose_config("suite=sample").suite, judged[2])[0].leaves["sample_choice"]
    document = next(iter(task.eval_docs))
    values = [slowly(bert, document["question"], f" {choice}")[0] for choice in document["choices"]]
    assert item.question == document["question"]
    assert item.answer_index == max(range(4), key=values.__getitem__)


def test_a_killed_evaluation_typed_again_gives_the_same_bytes(judged, tiny_bert_folder):
    folder = judged[2]
    items = (folder / "run" / "evaluation" / "items.jsonl").read_bytes()
    (answers,) = (folder / "outputs" / "cache" / "answers").iterdir()
    lines = answers.read_text().splitlines(keepends=True)
    assert len(lines) >= 6  # an empty one, and one of answers, for each of three tasks
    files.write_text(answers, "".join(lines[:2]))
    for kept in (folder / "outputs" / "cache" / "evaluations").iterdir():
        (kept / "result.json").unlink()
    status, said = run_in(folder, *command(tiny_bert_folder, "hydra.run.dir=again"))
    assert status == 0, said
    assert (folder / "again" / "evaluation" / "items.jsonl").read_bytes() == items


def test_a_causal_and_a_masked_model_are_not_compared(judged, program, tmp_path):
    assert program("task=evaluate", "hw=cpu", "suite.limit=20", "hydra.run.dir=run")[0] == 0
    evaluations = [scores.read(folder / "run" / "evaluation") for folder in (tmp_path, judged[2])]
    with pytest.raises(ConfigError, match="not comparable: .*"):
        statistics.compare(*evaluations, seed=17)
    alike = [e.judged | {"tasks": {}, "not_applicable": None} for e in evaluations]
    unlike = statistics.differences(*alike)
    assert [key for key, _, _ in unlike] == ["scoring"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (ONLY_GENERATED, "all tasks of this suite generate text (sample_short) and model=arabert cannot"),
        (("adapter.path=x",), "adapter.path has no meaning here: model=arabert is a masked language model"),
        (("model.path=nowhere",), "nowhere has no config.json"),
    ],
)
def test_what_a_masked_model_cannot_do_is_said_in_one_line(tiny_bert_folder, program, overrides, said):
    status, lines = program(*command(tiny_bert_folder, *overrides))
    assert status == 2
    assert said in lines.splitlines()[-1]
    assert "Traceback" not in lines


def test_a_dry_run_counts_what_would_be_asked(tiny_bert_folder, program):
    status, said = program(*command(tiny_bert_folder, "dry_run=true"))
    assert status == 0
    assert "plan: arabert on sample_choice: 20 items" in said
    assert "plan: arabert on sample_short" not in said
