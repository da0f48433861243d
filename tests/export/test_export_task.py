"""A finished run exported in every form: what is made and said; of what fails nothing is left."""

import json
import resource
import shutil

import numpy as np
import psutil
import pytest
import torch
from conftest import files_of_up_to, finished, run_in
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from arabic_llm import files
from arabic_llm.config.paths import PACKAGE
from arabic_llm.errors import ModelError
from arabic_llm.export import agreement, llama_cpp

BRIEF = (
    *("task.max_steps=6", "task.effective_batch_size=8", "task.held_out.num_bytes=0", "hw=cpu"),
    *("data.max_rows=60", "task.learning_rate=3e-3"),
)
needs_llama_cpp = pytest.mark.skipif(not llama_cpp.is_here(), reason="xllamacpp is not installed")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the directory of a run that has trained."""
    return finished(tmp_path_factory.mktemp("export"), *BRIEF)[1]


@pytest.fixture(scope="module")
def exported(trained):
    """Return what an export of every form said, and its directory."""
    status, said = run_in(
        trained.parent,
        *("task=export", "task.run=mine", "task.formats=[adapter,merged,ollama]", "task.shard_mib=2"),
        "hydra.run.dir=every",
    )
    assert status == 0, said
    return said, trained.parent / "every"


@pytest.fixture
def export(trained, tmp_path):
    """Return a function that exports a copy of the run, after a change of it, into `out`."""

    def go(*overrides, change=lambda run: None, size=resource.RLIM_INFINITY):
        run = shutil.copytree(trained, tmp_path / "run")
        change(run)
        given = ("task=export", "task.run=run", "hydra.run.dir=out")
        with files_of_up_to(size):
            return (*run_in(tmp_path, *given, *overrides), tmp_path / "out")

    return go


def test_every_form_is_made_and_says_how_it_was_held_against_the_model(exported):
    said, out = exported
    lines = (out / "summary.txt").read_text().splitlines()
    assert [line.partition(": ")[0].rpartition("/")[2] for line in lines] == ["adapter", "merged", "gguf"]
    assert lines[0].endswith("every weight is as training left it")
    assert "loaded afresh by transformers: KL " in lines[1]
    for name in ("adapter", "merged", "gguf"):
        assert files.is_whole(out / name)
        assert f"every/{name}: " in said
    assert not list(out.glob(".*.partial"))
    merged = files.read_state(out / "merged" / "proof.json")
    assert merged["kl"] < merged["learned"] / 1000
    assert files.read_json(out / "result.json")["metric"] == merged["kl"]


@needs_llama_cpp
def test_the_gguf_file_was_asked_by_llama_cpp(exported):
    proof = files.read_state(exported[1] / "gguf" / "proof.json")
    assert (proof["num_texts"], proof["num_answers"]) == (1000, 64)
    assert proof["num_same"] >= 50  # in 8 bits
    assert 300 < proof["num_unlike"] < 500  # with marks: llama.cpp does not compose them
    assert f"({proof['num_unlike']} of them only after NFC)" in (exported[1] / "summary.txt").read_text()


def test_merged_weights_answer_as_base_and_adapter(exported, trained, tiny_codec):
    folder = exported[1] / "merged"
    assert len(list(folder.glob("model-*.safetensors"))) == 4  # 6.5 MiB in files of 2
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    base = AutoModelForCausalLM.from_pretrained(PACKAGE / "models" / "tiny", dtype=torch.float32)
    from peft import PeftModel

    tuned = PeftModel.from_pretrained(base, exported[1] / "adapter").eval()
    ids = torch.tensor([tiny_codec.tokenizer("<|im_start|>user\nx<|im_end|>\n")["input_ids"]])
    with torch.no_grad():
        apart = (again(ids).logits - tuned(ids).logits).abs().max()
        learned = (base(ids).logits.abs().max(),)
    assert apart < 0.05  # weights of float16
    assert learned


def test_what_lies_beside_merged_weights_is_read_by_others(exported, tiny_codec):
    folder = exported[1] / "merged"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert "generation %}" not in tokenizer.chat_template
    asked = [{"role": "user", "content": "x"}]
    text = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    assert text == "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [2, 0]
    assert AutoModelForCausalLM.from_pretrained(folder).generation_config.eos_token_id == [2, 0]
    config = json.loads((folder / "config.json").read_text())
    assert (config["dtype"], config["eos_token_id"], config["tie_word_embeddings"]) == ("float16", 2, True)
    assert files.read_json(folder / "arabic_llm.json") == {"seen_in_training": []}  # as its run has noted


def test_the_modelfile_names_its_file_and_every_stop(exported):
    folder = exported[1] / "gguf"
    lines = (folder / "Modelfile").read_text().splitlines()
    assert (folder / lines[0].removeprefix("FROM ./")).is_file()
    assert lines[1].startswith('TEMPLATE """{{- range $i, $_ := .Messages }}')
    assert lines[2:] == [
        *('PARAMETER stop "<|im_end|>"', 'PARAMETER stop "<|endoftext|>"'),
        "PARAMETER num_ctx 2048",  # what the model can see, less than 4096
    ]


@pytest.mark.parametrize(
    ("form", "library", "runs"),
    [
        ("adapter", "peft", "AutoPeftModelForCausalLM.from_pretrained"),
        ("merged", "transformers", "transformers serve"),
        ("gguf", "gguf", "ollama create tiny-sample-lora -f Modelfile"),
    ],
)
def test_a_card_says_what_the_model_is_made_of_and_how_to_run_it(exported, form, library, runs):
    card = ModelCard.load(exported[1] / form / "README.md")
    assert card.data.library_name == library
    assert card.data.language == ["ar"]
    assert card.data.pipeline_tag == "text-generation"
    assert "| sample | ar | apache-2.0 | generated by arabic-llm |" in card.text
    assert runs in card.text
    for line in ("| learning_rate | 0.003 |", "| adapter: rank | 16 |", "Not evaluated by this run"):
        assert line in card.text
    proof = files.read_state(exported[1] / form / "proof.json")["line"]
    assert proof.split(":")[0] in card.text


def test_an_export_typed_again_does_nothing_again(exported, trained):
    before = (exported[1] / "merged" / "README.md").stat().st_mtime_ns
    status, said = run_in(
        trained.parent,
        *("task=export", "task.run=mine", "task.formats=[adapter,merged,ollama]", "task.shard_mib=2"),
        "hydra.run.dir=every",
    )
    assert status == 0
    assert "done before, not run again" in said
    assert (exported[1] / "merged" / "README.md").stat().st_mtime_ns == before


def weaken(run):
    """Let an adapter have learned next to nothing."""
    file = run / "adapter" / "adapter_model.safetensors"
    tensors = {n: t * 1e-2 if "lora_B" in n else t for n, t in load_file(file).items()}
    save_file(tensors, file)
    files.seal(run / "adapter")


def test_a_merge_that_loses_what_was_learned_leaves_nothing(export):
    status, said, out = export("task.formats=[merged]", "task.dtype=bfloat16", change=weaken)
    assert status == 2
    line = said.splitlines()[-1]
    assert line.startswith("error: in bfloat16 the merged weights lose what was learned: KL ")
    assert line.endswith("set task.dtype=float32, or hand on the adapter")
    assert not (out / "merged").exists()
    assert not list(out.glob(".merged*"))


def unfinished(run):
    (run / "result.json").unlink()


def torn(run):
    (run / "adapter" / "tokenizer.json").write_text("{}")


def of_another_base(run):
    about = files.read_json(run / "adapter" / "arabic_llm.json")
    files.write_json(run / "adapter" / "arabic_llm.json", about | {"base_revision": "0123"})
    files.seal(run / "adapter")


def a_classifier(run):
    manifest = files.read_state(run / "manifest.json")
    manifest["identity"]["task"]["name"] = "classify"
    files.write_state(run / "manifest.json", manifest)


def no_run(run):
    (run / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            unfinished,
            "task.run: run never finished (no result.json); finish it first: python -m ",
        ),
        (torn, "task.run: run/adapter is missing, or a file of it was changed after training"),
        (of_another_base, "run/adapter was trained on tiny (0123), not on "),
        (a_classifier, "task.run: run is a run of task=classify, which leaves no model that talks"),
        (no_run, "task.run: run is no run of this program (no manifest.json); give its folder"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(export, change, said):
    status, line, out = export(change=change)
    assert status == 2
    assert line.splitlines()[-1].startswith(f"error: {said}")
    assert not out.exists()


def test_a_base_that_has_moved_is_given_and_another_one_is_refused(export, tmp_path):
    base = shutil.copytree(PACKAGE / "models" / "tiny", tmp_path / "moved")
    status, said, _ = export("task.formats=[adapter]", "task.base=moved")
    assert status == 0, said
    shutil.rmtree(tmp_path / "run")
    config = files.read_json(base / "config.json")
    files.write_json(base / "config.json", config | {"rms_norm_eps": 1e-5})
    status, said, _ = export("task.formats=[adapter]", "task.base=moved", "seed=2")
    assert status == 2
    assert "run/adapter was trained on tiny (" in said.splitlines()[-1]


@pytest.mark.parametrize("form", ["merged", "gguf"])
def test_a_disk_that_is_full_is_one_line_and_nothing_is_left(export, form):
    status, said, out = export(f"task.formats=[{form}]", size=2**21)
    assert status == 2, said
    assert said.splitlines()[-1].startswith("error: no room on the disk for ")
    assert not (out / form).exists()
    assert not list(out.glob(f".{form}*"))


def all_weights(run):
    """Turn a run into one that has trained all weights."""
    shutil.rmtree(run / "adapter")
    shutil.copytree(PACKAGE / "models" / "tiny", run / "model")
    manifest = files.read_state(run / "manifest.json")
    told = dict.fromkeys(manifest["identity"]["adapter"])
    manifest["identity"]["adapter"] = told | {
        **{"name": "full", "method": "full", "quantization": "none", "target_modules": []},
        **{"use_dora": False, "use_rslora": False, "extend_vocabulary": 0},
    }
    files.write_state(run / "manifest.json", manifest)


def test_weights_that_were_all_trained_are_merged_as_they_are_and_have_no_adapter(export, tmp_path):
    status, said, out = export("task.formats=[merged]", change=all_weights)
    assert status == 0, said
    trained, merged = (
        load_file(f / "model.safetensors") for f in (tmp_path / "run" / "model", out / "merged")
    )
    assert merged.keys() == trained.keys()
    assert all(torch.equal(merged[name], trained[name]) for name in merged)
    shutil.rmtree(tmp_path / "run")
    status, said, _ = export("task.formats=[adapter]", "hydra.run.dir=other", change=all_weights)
    assert status == 2
    assert "has trained all weights: it has no adapter" in said.splitlines()[-1]


def test_logits_that_are_too_far_apart_are_refused_by_the_numbers():
    draw = np.random.default_rng(1)
    ours = draw.normal(size=(4, 2, 50)).astype(np.float32)
    base = ours + draw.normal(size=ours.shape).astype(np.float32)
    alike = agreement.between(ours, ours + np.float32(1e-5), base)
    agreement.refuse(alike, torch.float32)
    assert alike.kl == pytest.approx(0, abs=1e-9)
    one = ours.copy()
    one[2, 1, 7] += 0.5
    with pytest.raises(ModelError, match="do not say what base and adapter say: KL .* 0.5; in"):
        agreement.refuse(agreement.between(ours, one, base), torch.float32)
    agreement.refuse(agreement.between(ours, ours + 0.01 * base, base), torch.bfloat16)
    nothing = agreement.between(ours, ours * np.float32(np.nan), base)
    with pytest.raises(ModelError, match="do not say"):
        agreement.refuse(nothing, torch.bfloat16)


@needs_llama_cpp
def test_a_model_that_memory_does_not_hold_is_read_block_by_block(export, monkeypatch):
    free = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free._replace(available=2**20))
    status, said, out = export("task.formats=[gguf]", "task.gguf_type=f32")
    assert status == 0, said
    assert "tiny is more than is free in memory in float32: it is read block by block" in said
    proof = files.read_state(out / "gguf" / "proof.json")
    assert (proof["num_same"], proof["largest_gap"]) == (64, 0.0)
