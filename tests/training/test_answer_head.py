"""The loss of labels alone is that of all logits: with padding, packing, caps and trained heads."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from arabic_llm.data.tokens.chat import IGNORED, TokenRow
from arabic_llm.training import answer_head, batches, tiled_head

SHAPE = {
    **{"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "head_dim": 8, "vocab_size": 300, "pad_token_id": 0},
}
KINDS = {  # what comes between the head's product and a logit
    "plain": {"model_type": "llama"},
    "tied": {"model_type": "qwen2", "tie_word_embeddings": True},
    "capped": {"model_type": "gemma2", "final_logit_softcapping": 0.5},
    "multiplied": {"model_type": "cohere", "logit_scale": 0.3},
    "divided": {"model_type": "granite", "logits_scaling": 4.0},
    "with bias": {"model_type": "phi"},
}


def model_of(kind):
    torch.manual_seed(0)
    config = AutoConfig.for_model(**SHAPE | KINDS[kind])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64, attn_implementation="eager")
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def rows(*lengths, kind="chat"):
    """Return rows of these lengths whose last third is an answer."""
    made = []
    for number, length in enumerate(lengths):
        ids = [10 + (7 * number + 3 * i) % 280 for i in range(length)]
        labels = [
            IGNORED if i < length * 2 // 3 and kind == "chat" else token for i, token in enumerate(ids)
        ]
        made.append(TokenRow(f"r{number}", ids, labels, kind))
    return made


def batch_of(some, max_length=64):
    return batches.Collate(0)(list(batches.sequences(some, max_length)))


PADDED = batch_of(rows(30, 9, 17))
PACKED = batch_of(rows(20, 11, 7, 30, kind="text"), 40)


def expected(model, batch):
    """Return transformers' own logits, scored by torch, where there is a label."""
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    labels = batch["labels"][:, 1:]
    scores = model(**inputs, use_cache=False).logits[:, :-1].log_softmax(-1)
    chosen = scores.gather(-1, labels.clamp(min=0)[..., None]).squeeze(-1)
    return chosen.masked_fill(labels == IGNORED, 0)


def learned(model, log_probs):
    """Return the gradients of a loss in which no two labels weigh the same."""
    weights = torch.linspace(0.5, 1.5, log_probs.numel(), dtype=log_probs.dtype).view(log_probs.shape)
    model.zero_grad()
    (log_probs * weights).sum().backward()
    return {
        n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad and p.grad is not None
    }


def compare(model, batch):
    """Hold log-probabilities and gradients against those of all logits; return what has a gradient."""
    wanted = expected(model, batch)
    gradients = learned(model, wanted)
    answer_head.install(model)
    found = model(**batch, fused_lm_head=True)
    torch.testing.assert_close(found.log_probs, wanted, rtol=1e-10, atol=1e-10)
    assert found.loss.item() == pytest.approx(
        -wanted.sum().item() / answer_head.num_labels(batch["labels"])
    )
    own = learned(model, found.log_probs)
    assert own.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(own[name], gradient, rtol=1e-8, atol=1e-10)
    return own.keys()


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(tiled_head, "_TILE", 5 * SHAPE["vocab_size"])  # five labels: the last is not full


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [PADDED, PACKED], ids=["padded", "packed"])
def test_labels_alone_have_the_loss_and_the_gradients_of_all_logits(kind, batch):
    assert any("head" in name or "embed" in name for name in compare(model_of(kind), batch))


@pytest.mark.parametrize("kind", ["plain", "tied", "capped", "with bias"])
def test_a_frozen_head_passes_the_same_gradients_back(kind):
    model = get_peft_model(model_of(kind), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    model.eval()
    assert all("lora" in name for name in compare(model, PADDED))


@pytest.mark.parametrize(
    ("kind", "options", "trained"),
    [
        ("plain", {"modules_to_save": ["lm_head"]}, "lm_head.modules_to_save"),
        ("with bias", {"modules_to_save": ["lm_head"]}, "lm_head.modules_to_save.default.bias"),
        ("tied", {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, "embed_tokens"),
        ("tied", {"trainable_token_indices": [12, 15, 40]}, "trainable_tokens_delta"),
        ("plain", {"trainable_token_indices": {"embed_tokens": [12], "lm_head": [12, 40]}}, "lm_head"),
        ("plain", {"target_modules": ["q_proj", "lm_head"]}, "lm_head.lora_B"),
    ],
)
def test_a_head_that_an_adapter_trains_is_the_one_that_scores(kind, options, trained):
    options = {"target_modules": ["q_proj"], **options}
    model = get_peft_model(model_of(kind), LoraConfig(r=2, **options))
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    assert any(trained in name for name in compare(model, PADDED))


def test_a_batch_without_a_label_has_no_loss_and_a_gradient_of_nothing():
    model = model_of("plain")
    answer_head.install(model)
    out = model(**PADDED | {"labels": torch.full_like(PADDED["labels"], IGNORED)}, fused_lm_head=True)
    out.loss.backward()
    assert out.loss == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_the_head_multiplies_labels_and_nothing_else(monkeypatch):
    """Rows of the head's products are the labels, on a CPU too."""
    multiplied = []
    product = torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b: multiplied.append(len(a)) or product(a, b))
    model = model_of("plain").eval()
    answer_head.install(model)
    with torch.no_grad():
        model(**PADDED, fused_lm_head=True)
    assert sum(multiplied) == answer_head.num_labels(PADDED["labels"])
    assert max(multiplied) == 5


def test_a_pass_that_is_asked_for_nothing_is_the_models_own():
    model = model_of("capped").eval()
    inputs = {name: value for name, value in PADDED.items() if name != "labels"}
    with torch.no_grad():
        before = model(**inputs).logits
        answer_head.install(model)
        assert torch.equal(model(**inputs).logits, before)


def test_half_precision_rounds_products_and_not_sums():
    torch.manual_seed(0)
    hidden = torch.randn(12, 32)
    weight, targets = torch.randn(300, 32), torch.arange(12)
    exact = tiled_head.TiledLogProbs.apply(hidden, weight, None, targets, (tiled_head.Logits(), False))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = tiled_head.TiledLogProbs.apply(
            hidden, weight, None, targets, (tiled_head.Logits(), False)
        )
    assert rounded.dtype is torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.1)
