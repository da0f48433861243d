"""What a run reads, and what is fetched for it: data, a model, benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from arabic_llm.config import paths
from arabic_llm.config.data import SourceConfig
from arabic_llm.config.model import ModelConfig
from arabic_llm.config.run import RunConfig
from arabic_llm.config.suite import SuiteConfig, SuiteTask

if TYPE_CHECKING:
    from arabic_llm.hub import Repository

# Of a benchmark all files that `datasets` reads, and its card, which names its subsets; no scripts.
_BENCHMARK = (
    "*.md",
    "*.json",
    "*.jsonl",
    "*.csv",
    "*.tsv",
    "*.txt",
    "*.parquet",
    "*.arrow",
    "*.zip",
    "*.gz",
)


@dataclass(frozen=True)
class Need:
    """One thing that a run reads: what is fetched for it, or why nothing is."""

    name: str  # as the command line chooses it
    fetched: tuple[tuple[Repository, Path], ...] = ()
    note: str = ""
    check: Callable[[], object] = lambda: None  # reads it as the run will, without a network
    made: tuple[Path, Callable[[], str]] | None = None  # of which file, and what makes it and says so
    cure: str = ""  # where the hub has no answer


def of_run(config: RunConfig) -> Iterator[Need]:
    """Yield what a run reads."""
    from arabic_llm.data.reading import locate

    root = Path(config.data_root)
    yield from (of_data(source, root) for source in locate.sources_of(config.data))
    yield of_model(config.model)
    for name, settings in config.suite.tasks.items():
        yield of_suite_task(name, settings, root) if settings.data is None else of_data(settings.data, root)


def of_data(source: SourceConfig, root: Path) -> Need:
    """Return what a run needs of one data set."""
    from arabic_llm import downloads
    from arabic_llm.data.reading import locate

    name, found = f"data={source.name}", locate.candidates(source, root)
    if source.builtin:
        return Need(name, note="built in")
    check = partial(locate.locate, source, root)
    if yours := [place for place in found if place.exists() and not downloads.is_ours(place)]:
        return Need(name, note=f"{yours[0]} is yours and stays as it is", check=check)
    if source.hub_id is None:
        return Need(name, note="not from the hub", check=check)
    return Need(name, ((locate.repository(source), found[-1]),), check=check)


def of_model(model: ModelConfig) -> Need:
    """Return what a run needs of its model."""
    name = f"model={model.name}"
    if model.builtin:
        return Need(name, note="built in")
    from arabic_llm import downloads
    from arabic_llm.models import bases, folders, from_gguf

    place, check = folders.place(model), partial(bases.locate, model, None, network=False)
    is_made = from_gguf.is_ours(place)
    if place.exists() and not (downloads.is_ours(place) or is_made):
        return Need(name, note=f"{place} is yours and stays as it is", check=check)
    if not downloads.is_ours(place) and (source := from_gguf.find(model)) is not None:
        return Need(name, check=check, made=(source, partial(from_gguf.make, model, source)))
    if is_made:
        return Need(name, note=f"{place} was made of {model.gguf}, and stays as it is", check=check)
    if model.hub_id is None:
        return Need(name, note=f"not from the hub{from_gguf.cure(model)}", check=check)
    return Need(name, ((bases.repository(model), place),), check=check, cure=from_gguf.cure(model))


def of_suite_task(task: str, settings: SuiteTask, root: Path) -> Need:
    """Return what a run needs of one entry of its suite."""
    name, check = f"suite task {task}", partial(_read_suite_task, task, settings, root)
    if settings.path is None and _is_built_in(task, settings.folder):
        return Need(name, note="built in")
    if settings.path is not None and (root / settings.path).exists():
        return Need(name, note=f"{root / settings.path} is yours and stays as it is", check=check)
    from arabic_llm import downloads, hub
    from arabic_llm.evaluation import loading, suites

    folders = {id_: loading.benchmark_folder(id_, root) for id_ in suites.hub_ids(task, settings)}
    fetched = tuple(
        (hub.Repository(id_, "main", _BENCHMARK, "dataset"), folder)
        for id_, folder in folders.items()
        if downloads.is_ours(folder) or not folder.exists()
    )
    note = "" if fetched else "yours, stays as it is" if folders else "built in"
    return Need(name, fetched, note, check)


def _is_built_in(task: str, folder: str) -> bool:
    """Return whether code of ours makes a task's documents; lm-eval, which takes seconds, is not asked."""
    file = paths.PACKAGE / "evaluation" / "tasks" / folder / f"{task}.yaml"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return any(line.startswith("custom_dataset: !function ") for line in lines)


def _read_suite_task(task: str, settings: SuiteTask, root: Path) -> None:
    from arabic_llm.evaluation import suites

    suites.load(SuiteConfig("", {task: settings}), root)
