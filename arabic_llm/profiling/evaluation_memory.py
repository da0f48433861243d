"""Memory of judging, predicted and measured: what its widest pass takes, and was to take.

On a card the measure is torch's own count over all of the judging. On a CPU it is the bytes of all tensors
alive while the model runs a pass; only passes that are wider than all before by a twentieth are counted, a
dozen at most, so that judging is not slowed. The prediction is a rehearsal of that very pass on meta.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from arabic_llm import files, processes
from arabic_llm.config.hw import Precision
from arabic_llm.evaluation.row_cache import RowCache
from arabic_llm.memory import inference_peak
from arabic_llm.memory.inference_peak import ForwardPass, LoadedModel
from arabic_llm.memory.wording import far_off, mib
from arabic_llm.memory.workload import Peak, workspace
from arabic_llm.models import adapter, families
from arabic_llm.profiling import skeleton
from arabic_llm.profiling.harmless import harmless

if TYPE_CHECKING:
    from arabic_llm.profiling.trace import Trace

log = logging.getLogger(__name__)
MEMORY = "memory.json"
_WHAT = "memory of evaluating"
_NOT_MEASURED = f"{_WHAT} is not measured"
_WIDER, _MOST_WATCHED = 1.05, 12


@dataclass(frozen=True)
class WidestPass:
    """What judging took at its worst, and what was predicted of it."""

    device: str
    widest: ForwardPass
    measured: int  # bytes in tensors
    measured_reserved: int | None  # taken from the card
    predicted: int | None
    predicted_reserved: int | None

    @property
    def error(self) -> float | None:
        """Return how far the prediction is off, in percent of what was measured."""
        return None if self.predicted is None else 100 * (self.predicted / self.measured - 1)

    def __str__(self) -> str:
        """Return both in a line."""
        behind = f" behind {self.widest.cached:,}" if self.widest.cached else ""
        said = f"{_WHAT}, {self.widest.rows} x {self.widest.tokens:,} tokens{behind} in its widest pass:"
        said += f" {mib(self.measured)} measured, "
        error = self.error
        said += "not predicted" if error is None else f"{mib(self.predicted)} predicted ({error:+.1f}%)"
        if self.measured_reserved is not None:
            said += f"; of the card {mib(self.measured_reserved)}"
        return said + far_off(self.error or 0)


@contextmanager
def watching(model: PreTrainedModel, folder: Path | None) -> Iterator[None]:
    """Say what judging takes, in the main process, and leave it in a folder; without one look away."""
    held = None
    if folder is not None and processes.is_main():
        with harmless(_NOT_MEASURED):
            held = hold(model)
            if held is None:
                log.info("%s: not predicted for models of %s", _WHAT, model.config.model_type)
    if folder is None or held is None:
        yield
        return
    watch = Watch(model, held)
    with watch.looking():
        yield
    with harmless(_NOT_MEASURED):
        if (found := watch.found()) is not None:
            files.write_state(folder / MEMORY, asdict(found))
            log.info("%s", found)


class Watch:
    """Looks at the passes of a model that is evaluated, and changes none of them.

    What goes wrong in it is said in a line, and the evaluation goes on.
    """

    def __init__(self, model: PreTrainedModel, held: LoadedModel) -> None:
        """Take the model, and how it lies on its device."""
        self._model, self._held = model, held
        self._widest, self._most, self._num_watched = ForwardPass(0, 0), 0.0, 0
        self._counted: dict[ForwardPass, int] = {}  # on a CPU
        self._counting = ExitStack()
        self._trace: Trace | None = None
        self._has_failed = False

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look on."""
        # PEFT calls the forward of what it wraps without its hooks, and generates with it alone.
        inner = self._model.get_base_model() if hasattr(self._model, "get_base_model") else self._model
        if not self._held.on_cpu:
            torch.cuda.reset_peak_memory_stats()
        with ExitStack() as hooks:
            for module in {self._model, inner}:
                for hook in (
                    module.register_forward_pre_hook(self._before, with_kwargs=True),
                    module.register_forward_hook(self._after, always_call=True),
                ):
                    hooks.callback(hook.remove)
            yield

    def found(self) -> WidestPass | None:
        """Return what was found; None where nothing ran."""
        if not self._most or self._has_failed:
            return None
        if not self._held.on_cpu:
            predicted = self._predicted(self._widest)
            measured = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
            sizes = (predicted.allocated, predicted.reserved) if predicted else (None, None)
            return WidestPass("cuda", self._widest, *measured, *sizes)
        widest = max(self._counted, key=self._counted.__getitem__)
        predicted = self._predicted(widest)
        size = predicted.by_phase["forward"] if predicted else None
        return WidestPass("cpu", widest, self._counted[widest], None, size, None)

    def _predicted(self, shape: ForwardPass) -> Peak | None:
        with harmless(f"{_WHAT} is not predicted"):
            from arabic_llm.profiling import evaluation_rehearsal  # on private names, which may be gone

            return evaluation_rehearsal.peak(self._held, shape)
        return None

    def _give_up(self) -> None:
        """Look at no further pass."""
        self._has_failed, self._trace = True, None
        self._counting.close()

    def _before(self, _module: Any, _args: Any, inputs: dict[str, Any]) -> None:
        if not self._has_failed:
            with harmless(_NOT_MEASURED, self._give_up):
                self._note(inputs)

    def _note(self, inputs: dict[str, Any]) -> None:
        """Note the shape of a pass that is wider than all before; on a CPU begin to count."""
        shape = shape_of(self._held, inputs)
        size = inference_peak.predict(self._held, shape).allocated
        if size <= self._most * (_WIDER if self._held.on_cpu else 1) or self._trace is not None:
            return
        self._widest, self._most = shape, size
        if self._held.on_cpu and self._num_watched < _MOST_WATCHED:
            self._num_watched += 1
            self._count(inputs)

    def _count(self, inputs: dict[str, Any]) -> None:
        """Count every tensor from here to the end of the pass; what is alive already is counted first."""
        from arabic_llm.profiling.timeline import Exact  # on private names of torch
        from arabic_llm.profiling.trace import Trace

        self._trace = Trace(Exact(), of_a_run=True)
        cache = inputs.get("past_key_values")
        layers = getattr(cache, "layers", ())
        cached = [t for layer in layers if layer.is_initialized for t in (layer.keys, layer.values)]
        cached += [t for states in getattr(cache, "shared", ()) for t in states]
        masks = inputs.get("attention_mask")
        given = [*inputs.values(), *(masks.values() if isinstance(masks, dict) else ())]
        for tensor in (*skeleton.tensors(self._model), *cached, *given):
            if isinstance(tensor, torch.Tensor):
                self._trace.see(tensor)
        # Inference mode would hide what operations are made of. Without it they are the same.
        self._counting.enter_context(torch.inference_mode(mode=False))
        self._counting.enter_context(torch.no_grad())
        self._counting.enter_context(self._trace)

    def _after(self, _module: Any, _inputs: Any, _output: Any) -> None:
        """End the count of a pass."""
        if self._trace is None:
            return
        with harmless(_NOT_MEASURED, self._give_up):
            self._counting.close()
            if self._trace.failure is not None:
                raise self._trace.failure
            self._counted[self._widest] = self._trace.allocator.peak_allocated
            self._trace = None


def hold(model: PreTrainedModel) -> LoadedModel | None:
    """Return how a model lies on its device, read off itself; None for families that nobody predicts."""
    config, peft = model.config, getattr(model, "peft_config", {}).get("default")
    ranks = adapter.ranks(model)
    if families.known(config.model_type) is None:
        return None
    on_cpu = model.device.type == "cpu"
    major = 0 if on_cpu else torch.cuda.get_device_capability()[0]
    shape = {name: value for name, value in config.to_dict().items() if value is not None}
    return LoadedModel(
        architecture=families.architecture(shape),
        nf4=getattr(config, "quantization_config", None) is not None,
        dtype=Precision[str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")],
        rank=max(ranks.values(), default=None),
        target_modules=tuple(sorted({name.rpartition(".")[2] for name in ranks})),
        dora=bool(peft and peft.use_dora),
        on_cpu=on_cpu,
        workspace_bytes=workspace(major),
    )


def shape_of(held: LoadedModel, inputs: dict[str, Any]) -> ForwardPass:
    """Return the shape of a pass, from what the model is called with."""
    rows, tokens = inputs["input_ids"].shape
    cache, cached, lying = inputs.get("past_key_values"), 0, 0
    in_place: dict[str, Any] = {}
    if isinstance(cache, RowCache):
        cached, room = cache.num_before, (cache.num_rows, cache.num_slots)
        in_place = {"in_place": room, "shared": cache.num_shared, "apart": cache.is_apart}
    elif cache is not None and (cached := int(cache.get_seq_length())):
        keys = cache.layers[0].keys
        lying = keys.untyped_storage().nbytes() // (keys.nbytes // keys.shape[-2])
    kept = inputs.get("logits_to_keep", 1 if held.is_masked_model else 0)
    is_scored = held.is_masked_model or isinstance(kept, torch.Tensor)
    mask = inputs.get("attention_mask")
    is_plain = isinstance(mask, torch.Tensor) and mask.dim() == 2  # noqa: PLR2004 (ones, zeros for padding)
    return ForwardPass(
        rows,
        tokens,
        cached,
        lying,
        wanted=kept.numel() if isinstance(kept, torch.Tensor) else rows * (kept or tokens),
        masked=mask is not None and not (is_plain and (tokens == 1 or bool(mask.all()))),
        is_scored=is_scored,
        **in_place,
    )
