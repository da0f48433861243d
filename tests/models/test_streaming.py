"""Frozen 4-bit layers that stream from the host change no bit of what is learned, and come in order."""

import ctypes
import functools
import gc
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import compose_config
from torch import distributed, nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from arabic_llm.config.hw import Precision
from arabic_llm.errors import ConfigError, HardwareError
from arabic_llm.models import adapter, head, load, placement, streaming, visitors
from arabic_llm.models.bases import Base
from arabic_llm.models.host_head import HostHead
from arabic_llm.training import answer_head

LAYERS, WORDS = 4, 96
_MMAP_THRESHOLD = -3  # of mallopt
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": WORDS,
    "max_position_embeddings": 64,
}
FAMILIES = {
    "llama": (LlamaConfig, LlamaForCausalLM, False),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, True),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM, False),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a folder of a small model drawn at random, by its family."""
    found = {}
    for name, (config, model, _) in FAMILIES.items():
        torch.manual_seed(0)
        shape = {**SHAPE, "tie_word_embeddings": name == "gemma2"}
        if name == "qwen2":
            shape.pop("head_dim")
        folder = found[name] = tmp_path_factory.mktemp(name)
        model(config(**shape)).to(torch.bfloat16).save_pretrained(folder)
    return found


@functools.cache
def of_family(family):
    shape = {**SHAPE, "model_type": family, "attention_bias": FAMILIES[family][2]}
    shape["tie_word_embeddings"] = family == "gemma2"
    del shape["max_position_embeddings"]
    given = [f"model.architecture.{name}={value}" for name, value in shape.items()]
    return compose_config(
        *("model.builtin=false", "model.path=x", "model.max_length=64", "task.max_length=64", *given),
        *("adapter=qlora", "hw=cpu", "hw.gradient_checkpointing=true"),
    )


def built(folders, family, num_streamed, *, head_on_host=False, **of_adapter):
    """Return a model with its adapter, settled as a run's is."""
    config = of_family(family)
    tuned = replace(config.adapter, rank=4, alpha=8, **of_adapter)
    place = placement.resolve(replace(config.hw, streamed_layers=num_streamed))
    place = replace(place, head_on_host=head_on_host)
    base = Base(folders[family], "")
    model = load.base_model(config.model, base, tuned, place)
    model = adapter.attach(model, tuned, base, 17)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    streaming.settle(model, place)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # of zeros no gradient would reach the layers below
            nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return model.train()


def trained(model, accumulation=1, steps=2):
    """Return losses and gradient norms of some steps, and the bytes of what was trained."""
    own = [p for p in model.parameters() if p.requires_grad]
    optimizer, draw = torch.optim.AdamW(own, lr=1e-2), torch.Generator().manual_seed(5)
    torch.manual_seed(3)
    figures = []
    for _ in range(steps):
        for _ in range(accumulation):
            ids = torch.randint(0, WORDS, (2, 12), generator=draw)
            loss = model(input_ids=ids, labels=ids).loss / accumulation
            loss.backward()
            figures.append(loss.item())
        figures.append(float(nn.utils.clip_grad_norm_(own, 1.0)))
        optimizer.step()
        optimizer.zero_grad()
    return figures, [p.detach().numpy().tobytes() for p in own]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dropout", [0, 0.1])
def test_streamed_layers_learn_what_resident_ones_learn_to_the_bit(folders, family, dropout):
    for accumulation, steps in ((1, 2), (4, 1)):
        resident, *streamed = [
            trained(built(folders, family, number, dropout=dropout), accumulation, steps)
            for number in (0, LAYERS // 2, LAYERS)
        ]
        assert len(set(resident[0])) > 2
        assert streamed == [resident, resident]


@pytest.mark.parametrize("kind", ["use_dora", "use_rslora"])
def test_dora_and_rslora_learn_the_same_too(folders, kind):
    of_adapter = {"dropout": 0, kind: True}
    resident = trained(built(folders, "qwen2", 0, **of_adapter))
    assert trained(built(folders, "qwen2", 4, **of_adapter)) == resident


def test_a_streamed_layer_is_whole_only_while_it_computes(folders):
    model = built(folders, "llama", 2)
    _, layers = streaming.blocks(model)
    assert [isinstance(layer, distributed.fsdp.FSDPModule) for layer in layers] == [
        False,
        True,
        False,
        True,
    ]
    held = [[m.weight for m in streaming._four_bit(layer)] for layer in layers]
    assert [all(isinstance(w, distributed.tensor.DTensor) for w in own) for own in held] == [
        False,
        True,
    ] * 2
    trained(model, steps=1)
    visitor = streaming._four_bit(layers[1])[0]
    whole = visitor.weight  # after a step: the part on the host
    assert isinstance(whole, distributed.tensor.DTensor)
    fsdp = layers[1]._get_fsdp_state()._fsdp_param_group
    assert [p.unsharded_param.untyped_storage().nbytes() for p in fsdp.fsdp_params] == [0] * 7


def visits(model):
    """Return what happens to layers from here on: which is fetched, and which computes, in order."""
    seen, (_, layers) = [], streaming.blocks(model)
    for number, layer in enumerate(layers):
        group = layer._get_fsdp_state()._fsdp_param_group
        arrive = group._to_unsharded

        def arrived(number=number, arrive=arrive):
            seen.append(("fetched", number))
            arrive()

        group._to_unsharded = arrived
        layer.self_attn.register_forward_pre_hook(lambda *_, n=number: seen.append(("computes", n)))
    return seen


def test_the_next_layer_is_fetched_before_one_computes_and_the_one_before_it_on_the_way_back(folders):
    model = built(folders, "qwen2", 4)
    seen, ids = visits(model), torch.ones(1, 8, dtype=torch.long)
    loss = model(input_ids=ids, labels=ids).loss
    forth = [("fetched", 0), ("fetched", 1), ("computes", 0), ("fetched", 2), ("computes", 1)]
    assert seen == [*forth, ("fetched", 3), ("computes", 2), ("computes", 3)]
    seen.clear()
    loss.backward()
    back = [("fetched", 3), ("fetched", 2), ("computes", 3), ("fetched", 1), ("computes", 2)]
    assert seen == [*back, ("fetched", 0), ("computes", 1), ("computes", 0)]  # each layer twice a pass


def test_a_streamed_model_is_judged_as_a_resident_one_also_without_its_adapter_and_between_steps(folders):
    ids = torch.arange(12)[None]
    resident, streamed = (built(folders, "qwen2", n) for n in (0, 3))
    logits = []
    for model in (resident, streamed):
        model.eval()
        own = []
        with torch.inference_mode():
            own.append(model(input_ids=ids).logits)
            with model.disable_adapter():  # as DPO asks its reference
                own.append(model(input_ids=ids).logits)
        own.append(trained(model.train()))
        logits.append(own)
    assert torch.equal(logits[0][0], logits[1][0])
    assert torch.equal(logits[0][1], logits[1][1])
    assert not torch.equal(logits[0][0], logits[0][1])
    assert logits[0][2] == logits[1][2]


def test_a_base_without_an_adapter_streams(folders):
    config = of_family("llama")
    base, ids = Base(folders["llama"], ""), torch.arange(12)[None]
    places = [replace(placement.resolve(config.hw), streamed_layers=number) for number in (0, 4)]
    models = [adapter.load_trained(config.model, base, config.adapter, place, None) for place in places]
    with torch.inference_mode():
        one, other = (model(input_ids=ids).logits for model in models)
    assert torch.equal(one, other)


def test_resident_layers_lie_between_streamed_ones():
    assert visitors.streamed(0, 28) == []
    assert visitors.streamed(2, 8) == [2, 6]
    for layers in (1, 6, 28):
        for count in range(1, layers + 1):
            found = visitors.streamed(count, layers)
            assert len(set(found)) == count
            assert found == sorted(found)
            assert 0 <= found[0] <= found[-1] < layers


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("hw.streamed_layers=7",), "hw.streamed_layers=7 is more than the 6 layers of model=tiny"),
        (("hw.streamed_layers=2", "adapter=lora"), "adapter=lora has none: take adapter=qlora"),
        (("hw.streamed_layers=2", "adapter=full"), "adapter=full has none: take adapter=qlora"),
        (("hw.streamed_layers=2", "hw.gradient_checkpointing=false"), "computed again on the way back"),
        (("hw.streamed_layers=2", "hw.fsdp=true"), "two ways for the same layers"),
        (("hw.streamed_layers=-1",), "hw.streamed_layers must be at least 0, not -1"),
    ],
)
def test_layers_that_cannot_stream_are_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        compose_config("adapter=qlora", "hw=cpu", *given)


def test_more_streamed_layers_than_the_files_have_and_a_torch_without_groups_are_refused(
    folders, monkeypatch
):
    place, model = placement.resolve(of_family("llama").hw), built(folders, "llama", 0)
    with pytest.raises(ConfigError, match="hw.streamed_layers=9 is more than the 4 layers of the model"):
        streaming.settle(model, replace(place, streamed_layers=9))
    monkeypatch.setattr(distributed, "is_available", lambda: False)
    with pytest.raises(HardwareError, match="this torch has none"):
        streaming.settle(model, replace(place, streamed_layers=1))


class Anonymous:
    """The most memory of this process's own, not of files, while it is watched."""

    def __enter__(self):
        self.begin = self.peak = self._now()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join()

    def _watch(self):
        while not self._ends.wait(0.001):
            self.peak = max(self.peak, self._now())

    @staticmethod
    def _now():
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) * 1024


@pytest.fixture
def frees_at_once():
    """Have memory of more than 64 KiB, once freed, be the system's again: no heap hides what is taken."""
    libc = ctypes.CDLL(None)
    gc.collect()
    libc.mallopt(_MMAP_THRESHOLD, 2**16)
    libc.malloc_trim(0)
    yield
    libc.mallopt(_MMAP_THRESHOLD, 2**25)  # the highest that glibc comes to by itself


def test_no_more_is_read_at_once_than_the_packed_model_and_one_unpacked_weight(tmp_path, frees_at_once):
    config = of_family("llama")
    deep = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 48}
    model = LlamaForCausalLM(LlamaConfig(**{**SHAPE, **deep})).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    unpacked = model.num_parameters() * 2
    del model
    gc.collect()
    asked = replace(config.model, architecture=replace(config.model.architecture, **deep))
    place = replace(placement.resolve(config.hw), streamed_layers=48, precision=Precision.bfloat16)
    with Anonymous() as watched:
        loaded = load.base_model(asked, Base(tmp_path, ""), config.adapter, place)
        streaming.settle(loaded, place)
    packed = sum(streaming.packed_bytes(layer) for layer in streaming.blocks(loaded)[1])
    # bitsandbytes' CPU code compares a weight with 16 values, in float32; a card's is a kernel
    one = 256 * 1024 * (16 * 4 + 2)
    assert watched.peak - watched.begin < packed + 2 * one < unpacked


@pytest.mark.parametrize("family", ["llama", "gemma2"])  # with a head of its own, and a table that is one
def test_a_model_whose_head_is_on_the_host_learns_the_same_to_the_bit(folders, family):
    found = []
    for away in (False, True):
        model = built(folders, family, 2, head_on_host=away, dropout=0.1)
        assert isinstance(model.get_output_embeddings(), HostHead) == away
        tables = [n for n, p in model.named_parameters() if len(p) == WORDS and "lora" not in n]
        assert len(tables) == {("llama", False): 2, ("llama", True): 1, ("gemma2", False): 1}.get(
            (family, away), 0
        )
        whole = trained(model, 2)
        answer_head.install(model)
        ids = torch.arange(12)[None]
        fused = model(input_ids=ids, labels=ids, fused_lm_head=True)
        fused.loss.backward()
        gradients = [p.grad.numpy().tobytes() for p in model.parameters() if p.grad is not None]
        found.append((whole, fused.loss.item(), gradients))
    assert found[0] == found[1]


def test_a_head_that_is_more_than_a_product_stays(folders):
    model = built(folders, "llama", 0, dropout=0)

    class Scaled(nn.Linear):
        def forward(self, hidden):
            return 2 * super().forward(hidden)

    model.set_output_embeddings(Scaled(64, WORDS))
    with pytest.raises(ConfigError, match=r"hw.head_on_host: the head of LlamaForCausalLM is more than"):
        head.to_host(model.get_base_model(), "cpu")
