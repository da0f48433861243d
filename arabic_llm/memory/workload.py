"""What one optimiser step puts on a card, in plain numbers: all that a prediction of its memory needs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from arabic_llm.config.hw import MIB, Precision
from arabic_llm.config.model import ArchitectureConfig
from arabic_llm.config.task import Optimizer


class Attention(Enum):
    """How attention is computed, which decides what of it lies in memory."""

    eager = "eager"  # scores of every pair of tokens, several times
    efficient = (
        "efficient"  # PyTorch's memory-efficient kernel: padded batches, float32, cards before Ampere
    )
    flash = "flash"  # PyTorch's FlashAttention kernel: 16 bits, no padding, Ampere and later


class Objective(Enum):
    """What is learned; preferences take what the rows take: their loss is of a number for each."""

    sft = "sft"  # the tokens of answers
    classify = "classify"  # one class a text, by a head of its own
    dpo = "dpo"  # pairs of answers, against the model as it began (2305.18290)
    orpo = "orpo"  # pairs of answers and the tokens of the better one, without a reference (2403.07691)
    kto = "kto"  # rated answers, against the model as it began (2402.01306)


PAIRS = (Objective.dpo, Objective.orpo)


class Loss(Enum):
    """Whether the logits of all positions exist at once."""

    full = "full"  # transformers' own loss
    tiled = "tiled"  # of labels alone: on a GPU a tile of TRL's kernels, 4096 labels and 32768 words


@dataclass(frozen=True)
class Workload:
    """A model, how it is held, and the batch of one forward and backward pass."""

    architecture: ArchitectureConfig
    batch_size: int  # sequences: of pairs two each
    tokens: int  # a sequence: with prompt and answer
    nf4: bool  # linear layers in 4 bits
    double_quant: bool  # and their scales in 8
    weights: Precision  # of what is not in 4 bits
    compute: Precision  # of the products with 4-bit weights; of autocast
    autocast: bool
    rank: int | None  # of the adapter; none: every weight is trained
    target_modules: tuple[str, ...]
    dropout: float
    attention: Attention
    checkpointing: bool
    optimizer: Optimizer | None  # none: nothing is kept from step to step, or nothing is trained
    loss: Loss
    padded: bool  # the batch has an attention mask with zeros in it
    accumulates: bool  # gradients of an earlier pass are there
    workspace_bytes: int  # of cuBLAS, a thread: 8.125 MiB, on Hopper and later 32
    objective: Objective = Objective.sft
    num_labelled: int | None = None  # positions that the tiled loss counts; none: all
    num_labels: int = 2  # classes, where that is the objective
    dora: bool = False  # the adapter has magnitudes too, and adds itself up with the weights of its layer
    adapter_sizes: tuple[int, ...] = ()  # parameters of its tensors, where it is there already
    new_tokens: int = 0  # of the architecture's, whose rows are trained beside the adapter, in float32
    adapter: Precision = Precision.float32  # of the adapter, its gradients, and AdamW's moments
    device: str = "cuda"  # or cpu, whose kernels are others, and whose allocator rounds nothing
    optimizer_on_host: bool = False  # moments in memory of the host (bitsandbytes' paged optimisers)
    embedding_on_host: bool = False  # frozen, not tied to the head, and looked up there
    head_on_host: bool = False  # frozen; its rows come in blocks. A table that is the head goes with it
    num_cards: int = 1  # that train together; all else is of one of them
    fsdp: bool = False  # weights, gradients and moments are shared out over them; of 4 bits, these alone
    streamed_layers: int = 0  # whose 4-bit weights lie on the host and visit the card
    packed_layers: tuple[int, ...] = ()  # bytes of each layer's, of a family that no table knows
    makes_masks: bool = False  # its own code, of what a tokenizer says; else they are made beforehand
    # Our runs do neither; plain loops that were measured do (benchmarks/memory.py).
    widened: bool = False  # PEFT's prepare_model_for_kbit_training: what is not in 4 bits is float32
    keeps_output: bool = False  # the logits live until the step ends; Trainer drops them

    @property
    def looks_up_on_host(self) -> bool:
        """Return whether the table of tokens is not on the card."""
        is_tied = self.architecture.tie_word_embeddings
        return self.embedding_on_host or (self.head_on_host and is_tied)

    @property
    def shares_packed(self) -> bool:
        """Return whether 4-bit weights are shared out: what is trained is whole on each card."""
        return self.fsdp and self.nf4

    @property
    def shares_all(self) -> bool:
        """Return whether weights, gradients and moments are shared out."""
        return self.fsdp and not self.nf4


# at::cuda::getChosenWorkspaceSize, torch 2.13: 2 buffers of 4 MiB and 8 of 16 KiB
CUBLAS_WORKSPACE, HOPPER_WORKSPACE = 2 * 4096 * 1024 + 8 * 16 * 1024, 32 * MIB
_HOPPER = 9  # compute capability


def workspace(major: int) -> int:
    """Return the bytes of a workspace of cuBLAS on a card of that compute capability."""
    return HOPPER_WORKSPACE if major >= _HOPPER else CUBLAS_WORKSPACE


@dataclass(frozen=True)
class Peak:
    """Bytes at the worst moment of a step."""

    allocated: int  # in tensors: torch.cuda.max_memory_allocated
    reserved: int  # taken from the card: torch.cuda.max_memory_reserved
    by_phase: dict[str, int]  # peak allocated of forward, backward, optimizer
    fits: bool  # in the capacity that was given
