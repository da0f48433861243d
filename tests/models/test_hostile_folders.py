"""A folder of others is used, or one line says what is wrong with it; none of its code runs."""

import ast
import io
import json
import os
import shutil
import struct
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import compose_config

from arabic_llm.config.paths import PACKAGE
from arabic_llm.data.tokens import chat_template
from arabic_llm.errors import UserError
from arabic_llm.models import (
    adapter,
    adapter_files,
    adapter_settings,
    bases,
    load,
    opening,
    placement,
    tokenization,
)
from arabic_llm.models.bases import Base

TINY = PACKAGE / "models" / "tiny"
WEIGHTS, ADAPTER = "model.safetensors", "adapter_config.json"
NO_SETTINGS = {
    "empty": b"",
    "list": b"[]",
    "number": b"7",
    "null": b"null",
    "text": b'"x"',
    "deep list": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "cut": b'{"a":',
    "UTF-16": "{}".encode("utf-16"),
    "Latin-1": b'{"a": "\xe9"}',
    "NUL": b"\0" * 100,
    "digits": b'{"vocab_size": ' + b"9" * 5000 + b"}",
    "NaN": b'{"rms_norm_eps": NaN}',
    "twice": b'{"vocab_size": 4096, "vocab_size": 8}',
}
SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
WRONG_VALUES = [
    *(("config.json", "hidden_size", value) for value in ("x", -1, 0, 10**30, 1.5, [])),
    *(("config.json", "num_hidden_layers", value) for value in ("6", 10**9)),
    *(("config.json", "num_attention_heads", value) for value in (0, "6", 7)),
    *(("config.json", "hidden_act", value) for value in ("nope", 5, None)),
    *(("config.json", "rope_parameters", value) for value in (5, [], {"rope_type": "nope"})),
    ("config.json", "rope_parameters", {"rope_type": "yarn", "factor": "x"}),
    *(("config.json", "layer_types", value) for value in ("x", ["nope"] * 6, [])),
    *(("config.json", "model_type", value) for value in ("nope", 5, "bert")),
    *(("config.json", "quantization_config", value) for value in (5, {}, {"quant_method": "gptq"})),
    *(("config.json", "pad_token_id", value) for value in ("x", 10**9)),
    *(("config.json", "id2label", value) for value in (5, {"a": 1})),
    *(("config.json", "num_labels", value) for value in ("x", 10**9)),
    ("config.json", "text_config", {"num_labels": 10**9}),
    *(("config.json", key, 5) for key in ("sub_configs", "attribute_map", "base_model_tp_plan")),
    *(("config.json", "attn_implementation", value) for value in ("nope", "somebody/kernel")),
    *(("config.json", "auto_map", value) for value in (5, {"AutoConfig": "somebody/else--evil.C"})),
    *(("tokenizer_config.json", "eos_token", value) for value in (5, {}, ["a"], {"content": 5})),
    *(("tokenizer_config.json", "extra_special_tokens", value) for value in (5, {"a": 5}, [5])),
    *(("tokenizer_config.json", "added_tokens_decoder", value) for value in (5, {"x": {}}, {"1": 5})),
    *(("tokenizer_config.json", "model_max_length", value) for value in ("x", [])),
    ("tokenizer_config.json", "padding_side", "up"),
    ("tokenizer_config.json", "auto_map", 5),
    *(("tokenizer.json", "model", value) for value in (None, 5, {}, {"type": "nope"})),
    ("tokenizer.json", "model", {"type": "BPE", "vocab": {"a": -1}, "merges": []}),
    *(("tokenizer.json", key, 5) for key in ("added_tokens", "normalizer", "pre_tokenizer", "decoder")),
    ("tokenizer.json", "normalizer", {"type": "Replace", "pattern": {"Regex": "("}, "content": ""}),
    (
        "tokenizer.json",
        "post_processor",  # of which tokenizers panics
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "q", "type_id": 0}}], "pair": []}
        | {"special_tokens": {}},
    ),
    ("generation_config.json", "compile_config", 5),
]
WRONG_ADAPTERS = [
    *(("peft_type", value) for value in ("NOPE", 5, None, "PROMPT_TUNING")),
    *(("r", value) for value in ("x", None, 0, 1.5, 10**9)),
    *(("lora_alpha", value) for value in ("x", None)),
    *(("lora_dropout", value) for value in ("x", 5)),
    *(("target_modules", value) for value in (5, [5], "nope", "(((", "(a|aa)+$(?P<")),
    *(("rank_pattern", value) for value in (5, {"((": 4}, {"q_proj": 10**9})),
    *(("modules_to_save", value) for value in (5, ["((("])),
    *(("megatron_config", value) for value in (5, {"a": 1})),
    *(("bias", value) for value in ("nope", 5)),
]
ENDLESS = {
    "target_modules": r"(.*)*(.*)*(.*)*x\Z",
    "exclude_modules": r"([a-z_.0-9]+)+!",
    "rank_pattern": {r"([a-z_.0-9]+)+!": 4},
    "alpha_pattern": {r"((\w|[.])+)+!": 4},
    "modules_to_save": [r"([a-z_.0-9]+)+!"],
    "layers_pattern": [r"([a-z_.0-9]+)+!"],
}


@pytest.fixture(scope="module")
def parts():
    """Return the configuration, the placement and the model of these tests."""
    config = compose_config("hw=cpu", "adapter.rank=4")
    place = placement.resolve(config.hw)
    return (
        config,
        place,
        load.base_model(config.model, bases.locate(config.model, None), config.adapter, place),
    )


@pytest.fixture
def folder(tmp_path):
    """Return a copy of the built-in model, as if it came from somebody; large files are links."""
    copied = tmp_path / "model"
    shutil.copytree(
        TINY, copied, copy_function=lambda a, b: os.link(a, b) if WEIGHTS in a else shutil.copy(a, b)
    )
    return copied


@pytest.fixture(scope="module")
def trained(tmp_path_factory, parts):
    """Return the folder of an adapter, without what says that we trained it."""
    config, place, _ = parts
    base = bases.locate(config.model, None)
    tuned = adapter.attach(
        load.base_model(config.model, base, config.adapter, place), config.adapter, base, 1
    )
    saved = tmp_path_factory.mktemp("trained") / "adapter"
    adapter.save(tuned, tokenization.load(base), saved, {})
    (saved / "SEALED.json").unlink()
    return saved


def use(folder, parts, *, weights=True):
    """Do with a folder what a run does."""
    config, place, _ = parts
    model = replace(config.model, builtin=False, path=str(folder))
    base = bases.locate(model, folder.parent / "cache")
    codec = chat_template.prepare(tokenization.load(base), model)
    codec.tokenizer("a text")
    if weights:
        load.base_model(model, base, config.adapter, place)


def complaint(folder, parts):
    with pytest.raises(UserError) as said:
        use(folder, parts)
    assert "\n" not in str(said.value)
    assert len(str(said.value)) < 1000
    return str(said.value)


def edit(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_folder_as_it_is_is_used(folder, parts):
    use(folder, parts)


@pytest.mark.parametrize("name", [*SETTINGS, "added_tokens.json", "tokenizer.json", opening.INDEX])
def test_a_file_that_holds_no_settings_is_named(name, folder, parts):
    for kind, content in NO_SETTINGS.items():
        (folder / name).write_bytes(content)
        if name == "tokenizer.json" and kind in ("NaN", "twice"):
            continue  # tokenizers reads it on its own
        said = complaint(folder, parts)
        assert str(folder if name == "tokenizer.json" else folder / name) in said, kind


@pytest.mark.parametrize(("name", "key", "value"), WRONG_VALUES)
def test_a_setting_of_another_kind_is_one_line(name, key, value, folder, parts):
    edit(folder / name, **{key: value})
    assert str(folder) in complaint(folder, parts)


def with_header(content: bytes, change) -> bytes:
    """Return a file of tensors with something else said of its first one."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header, next(name for name in header if name != "__metadata__"))
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + content[8 + length :]


def said_of_it(**values):
    return lambda header, first: header[first].update(values)


BROKEN_TENSORS = {
    "no header": lambda b: b"",
    "short": lambda b: b"abc",
    "a header of 2**62 bytes": lambda b: struct.pack("<Q", 2**62) + b[8:],
    "a header of 100 MB": lambda b: struct.pack("<Q", 10**8) + b[8:],
    "no JSON": lambda b: struct.pack("<Q", 8) + b"hello!!!",
    "deep JSON": lambda b: struct.pack("<Q", 120_001) + b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "a pointer of git": lambda b: b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n",
    "cut": lambda b: b[:5000],
    "more": lambda b: b + b"xx",
    "unknown type": lambda b: with_header(b, said_of_it(dtype="X9")),
    "wider type": lambda b: with_header(b, said_of_it(dtype="F64")),
    "shape of another size": lambda b: with_header(b, said_of_it(shape=[1, 2, 3])),
    "negative shape": lambda b: with_header(b, said_of_it(shape=[-1])),
    "shape that overflows": lambda b: with_header(b, said_of_it(shape=[2**62, 2**62])),
    "out of range": lambda b: with_header(b, said_of_it(data_offsets=[0, 10**12])),
    "backwards": lambda b: with_header(b, said_of_it(data_offsets=[100, 0])),
    "overlapping": lambda b: with_header(b, said_of_it(data_offsets=[2, 4])),
    "turned": lambda b: with_header(b, lambda h, n: h[n].update(shape=h[n]["shape"][::-1])),
}


@pytest.mark.parametrize("kind", BROKEN_TENSORS)
def test_broken_weights_are_one_line(kind, folder, trained, tmp_path, parts):
    (folder / WEIGHTS).unlink()  # it was a link
    (folder / WEIGHTS).write_bytes(BROKEN_TENSORS[kind]((TINY / WEIGHTS).read_bytes()))
    assert str(folder) in complaint(folder, parts)
    broken = shutil.copytree(trained, tmp_path / "adapter")
    path = broken / "adapter_model.safetensors"
    path.write_bytes(BROKEN_TENSORS[kind](path.read_bytes()))
    assert str(broken) in refused(broken, parts)


@pytest.mark.parametrize(
    "index",
    [
        *({}, {"weight_map": 5}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": 5}}),
        *(
            {"weight_map": {"a": name}}
            for name in ("../../x.safetensors", "/x.safetensors", "", [], "config.json")
        ),
        {"weight_map": {"a": WEIGHTS}, "metadata": 5},
    ],
)
def test_an_index_that_is_none_or_leads_elsewhere_is_refused(index, folder, parts):
    (folder / opening.INDEX).write_text(json.dumps(index))
    assert opening.INDEX in complaint(folder, parts)


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("content", [b"", b"xxxx", "object", "list"])
def test_pickled_weights_run_nothing(content, folder, parts, tmp_path):
    (folder / WEIGHTS).unlink()
    if isinstance(content, bytes):
        (folder / "pytorch_model.bin").write_bytes(content)
    else:
        thing = Evil(tmp_path / "ran") if content == "object" else [1, 2]
        torch.save(thing, folder / "pytorch_model.bin")
    assert str(folder) in complaint(folder, parts)
    assert not (tmp_path / "ran").exists()


def test_what_is_no_file_is_not_waited_for(folder, parts):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").mkdir()
    assert "tokenizer.json is no file" in complaint(folder, parts)
    (folder / "tokenizer.json").rmdir()
    os.mkfifo(folder / "tokenizer.json")  # nobody writes into it
    assert "tokenizer.json is no file" in complaint(folder, parts)


def test_files_too_large_to_be_settings_are_not_read(folder, parts):
    for name, size in (("generation_config.json", 2**30), ("chat_template.jinja", 2**34)):
        with (folder / name).open("ab") as file:
            file.truncate(size)  # sparse: takes no room
        assert f"{name}: {size:,} bytes" in complaint(folder, parts)
        (folder / name).unlink()


def refused(folder, parts):
    """Return the line that says why an adapter is not used; what it did to the model is undone."""
    *_, model = parts
    with pytest.raises(UserError) as said:
        adapter.with_adapter(model, folder, Base(TINY, "r"))
    for module in [m for m in model.modules() if any(hasattr(c, "base_layer") for c in m.children())]:
        for name, child in list(module.named_children()):
            if hasattr(child, "base_layer"):
                setattr(module, name, child.base_layer)
    assert "\n" not in str(said.value)
    return str(said.value)


@pytest.mark.parametrize("name", [ADAPTER, adapter_files.ABOUT])
def test_an_adapter_without_settings_is_refused(name, trained, tmp_path, parts):
    broken = shutil.copytree(trained, tmp_path / "adapter")
    for kind, content in (NO_SETTINGS | {"no field": b"{}"}).items():
        (broken / name).write_bytes(content)
        assert name in refused(broken, parts), kind


@pytest.mark.parametrize(("key", "value"), WRONG_ADAPTERS)
def test_a_setting_of_an_adapter_that_cannot_be_is_one_line(key, value, trained, tmp_path, parts):
    broken = shutil.copytree(trained, tmp_path / "adapter")
    edit(broken / ADAPTER, **{key: value})
    assert str(broken) in refused(broken, parts)


@pytest.mark.parametrize("key", ENDLESS)
def test_a_pattern_of_an_adapter_that_takes_for_ever_is_stopped(key, trained, tmp_path, parts, monkeypatch):
    monkeypatch.setattr(adapter_settings, "_CPU_SECONDS", 0.3)
    broken = shutil.copytree(trained, tmp_path / "adapter")
    edit(broken / ADAPTER, **{key: ENDLESS[key]})
    before = time.process_time()
    assert f"{key}: " in refused(broken, parts)
    assert time.process_time() - before < 5


def test_every_loader_says_that_code_of_others_is_not_run():
    """Of transformers, PEFT, datasets and lm-eval: by its own words where it takes them."""
    silent = []
    for path in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and _name(call.func) in (
                "from_pretrained",
                "load_dataset",
                "HFLM",
            ):
                said = {word.arg: ast.unparse(word.value) for word in call.keywords}
                if said.get("trust_remote_code") != "False":
                    silent.append(f"{path.name}:{call.lineno}")
    assert not silent


def _name(function: ast.expr) -> str:
    return getattr(function, "attr", getattr(function, "id", ""))


@pytest.mark.parametrize("model_type", ["qwen2", "evil"])
@pytest.mark.parametrize("part", ["config", "tokenizer"])
def test_code_in_a_folder_is_not_run_not_even_if_somebody_says_yes(
    part, model_type, folder, program, tmp_path, monkeypatch
):
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    (folder / "evil.py").write_text(code)
    if part == "config":
        named = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
        edit(folder / "config.json", auto_map=named, model_type=model_type)
    else:
        edit(folder / "config.json", model_type=model_type)
        edit(
            folder / "tokenizer_config.json",
            auto_map={"AutoTokenizer": ["evil.Own", None]},
            tokenizer_class="Own",
        )
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    for task in ("task=sft", "task=evaluate", "task=plan"):
        status, said = program(task, "model.builtin=false", f"model.path={folder}")
        assert not (tmp_path / "ran").exists()
        if task != "task=plan":  # which has its numbers without a tokenizer, and says so
            assert status == 2
            assert "auto_map names code of its own (evil.py)" in said.splitlines()[-1]
