"""Our scores are lm-eval's scores on the same items; local copies get lm-eval's own prompts and groups."""

from collections import Counter

import pytest
from conftest import DATA, compose_config, needs_data
from tokenizers_like import NAMES, codec_of

from arabic_llm.analysis import scores
from arabic_llm.config import paths
from arabic_llm.config.data import Overflow
from arabic_llm.data.rows import question_answer
from arabic_llm.data.tokens import chat
from arabic_llm.errors import ConfigError, DataError
from arabic_llm.evaluation import harness, local_copies, suites, task_files
from arabic_llm.evaluation.chat_lm import ChatLM, Limits
from arabic_llm.models import bases, load, placement


def judge(suite, tiny_codec, *overrides, root=DATA, limit=30, kept=None):
    config = compose_config(f"suite={suite}", "hw=cpu", *overrides)
    chosen = suites.load(config.suite, root)
    base = bases.locate(config.model, None)
    model = load.base_model(config.model, base, config.adapter, placement.resolve(config.hw))
    return (
        harness.evaluate(model, tiny_codec, chosen, Limits(16, 2048, limit), ({}, {}), kept),
        chosen,
        model,
    )


def by_name(evaluation):
    return {(score.name, score.metric): score for score in evaluation.scores}


def test_the_sample_has_every_kind_of_score(tiny_codec, tmp_path):
    evaluation, _, _ = judge("sample", tiny_codec, root=tmp_path)
    assert set(by_name(evaluation)) == {
        *(("sample_choice", "acc"), ("sample_dialect", "acc"), ("sample_known", "acc")),
        *(("sample_short", m) for m in ("exact_match", "token_f1", "rouge_l")),
    }
    assert all(score.n == 30 for score in evaluation.scores)
    assert by_name(evaluation)["sample_choice", "acc"].random == 0.25
    assert Counter(item.task for item in evaluation.items) == dict.fromkeys(
        ("sample_choice", "sample_short", "sample_dialect", "sample_known"), 30
    )


def test_the_base_model_knows_the_statements_it_was_pretrained_on(tiny_codec, tmp_path):
    evaluation, _, _ = judge("sample", tiny_codec, root=tmp_path, limit=100)
    assert by_name(evaluation)["sample_known", "acc"].value > 0.9


def test_our_scores_are_those_of_plain_lm_eval(tiny_codec, tmp_path):
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    ours, _, model = judge("sample", tiny_codec, root=tmp_path)
    for is_chat, names in ((True, ["sample_choice", "sample_short"]), (False, ["sample_known"])):
        theirs = simple_evaluate(
            HFLM(pretrained=model, tokenizer=tiny_codec.tokenizer, batch_size=16),
            tasks=names,
            limit=30,
            apply_chat_template=is_chat,
            task_manager=TaskManager(include_path=str(task_files.OUR_TASKS), include_defaults=False),
        )["results"]
        for (name, metric), score in by_name(ours).items():
            if name in names:
                assert score.value == pytest.approx(theirs[name][f"{metric},none"])
                assert score.stderr == pytest.approx(theirs[name][f"{metric}_stderr,none"])


ON_THE_HUB = {  # all of it; test_benchmarks_of_2026.py reads made-up copies
    *("arabic_light", "aralingbench", "cmmlu_education", "dialect_mmlu", "gat", "ifeval_ar", "qimma"),
    "three_lm",
}
OF_OTHERS = paths.CONF / "suite" / "every.yaml"  # made of their tasks


def test_the_suite_of_everything_asks_what_every_other_one_asks_each_with_a_limit():
    every = compose_config("suite=every").suite
    assert all(task.limit for task in every.tasks.values())
    for file in {*paths.CONF.glob("suite/*.yaml")} - {OF_OTHERS}:
        own = compose_config(f"suite={file.stem}").suite.tasks
        # OALL v1, parts of what is whole in it, rows of the user's.
        apart = ("arabic_leaderboard_", "ceval-valid_", "cmmlu_", "own_rows")
        assert [name for name in own.keys() - every.tasks.keys() if not name.startswith(apart)] == []


@needs_data
@pytest.mark.parametrize(
    "file", sorted({*paths.CONF.glob("suite/*.yaml")} - {OF_OTHERS}), ids=lambda p: p.stem
)
def test_every_suite_has_documents_for_each_of_its_tasks(file, monkeypatch):
    import datasets.config
    import huggingface_hub.constants

    for constants in (datasets.config, huggingface_hub.constants):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    rows = ["data=gsm8k"] if file.stem == "own" else []  # the sample sets none aside
    suite = compose_config(f"suite={file.stem}", "suite.allow_missing=true", *rows).suite
    if file.stem in ON_THE_HUB:
        with pytest.raises(suites.MissingBenchmarkError):
            suites.load(suite, DATA)
        return
    for entry in suites.load(suite, DATA):
        assert all(entry.documents.values())


@needs_data
def test_a_local_copy_of_which_many_tasks_ask_a_subject_is_read_once(monkeypatch):
    read = []

    def ceval(path):
        read.append(path)
        return local_copies.ceval(path)

    monkeypatch.setitem(local_copies.READERS, "ceval", ceval)
    chosen = suites.load(compose_config("suite=ceval_education").suite, DATA)
    assert len(chosen) > 10
    assert read == [DATA / "ceval"]


@needs_data
def test_exams_and_arabicmmlu_are_read_whole_with_their_groups(tiny_codec):
    chosen = {entry.name: entry for entry in suites.load(compose_config("suite=school_exams").suite, DATA)}
    sizes = {
        name: sum(len(documents) for documents in entry.documents.values())
        for name, entry in chosen.items()
    }
    assert sizes == {"aexams": 537, "arabicmmlu": 2487}
    assert chosen["aexams"].identity()["items"].keys() == chosen["aexams"].leaves.keys()
    assert set(chosen["arabicmmlu"].groups) == {
        *("arabicmmlu", "arabicmmlu_stem", "arabicmmlu_social_science", "arabicmmlu_humanities"),
        *("arabicmmlu_language", "arabicmmlu_other"),
    }
    assert chosen["arabicmmlu"].groups["arabicmmlu_stem"] == ("arabicmmlu_biology_high_school",)
    assert len(chosen["aexams"].groups["aexams"]) == 5


@needs_data
@pytest.mark.parametrize(("suite", "group"), [("exams", "aexams"), ("arabicmmlu", "arabicmmlu")])
def test_a_group_scores_as_lm_evals_own_group(tiny_codec, suite, group):
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    ours, (entry,), model = judge(suite, tiny_codec, limit=6)
    folder = str(task_files._folder(suite if suite == "arabicmmlu" else "aexams"))
    tasks = suites.load(compose_config(f"suite={suite}").suite, DATA)[0].leaves
    for task in tasks.values():
        task.set_config(key="num_fewshot", value=0)
    theirs = evaluate(
        HFLM(pretrained=model, tokenizer=tiny_codec.tokenizer, batch_size=16),
        {"tasks": tasks, "groups": {}, "group_map": {}},
        limit=6,
        bootstrap_iters=0,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
    )
    sizes = {name: counts["effective"] for name, counts in theirs["n-samples"].items()}
    micro = sum(theirs["results"][n]["acc,none"] * size for n, size in sizes.items()) / sum(sizes.values())
    assert by_name(ours)[group, "acc"].value == pytest.approx(micro)
    config = TaskManager(include_path=folder, include_defaults=False).task_index[group].cfg
    assert all(
        metric["weight_by_size"] for metric in config["aggregate_metric_list"]
    )  # their mean is micro
    assert entry.settings.num_fewshot == 0


@needs_data
def test_few_shot_examples_come_from_the_dev_rows(tiny_codec):
    evaluation, _, _ = judge("exams", tiny_codec, "suite.tasks.aexams.num_fewshot=3", limit=2)
    assert by_name(evaluation)["aexams", "acc"].n == 10


def test_a_benchmark_that_is_not_here_says_where_it_was_looked_for(tmp_path, monkeypatch):
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataError, match=r"aexams: no local copy at .*exams_ar \(set data_root or ARABIC_LLM_DATA\)"
    ):
        suites.load(compose_config("suite=exams").suite, tmp_path)


def test_unknown_tasks_and_folders_are_named():
    suite = compose_config("suite=sample").suite
    suite.tasks["sample_essay"] = suite.tasks["sample_choice"]
    with pytest.raises(ConfigError, match="sample has no task 'sample_essay'; there are: sample_choice"):
        suites.load(suite, DATA)
    suite = compose_config("suite=sample", "suite.tasks.sample_choice.folder=nowhere").suite
    with pytest.raises(
        ConfigError, match="no task folder|neither arabic_llm nor lm_eval has a task folder 'nowhere'"
    ):
        suites.load(suite, DATA)


def test_prompts_are_rendered_where_training_renders_its_rows(tiny_codec, tmp_path):
    _, chosen, model = judge("sample", tiny_codec, root=tmp_path, limit=1)
    lm = ChatLM(model, tiny_codec, Limits(1, 2048, None))
    history = [{"role": "user", "content": "ما عاصمة مصر؟"}]
    assert (
        lm.apply_chat_template(history)
        == "<|im_start|>user\nما عاصمة مصر؟<|im_end|>\n<|im_start|>assistant\n"
    )
    (instance, *_) = chosen[0].leaves["sample_choice"].instances
    assert instance.args[0].startswith("<|im_start|>user\n")
    assert instance.args[0].endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("name", NAMES)
def test_lm_eval_feeds_the_ids_that_training_fed(name):
    codec = codec_of(name)
    lm = ChatLM(random_model(codec), codec, Limits(1, 512, None))
    context = lm.apply_chat_template([{"role": "user", "content": "ما عاصمة مصر؟"}])
    prompt, answer = lm._encode_pair(context, "القاهرة")
    row = chat.encode(codec, question_answer("r", "ما عاصمة مصر؟", "القاهرة"), 512, Overflow.drop)[0]
    assert row.input_ids[: len(prompt) + len(answer)] == prompt + answer
    (batch,), _ = lm.tok_batch_encode([context])
    assert row.input_ids[: len(batch)] == batch.tolist()


def random_model(codec):
    from transformers import AutoModelForCausalLM, Qwen2Config

    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    return AutoModelForCausalLM.from_config(Qwen2Config(**size, vocab_size=len(codec.tokenizer)))


def test_an_evaluation_comes_back_from_its_files(tiny_codec, tmp_path):
    evaluation, _, _ = judge("sample", tiny_codec, root=tmp_path, limit=3)
    scores.write(evaluation, tmp_path / "e")
    assert scores.read(tmp_path / "e") == evaluation


def test_the_constant_answer_is_scored_as_an_answer(tiny_codec, tmp_path):
    evaluation, _, _ = judge("sample", tiny_codec, root=tmp_path, limit=200)
    items = [item for item in evaluation.items if item.task == "sample_choice"]
    best = max(Counter(item.target_index for item in items).values()) / len(items)
    assert by_name(evaluation)["sample_choice", "acc"].constant == pytest.approx(best)
    short = [item.target for item in evaluation.items if item.task == "sample_short"]
    often = max(Counter(short).values()) / len(short)
    assert by_name(evaluation)["sample_short", "exact_match"].constant >= often
