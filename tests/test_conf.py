"""Every file in conf/ and experiments/ composes and becomes dataclasses; mistakes are named."""

from dataclasses import fields, is_dataclass, replace
from typing import get_args, get_type_hints

import pytest
from conftest import compose_config
from hydra import compose as hydra_compose
from hydra import initialize_config_dir

from arabic_llm.config import compose, paths, reads, schemas
from arabic_llm.config.run import RunConfig
from arabic_llm.errors import ConfigError

GROUPS = sorted(paths.CONF.glob("*/*.yaml"))
RECIPES = sorted((paths.EXPERIMENTS / "experiment").glob("*.yaml"))
COMPARED = ("task.base=a", "task.tuned=b")  # mandatory on the command line


OWN = ("auto", "local")  # which are called as their folder


def needed(file):
    if file.parent.name == "model" and file.stem in OWN:
        return (f"model.path={paths.PACKAGE / 'models' / 'tiny'}",)
    if "kind: masked" in file.read_text(encoding="utf-8"):
        return ("task=evaluate",)
    given = {"compare": COMPARED, "local": ("data.path=x.jsonl",)}
    given |= dict.fromkeys(("export", "serve"), ("task.run=a",))
    return given.get(file.stem, ())


@pytest.mark.parametrize("file", GROUPS, ids=lambda p: f"{p.parent.name}={p.stem}")
def test_every_option_composes_and_is_named_after_its_file(file):
    config = compose_config(f"{file.parent.name}={file.stem}", *needed(file))
    name = "tiny" if file.parent.name == "model" and file.stem in OWN else file.stem
    assert getattr(config, file.parent.name).name == name


LANGUAGES = {"ar", "arz", "ary", "apc", "acm", "ars", "dialects", "en", "zh"}
SKILLS = {
    *("knowledge", "culture", "reading", "reasoning", "mathematics", "dialect", "generation"),
    *("education", "safety"),
}


@pytest.mark.parametrize("file", sorted((paths.CONF / "suite").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_task_of_a_suite_says_its_language_and_its_skill(file):
    for task in compose_config(f"suite={file.stem}").suite.tasks.values():
        assert task.language in LANGUAGES or task.own_rows  # data.language is theirs
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
        ("adapter.extend_vocabulary=-1", "adapter.extend_vocabulary must be between 0 and 65,536, not -1"),
        ("adapter.extend_vocabulary=99999", "between 0 and 65,536, not 99,999"),
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
        ("task.learning_rate=2e4", r"^task.learning_rate=20000 would move each weight by about as much"),
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
        ("hw.tokens_per_micro_batch=0", "hw.tokens_per_micro_batch must be positive"),
        ("hw.executor.num_tasks=0", "hw.executor.num_tasks must be at least 1, not 0"),
        ("hw.executor.kind=slurm", "hw.executor.partition is not set"),
        ("model.pad_token='<|im_end|>'", "model.pad_token must differ from model.stop_token"),
        ("model.chat_template=???", "no value for model.chat_template"),
        ("model.stop_token=''", "no value for model.stop_token; a causal model needs it"),
        ("model.max_length=0", "model.max_length must be positive, not 0"),
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
    for key in ("rank=8", "path=x", "quantization=nf4", "extend_vocabulary=9"):
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
    assert plain == compose.identity(compose_config("hw=4gb", "tracking=none", "resume=false", "lang=ar"))
    assert plain == compose.identity(compose_config("data.engine=datatrove"))
    assert plain != compose.identity(compose_config("adapter.rank=8"))
    assert plain != compose.identity(compose_config("seed=1"))


def typed(*overrides):
    """Return the configuration of a command line, which refuses what nothing reads."""
    compose.register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        return compose.to_config(hydra_compose("config", ["output_dir=out", *overrides]), overrides)


def settings_types(of):
    """Yield a type of settings and all that stand in it."""
    yield of
    for hint in get_type_hints(of).values():
        for inner in (hint, *get_args(hint)):
            if is_dataclass(inner):
                yield from settings_types(inner)


@pytest.mark.parametrize(
    "owner", sorted({*settings_types(RunConfig), *schemas.TASKS}, key=lambda owner: owner.__name__)
)
def test_every_setting_says_when_it_is_read(owner):
    hints = get_type_hints(owner)
    leaves = [
        f.name
        for f in fields(owner)
        if not any(map(is_dataclass, (hints[f.name], *get_args(hints[f.name]))))
    ]
    assert [name for name in leaves if reads.rule_of(owner, name) is None] == []
    own = set(reads.READ.get(owner, {}))
    assert own - {f.name for f in fields(owner)} == set(), "a rule of a field that is no more"


MIX = ("data=school_and_stories",)
COMPARE = ("task=compare", *COMPARED)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ("model.path=mine",),
            "with model=tiny, which is built in: .* add model.builtin=false",
        ),
        (("model.hub_id=a/b",), "built in"),
        (("model.revision=x", "model=qwen2_7b", "model.path=mine"), "beside model.path=mine"),
        (("model.extra_files=[a]",), "built in"),
        (("model.learning_rate=1e-5", "task.learning_rate=2e-5"), "beside task.learning_rate=2e-05"),
        (("task=pretrain", "model.learning_rate=1e-5"), r"beside task\.learning_rate=0\.002"),
        (
            ("task=prepare", "model.chat_template=chatml"),
            "with task=prepare; task=chat, task=classify, task=dpo, task=evaluate,",
        ),
        (("adapter=full", "adapter.use_dora=true"), "with adapter=full"),
        (("adapter=full", "adapter.target_modules=[q_proj]"), "with adapter=full"),
        (("adapter=none", "task=study", "adapter.use_rslora=true"), "with adapter=none"),
        *(
            (
                (f"adapter.{name}", "adapter.path=mine"),
                "beside adapter.path=mine: that adapter keeps its own",
            )
            for name in ("rank=8", "alpha=9", "dropout=0.1", "use_dora=true", "target_modules=[q_proj]")
        ),
        (
            ("task=evaluate", "adapter.rank=8"),
            "with task=evaluate; task=classify, task=dpo, task=kto, task=orpo, task=sft, task=study would",
        ),
        (
            ("task=evaluate", "adapter={rank: 8, alpha: 2}"),
            "with task=evaluate; task=classify",
        ),
        (("task=pretrain", "adapter.quantization=nf4"), "with task=pretrain"),
        *(
            (
                (f"task={name}", "adapter.extend_vocabulary=9"),
                f"with task={name}; task=dpo, task=inspect, task=kto, task=orpo, task=sft, ",
            )
            for name in ("classify", "evaluate", "pretrain", "prepare", "robustness")
        ),
        (
            ("adapter.extend_vocabulary=9", "adapter.path=mine"),
            "beside adapter.path=mine: that adapter keeps",
        ),
        (("adapter.extend_vocabulary=9", "adapter=none", "task=study"), "with adapter=none"),
        (("adapter.extend_vocabulary=9", "task=plan", "task.of=dpo"), "with task.of=dpo"),
        (("task=plan", "lang=ar"), "with task=plan; task=study"),
        (
            ("hw.embedding_on_host=true", "hw=80gb", "model=llama3_8b", "adapter.extend_vocabulary=9"),
            "with adapter.extend_vocabulary, which trains rows",
        ),
        (("hw.fsdp=true", "hw=2x24gb", "adapter.extend_vocabulary=9"), "with adapter.extend_vocabulary"),
        (("task=inspect", "adapter.rank=8"), "with task=inspect"),
        (("task=evaluate", "hw.micro_batch_size=2"), "with task=evaluate"),
        (("task=prepare", "hw.precision=float32"), "with task=prepare"),
        (("hw.num_processes=2",), "with task=sft; task=prepare, task=synthesize would read it"),
        (("hw.fsdp=true", "hw=24gb"), r"with hw\.num_cards=1"),
        (("hw.optimizer_on_host=true", "hw=cpu"), "on a CPU"),
        (("hw.embedding_on_host=true", "hw=4gb"), "model=tiny, whose table of tokens is its head"),
        (
            ("hw.embedding_on_host=true", "hw=80gb", "model=llama3_8b", "adapter=full"),
            "adapter=full, which trains",
        ),
        (
            ("hw.embedding_on_host=true", "hw.device=cuda", "hw=cpu", "model=llama3_8b"),
            "without a card and a budget",
        ),
        (("task=prepare", "hw.executor.num_tasks=2"), r"without data\.engine=datatrove"),
        (("task=prepare", "data.engine=datatrove", "hw.executor.mem_per_cpu_gb=4"), "kind=local"),
        (
            ("task=prepare", "data.engine=datatrove", "hw.executor.partition=x"),
            "without hw.executor.kind=slurm",
        ),
        (("data.path=mine.jsonl",), "data=sample, which is built in: for rows of your own take data=local"),
        (("data.columns.prompt=q",), "built in"),
        (("data.hub_id=a/b", "data=local", "data.path=x"), "beside the path x"),
        (("data=cidar", "data.hub_id=null", "data.revision=x"), "without a hub_id"),
        (("data.weight=2",), "but of the sources of a mix"),
        ((*MIX, "data.max_rows=9"), r"a mix: set it for a source \(data\.sources\.<name>: "),
        ((*MIX, "data.cleaning.min_chars=9"), "a mix"),
        ((*MIX, "data.columns.prompt=q"), "a mix"),
        (("data.cleaning.scripts=[arabic]",), "without min_script_share"),
        (("data.dev_share=0",), "with data=sample, whose rows are generated for each split"),
        (
            ("data=local", "data.path=x", "data.test_files=[t]", "data.test_share=0.1"),
            r"beside data\.test_files",
        ),
        (("task=classify", "data.max_rows=9"), "with data=sample, whose labelled sentences are generated"),
        (("task=classify", "data.dedup=false"), "with data=sample, whose labelled sentences are generated"),
        (("data.labels=[a,b]",), "task=classify would read it"),
        (("task=classify", "data.overflow=cut"), "with task=classify"),
        (("task=evaluate", "data.max_rows=3"), "with task=evaluate"),
        (("data.engine=datatrove",), "task=prepare, task=synthesize would read it"),
        (("data.license=MIT",), "task=prepare, task=synthesize would read it"),
        (("suite.limit=3",), "with task=sft; task=evaluate, task=robustness, task=study would read it"),
        (("task=inspect", "suite.allow_missing=true"), "without data.cleaning.drop_test_items"),
        (("task=classify", "suite.tasks.sample_choice.folder=x"), "with task=classify"),
        (("task=evaluate", "suite.tasks.sample_choice.seed=3"), "without the task's data"),
        (("task=evaluate", "suite=own", "suite.tasks.own_rows.seed=3"), "with own_rows: they are split as"),
        (
            ("task=evaluate", "data.path=x"),
            "task=study, .* would read it; with suite=own its test rows are",
        ),
        (("task=export", "task.run=x", "suite=own", "data.path=x"), "with task=export"),
        (("judge.model=x", "judge.endpoint=http://x"), "with task=sft; task=compare, task=evaluate"),
        (("task=dpo", "task.label_smoothing=0.1"), "with task.loss_type=sigmoid"),
        *(
            (("task=study", setting), r"without task\.stages")
            for setting in ("task.dpo.beta=0.1", "data@task.pairs=local", "task.pairs.max_rows=9")
        ),
        *(
            (
                ("task=study", "task.stages=[dpo]", setting),
                f"without sft in task.stages: {read} is what dpo",
            )
            for setting, read in (
                ("data=cidar", "task.pairs"),
                ("task.max_steps=3", "task.dpo.max_steps"),
                ("task.held_out.num_bytes=0", "task.dpo.held_out.num_bytes"),
            )
        ),
        (("task=study", "task.stages=[sft,dpo]", "task.orpo.beta=1"), "without orpo in task.stages"),
        (("task=study", "task.stages=[sft]", "task.pairs.max_rows=9"), "without a stage that learns from"),
        (
            ("task=study", "task.stages=[sft,dpo]", "task.pairs.license=MIT"),
            "task=prepare, task=synthesize would read it",
        ),
        (("task=study", "task.stages=[sft,dpo]", "task.pairs.overflow=cut"), "likelier for it"),
        (("task=orpo", "data.overflow=cut"), "an answer that is cut would be likelier for it"),
        (("task.epochs=3", "task.max_steps=9"), r"beside task\.max_steps=9"),
        (("task.held_out.num_bytes=0", "task.held_out.texts.ar=builtin"), "num_bytes=0"),
        (("task=inspect", "task.rows=3", "task.ids=[a]"), r"beside task\.ids"),
        (
            ("task=robustness", "task.perturbations=[yeh]", "task.diacritised_text=x"),
            "without diacritics_added",
        ),
        ((*COMPARE, "hw.precision=float32"), "with task=compare"),
        (("task=report", "model.max_length=9"), "with task=report"),
        (("task=evaluate", "data=cidar"), "with task=evaluate; task=classify,"),
        (("task=prepare", "adapter=qlora"), "with task=prepare; task=chat, task=classify"),
        (("task=classify", "suite=english"), "with task=classify"),
        ((*COMPARE, "model=qwen2_7b"), "with task=compare"),
        (("task=evaluate", "adapter=full"), "with task=evaluate, which trains nothing: it asks the model"),
        (("task=robustness", "adapter=dora"), "with task=robustness, which trains nothing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_setting_that_nothing_reads_in_this_combination_is_refused(command, said):
    keys = "|".join(word.partition("=")[0] for word in command)
    with pytest.raises(ConfigError, match=rf"^({keys})\S* has no meaning .*{said}"):
        typed(*command)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("hw.fsdp=true", "hw=24gb"), "hw.fsdp=true"),
        (("hw.fsdp=False", "hw=24gb"), "hw.fsdp=false"),
        (
            ("adapter=full", "adapter.target_modules=[q_proj,v_proj]"),
            "adapter.target_modules=[q_proj, v_proj]",
        ),
        (("model.extra_files=['a b']",), 'model.extra_files=["a b"]'),
        (("model.hub_id=null",), "model.hub_id=null"),
        (("adapter=full", "adapter={use_dora: true}"), "adapter.use_dora=true"),
    ],
)
def test_what_was_typed_is_said_as_it_is_typed(command, said):
    with pytest.raises(ConfigError) as raised:
        typed(*command)
    assert str(raised.value).startswith(f"{said} has no meaning ")


@pytest.mark.parametrize(
    "command",
    [
        ("model.builtin=false", "model.path=mine"),
        ("model=qwen2_7b", "model.path=mine", "model.hub_id=a/b"),  # what the folder is of
        ("model.learning_rate=1e-5",),
        ("adapter.path=mine", "adapter.dtype=bfloat16", "adapter=qlora"),
        ("task=evaluate", "adapter=none", "adapter.path=mine", "adapter.quantization=nf4"),
        ("task=evaluate", "suite=sample", "suite.tasks.sample_choice.limit=3", "model.max_length=64"),
        (*MIX, "data.sources.sample.max_rows=9", "data.dedup=false", "data.dev_share=0.1"),
        (*MIX, "data.path=prepared", "data.files=[train.jsonl]"),
        (
            "task=plan",
            "adapter.rank=8",
            "data.max_rows=3",
            "suite.limit=3",
            "task.max_steps=2",
        ),  # of a run to come
        ("task=pretrain", "data.dev_share=0.1"),
        *((f"task={name}", "adapter.extend_vocabulary=9") for name in ("inspect", "study", "plan")),
        ("task=download", "adapter.rank=8", "hw.micro_batch_size=1"),
        ("task=inspect", "suite.allow_missing=true", "data.cleaning.drop_test_items=true"),
        ("hw=cpu", "hw.fsdp=true"),
        ("task=sft", "lang=ar"),  # and a sweep of it
        ("task=prepare", "data.engine=datatrove", "hw.executor={kind: slurm, partition: x}"),
        (*COMPARE, "judge.model=x", "judge.endpoint=http://x", "seed=3", "tracking=none", "resume=false"),
        ("~suite.tasks.sample_short", "task=evaluate"),
        ("hydra.run.dir=mine", "++task.max_steps=3"),
        (
            *("task=study", "task.stages=[dpo,orpo]", "task.starts_from.orpo=base", "task.dpo.beta=0.1"),
            *("data@task.pairs=llamafactory_dpo_zh", "task.pairs.max_rows=9", "task.prompts=[x]"),
        ),
    ],
    ids=" ".join,
)
def test_a_setting_that_is_read_is_taken(command):
    assert typed(*command)


def test_rows_of_ones_own_that_a_suite_asks_are_those_of_the_run_whatever_a_stage_learns_from():
    config = compose_config("suite=own", "data=local", "data.path=a.jsonl", "seed=3")
    stage = replace(config, data=replace(config.data, path="b.jsonl"))
    (asked,) = stage.suite.tasks.values()
    assert (asked.data.path, asked.seed) == ("a.jsonl", 3)
    assert replace(asked, seen_in_training=True).data.path == "a.jsonl"
