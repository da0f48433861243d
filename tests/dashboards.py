"""The dashboards as W&B is sent them, and names in them; `python tests/dashboards.py` keeps them anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arabic_llm.tracking import workspaces

GOLDEN = Path(__file__).with_name("dashboards.json")


def built() -> list[dict[str, Any]]:
    views = [one._to_model() for one in workspaces.all_of("me")]
    return [json.loads(view.model_dump_json(by_alias=True, exclude_none=True)) for view in views]


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    sections = dashboard["spec"]["section"]["panelBankConfig"]["sections"]
    return [panel for section in sections for panel in section["panels"]]


def named(key: str) -> list[str]:
    """Return the names that stand under a key anywhere in the panels."""
    return [name for one in built() for panel in panels(one) for name in _named(panel, key) if name]


def _named(value: Any, key: str) -> Iterator[str]:
    if isinstance(value, list):
        for one in value:
            yield from _named(one, key)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name == key:
                yield from one if isinstance(one, list) else [one]
            else:
                yield from _named(one, key)


def columns() -> list[str]:
    feeds = [one["spec"]["section"]["runSets"][0]["runFeed"] for one in built()]
    return [column for feed in feeds for column in feed["columnPinned"]]


if __name__ == "__main__":
    text = json.dumps(built(), indent=1, ensure_ascii=False)
    GOLDEN.write_text(f"{text}\n", encoding="utf-8")
