"""Combinations in which nothing reads a setting of data: each says why, or None where something does."""

from __future__ import annotations

from pathlib import Path

from arabic_llm.config.data import CleaningConfig, DataConfig, SourceConfig
from arabic_llm.config.preference_task import PreferenceConfig
from arabic_llm.config.run import RunConfig
from arabic_llm.config.task import Area


def of_rows(config: RunConfig, owner: object) -> str | None:
    """Refuse to choose among labelled sentences that are generated."""
    is_classified = Area.labels in config.task.reads and Area.tokens not in config.task.reads
    if config.data.builtin and is_classified and _is_of_data(config, owner):
        return f"with data={config.data.name}, whose labelled sentences are generated as they are"
    return None


def _is_of_data(config: RunConfig, owner: object) -> bool:
    return any(owner is one for one in (config.data, config.data.columns, config.data.cleaning))


def of_a_source(config: RunConfig, owner: object) -> str | None:
    """Return why a setting of rows is not read: those of a mix are its sources'."""
    data = config.data
    if (why := of_rows(config, owner)) is not None:
        return why
    if _is_of_data(config, owner) and data.sources and data.path is None:
        names = ", ".join(data.sources)
        return f"with data={data.name}, a mix: set it for a source (data.sources.<name>: {names})"
    return None


def of_files(config: RunConfig, owner: object) -> str | None:
    """Refuse files of rows that are generated."""
    if getattr(owner, "builtin", False) or (owner is config.data.columns and config.data.builtin):
        return f"with data={config.data.name}, which is built in: for rows of your own take data=local"
    return of_a_source(config, owner)


def of_folders(config: RunConfig, source: SourceConfig) -> str | None:
    """Refuse patterns of a folder's files beside a data.path that is one file."""
    typed = Path(source.path or "")
    if any(place.is_file() for place in (typed, Path(config.data_root) / typed)):
        return f"beside data.path={source.path}, which is one file; data.path names the folder of them all"
    return of_files(config, source)


def dev_share(config: RunConfig, data: DataConfig) -> str | None:
    """Refuse to draw dev rows where they are given; task=pretrain draws documents."""
    return _share(config, data, data.dev_files, "dev_files")


def test_share(config: RunConfig, data: DataConfig) -> str | None:
    """Refuse to draw test rows where they are given."""
    return _share(config, data, data.test_files, "test_files")


def _share(config: RunConfig, data: DataConfig, given: list[str], name: str) -> str | None:
    if data.builtin and Area.rows in config.task.reads:
        return f"with data={data.name}, whose rows are generated for each split"
    return f"beside data.{name}, which are that split" if given and not data.sources else None


def hub_of_data(config: RunConfig, source: SourceConfig) -> str | None:
    """Refuse what is of the hub, where a path is read instead."""
    if source.path is not None:
        return f"beside the path {source.path}, which is read instead of the hub"
    return of_files(config, source)


def revision_of_data(config: RunConfig, source: SourceConfig) -> str | None:
    """Refuse a revision of nothing."""
    return hub_of_data(config, source) or ("without a hub_id" if source.hub_id is None else None)


def weight(config: RunConfig, source: SourceConfig) -> str | None:
    """Refuse a share of what is no mix."""
    return "but of the sources of a mix" if source is config.data else None


def scripts(config: RunConfig, cleaning: CleaningConfig) -> str | None:
    """Refuse scripts without a share of them."""
    is_unset = cleaning.min_script_share is None
    return of_a_source(config, cleaning) or ("without min_script_share beside it" if is_unset else None)


def cut(config: RunConfig, data: DataConfig) -> str | None:
    """Refuse to cut pairs."""
    is_paired = isinstance(config.task, PreferenceConfig) or data is getattr(config.task, "pairs", None)
    return (
        f"with task={config.task.name}: an answer that is cut would be likelier for it"
        if is_paired
        else None
    )
