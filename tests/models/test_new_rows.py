"""Rows of new tokens begin as the mean of their pieces, are trained alone, and come back as kept."""

from __future__ import annotations

import copy
import json

import pytest
import torch
import transformers
from conftest import compose_config
from torch import nn

from arabic_llm import files
from arabic_llm.errors import CheckpointError, ConfigError
from arabic_llm.models import adapter, adapter_files, bases, load, new_rows, placement, vocabulary
from arabic_llm.models.adapter_files import CONFIG
from arabic_llm.models.bases import Base
from arabic_llm.models.vocabulary import NewTokens

NEW = NewTokens(70, (("a", "b"), ("ab", "c"), ("d", "e")), ((1, 2), (1, 2, 3), (4, 69)))
SHAPE = {
    **{"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"num_key_value_heads": 1, "head_dim": 8, "vocab_size": 70, "pad_token_id": 0},
}
IDS = torch.tensor([[5, 70, 71, 6, 72, 72, 1, 70]])


def config_of(kind, **more):
    return getattr(transformers, f"{kind}Config")(**(SHAPE | more))


def model_of(kind="Qwen2", **more):
    torch.manual_seed(3)
    own = transformers.AutoModelForCausalLM.from_config(config_of(kind, **more), dtype=torch.float32)
    return own.eval()


KINDS = [
    ("Qwen2", {"tie_word_embeddings": True}),
    ("Qwen2", {"tie_word_embeddings": False}),
    ("Llama", {"tie_word_embeddings": False, "vocab_size": 96}),  # rows to spare, as Qwen's tables have
    ("Gemma2", {}),  # tied, vectors scaled, logits capped
    ("Phi", {"num_key_value_heads": 2}),  # a head with a bias
]
EVERY = pytest.mark.parametrize(("kind", "more"), KINDS, ids=str)


def settings(**changes):
    return compose_config("hw=cpu", "adapter.rank=2", "adapter.target_modules=[q_proj,v_proj]").adapter


def adapted(kind, more, new=NEW):
    return adapter.attach(model_of(kind, **more), settings(), None, 1, new)


def trained_rows(model):
    return {name: p for name, p in model.named_parameters() if "trainable_tokens" in name}


def told(model, ids=IDS):
    with torch.no_grad():
        return model(input_ids=ids).logits


@EVERY
def test_new_rows_are_the_mean_of_their_pieces(kind, more):
    before, after = model_of(kind, **more), model_of(kind, **more)
    new_rows.make(after, NEW)
    for own, grown in (
        (before.get_input_embeddings().weight, after.get_input_embeddings().weight),
        (before.get_output_embeddings().weight, after.get_output_embeddings().weight),
    ):
        assert len(grown) == max(len(own), 73)
        torch.testing.assert_close(grown[:70], own[:70], rtol=0, atol=0)
        for row, pieces in zip((70, 71, 72), NEW.pieces, strict=True):
            torch.testing.assert_close(grown[row], own[list(pieces)].mean(0))
    old = torch.tensor([[5, 6, 1, 69]])
    torch.testing.assert_close(told(after, old)[..., :70], told(before, old)[..., :70])


@EVERY
def test_the_rows_have_the_gradients_that_a_whole_table_would_have(kind, more):
    """Against the plain model with the same rows, every weight of which is trained."""
    plain = model_of(kind, **more)
    new_rows.make(plain, NEW)
    rows = adapted(kind, more)
    for model in (plain, rows):
        model.train()
        model(input_ids=IDS, labels=IDS).loss.backward()
    is_tied = plain.config.tie_word_embeddings
    wanted = [plain.get_input_embeddings().weight.grad[70:73]]
    wanted += [] if is_tied else [plain.get_output_embeddings().weight.grad[70:73]]
    found = [p.grad for p in trained_rows(rows).values()]
    assert len(found) == len(wanted)
    for own, other in zip(found, wanted, strict=True):
        assert other.abs().sum() > 0
        torch.testing.assert_close(own, other)
    trained = {name for name, p in rows.named_parameters() if p.requires_grad}
    assert all("lora_" in name or "trainable_tokens" in name for name in trained)


@EVERY
def test_what_is_trained_is_what_the_model_then_says(kind, more):
    model = adapted(kind, more)
    before, old = told(model), model.get_input_embeddings().weight[:70].clone()
    with torch.no_grad():
        for rows in trained_rows(model).values():
            rows.add_(0.5 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(1)))
    after = told(model)
    assert (after - before).abs().max() > 1e-3
    assert torch.equal(model.get_input_embeddings().weight[:70], old)
    merged = copy.deepcopy(model).merge_and_unload()
    torch.testing.assert_close(told(merged), after)
    assert isinstance(merged.get_input_embeddings(), nn.Embedding)
    assert type(merged.get_output_embeddings()) is nn.Linear
    with model.disable_adapter():
        torch.testing.assert_close(told(model), before)
    torch.testing.assert_close(told(model), after)


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves a trained model: its logits, adapter, a new base, its place."""

    def save(kind, more, new=NEW):
        base = model_of(kind, **more)
        base.save_pretrained(tmp_path / "base")
        model = adapted(kind, more, new)
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.requires_grad:
                    p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name))))
        folder = tmp_path / "adapter"
        model.save_pretrained(folder)
        about = {"base_name": "own", "base_revision": "r", "new_tokens": len(new)}
        files.write_json(folder / adapter_files.ABOUT, about)
        files.write_json(folder / vocabulary.FILE, new.as_dict())
        return told(model), folder, base, Base(tmp_path / "base", "r")

    return save


@EVERY
def test_a_saved_adapter_says_the_same_and_holds_no_more_than_its_rows(saved, kind, more):
    said, folder, base, where = saved(kind, more)
    names = adapter_files.read(folder).shapes
    rows = {name: shape for name, shape in names.items() if "lora_" not in name}
    assert set(rows.values()) == {(3, 16)}
    assert len(rows) == (1 if base.config.tie_word_embeddings else 2)
    loaded = adapter.with_adapter(base, folder, where)
    assert torch.equal(told(loaded), said)
    assert set(trained_rows(adapter.with_adapter(model_of(kind, **more), folder, where, is_trainable=True)))


@EVERY
def test_peft_alone_reads_it_into_a_table_of_the_tokenizers_size(saved, kind, more):
    from peft import PeftModel

    said, folder, base, _ = saved(kind, more)
    base.resize_token_embeddings(max(73, base.config.vocab_size))
    torch.testing.assert_close(told(PeftModel.from_pretrained(base, folder).eval()), said)


def test_an_earlier_adapter_is_trained_further_with_its_rows(saved):
    said, folder, base, where = saved(*KINDS[0])
    again = settings()
    again.path = str(folder)
    model = adapter.attach(base, again, where, 1)
    assert torch.equal(told(model), said)
    model.train()
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in trained_rows(model).values())


def without(folder, name, key):
    (folder / name).write_text(
        json.dumps({k: v for k, v in files.read_json(folder / name).items() if k != key})
    )


def without_rows(folder):
    from safetensors.torch import load_file, save_file

    path = folder / adapter_files.WEIGHTS
    save_file({k: v for k, v in load_file(path).items() if "trainable_tokens" not in k}, path)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / vocabulary.FILE).unlink(), r"vocabulary\.json is missing"),
        (lambda folder: without(folder, CONFIG, "trainable_token_indices"), "do not speak of the same"),
        (
            lambda folder: files.write_json(folder / vocabulary.FILE, {**NEW.as_dict(), "first": 71}),
            "do not speak of the same tokens",
        ),
        (without_rows, r"lacks .*trainable_tokens_delta"),
    ],
)
def test_an_adapter_whose_files_do_not_agree_on_its_tokens_is_refused(saved, damage, said):
    _, folder, base, where = saved(*KINDS[0])
    damage(folder)
    with pytest.raises(CheckpointError, match=said):
        adapter.with_adapter(base, folder, where)


def test_a_table_in_the_hosts_memory_is_refused():
    model = model_of()
    model.set_input_embeddings(load.HostEmbedding(model.get_input_embeddings()))
    with pytest.raises(ConfigError, match=r"^hw\.embedding_on_host: new tokens"):
        new_rows.make(model, NEW)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_layers_that_are_computed_again_give_the_same_gradients(checkpointing):
    model = adapted(*KINDS[0])
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    model(input_ids=IDS, labels=IDS).loss.backward()
    (rows,) = trained_rows(model).values()
    other = adapted(*KINDS[0])
    other.train()
    other(input_ids=IDS, labels=IDS).loss.backward()
    torch.testing.assert_close(rows.grad, *(p.grad for p in trained_rows(other).values()))


def test_beside_weights_of_4_bits_rows_are_trained_in_float32():
    config = compose_config("hw=cpu", "adapter=qlora", "adapter.rank=2")
    base = bases.locate(config.model, None)
    model = load.base_model(config.model, base, config.adapter, placement.resolve(config.hw))
    new = NewTokens(4096, (("a", "b"),), ((300, 301),))
    tuned = adapter.attach(model, config.adapter, base, 1, new)
    (rows,) = trained_rows(tuned).values()
    assert rows.dtype is torch.float32
    ids = torch.tensor([[300, 4096, 5]])
    tuned(input_ids=ids, labels=ids).loss.backward()
    assert rows.grad.abs().sum() > 0
