"""The card of an exported model: what it is, learned, scores, forgot and needs, with hub metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from arabic_llm.analysis.forgetting import Forgetting
from arabic_llm.config.naming import of_data
from arabic_llm.reports import tables
from arabic_llm.reports.markdown import code, escaped, table

_LIBRARIES = {"adapter": "peft", "merged": "transformers", "gguf": "gguf", "ollama": "gguf"}
_RELATIONS = {"adapter": "adapter", "merged": "finetune", "gguf": "quantized", "ollama": "quantized"}
_SETTINGS = (
    *("learning_rate", "epochs", "max_steps", "effective_batch_size", "max_length", "optimizer"),
    *("warmup_ratio", "weight_decay", "max_grad_norm", "beta", "loss_type"),
)
_OF_ADAPTER = (
    "method",
    "quantization",
    "rank",
    "alpha",
    "dropout",
    "target_modules",
    "use_dora",
    "use_rslora",
)
_WORSE = "worse"
_ENDED = ("steps", "train_loss", "dev_loss")  # of an outcome: what no machine and no interruption changes
_SAID_ELSEWHERE = (
    "Its command, machine and versions stand in `manifest.json` of its run. It was not judged when this was"
    " written: `task=evaluate adapter.path=<this folder>` does that, `task=export` hands it on with a card"
    " that holds what was found."
)


@dataclass(frozen=True)
class Handed:
    """A form that a run is handed on as, and all that its card says."""

    form: str  # adapter, merged, gguf, ollama
    proof: str
    told: Mapping[str, Any]  # the run's configuration, as plain values
    base_revision: str
    command: str
    machine: str
    versions: Mapping[str, str]
    outcome: Mapping[str, Any]  # of the training
    compared: Forgetting | None  # base and tuned; none: the run was not evaluated
    file: str = ""  # of GGUF
    prompts_nfc: bool = False  # llama.cpp's users must compose letters and marks


def card(handed: Handed) -> str:
    """Return the card in Markdown, with metadata as the hub reads it."""
    sections: Sequence[tuple[str, Callable[[Handed], str]]] = (
        ("How to run it", _running),
        ("Data", _data),
        ("Training", _training),
        ("Results", _results),
        ("What was forgotten", _forgotten),
        ("Memory", _memory),
        ("Is it the model that was trained?", _proof),
        ("Intended use", _use),
        ("Limits", _limits),
    )
    body = "".join(f"\n## {title}\n\n{section(handed)}" for title, section in sections)
    return f"{front_matter(handed)}\n{_opening(handed)}{body}"


def card_of_training(told: Mapping[str, Any], base_revision: str, outcome: Mapping[str, Any]) -> str:
    """Return the card of what a run has just trained; how it was judged and handed on others say.

    The same run gives the same card wherever, and however often, it was carried on.
    """
    form = "adapter" if told["adapter"]["method"] == "lora" else "merged"
    ended = {name: outcome[name] for name in _ENDED if outcome.get(name) is not None}
    handed = Handed(form, "", told, base_revision, "", "", {}, ended, None)
    sections: Sequence[tuple[str, Callable[[Handed], str]]] = (
        ("How to run it", _running),
        ("Data", _data),
        ("Training", _training),
        ("Intended use", _use),
        ("Limits", _limits),
    )
    body = "".join(f"\n## {title}\n\n{section(handed)}" for title, section in sections)
    return f"{front_matter(handed)}\n{_opening(handed)}\n{_SAID_ELSEWHERE}\n{body}"


def front_matter(handed: Handed) -> str:
    """Return the metadata between its two lines of dashes."""
    model, sources = handed.told["model"], _sources(handed)
    metadata = {
        **({"base_model": model["hub_id"]} if model["hub_id"] else {}),
        **({"base_model_relation": _RELATIONS[handed.form]} if model["hub_id"] else {}),
        "language": sorted({source["language"] for source in sources if source["language"]}),
        "license": "other",
        "license_name": "of-the-base-model-and-the-data",
        "license_link": "README.md",
        "library_name": _LIBRARIES[handed.form],
        "pipeline_tag": "text-classification" if _is_classifier(handed) else "text-generation",
        "datasets": sorted({source["hub_id"] for source in sources if source["hub_id"]}),
        "tags": ["arabic-llm", handed.told["task"]["name"], handed.told["adapter"]["name"]],
        **({"model-index": _index(handed)} if handed.compared else {}),
    }
    kept = {key: value for key, value in metadata.items() if value}
    return f"---\n{yaml.safe_dump(kept, allow_unicode=True, sort_keys=False, width=10**6)}---\n"


def name_of(told: Mapping[str, Any]) -> str:
    """Return what a model is called: its base, its data, its adapter."""
    data = of_data(told["data"]["name"], told["data"].get("path"))
    return f"{told['model']['name']}-{data}-{told['adapter']['name']}"


def _index(handed: Handed) -> list[dict[str, Any]]:
    """Return the scores as the hub reads them, in percent."""
    rows = handed.compared.tasks if handed.compared else []
    results = [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": row.tuned.name, "type": row.tuned.name},
            "metrics": [{"type": row.tuned.metric, "value": round(100 * row.tuned.value, 2)}],
        }
        for row in rows
    ]
    return [{"name": name_of(handed.told), "results": results}]


def _opening(handed: Handed) -> str:
    model = handed.told["model"]
    kind = {"adapter": "An adapter of", "merged": "Whole weights of"}.get(handed.form, "A GGUF file of")
    base = model["hub_id"] or model["name"]
    data = of_data(handed.told["data"]["name"], handed.told["data"]["path"])
    title = name_of(handed.told) if handed.command else f"{model['name']}, trained on {data}"
    by = f", trained by\n\n{code(handed.command, 'bash')}" if handed.command else ".\n"
    return (
        f"# {escaped(title)}\n\n{kind} {escaped(base)} (revision"
        f" {escaped(model['revision'])}; hash of its files {handed.base_revision}){by}"
    )


def _running(handed: Handed) -> str:
    if handed.form == "ollama":
        text = code(
            f"ollama create {name_of(handed.told)} -f Modelfile\nollama run {name_of(handed.told)}", "bash"
        )
    elif handed.form == "gguf":
        text = code(f"llama-server -m {handed.file} --jinja", "bash")
    elif handed.form == "merged" and _is_classifier(handed):
        text = code(
            "from transformers import pipeline\n\n"
            'classify = pipeline("text-classification", "path/to/this/folder")',
            "python",
        )
    elif handed.form == "merged":
        text = code("transformers serve path/to/this/folder\nvllm serve path/to/this/folder", "bash")
    else:
        kind = "SequenceClassification" if _is_classifier(handed) else "CausalLM"
        text = code(
            f"from peft import AutoPeftModelFor{kind}\nfrom transformers import AutoTokenizer\n\n"
            f'model = AutoPeftModelFor{kind}.from_pretrained("path/to/this/folder")\n'
            'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")',
            "python",
        )
    if handed.prompts_nfc:
        text += (
            "\nSend prompts in Unicode's composed form (NFC): the model was trained so, and llama.cpp and"
            " Ollama do not compose letters and marks themselves; diacritised Arabic becomes other tokens"
            ' else. In Python: `unicodedata.normalize("NFC", prompt)`.\n'
        )
    return text


def _data(handed: Handed) -> str:
    header = ("source", "language", "licence", "from", "weight in the mix")
    return table(
        header,
        (
            (
                *(escaped(source["name"]), escaped(source["language"] or "not stated")),
                *(escaped(source["license"] or "none stated"), escaped(_origin(source))),
                "" if source.get("weight") is None else f"{source['weight']:g}",
            )
            for source in _sources(handed)
        ),
    )


def _training(handed: Handed) -> str:
    told = handed.told
    unread = {"epochs"} if told["task"].get("max_steps") else set()
    chosen = [(name, told["task"].get(name)) for name in _SETTINGS if name not in unread]
    chosen += [(f"adapter: {name}", told["adapter"].get(name)) for name in _OF_ADAPTER]
    chosen += [("seed", told.get("seed"))]
    rows = [(name, escaped(_said(value))) for name, value in chosen if value not in (None, False, [])]
    outcome = handed.outcome
    ended = ", ".join(
        f"{name.replace('_', ' ')} {_said(outcome[name])}"
        for name in ("steps", "train_loss", "dev_loss")
        if outcome.get(name) is not None
    )
    libraries = ", ".join(f"{name} {version}" for name, version in handed.versions.items())
    where = f"\nOn {escaped(handed.machine)}; {escaped(libraries)}.\n" if handed.versions else ""
    further = "\nIt went on from an earlier adapter.\n" if told["adapter"].get("path") else ""
    return f"{table(('setting', 'value'), rows)}\n{ended}.\n{further}{where}"


def _results(handed: Handed) -> str:
    if handed.compared is None:
        return (
            "Not evaluated by this run: `task=study` evaluates base and tuned model and compares them item"
            " by item.\n"
        )
    return tables.markdown(handed.compared.tasks)


def _forgotten(handed: Handed) -> str:
    if handed.compared is None:
        return "Not measured by this run: `task=study` does.\n"
    worse = [row for own in handed.compared.by_trait.values() for row in own if row.verdict == _WORSE]
    worse += [row for row in handed.compared.tasks if row.verdict == _WORSE]
    if not worse:
        return "Nothing that was asked became worse beyond its 95% interval; the rest is not known.\n"
    return table(tables.HEADER, [tuple(map(escaped, tables.cells(row))) for row in worse])


def _memory(handed: Handed) -> str:
    measured, predicted = (handed.outcome.get(f"{name}_mib") for name in ("measured", "predicted"))
    if measured is None:
        return "Not measured.\n"
    beside = "" if predicted is None else f" ({predicted:,.0f} predicted)"
    return f"A step of its training took {measured:,.0f} MiB{beside}.\n"


def _proof(handed: Handed) -> str:
    return (
        f"Before this folder got its name it was held against the trained model: {escaped(handed.proof)}.\n"
    )


def _use(handed: Handed) -> str:
    languages = sorted({source["language"] for source in _sources(handed) if source["language"]})
    if _is_classifier(handed):
        return "To tell the classes of its data apart, in texts like those.\n"
    spoken = f" in {', '.join(languages)}" if languages else ""
    return f"To answer questions and follow instructions{spoken} like those of its data.\n"


def _is_classifier(handed: Handed) -> bool:
    return bool(handed.told["task"]["name"] == "classify")


def _limits(handed: Handed) -> str:
    errs = "It states what is false as fluently as what is true"
    if _is_classifier(handed):
        errs = "It answers with one of its classes whatever the text is"
    limits = [
        f"{errs}: let a person check what matters.",
        "It keeps the prejudices of its base and of its data; nobody has tested it for safety.",
        f"It was trained on at most {handed.told['task'].get('max_length', 0):,} tokens at a time.",
    ]
    if unknown := [source["name"] for source in _sources(handed) if not source["license"]]:
        limits.append(f"No licence is stated for {escaped(', '.join(unknown))}: ask before you pass it on.")
    return "".join(f"- {limit}\n" for limit in limits)


def _sources(handed: Handed) -> list[Mapping[str, Any]]:
    data = handed.told["data"]
    mixed: Mapping[str, Mapping[str, Any]] = data.get("sources") or {}
    return list(mixed.values()) or [data]


def _origin(source: Mapping[str, Any]) -> str:
    if source.get("builtin"):
        return "generated by arabic-llm"
    return f"{source['hub_id']} at {source['revision']}" if source.get("hub_id") else "files of its user"


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
