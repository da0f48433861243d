"""The YAML that opens a data card, as the hub's specification of dataset cards reads it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from typing import Any

import yaml

from arabic_llm.data.preparing.summary import SplitFile, Summary
from arabic_llm.data.reading.records import shown

PREFERENCES = "pref_"  # the beginning of the names of preference files
MIXED_LICENSES = "LICENSE.md"  # the file that names each source's, where they are not one

# Of https://huggingface.co/docs/hub/repositories-licenses those that data come under. The hub refuses
# any that is not in its list: it must be called "other".
_LICENSES = {
    *("apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "gfdl", "gpl-3.0", "lgpl-lr"),
    *("cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"),
    *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
    *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "odc-by", "odbl", "pddl", "etalab-2.0"),
    *("c-uda", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "openrail", "unlicense"),
}
_SIZES = {10**i: f"{10 ** (i % 3)}{'KMBT'[i // 3 - 1]}" for i in range(3, 13)}  # 1K to 1T
_HUB_SPLITS = {"dev": "validation"}


def front_matter(summary: Summary) -> str:
    """Return the metadata between its two lines of dashes; `load_dataset(folder)` goes by them."""
    kinds = {"instruction-tuning"} if any(s.counts.instruction_tokens for s in summary.sources) else set()
    kinds |= {"preferences", "dpo"} if any(f.name.startswith(PREFERENCES) for f in summary.files) else set()
    tasks = ["text-generation"]
    if any(source.counts.labels for source in summary.sources):
        tasks.append("text-classification")
    metadata = {
        "pretty_name": shown(" ".join(summary.name.split())),
        "language": sorted({source.language for source in summary.sources if source.language}),
        **license_of(summary),
        "size_categories": [_size(sum(file.rows for file in summary.files))],
        "task_categories": tasks,
        "tags": ["arabic-llm", *sorted(kinds)],
        "configs": _configs(summary.files),
    }
    text = yaml.safe_dump(metadata, allow_unicode=True, sort_keys=False, width=10**6)
    return f"---\n{text}---\n"


def license_of(summary: Summary) -> dict[str, str]:
    """Return the license keys: one the hub knows, or other with a name and the file that says it all."""
    named = {_identifier(source.license or "unknown") for source in summary.sources}
    if len(named) > 1:
        return {"license": "other", "license_name": "mixed", "license_link": MIXED_LICENSES}
    (only,) = named
    if only in _LICENSES or only == "unknown":
        return {"license": only}
    return {"license": "other", "license_name": only, "license_link": MIXED_LICENSES}


def split_of(file: SplitFile) -> tuple[str, str]:
    """Return (configuration, split) as the hub names them: preferences, validation for pref_dev.jsonl."""
    stem = file.name.partition(".")[0]
    split = stem.removeprefix(PREFERENCES)
    return "preferences" if stem != split else "default", _HUB_SPLITS.get(split, split)


def _identifier(name: str) -> str:
    """Return a license's name as the hub would spell it: "CC BY-SA 4.0" is cc-by-sa-4.0."""
    return re.sub(r"[^a-z0-9.+]+", "-", name.lower()).strip("-") or "unknown"


def _size(num_rows: int) -> str:
    names, above = list(_SIZES.values()), bisect_right(list(_SIZES), num_rows)
    if above == 0:
        return f"n<{names[0]}"
    return f"n>{names[-1]}" if above == len(names) else f"{names[above - 1]}<n<{names[above]}"


def _configs(files: tuple[SplitFile, ...]) -> list[dict[str, Any]]:
    paths: dict[str, list[dict[str, str]]] = defaultdict(list)
    for file in files:
        config, split = split_of(file)
        paths[config].append({"split": split, "path": file.name})
    return [{"config_name": config, "data_files": splits} for config, splits in paths.items()]
