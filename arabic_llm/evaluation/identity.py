"""What decides an answer, all of it: the model that is asked, how it talks, and with which code.

tests/evaluation/test_identity.py holds it: each setting and each file of a model's folder either changes
this or stands on a list with the reason why it decides no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from importlib.metadata import version
from inspect import getsource
from pathlib import Path
from typing import Any

from arabic_llm import files
from arabic_llm.config.adapter import AdapterConfig
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.model import ModelConfig
from arabic_llm.data.tokens.chat_template import Codec
from arabic_llm.models import adapter as adapters
from arabic_llm.models import load
from arabic_llm.models.bases import Base
from arabic_llm.models.placement import Placement

# Which files of a model's folder decide no answer; all others do, those too that nobody has heard of.
_DECIDES_NOTHING = {
    **dict.fromkeys(
        ("*.safetensors", "pytorch_model*.bin"), "weights: in the revision, or in what was trained"
    ),
    **dict.fromkeys(("*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.pth", "*.pt", "*.ot"), "never read"),
    **dict.fromkeys(("*.py", "*.pyc"), "code of a folder is never run"),
    **dict.fromkeys(("*.md", "*.txt.license", "LICENSE*", "NOTICE*", "USE_POLICY*", "*.pdf"), "for people"),
    **dict.fromkeys(("*.png", "*.jpg", "*.jpeg", "*.svg", "*.gif"), "pictures, for people"),
    **dict.fromkeys((".*", "SEALED.json", "CONVERTED"), "of who keeps the folder"),
    **dict.fromkeys(("arabic_llm.json", "lint.json", "ledger.json", "outcome.json"), "how it was trained"),
    **dict.fromkeys(("pretraining.json", "training_args.bin", "trainer_state.json"), "how it was trained"),
    **dict.fromkeys(
        ("chat_template.jinja*", "chat_template.json"), "model.chat_template is used, and hashed"
    ),
}
_LIBRARIES = ("lm_eval", "transformers", "tokenizers", "peft")  # which make prompts, ids and layers
# Where its documents come from: they are hashed themselves, as are the shots and their number.
_OF_A_TASKS_SOURCE = {
    *("task", "task_alias", "tag", "custom_dataset", "dataset_path", "dataset_name", "dataset_kwargs"),
    *("num_fewshot", "metadata"),
}


def of_model(
    model: ModelConfig,
    adapter: AdapterConfig,
    place: Placement,
    base: Base,
    codec: Any,
    trained: Path | None,
) -> dict[str, Any]:
    """Return what makes a model the one that is evaluated; `codec` of a masked model is its tokenizer."""
    return {
        "name": model.hub_id or model.name,
        "kind": model.kind.name,
        "revision": base.revision,
        "files": files_hash(base.folder),
        "quantization": adapter.quantization.name,
        "dtype": str(load.dtype_of(adapter, place)).removeprefix("torch."),
        "template": codec.template_hash if isinstance(codec, Codec) else None,
        "pad_token": model.pad_token,
        "max_length": model.max_length,
        "trained": _trained(trained) if trained else None,
    }


def libraries() -> dict[str, str]:
    """Return the versions of what turns an item into an answer beside this program's own code."""
    return {name: version(name) for name in _LIBRARIES}


def files_hash(folder: Path) -> str:
    """Return a hash of the files that decide an answer beside the weights, in the folder of a model."""
    deciding = [path for path in sorted(folder.iterdir()) if path.is_file() and why_not(path.name) is None]
    return fingerprint({path.name: files.sha256(path) for path in deciding})


def why_not(name: str) -> str | None:
    """Return why a file of a model's folder decides no answer; None: it does."""
    return next((reason for pattern, reason in _DECIDES_NOTHING.items() if fnmatch(name, pattern)), None)


def of_task(task: Any) -> str:
    """Return a hash of how lm-eval's task asks and scores: all of its YAML but where its documents lie."""
    settings = {key: value for key, value in vars(task.config).items() if key not in _OF_A_TASKS_SOURCE}
    return fingerprint(_plain(settings))


def _trained(folder: Path) -> str:
    """Return a hash of what was trained, and of the files that are read with it."""
    return fingerprint([adapters.trained_hash(folder), files_hash(folder)])


def _plain(value: Any) -> Any:
    """Return a task's settings as values: of functions the code, of objects what they hold."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return _source(value) if callable(value) else [type(value).__name__, _plain(vars(value))]


def _source(function: Callable[..., Any]) -> str:
    try:
        return getsource(function)
    except (TypeError, OSError):  # made while it ran
        return getattr(function, "__qualname__", type(function).__name__)
