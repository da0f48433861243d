"""Layers that stream: bytes that move in a step, what their way costs a CPU, what it would cost a card.

    OMP_NUM_THREADS=1 python benchmarks/streaming.py

Claim: a step of QLoRA whose layers all stream moves at most a quarter of the bytes that streaming the same
layers in bfloat16 would move. Every copy is counted where FSDP2 makes it. The ratio of CPU times shows
what hooks and copies cost beside the work. It cannot show what a card hides: there is one memory here, and
no second stream. The times of cards are arithmetic, not measurements; their formula is printed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import torch
from peft import LoraConfig, get_peft_model
from torch.distributed.fsdp._fully_shard._fsdp_param import FSDPParam
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from arabic_llm.config.hw import GIB, MIB
from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.memory import visits, weights
from arabic_llm.models import load, streaming
from arabic_llm.models.placement import Placement, Precision

LAYERS, TOKENS, PASSES, RUNS = 20, 256, 2, 3
MOST = 1 / 4  # of the bytes of bfloat16
QWEN2_7B = ArchitectureConfig(
    model_type="qwen2",
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    head_dim=128,
    vocab_size=152064,
    tie_word_embeddings=False,
    attention_bias=True,
)
CARDS = (
    (6, 4),
    (12, 10),
    (24, 40),
)  # GB/s of a bus (PCIe 3 x8, 3 x16, 4 x16) beside TFLOP/s that a card does
FORMULA = """
 a layer of w weights and n tokens, on a bus of b bytes/s and a card of f FLOP/s
   copy     = (w/2) / b          packed weights, half a byte each; hidden behind the layer before it
   forward  = 2 w n / f
   backward = 4 w n / f          computed again, and the gradient of its input: its weights have none
   resident = forward + backward            streamed = max(copy, forward) + max(copy, backward)"""


@dataclass(frozen=True)
class Moved:
    """Copies of packed weights, and their bytes."""

    copies: int
    num_bytes: int


def build(folder: str, streamed_layers: int) -> PreTrainedModel:
    """Return a QLoRA of the model in a folder, of which so many layers stream."""
    place = Placement("cpu", Precision.float32, 1, 1, True, "", streamed_layers=streamed_layers)
    with streaming.packed_one_by_one("cpu"):
        model = Qwen2ForCausalLM.from_pretrained(
            folder, quantization_config=load.nf4(torch.float32), dtype=torch.float32, device_map={"": "cpu"}
        )
    torch.manual_seed(1)
    model = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    streaming.settle(model, place)
    return model.train()


def step(model: PreTrainedModel) -> float:
    """Run the passes of an optimiser step and return the sum of their losses."""
    ids = torch.arange(TOKENS)[None] % model.config.vocab_size
    losses = []
    for _ in range(PASSES):
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        losses.append(loss.item())
    model.zero_grad()
    return sum(losses)


@contextmanager
def counted() -> Iterator[Callable[[], Moved]]:
    """Count the copies of parameters that FSDP2 makes to where they compute."""
    inputs, sizes = vars(FSDPParam)["all_gather_inputs"].fget, list[int]()

    def noted(self: FSDPParam) -> list[torch.Tensor]:
        found: list[torch.Tensor] = inputs(self)
        sizes.extend(tensor.nbytes for tensor in found)
        return found

    with mock.patch.object(FSDPParam, "all_gather_inputs", property(noted)):
        yield lambda: Moved(len(sizes), sum(sizes))


def timed(models: list[PreTrainedModel]) -> list[float]:
    """Return the least CPU seconds of a step of each model, in alternating order."""
    best = [float("inf")] * len(models)
    for _ in range(RUNS):
        for number, model in enumerate(models):
            begin = time.process_time()
            step(model)
            best[number] = min(best[number], time.process_time() - begin)
    return best


def predictions(a: ArchitectureConfig, tokens: int) -> Iterator[str]:
    """Yield what the formula says of cards: seconds of all layers of a pass, resident and streamed."""
    layers, size = a.num_hidden_layers, sum(weights.block_tensors(a))
    for bus, teraflops in CARDS:
        copy = visits.packed_layer(a) / (bus * 1e9)
        forward = 2 * size * tokens / (teraflops * 1e12)
        backward = 2 * forward
        resident = layers * (forward + backward)
        streamed = layers * (max(copy, forward) + max(copy, backward))
        seconds = f"resident {resident:6.2f} s a pass, streamed {streamed:6.2f}"
        yield (
            f"{bus:4} GB/s {teraflops:3} TFLOP/s {tokens:5,} tokens: a copy {1000 * copy:4.1f} ms,"
            f" {seconds}: {resident / streamed:.2f} of the speed"
        )


def main() -> None:
    """Print the three parts; fail where the claim does not hold."""
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        config = Qwen2Config(
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=512,
        )
        Qwen2ForCausalLM(config).save_pretrained(folder)
        resident, streamed = build(folder, 0), build(folder, LAYERS)
    assert step(resident) == step(streamed)
    with counted() as moved:
        step(streamed)
    packed = sum(streaming.packed_bytes(layer) for layer in streaming.blocks(resident)[1])
    bf16 = 2 * PASSES * 2 * 2 * packed  # two visits a pass, two bytes a weight and not a half
    found = moved()
    said = f"{found.copies:,} copies, {found.num_bytes / MIB:,.1f} MiB"
    print(f"{said} in a step of {PASSES} passes through {LAYERS} layers;")
    print(f"in bfloat16 {bf16 / MIB:,.1f} MiB: {found.num_bytes / bf16:.3f} of it (at most {MOST})")
    assert found.num_bytes == 2 * PASSES * packed
    assert found.num_bytes <= MOST * bf16
    whole, away = timed([resident, streamed])
    print(f"CPU seconds of a step: resident {whole:.2f}, streamed {away:.2f}: {away / whole:.2f} times")
    a_pass = 2 * QWEN2_7B.num_hidden_layers * visits.packed_layer(QWEN2_7B)
    print(f"Qwen2-7B, all 28 layers streamed: {a_pass / GIB:.2f} GiB a pass; what follows is arithmetic:")
    print(FORMULA.strip("\n"))
    for tokens in (64, 256, 512, 2048):
        for line in predictions(QWEN2_7B, tokens):
            print(line)


if __name__ == "__main__":
    main()
