"""model=auto: any folder or repository, without a YAML, says itself what one would say."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import tokenizers_like
import torch
from conftest import FEW_ROWS, compose_config, finished, run_in
from transformers import AutoConfig, AutoModelForCausalLM
from warm import curve

from arabic_llm import files
from arabic_llm.config import compose, naming, paths
from arabic_llm.errors import UserError

TINY = paths.PACKAGE / "models" / "tiny"
(TRL,) = find_spec("trl").submodule_search_locations
SETTINGS = {
    "model_type": "llama",
    **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "head_dim": 8, "vocab_size": 1600, "tie_word_embeddings": True},
    **{"max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 1},
}
QUICK = (
    *("hw=cpu", "task.max_steps=2", "task.effective_batch_size=2", "task.max_length=256"),
    *("task.held_out.num_bytes=0", *FEW_ROWS[1:]),
)
PLAN = ("task=plan", "hw=8gb", "task.max_length=64", "task.max_steps=1")


def settings(folder, **changes):
    """Write a config.json alone."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {name: value for name, value in (SETTINGS | changes).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(said), encoding="utf-8")
    return folder


def tokenizer(folder, like="llama3_8b", template="llama3_2", eos="<|end_of_text|>"):
    """Write a tokenizer with the control tokens of a family and, as it was published, its template."""
    own = tokenizers_like._build(*tokenizers_like._FAMILIES[like])
    own.eos_token = eos
    if template is not None:
        own.chat_template = (Path(TRL) / "chat_templates" / f"{template}.jinja").read_text(encoding="utf-8")
    own.save_pretrained(folder)
    return folder


def whole(folder, like="llama3_8b", template="llama3_2", eos="<|end_of_text|>", **changes):
    """Write a small model with random weights, as the hub would hold it."""
    tokenizer(folder, like, template, eos)
    torch.manual_seed(17)
    config = AutoConfig.for_model(**SETTINGS | {"bos_token_id": None, "eos_token_id": None} | changes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def without(folder, *names):
    for name in names:
        (folder / name).unlink()
    return folder


def changed(folder, name, **values):
    said = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(said | values), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Return the folder of a model that no YAML names, with a template as it was published."""
    return whole(tmp_path_factory.mktemp("models") / "my llama")


@pytest.fixture(scope="module")
def copy_of_tiny(tmp_path_factory):
    """Return a copy of the built-in model, to be changed file by file in further copies."""
    return shutil.copytree(TINY, tmp_path_factory.mktemp("models") / "mine")


def test_a_model_without_a_yaml_is_trained_and_judged(llama, tmp_path):
    own = f"model.path='{llama}'"
    said, run = finished(tmp_path, own, *QUICK)
    line = f"model=auto: my llama is llama of 2 layers in {llama}; chat template: tokenizer, an answer ends"
    line += " with <|eot_id|>, a text with <|end_of_text|>, <|reserved_special_token_0|> pads;"
    assert f"{line} up to 512 tokens, learning rate 0.001" in said.splitlines()
    assert "trained 2 steps" in said
    model = files.read_state(run / "manifest.json")["identity"]["model"]
    assert (model["name"], model["stop_token"], model["max_length"]) == ("my llama", "<|eot_id|>", 512)
    assert model["architecture"]["hidden_size"] == 32
    judged = ("task=evaluate", own, f"adapter.path={run}/adapter", "suite.limit=1", "hw=cpu")
    status, said = run_in(tmp_path, *judged)
    assert status == 0, said
    (evaluated,) = (tmp_path / "outputs" / "evaluate").iterdir()
    assert evaluated.name.startswith("my_llama-")


def test_a_copy_of_a_named_model_gives_the_same_losses_and_scores(copy_of_tiny, tmp_path):
    curves, scores = [], []
    for number, chosen in enumerate(((), (f"model.path={copy_of_tiny}",))):
        folder = tmp_path / str(number)
        folder.mkdir()
        _, run = finished(folder, *chosen, *QUICK)
        curves.append(curve(folder))
        rows = [path.name for path in (folder / "outputs" / "cache" / "tokens").iterdir()]
        adapter = (f"adapter.path={run}/adapter", "suite.limit=3", "hw=cpu", "hydra.run.dir=judged")
        status, said = run_in(folder, "task=evaluate", *chosen, *adapter)
        assert status == 0, said
        scores.append([line for line in said.splitlines() if line.startswith("sample_")])
        assert len(rows) == 4
    assert curves[0] == curves[1]
    assert curves[0]
    assert scores[0] == scores[1]
    assert scores[0]


def test_a_plan_needs_the_config_alone(tmp_path):
    settings(tmp_path / "models" / "Some-1B")
    for chosen in ("model.path=models/Some-1B", "model.hub_id=owner/Some-1B"):
        status, said = run_in(tmp_path, *PLAN, "model=auto", chosen)
        assert status == 0, said
        assert "model=auto: Some-1B is llama of 2 layers in models/Some-1B; up to 512 tokens" in said
        assert "it fits" in said


def test_of_a_model_that_sees_the_text_part_is_planned(tmp_path):
    part = {name: SETTINGS[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers")}
    part |= {"model_type": "gemma3_text", "head_dim": 8, "vocab_size": 1600, "sliding_window": 16}
    vision = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    folder = tmp_path / "sees"
    folder.mkdir()
    said = {"model_type": "gemma3", "text_config": part, "vision_config": vision}
    (folder / "config.json").write_text(json.dumps(said), encoding="utf-8")
    status, said = run_in(tmp_path, *PLAN, "model.path=sees")
    assert status == 0, said
    assert "sees is gemma3_text of 2 layers" in said


@pytest.mark.parametrize(
    ("like", "eos", "said"),
    [
        (
            "qwen2_7b",
            "<|endoftext|>",
            "chat template: chatml (it brings none), an answer ends with <|im_end|>,",
        ),
        ("llama2_7b", "</s>", "chat template: chatml_eos (it brings none), an answer ends with </s>,"),
    ],
)
def test_a_base_model_is_taught_chatml_and_it_is_said(tmp_path, like, eos, said):
    tokenizer(settings(tmp_path / "base"), like, None, eos)
    assert said in run_in(tmp_path, "dry_run=true", "model.path=base", *QUICK)[1]


def test_what_is_set_is_taken(copy_of_tiny, tmp_path):
    set_ = (
        "model.pad_token='<|im_start|>'",
        "model.max_length=700",
        "model.learning_rate=3e-5",
        "model.name=x",
    )
    status, said = run_in(
        tmp_path, "dry_run=true", "model=local", f"model.path={copy_of_tiny}", *set_, *QUICK
    )
    assert status == 0, said
    assert "model=auto: x is qwen2" in said
    assert "<|im_start|> pads; up to 700 tokens, learning rate 3e-05" in said


def test_a_width_decides_the_learning_rate(tmp_path):
    settings(tmp_path / "wide", hidden_size=1024, head_dim=256)
    assert run_in(tmp_path, *PLAN, "model.path=wide")[1].splitlines()[0].endswith("learning rate 0.0002")


def wrong(tmp_path, llama):
    """Return (folder, what was made wrong, what is said of it) for each kind of unusable folder."""
    encoder = settings(tmp_path / "encoder", model_type="bert", type_vocab_size=2)
    unknown = settings(tmp_path / "unknown", model_type="qwen33")
    t5 = settings(tmp_path / "t5", model_type="t5", is_encoder_decoder=True)
    code = settings(tmp_path / "code", model_type="mine", auto_map={"AutoConfig": "code.Config"})
    (code / "code.py").write_text("raise SystemExit(9)")
    (tmp_path / "empty").mkdir()
    gguf = tmp_path / "gguf"
    gguf.mkdir()
    (gguf / "small-q8.gguf").touch()
    with_gguf = tokenizer(settings(tmp_path / "with_gguf"))
    (with_gguf / "small-q8.gguf").touch()
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    weightless = without(shutil.copytree(llama, tmp_path / "weightless"), "model.safetensors")
    speechless = settings(tmp_path / "speechless")
    nothing = tokenizers_like._build("bytes", [], [], None)
    nothing.save_pretrained(settings(tmp_path / "plain"))
    return [
        (tmp_path / "nowhere", "is not there; give the folder of the model"),
        (tmp_path / "empty", "has no config.json"),
        (gguf / "small-q8.gguf", "is a file; give the folder"),
        (gguf, "has no model.safetensors, but small-q8.gguf, and GGUF is not read: take the repository"),
        (
            with_gguf,
            "has no model.safetensors, but small-q8.gguf, and GGUF is not read: take the repository",
        ),
        (adapter, "holds an adapter: name it with adapter.path"),
        (weightless, "has no model.safetensors"),
        (speechless, "has no tokenizer_config.json"),
        (tmp_path / "plain", "has no special token that ends an answer"),
        (code, "auto_map names code of its own (code.py), and no code of a model is run"),
        (unknown, "has no model_type 'qwen33' (nearest: qwen3, "),
        (t5, "model_type=t5 is of a model that neither continues a text nor fills gaps in one"),
        (encoder, "task=sft is not for model=encoder, a masked language model: task=classify trains it"),
    ]


def test_a_folder_that_cannot_be_used_is_one_line_with_its_place(tmp_path, llama):
    for folder, why in wrong(tmp_path, llama):
        status, said = run_in(
            tmp_path, "model=auto", f"model.path={folder}", *QUICK, "data.on_bad_row=stop"
        )
        last = said.strip().splitlines()[-1]
        assert status == 2, said
        assert last.startswith("error: "), said
        assert why in last
        assert folder.name in last
        assert "Traceback" not in said


@pytest.mark.parametrize(
    ("file", "values", "why"),
    [
        ("config.json", {"eos_token_id": [None, "y", -1, 2**70, {"a": 1}]}, None),
        (
            "config.json",
            {"max_position_embeddings": "512"},
            "max_position_embeddings is '512', and no size",
        ),
        ("config.json", {"architectures": 5}, None),
        ("config.json", {"model_type": None}, "has no model_type 'None' (nearest: "),
        ("config.json", {"hidden_size": None}, "no 'hidden_size'; take the file of the model again"),
        ("config.json", {"text_config": {"hidden_size": "x"}}, "cannot be used ("),
        ("config.json", {"vocab_size": 2}, "ends an answer with <|eot_id|>, of which the model knows"),
        ("tokenizer_config.json", {"model_max_length": -5}, None),
        ("tokenizer_config.json", {"model_max_length": "x"}, "no tokenizer ("),
        ("generation_config.json", {"eos_token_id": "<|eot_id|>"}, None),
        ("chat_template.jinja", "{{ broken", "model.chat_template=tokenizer: line 1: unexpected end of"),
        ("chat_template.jinja", "", "writes no answer; choose a model.chat_template"),
        ("chat_template.jinja", "{{ raise_exception('never') }}", "model.chat_template=tokenizer: never"),
        ("chat_template.jinja", "{% for i in m %}{% endfor %}", "writes no answer; choose a model.chat"),
    ],
)
def test_what_a_folder_says_amiss_is_one_line_or_passed_over(file, values, why, llama, tmp_path):
    folder = tmp_path / "amiss"
    folder.mkdir()
    for path in llama.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, folder)
    if isinstance(values, str):
        (folder / file).write_text(values, encoding="utf-8")
    else:
        changed(folder, file, **values)
    chosen = ("model=auto", f"model.path={folder}", "task=evaluate")
    if why is None:
        assert compose_config(*chosen).model.stop_token == "<|eot_id|>"
        return
    with pytest.raises(UserError) as refused:
        compose_config(*chosen)
    assert why in str(refused.value)


def test_neither_folder_nor_repository_is_one_line(program):
    status, said = program("model=auto")
    assert status == 2
    assert "give its folder (model.path=my/folder) or its name on the hub" in said
    assert "is no owner/name of the hub" in program("model.hub_id=qwen")[1]


def test_a_row_that_the_template_refuses_is_told_with_its_place(tmp_path):
    whole(tmp_path / "gemma", "gemma2_2b", "gemma", "<eos>", model_type="gemma2")
    roles, lines = ("system", "user", "assistant"), []
    for number in range(4):
        turns = [{"role": role, "content": f"{role} {number}"} for role in roles[number < 3 :]]
        lines.append(json.dumps({"messages": turns}))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows = ("data.path=rows.jsonl", "data.dev_share=0", "data.test_share=0")
    given = ("model.path=gemma", *rows, *QUICK[:-1])
    status, said = run_in(tmp_path, *given)
    assert status == 2
    last = said.strip().splitlines()[-1]
    assert "1 of 4 rows would be lost" in last
    assert "the chat template refuses it: System role not supported" in last
    assert "rows.jsonl:4" in last


def test_a_named_model_whose_folder_is_another_is_told_what_differs_before_anything_is_planned(tmp_path):
    settings(tmp_path / "mine")
    for task in (("dry_run=true", "task=sft"), ("task=plan", "hw=8gb"), ("dry_run=true", "task=evaluate")):
        status, said = run_in(tmp_path, *task, "model=tiny", "model.builtin=false", "model.path=mine")
        assert status == 2
        assert "plan:" not in said
        assert (
            "mine/config.json: model_type is llama, but model=tiny says qwen2 (and so on: hidden_size,"
            in said
        )
        assert "vocab_size" in said
        assert "model=auto takes the model as it is" in said


@pytest.mark.parametrize(
    ("typed", "added"),
    [
        (["model.path=mine"], ["model=auto"]),
        (["model.hub_id=a/b", "-m"], ["model=auto"]),
        (["data.path=x.jsonl"], ["data=local"]),
        (["data.path=x.jsonl", "model.path=mine"], ["model=auto", "data=local"]),
        (["model=qwen2_7b", "model.path=mine"], []),
        (["model.builtin=false", "model.path=mine"], []),
        (["model.path=null"], []),
        (["+experiment=real_input", "model.path=mine"], []),
        (["data=belle", "data.path=x.jsonl"], []),
        (["--config-dir=x", "model.path=mine"], []),
    ],
)
def test_a_place_alone_means_what_it_can_only_mean(typed, added):
    assert compose.meant(typed) == [*typed, *added]


@pytest.mark.parametrize(
    ("path", "hub_id", "name"),
    [
        ("my/folder", None, "folder"),
        ("my/folder/", "Qwen/Qwen3-1.7B", "folder"),
        (None, "Qwen/Qwen3-1.7B", "Qwen3-1.7B"),
        ("hub/models--Qwen--Qwen3-1.7B/snapshots/0123", None, "Qwen3-1.7B"),
        ("/a/b/..", None, "a"),
        (None, "owner/..", "auto"),
        (None, None, "auto"),
    ],
)
def test_a_model_is_called_as_its_folder_or_repository(path, hub_id, name):
    assert naming.model_name(path, hub_id) == name
