"""Types of conf/adapter/: what is trained, as PEFT's LoraConfig spells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from omegaconf import MISSING

from arabic_llm.config.hw import Precision

_SETTINGS, _MANIFEST = "adapter_config.json", "manifest.json"  # of an adapter, of a run
_MOST_NEW_TOKENS = 2**16  # half of what a vocabulary of many languages has


class Method(Enum):
    """What training changes."""

    lora = "lora"  # low-rank adapters beside frozen weights
    full = "full"  # every weight
    none = "none"  # nothing: the base model is evaluated

    @property
    def folder(self) -> str:
        """Return what the folder of a run is called that holds what it has trained."""
        return "model" if self is Method.full else "adapter"


class Quantization(Enum):
    """How the frozen weights are held."""

    none = "none"
    nf4 = "nf4"  # 4-bit NormalFloat with double quantisation (QLoRA, 2305.14314)


@dataclass
class AdapterConfig:
    """What is trained, as PEFT's LoraConfig spells it."""

    name: str = MISSING
    method: Method = Method.lora
    quantization: Quantization = Quantization.none
    rank: int | None = None  # of the two matrices beside each layer: how much can be learned
    alpha: int | None = None  # what they add is scaled by alpha / rank
    dropout: float | None = None  # share of their inputs left out at random while training
    dtype: Precision | None = None  # of the adapter's weights, their gradients and AdamW's moments
    target_modules: list[str] = field(default_factory=list)  # names, or all-linear: experts only if named
    use_dora: bool = False  # magnitudes are trained besides (2402.09353)
    use_rslora: bool = False  # scaled by alpha / sqrt(rank) instead (2312.03732)
    extend_vocabulary: int = 0  # tokens learned by BPE from the Arabic (or Chinese) of the rows; 0: none
    path: str | None = None  # a trained adapter: evaluated as it is, or trained further

    @property
    def tensor_sizes(self) -> tuple[int, ...]:
        """Return the parameters of each tensor of an adapter that is there; nothing of a new one."""
        return ()

    @property
    def num_new_tokens(self) -> int:
        """Return how many tokens the vocabulary has more, at most."""
        return self.extend_vocabulary

    def __post_init__(self) -> None:
        """Refuse what PEFT would refuse later, or silently ignore."""
        self._refuse_what_nothing_reads()
        self._refuse_new_tokens()
        if self.method is Method.lora and not self.target_modules:
            raise ValueError("adapter.target_modules is empty; name layers, or set [all-linear]")
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"adapter.rank must be at least 1, not {self.rank}")
        if self.alpha is not None and self.alpha < 1:
            raise ValueError(f"adapter.alpha must be at least 1, not {self.alpha}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"adapter.dropout must be in [0, 1), not {self.dropout}")
        if self.dtype in (Precision.auto, Precision.float16):
            raise ValueError(
                f"adapter.dtype={self.dtype.name} is no type to train in: small updates would be lost, or"
                " the machine would decide what is learned; set float32 or bfloat16"
            )
        if self.use_dora and self.dtype is Precision.bfloat16:
            raise ValueError(
                f"adapter.dtype=bfloat16 has no meaning with adapter={self.name}: DoRA's magnitudes are"
                " near 1 and a step less than bfloat16 resolves there, so they would not move; set float32"
            )

    def _refuse_new_tokens(self) -> None:
        if not 0 <= self.extend_vocabulary <= _MOST_NEW_TOKENS:
            raise ValueError(
                f"adapter.extend_vocabulary must be between 0 and {_MOST_NEW_TOKENS:,}, not"
                f" {self.extend_vocabulary:,}"
            )
        if not self.extend_vocabulary:
            return
        if self.method is not Method.lora:
            raise ValueError(f"adapter.extend_vocabulary has no meaning with adapter={self.name}")
        if self.path is not None:
            raise ValueError(
                f"adapter.extend_vocabulary={self.extend_vocabulary} has no meaning beside"
                f" adapter.path={self.path}: that adapter keeps its own tokens; leave one of them out"
            )

    def _refuse_what_nothing_reads(self) -> None:
        low_rank = {name: getattr(self, name) for name in ("rank", "alpha", "dropout", "dtype")}
        given = {name for name, value in low_rank.items() if value is not None}
        if self.method is Method.lora:
            for name in low_rank.keys() - given:
                raise ValueError(f"adapter.{name} is not set")
            return
        if self.method is Method.full:
            given |= {"path"} if self.path is not None else set()
            given |= {"quantization"} if self.quantization is not Quantization.none else set()
        for name in sorted(given):
            raise ValueError(f"adapter.{name} has no meaning with adapter={self.name}")


@dataclass
class EarlierAdapter(AdapterConfig):
    """An adapter that is there already, in the words of its own files (models/adapter_files.py)."""

    sizes: tuple[int, ...] = ()  # parameters of each of its tensors
    new_tokens: int = 0  # that it has added to its base model's

    @property
    def tensor_sizes(self) -> tuple[int, ...]:
        """Return the parameters of each of its tensors."""
        return self.sizes

    @property
    def num_new_tokens(self) -> int:
        """Return how many tokens it has added."""
        return self.new_tokens


def of_run(typed: str) -> str:
    """Return the folder of an adapter, where adapter.path names the run that has trained it.

    Raises ValueError for a run that has trained all weights, and for one in stages.
    """
    folder = Path(typed)
    if (folder / _SETTINGS).is_file() or not (folder / _MANIFEST).is_file():
        return typed
    if (folder / Method.lora.folder / _SETTINGS).is_file():
        return str(folder / Method.lora.folder)
    if (whole := folder / Method.full.folder).is_dir():
        raise ValueError(
            f"adapter.path: {typed} has trained all weights and has no adapter; give model.path={whole}"
        )
    if stages := sorted(str(path.parents[1]) for path in folder.glob(f"*/adapter/{_SETTINGS}")):
        raise ValueError(
            f"adapter.path: {typed} was trained in stages; give one of them: {', '.join(stages)}"
        )
    return typed
