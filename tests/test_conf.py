"""Every file in conf/ and experiments/ composes and becomes dataclasses; mistakes are named."""

import pytest
from conftest import compose_config

from arabic_llm.config import compose, paths
from arabic_llm.errors import ConfigError

GROUPS = sorted(paths.CONF.glob("*/*.yaml"))
RECIPES = sorted((paths.EXPERIMENTS / "experiment").glob("*.yaml"))
COMPARED = ("task.base=a", "task.tuned=b")  # mandatory on the command line


def needed(file):
    if "kind: masked" in file.read_text(encoding="utf-8"):
        return ("task=evaluate",)
    return {"compare": COMPARED, "local": ("data.path=x.jsonl",)}.get(file.stem, ())


@pytest.mark.parametrize("file", GROUPS, ids=lambda p: f"{p.parent.name}={p.stem}")
def test_every_option_composes_and_is_named_after_its_file(file):
    config = compose_config(f"{file.parent.name}={file.stem}", *needed(file))
    assert getattr(config, file.parent.name).name == file.stem


LANGUAGES = {"ar", "arz", "ary", "apc", "acm", "ars", "dialects", "en", "zh"}
SKILLS = {
    *("knowledge", "culture", "reading", "reasoning", "mathematics", "dialect", "generation"),
    *("education", "safety"),
}


@pytest.mark.parametrize("file", sorted((paths.CONF / "suite").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_task_of_a_suite_says_its_language_and_its_skill(file):
    for task in compose_config(f"suite={file.stem}").suite.tasks.values():
        assert task.language in LANGUAGES
        assert task.skill in SKILLS


@pytest.mark.parametrize("file", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_composes_and_opens_with_its_question_and_command(file):
    compose_config(f"+experiment={file.stem}")
    head = file.read_text(encoding="utf-8").split("defaults:")[0]
    assert "?" in head
    assert f"+experiment={file.stem}" in head


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+adapter.rnak=8", "no setting 'adapter.rnak'; did you mean 'adapter.rank'"),
        ("+wandb_token=x", "no setting 'wandb_token'"),
        ("+suite.tasks.sample_choice.fewshot=1", "did you mean 'suite.tasks.sample_choice.num_fewshot'"),
        ("adapter.rank=0", "adapter.rank must be at least 1, not 0"),
        ("adapter.dropout=1.0", r"adapter.dropout must be in \[0, 1\)"),
        ("data.profile=decode", "data.profile must be one of decoder, encoder, matching, none"),
        ("data.dev_share=1", r"data.dev_share must be in \[0, 1\), not 1"),
        ("seed=-1", "seed must be in"),
        ("suite.limit=0", "suite.limit must be at least 1, not 0"),
        ("task.warmup_ratio=2", "task.warmup_ratio must be between 0 and 1"),
        (
            "task.max_length=4096",
            "task.max_length=4096 is more than the 2048 tokens that model=tiny can see",
        ),
        ("suite.tasks.sample_choice.path=x", "path and reader together"),
        ("task.learning_rate=inf", "^task.learning_rate=inf is not finite where 32 bits hold it; give"),
        ("task.learning_rate=1e39", r"^task.learning_rate=1e\+39 is not finite"),
        ("model.learning_rate=nan", "^model.learning_rate=nan is not finite"),
        ("task.weight_decay=nan", "^task.weight_decay=nan is not finite"),
        ("task.weight_decay=-0.1", r"task.weight_decay must not be negative \(-0.1\)"),
        ("task.max_grad_norm='-inf'", "^task.max_grad_norm=-inf is not finite"),
        ("hw.usable_gib=nan", "^hw.usable_gib=nan is not finite"),
        ("+data.language_quotas={ar:nan}", "^data.language_quotas.ar=nan is not finite"),
        ("task.learning_rate=-1", "task.learning_rate must be positive"),
        ("task.epochs=0", "task.epochs must be positive"),
        ("hw.micro_batch_size=0", "hw.micro_batch_size must be positive"),
        ("hw.executor.num_tasks=0", "hw.executor.num_tasks must be at least 1, not 0"),
        ("hw.executor.kind=slurm", "hw.executor.partition is not set"),
        ("model.pad_token='<|im_end|>'", "model.pad_token must differ from model.stop_token"),
        ("model.chat_template=???", "no value for model.chat_template"),
        ("model.stop_token=''", "no value for model.stop_token; a causal model needs it"),
        ("model.kind=masked", "model.chat_template has no meaning with model=tiny: it is masked"),
    ],
)
def test_mistakes_are_named(override, said):
    with pytest.raises(ConfigError, match=said):
        compose_config(override)


@pytest.mark.parametrize("task", ["sft", "study", "inspect"])
def test_a_task_for_causal_models_refuses_a_masked_one(task):
    said = f"^task={task} is not for model=arabert, a masked language model: task=classify trains it"
    with pytest.raises(ConfigError, match=said):
        compose_config(f"task={task}", "model=arabert")


def test_low_rank_settings_are_refused_where_nothing_reads_them():
    for key in ("rank=8", "path=x", "quantization=nf4"):
        with pytest.raises(ConfigError, match=rf"adapter\.{key[:4]}\w* has no meaning with adapter=full"):
            compose_config("adapter=full", f"adapter.{key}")


def test_early_stopping_needs_a_checkpoint_at_its_evaluations():
    with pytest.raises(ConfigError, match="to be the same"):
        compose_config("task.early_stopping_patience=2", "task.eval_steps=30", "task.save_steps=50")


def test_no_field_of_the_schema_takes_a_secret():
    names = str(compose_config().__dataclass_fields__) + str(compose.identity(compose_config()))
    assert not any(word in names.lower() for word in ("api_key", "password", "secret", "hf_token"))


def test_hw_and_tracking_do_not_change_the_identity_of_a_run():
    plain = compose.identity(compose_config())
    assert plain == compose.identity(compose_config("hw=4gb", "tracking=none", "resume=false"))
    assert plain == compose.identity(compose_config("data.engine=datatrove"))
    assert plain != compose.identity(compose_config("adapter.rank=8"))
    assert plain != compose.identity(compose_config("seed=1"))
