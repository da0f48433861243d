"""Everything that decides an answer is in its identity, or stands here with why it decides none."""

import ast
import json
import shutil
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
from conftest import compose_config
from datasets import Dataset

from arabic_llm.config.adapter import AdapterConfig, Quantization
from arabic_llm.config.hw import HardwareConfig, Precision
from arabic_llm.config.model import ArchitectureConfig, ModelConfig, ModelKind
from arabic_llm.config.paths import PACKAGE
from arabic_llm.config.run import RunConfig
from arabic_llm.config.suite import Aggregate, SuiteConfig, SuiteTask
from arabic_llm.config.task import EvaluateConfig
from arabic_llm.evaluation import code, identity, suites
from arabic_llm.models import adapter, bases, placement, tokenization
from arabic_llm.tasks import evaluate as task
from arabic_llm.workflows import evaluate

LABEL = "a name for people"
HASHED = "says where files lie, whose content is hashed"
TRAINED = "of training; what was trained is hashed, with its settings"
ROUNDING = "where and how many at once: the same answers up to rounding, as law 1 of docs/design.md has it"
OF_OTHERS = "no evaluation reads it"
WALKED = "walked through here itself"
# Another value of each setting that decides an answer.
DECIDES = {
    ModelConfig: {
        "name": "other",
        "kind": ModelKind.masked,
        "hub_id": "owner/other",
        "chat_template": "llama3",
        "stop_token": "<|im_start|>",
        "pad_token": "<|im_start|>",
        "max_length": 1024,
    },
    AdapterConfig: {"quantization": Quantization.nf4},
    HardwareConfig: {"precision": Precision.bfloat16},
    SuiteConfig: {"limit": 3, "overall": "All", "prompt_variants": True},
    SuiteTask: {
        "metrics": ["acc,none"],
        "num_fewshot": 2,
        "chat": False,
        "limit": 3,
        "aggregate": Aggregate.macro,
        "seen_in_training": True,
    },
}
DECIDES_NOTHING = {
    ModelConfig: {
        **dict.fromkeys(("revision", "path", "builtin", "extra_files", "gguf"), HASHED),
        "end_of_text": "ends the raw texts of training",
        "learning_rate": OF_OTHERS,
        "architecture": WALKED,
    },
    ArchitectureConfig: {
        field.name: "refused where config.json, which is hashed, says otherwise"
        for field in fields(ArchitectureConfig)
    },
    AdapterConfig: {
        "name": LABEL,
        "method": "what it decides is in dtype and trained",
        "path": HASHED,
        **dict.fromkeys(("rank", "alpha", "dropout", "dtype", "target_modules"), TRAINED),
        **dict.fromkeys(("use_dora", "use_rslora", "extend_vocabulary"), TRAINED),
    },
    HardwareConfig: {
        "name": LABEL,
        **dict.fromkeys(("device", "usable_gib", "card_gib", "compute_capability"), ROUNDING),
        **dict.fromkeys(("eval_batch_size", "num_cards", "embedding_on_host", "streamed_layers"), ROUNDING),
        "head_on_host": ROUNDING,
        **dict.fromkeys(
            ("micro_batch_size", "tokens_per_micro_batch", "gradient_checkpointing", "fsdp"), OF_OTHERS
        ),
        **dict.fromkeys(("optimizer_on_host", "num_processes", "executor"), OF_OTHERS),
    },
    SuiteConfig: {
        "name": LABEL,
        "tasks": WALKED,
        "allow_missing": "what could not be had is named (left_out)",
        "overall_mixes": "refused without, where it would decide",
    },
    SuiteTask: {
        "folder": "where its YAML lies, which is hashed",
        **dict.fromkeys(
            ("path", "reader", "columns", "data", "own_rows", "seed"),
            "where documents come from, which are hashed",
        ),
        **dict.fromkeys(("language", "skill", "compared_with"), "describes a task in the report"),
    },
    EvaluateConfig: {"name": LABEL},
    RunConfig: {
        **dict.fromkeys(("model", "adapter", "hw", "suite", "task"), WALKED),
        **dict.fromkeys(
            ("data", "resume", "dry_run", "tracking", "lang", "stop_after", "sweep"), OF_OTHERS
        ),
        "judge": "explains mistakes when all is answered",
        "seed": "draws splits, orders and adapters; what a suite draws has seeds of its own",
        **dict.fromkeys(("data_root", "cache_dir", "output_dir"), HASHED),
    },
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Return a function: changes of settings, by their class -> what the evaluation would be."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(PACKAGE / "models" / "tiny", folder / "tiny")
    config = compose_config("hw=cpu", "task=evaluate", f"cache_dir={folder}", f"data_root={folder}")
    config.model = replace(config.model, builtin=False, path=str(folder / "tiny"))
    config.suite.tasks = {name: config.suite.tasks[name] for name in ("sample_choice", "sample_short")}

    def tell(changed=None, **values):
        model, hw, adapter_, suite = config.model, config.hw, config.adapter, config.suite
        if changed is ModelConfig and values.get("kind") is ModelKind.masked:
            values |= dict.fromkeys(("chat_template", "stop_token", "pad_token", "end_of_text"), "")
        model = replace(model, **values) if changed is ModelConfig else model
        adapter_ = replace(adapter_, **values) if changed is AdapterConfig else adapter_
        hw = replace(hw, **values) if changed is HardwareConfig else hw
        suite = replace(suite, **values) if changed is SuiteConfig else suite
        if changed is SuiteTask:
            first = replace(suite.tasks["sample_choice"], **values)
            suite = replace(suite, tasks={**suite.tasks, "sample_choice": first})
        if suite.overall:  # all in one metric
            suite = replace(suite, tasks={"sample_choice": suite.tasks["sample_choice"]})
        return evaluate.tell(
            replace(config, model=model, hw=hw, adapter=adapter_, suite=suite), None
        ).identity

    tell.folder = folder / "tiny"
    tell.plain = tell()
    return tell


def test_asked_again_it_is_the_same(told):
    assert told() == told.plain


@pytest.mark.parametrize("config", [*DECIDES_NOTHING], ids=lambda config: config.__name__)
def test_every_setting_decides_an_answer_or_says_why_not(config):
    """A new setting fails here until it is placed."""
    deciding, others = set(DECIDES.get(config, ())), set(DECIDES_NOTHING[config])
    assert deciding | others == {field.name for field in fields(config)}
    assert not deciding & others


def test_every_part_of_a_run_is_walked_through():
    walked = [name for known in DECIDES_NOTHING.values() for name, why in known.items() if why == WALKED]
    assert sorted(walked) == ["adapter", "architecture", "hw", "model", "suite", "task", "tasks"]
    assert all(is_dataclass(config) for config in DECIDES_NOTHING)


@pytest.mark.parametrize(
    ("config", "name"), [(config, name) for config, values in DECIDES.items() for name in values]
)
def test_a_setting_that_decides_an_answer_changes_the_identity(told, config, name):
    changed = told(config, **{name: DECIDES[config][name]})
    assert changed != told.plain
    assert json.dumps(changed) != json.dumps(told.plain)


def test_what_is_said_to_decide_nothing_does_not_change_it(told):
    assert told(ModelConfig, learning_rate=1.0, revision="v2", extra_files=["x"]) == told.plain
    assert told(HardwareConfig, eval_batch_size=3, name="other") == told.plain
    assert told(SuiteTask, language="zh", skill="reading") == told.plain
    assert told(AdapterConfig, rank=3, alpha=5, name="other") == told.plain


# Files as transformers, tokenizers and this program write them into the folder of a model.
FILES = {
    *("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer.json", "tokenizer.model"),
    *("spiece.model", "adapter_config.json", "preprocessor_config.json", "a_file_of_next_year.json"),
}
FILES_OF_NO_ANSWER = {
    *(
        "README.md",
        "LICENSE",
        "LICENSE.txt",
        "USE_POLICY.md",
        ".gitattributes",
        "model.gguf",
        "tf_model.h5",
    ),
    *("modeling_own.py", "SEALED.json", "outcome.json", "ledger.json", "lint.json", "arabic_llm.json"),
    *("chat_template.jinja", "training_args.bin", "pretraining.json", "trainer_state.json"),
}


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_of_the_models_folder_changes_the_identity(told, name):
    path = told.folder / name
    before = path.read_bytes() if path.exists() else None
    try:
        if before is not None:
            path.write_bytes(before + b"\n")
            assert told() != told.plain
        else:
            path.write_text("{}")
            assert identity.files_hash(told.folder) != told.plain[0]["files"]
    finally:
        path.unlink() if before is None else path.write_bytes(before)


@pytest.mark.parametrize("name", sorted(FILES_OF_NO_ANSWER))
def test_a_file_that_decides_nothing_says_why_not(told, name):
    assert identity.why_not(name)
    path = told.folder / name
    before = path.read_bytes() if path.exists() else None
    path.write_text("{}")
    assert identity.files_hash(told.folder) == told.plain[0]["files"]
    path.unlink() if before is None else path.write_bytes(before)


def test_weights_change_it_of_the_base_and_of_what_was_trained(told, tmp_path):
    shutil.copytree(told.folder, tmp_path / "tiny")
    weights = tmp_path / "tiny" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert told(ModelConfig, path=str(tmp_path / "tiny")) != told.plain
    config = compose_config("hw=cpu", "task=evaluate")
    base = bases.locate(config.model, tmp_path)
    codec, place = tokenization.load(base), placement.resolve(config.hw)

    def of_trained():
        how = (config.model, config.adapter, place, base, codec)
        return identity.of_model(*how, tmp_path / "tiny")["trained"]

    before = of_trained()
    assert before != adapter.trained_hash(tmp_path / "tiny")
    for name in ("config.json", "generation_config.json"):  # read beside full weights
        path = tmp_path / "tiny" / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"rope_theta": 7}))
        assert of_trained() != before
        before = of_trained()


TASKS = {  # lm-eval's settings that decide what is asked or how it is scored
    "filter_list": [{"name": "none", "filter": [{"function": "lowercase"}]}],
    "process_results": lambda document, results: {"acc": 1.0},
    "generation_kwargs": {"until": ["x"]},
    "target_delimiter": "",
    "doc_to_target": "0",
    "gen_prefix": "x",
    "repeats": 2,
    "description": "x",
}


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    suite = compose_config("suite=sample").suite
    suite.tasks = {"sample_choice": suite.tasks["sample_choice"]}
    (chosen,) = suites.load(suite, tmp_path_factory.mktemp("no_data"))
    return chosen


@pytest.mark.parametrize("name", TASKS)
def test_how_a_task_asks_and_scores_changes_the_identity(entry, monkeypatch, name):
    task = entry.leaves["sample_choice"]
    before = entry.identity()
    monkeypatch.setattr(task.config, name, TASKS[name])
    assert replace(entry).identity() != before


def test_the_documents_of_a_task_change_the_identity_wherever_they_lie(entry, monkeypatch):
    task, before = entry.leaves["sample_choice"], entry.identity()
    rows = list(task.eval_docs)
    monkeypatch.setattr(task.config, "dataset_path", "elsewhere")
    assert replace(entry).identity() == before
    rows[3] = rows[3] | {"question": rows[3]["question"] + "!"}
    monkeypatch.setattr(task, "dataset", {"test": Dataset.from_list(rows)})
    assert replace(entry).identity() != before


def test_the_code_and_the_libraries_are_in_it(told, monkeypatch):
    monkeypatch.setattr(code, "of_evaluations", lambda: "other code")
    assert told() != told.plain
    monkeypatch.undo()
    monkeypatch.setattr(identity, "version", lambda name: "9.9" if name == "transformers" else "1")
    assert told() != told.plain


# Modules that an evaluation runs through and that decide no answer.
REFUSES = "looks at what is there and refuses"
OTHER_CODE = {
    **dict.fromkeys(("config/", "errors.py", "files.py", "hub.py", "processes.py"), "values, and where"),
    **dict.fromkeys(("data/cleaning/", "data/preparing/", "data/reading/"), "documents are hashed"),
    **dict.fromkeys(("data/sample/", "data/ledger.py", "data/rows.py"), "documents are hashed"),
    **dict.fromkeys(("evaluation/code.py", "evaluation/identity.py"), "says what the identity is"),
    **dict.fromkeys(("models/bases.py", "models/folders.py", "models/shape.py"), "files are hashed"),
    "models/from_gguf.py": "files are hashed",
    **dict.fromkeys(("models/batching.py", "models/placement.py", "models/processor.py"), ROUNDING),
    **dict.fromkeys(
        ("models/head.py", "models/host_head.py", "models/streaming.py", "models/visitors.py"),
        "where weights lie while they are asked; the same bits",
    ),
    "models/merges.py": "the merges that it learns are hashed, with the adapter that holds them",
    **dict.fromkeys(("disk.py", "limits.py", "analysis/scores_check.py"), REFUSES),
    **dict.fromkeys(("data/tokens/template_checks.py", "evaluation/foreign.py"), REFUSES),
    "evaluation/made_up.py": REFUSES,
    **dict.fromkeys(("models/adapter_files.py", "models/adapter_settings.py"), REFUSES),
    **dict.fromkeys(("models/finite.py", "models/opening.py"), REFUSES),
    "analysis/robustness.py": "what a perturbation costs; each way of asking is an evaluation of its own",
    **dict.fromkeys(
        ("text/measures.py", "text/perturb.py", "text/refusals.py"), "the texts that come of it are hashed"
    ),
}
ENTRANCES = (
    *(
        "evaluation/harness.py",
        "evaluation/masked_lm.py",
        "evaluation/perturbed.py",
        "evaluation/suites.py",
    ),
    *("models/adapter.py", "models/load.py", "models/tokenization.py"),
)


def imports(module: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not str(node.module).startswith("arabic_llm"):
            continue
        place = Path(*str(node.module).split(".")[1:])
        names = [place / alias.name for alias in node.names] if (PACKAGE / place).is_dir() else [place]
        found |= {f"{name.as_posix()}.py" for name in names if (PACKAGE / f"{name}.py").is_file()}
    return found


def test_the_code_that_an_evaluation_runs_through_is_hashed_or_decides_nothing():
    """A new module fails here until it is placed."""
    seen, todo = set(), list(ENTRANCES)
    while todo:
        if (module := todo.pop()) not in seen:
            seen.add(module)
            todo += imports(module)
    hashed = {*code._ANSWERING, *code._SCORING}
    assert set(ENTRANCES) <= hashed
    assert sorted(m for m in seen - hashed if not m.startswith(tuple(OTHER_CODE))) == []
    assert sorted(m for m in hashed if m.startswith(tuple(OTHER_CODE))) == []


def test_a_finished_run_is_not_done_where_what_decides_its_answers_has_changed(told, monkeypatch):
    config = compose_config("hw=cpu", "task=evaluate", f"cache_dir={told.folder.parent}")
    config.model = replace(config.model, builtin=False, path=str(told.folder))
    before = task.inputs(config)
    assert task.inputs(config) == before
    path = told.folder / "generation_config.json"
    own = path.read_bytes()
    path.write_bytes(own + b"\n")
    changed = task.inputs(config)
    path.write_bytes(own)
    assert {key for key in before if changed[key] != before[key]} == {"base_files"}
    monkeypatch.setattr(code, "of_evaluations", lambda: "other code")
    changed = task.inputs(config)
    assert {key for key in before if changed[key] != before[key]} == {"code"}
