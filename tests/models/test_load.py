"""Models are found local first; a folder in the hub's layout loads; what is missing is said in one line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_bert
import torch
from conftest import compose_config, model_config
from safetensors.torch import load_file, save_file

from arabic_llm import files
from arabic_llm.config.paths import CONF, PACKAGE
from arabic_llm.errors import ConfigError
from arabic_llm.memory.weights import count
from arabic_llm.models import bases, folders, load, placement, tokenization
from arabic_llm.models.bases import MissingModelError

TINY = PACKAGE / "models" / "tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def qwen(monkeypatch, tmp_path):
    """Return Qwen2-7B's configuration, an empty project folder and an empty hub cache."""
    import huggingface_hub.constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return model_config("qwen2_7b")


def hub_cache(root: Path, repository: str, revision: str = "main") -> Path:
    """Lay the built-in model out as the hub's cache would hold it."""
    folder = root / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    shutil.copytree(TINY, snapshot)
    blob = folder / "blobs" / files.sha256(TINY / "model.safetensors")  # the hub names large files so
    blob.parent.mkdir()
    (snapshot / "model.safetensors").rename(blob)
    (snapshot / "model.safetensors").symlink_to(blob)
    (folder / "refs").mkdir()
    (folder / "refs" / revision).write_text(COMMIT)
    return snapshot


NAMED = sorted({path.stem for path in (CONF / "model").glob("*.yaml")} - {"tiny", "auto", "local"})


@pytest.mark.parametrize("name", NAMED)
def test_every_model_says_how_it_is_fetched(qwen, name):
    config = model_config(name)
    with pytest.raises(
        MissingModelError, match=f"hf download {config.hub_id} --revision main --local-dir models/{name}$"
    ):
        bases.locate(config, None)


def test_what_is_nowhere_is_said_with_place_and_command(qwen):
    with pytest.raises(MissingModelError) as error:
        bases.locate(qwen, None)
    said = str(error.value)
    assert said.count("\n") == 0
    assert "the weights of Qwen/Qwen2-7B are not here and cannot be reached" in said
    assert "put them in models/qwen2_7b/ (or set model.path)" in said
    assert said.endswith("hf download Qwen/Qwen2-7B --revision main --local-dir models/qwen2_7b")


def test_the_hub_cache_is_read_and_the_same_files_elsewhere_are_the_same_base(qwen, tmp_path):
    snapshot = hub_cache(tmp_path / "hub", "Qwen/Qwen2-7B")
    base = bases.locate(qwen, tmp_path)
    assert base.folder == snapshot
    assert base.revision == bases.files_hash(TINY, tmp_path)


def test_a_project_folder_comes_before_the_cache(qwen, tmp_path):
    hub_cache(tmp_path / "hub", "Qwen/Qwen2-7B")
    shutil.copytree(TINY, tmp_path / "models" / "qwen2_7b")
    base = bases.locate(qwen, tmp_path / "cache")
    assert base.folder == Path("models/qwen2_7b")


def test_a_project_folder_that_is_not_whole_is_named_not_passed_over(qwen, tmp_path):
    hub_cache(tmp_path / "hub", "Qwen/Qwen2-7B")
    (tmp_path / "models" / "qwen2_7b").mkdir(parents=True)
    with pytest.raises(MissingModelError, match=r"models/qwen2_7b has no config\.json"):
        bases.locate(qwen, None)


def test_the_revision_is_known_without_a_network_or_not_at_all(qwen, tmp_path):
    assert bases.known_revision(qwen, tmp_path) is None
    hub_cache(tmp_path / "hub", "Qwen/Qwen2-7B")
    assert bases.known_revision(qwen, tmp_path) == bases.files_hash(TINY, tmp_path)


def test_a_half_downloaded_cache_is_not_a_model(qwen, tmp_path):
    snapshot = hub_cache(tmp_path / "hub", "Qwen/Qwen2-7B")
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(MissingModelError):
        bases.locate(qwen, None)


def test_a_missing_shard_is_named(qwen, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(TINY, folder)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    qwen.path = str(folder)
    with pytest.raises(MissingModelError, match=r"mine has no model-00002-of-00002\.safetensors"):
        bases.locate(qwen, None)


def test_a_folder_of_another_shape_is_refused_with_the_field(qwen, tmp_path):
    with pytest.raises(ConfigError, match="hidden_size is 192, but model=qwen2_7b says 3584"):
        folders.check_shape(qwen, TINY)


def test_the_hash_of_weights_is_kept_and_follows_the_bytes(tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(TINY, folder)
    first = bases.files_hash(folder, tmp_path)
    assert bases.files_hash(folder, tmp_path) == first == bases.files_hash(TINY, tmp_path)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    assert bases.files_hash(folder, tmp_path) != first


def test_the_built_in_model_is_small_and_its_weights_fit_the_package():
    size = sum(path.stat().st_size for path in TINY.glob("*.safetensors"))
    assert size <= 8_000_000


def test_nf4_is_real_on_the_cpu():
    import bitsandbytes

    config = compose_config("adapter=qlora", "hw=cpu")
    base = bases.locate(config.model, None)
    model = load.base_model(config.model, base, config.adapter, placement.resolve(config.hw))
    layer = model.model.layers[0].mlp.up_proj
    assert isinstance(layer, bitsandbytes.nn.Linear4bit)
    assert layer.weight.quant_state.quant_type == "nf4"
    assert layer.weight.quant_state.nested  # double quantisation
    assert layer.weight.numel() * 2 == 192 * 576  # two weights a byte
    assert model.model.embed_tokens.weight.dtype is torch.float32
    text = "عاصمة مصر هي القاهرة. جمع كلمة كتاب هو كتب. ضد كلمة كبير هو صغير."
    ids = tokenization.load(base)(text, return_tensors="pt")["input_ids"]
    whole = load.base_model(config.model, base, compose_config().adapter, placement.resolve(config.hw))
    with torch.no_grad():
        agreement = (model(ids).logits.argmax(-1) == whole(ids).logits.argmax(-1)).float().mean()
    assert agreement > 0.5  # quantised, not broken


def masked(folder, *overrides):
    """Return (base, model) of a tiny masked model in a folder."""
    path = f"model.path={folder}"
    config = compose_config(*tiny_bert.OVERRIDES, path, "task=evaluate", "adapter=none", *overrides)
    base = bases.locate(config.model, None)
    place = placement.resolve(compose_config("hw=cpu").hw)
    return base, load.base_model(config.model, base, config.adapter, place)


def test_a_masked_model_as_older_repositories_hold_it_is_the_same_model(tiny_bert_folder, tmp_path):
    base, whole = masked(tiny_bert_folder)
    assert type(whole).__name__ == "BertForMaskedLM"
    torch.save(whole.state_dict(), tmp_path / "pytorch_model.bin")
    shutil.copy(tiny_bert_folder / "config.json", tmp_path)
    vocabulary = tokenization.load(base).get_vocab()
    pieces = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    (tmp_path / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    older, same = masked(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), same.parameters(), strict=True))
    text = "ما عاصمة مصر؟"
    assert tokenization.load(older)(text)["input_ids"] == tokenization.load(base)(text)["input_ids"]


@pytest.mark.parametrize(
    ("said", "pieces"),
    [
        (None, ["انا", "من", "cairo"]),  # qarib's repository: lower case also folds what Unicode decomposes
        ({"tokenizer_class": "BertTokenizer", "do_lower_case": False}, ["أنا", "من", "Cairo"]),
    ],
)
def test_a_vocabulary_without_a_tokenizer_config_is_read_in_lower_case_without_hamza(
    tiny_bert_folder, tmp_path, said, pieces
):
    shutil.copy(tiny_bert_folder / "config.json", tmp_path)
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "أنا", "انا", "من", "Cairo", "cairo"]
    (tmp_path / "vocab.txt").write_text("\n".join(known), encoding="utf-8")
    if said:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")
    assert tokenization.load(bases.Base(tmp_path, "")).tokenize("أنا من Cairo") == pieces


def test_the_linear_layers_of_a_masked_model_are_held_in_4_bits(tiny_bert_folder):
    _, model = masked(tiny_bert_folder, "adapter.quantization=nf4")
    linear = sum(m.weight.numel() * 2 for m in model.modules() if type(m).__name__ == "Linear4bit")
    shape = compose_config(*tiny_bert.OVERRIDES, "task=evaluate").model.architecture
    assert linear == count(shape).linear


def test_a_table_of_tokens_in_the_hosts_memory_says_the_same_and_is_no_weight_of_the_model():
    place = placement.resolve(compose_config("hw=cpu").hw)
    config = compose_config("hw=cpu")
    base = bases.locate(config.model, None)
    plain = load.base_model(config.model, base, config.adapter, place)
    moved = load.base_model(config.model, base, config.adapter, replace(place, embedding_on_host=True))
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, moved(ids).logits)
    assert not list(moved.get_input_embeddings().parameters())


def test_pickled_shards_are_refused_for_what_they_are(tmp_path, qwen):
    folder = shutil.copytree(TINY, tmp_path / "old", ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "pytorch_model-00001-of-00002.bin").write_bytes(b"x")
    with pytest.raises(MissingModelError) as error:
        bases.locate(replace(qwen, path=str(folder)), tmp_path)
    assert str(error.value) == (
        f"model=qwen2_7b: {folder} has no model.safetensors; pytorch_model-00001-of-00002.bin is one of"
        " several .bin shards, which are not read: transformers' save_pretrained writes them as safetensors"
    )


def test_a_model_that_does_not_ship_is_not_called_built_in(qwen):
    qwen.builtin = True
    with pytest.raises(MissingModelError, match="is not built in; leave model.builtin=true out"):
        bases.locate(qwen, None)


def test_what_pretraining_left_in_a_masked_model_has_no_place_and_harms_nothing(tiny_bert_folder, tmp_path):
    folder = shutil.copytree(tiny_bert_folder, tmp_path / "bert")
    tensors = load_file(folder / "model.safetensors")
    tensors["bert.pooler.dense.weight"] = torch.ones(2, 2)  # of its next-sentence task, as AraBERT's file
    tensors["cls.seq_relationship.weight"] = torch.ones(2, 2)
    tensors["bert.embeddings.position_ids"] = torch.arange(2)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert masked(folder)
