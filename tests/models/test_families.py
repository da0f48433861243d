"""The table of families is all that names one, and says what transformers' own code does."""

import ast
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.errors import ConfigError
from arabic_llm.memory import weights
from arabic_llm.models import families

PACKAGE = Path(__file__).parents[2] / "arabic_llm"
SMALL = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 16,  # 4 x 16 is not 48
    "vocab_size": 96,
    "tie_word_embeddings": True,
}


def small(model_type, **fields):
    """Return a small shape; BERT's heads are as wide as the hidden size, and share nothing."""
    family = families.TABLE[model_type]
    shape = SMALL | {"num_key_value_heads": 2, "attention_bias": family.has_bias}
    if family.is_masked:
        shape |= {
            "num_key_value_heads": 4,
            "head_dim": 12,
            "max_position_embeddings": 32,
            "type_vocab_size": 2,
        }
    return ArchitectureConfig(model_type=model_type, **shape | fields)


def on_meta(shape):
    auto = AutoModelForMaskedLM if families.of(shape).is_masked else AutoModelForCausalLM
    with torch.device("meta"):
        return auto.from_config(AutoConfig.for_model(**shape.fields() | {"pad_token_id": 0}))


def literals(file):
    """Yield the strings of a file, but for its docstrings."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_no_other_file_names_a_family():
    table = PACKAGE / "models" / "families.py"
    assert set(families.TABLE) <= set(literals(table))
    # GGUF files spell tokenizers and architectures in words of their own, some of which are the same.
    of_gguf = {PACKAGE / "export" / "gguf_vocabulary.py", PACKAGE / "models" / "from_gguf.py"}
    for file in sorted(set(PACKAGE.rglob("*.py")) - {table} - of_gguf):
        assert not set(families.TABLE) & set(literals(file)), f"{file} names a family"


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("model_type", sorted(families.TABLE))
def test_a_row_counts_the_tensors_that_the_real_code_builds(model_type, has_bias):
    shape = small(model_type, attention_bias=has_bias)
    block, outside = weights.block_tensors(shape), weights.outside_tensors(shape)
    model = on_meta(shape)
    layers = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
    assert sorted(p.numel() for p in layers[0].parameters()) == sorted(block)
    assert sum(p.numel() for p in model.parameters()) == weights.count(shape).total
    if not families.of(shape).is_masked:
        assert 2 * sum(block) + sum(outside) == weights.count(shape).total


@pytest.mark.parametrize("model_type", sorted(families.TABLE))
def test_a_row_names_the_linear_layers_of_the_real_code_with_their_widths(model_type):
    shape = small(model_type)
    layers = next(m for m in on_meta(shape).modules() if isinstance(m, torch.nn.ModuleList))
    real = {
        name: (module.in_features, module.out_features)
        for name, module in layers[0].named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    for name, ends in families.linear_shapes(shape).items():
        (found,) = {
            real.pop(n)
            for n in list(real)
            if n == name or (n.endswith(f".{name}") and is_longest(n, name, shape))
        }
        assert found == ends, name
    assert not real, f"the table lacks {sorted(real)}"


def is_longest(found, name, shape):
    """Return whether no longer name of the table is that of the layer: output.dense ends two of BERT's."""
    longer = [n for n in families.of(shape).linear if n != name and n.endswith(name)]
    return not any(found.endswith(n) for n in longer)


@pytest.mark.parametrize("model_type", sorted(families.TABLE))
def test_what_config_json_leaves_out_is_what_transformers_fills_in(model_type):
    config = AutoConfig.for_model(model_type)
    said = {k: v for k, v in config.to_dict().items() if k not in ("head_dim", "tie_word_embeddings")}
    shape = families.architecture(said)
    assert shape.tie_word_embeddings == config.tie_word_embeddings
    own = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    assert shape.head_dim == own


def test_a_family_without_a_row_is_never_counted_as_another():
    shape = ArchitectureConfig(model_type="mixtral", num_key_value_heads=2, **SMALL)
    for count in (weights.count, weights.block_tensors, families.linear_shapes, weights.target_sets):
        with pytest.raises(ConfigError, match="model_type=mixtral is not in the table of families"):
            count(shape)
    assert families.linear_modules("mixtral") == families.ALL_LINEAR
    assert families.closed_form(shape) is None
