"""Where the files of a data set lie, in a folder of yours, the hub's cache or the hub; and their hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arabic_llm import files
from arabic_llm.config.data import DataConfig, SourceConfig
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.data.reading import readers
from arabic_llm.errors import DamagedError, DataError

if TYPE_CHECKING:
    from arabic_llm import hub

PREPARED = "prepared.json"  # the last file that task=prepare writes into a folder
_SPLITS = ("train", "dev", "test")
_MANIFEST, _LOCK = "manifest.json", ".lock"  # of a run of ours


@dataclass(frozen=True)
class Files:
    """The files of a data set. Where dev or test is None, it is drawn from the rows of `train`."""

    train: list[Path]
    dev: list[Path] | None = None
    test: list[Path] | None = None
    are_prepared: bool = False  # by us: they hold rows, which need not be recognised
    passed_over: tuple[str, ...] = ()  # what lies beside them, may hold rows and is not read, and why

    def all(self) -> list[Path]:
        """Return the files in the order they are read."""
        return [*self.train, *(self.dev or ()), *(self.test or ())]


def locate(source: SourceConfig, data_root: Path) -> Files:
    """Return the files of a data set: what data.path names, <data_root>/<name>/, the hub's cache, the hub.

    Raises DataError, which says where they may be put and what fetches them.
    """
    if (found := here(source, data_root)) is not None:
        return found
    if source.hub_id is not None:
        return _from_hub(source, candidates(source, data_root)[-1])
    if odd := next((place for place in candidates(source, data_root) if place.exists()), None):
        raise DataError(f"data.path: {odd} is neither a file nor a folder; give the file of the rows")
    looked = " nor ".join(dict.fromkeys(map(str, candidates(source, data_root))))
    raise DataError(
        f"data.path: no file {looked}{_like(source)}; put it there, or set ARABIC_LLM_DATA or data.path"
    )


def _like(source: SourceConfig) -> str:
    """Return the file beside the one that is not there whose name is most like it."""
    path = Path(source.path or "").expanduser()
    names = [entry.name for entry in path.parent.iterdir()] if path.name and path.parent.is_dir() else []
    folded = {name.casefold(): name for name in names}
    close = get_close_matches(path.name.casefold(), folded, n=1)
    return f" (did you mean {path.parent / folded[close[0]]}?)" if close else ""


def here(source: SourceConfig, data_root: Path, *, verified: bool = True) -> Files | None:
    """Return the files of a data set in a folder of yours, those of task=prepare `verified`; None: none.

    Raises DataError when no place is named, and when a split has no file.
    """
    if source.path is None and source.hub_id is None:
        raise DataError(f"data.path is not set; with data={source.name} write data.path=my.jsonl")
    for place in candidates(source, data_root):
        if place.is_file():
            return Files([place])
        if (place / PREPARED).is_file():
            return _prepared(place, verified=verified)
        if place.is_dir():
            _refuse_a_run(place)
            return _inside(place, source)
    return None


def sources_of(data: DataConfig) -> list[SourceConfig]:
    """Return what is read: the sources of a mix that have a weight, or the data set itself.

    A mix with a data.path is read from there: from the folder that task=prepare has made of it.
    """
    if not data.sources or data.path is not None:
        return [data]
    return [source for source in data.sources.values() if source.weight != 0]


def candidates(source: SourceConfig, data_root: Path) -> list[Path]:
    """Return where a data set may lie on this disk; the last is where it is downloaded to."""
    typed = Path(source.path or source.name).expanduser()
    return [typed, data_root / typed] if source.path else [data_root / typed]


def repository(source: SourceConfig) -> hub.Repository:
    """Return the files of the hub that make up a data set."""
    from arabic_llm import hub  # a second, and most data sets lie here

    every = [f"*{suffix}" for suffix in readers.IN_FOLDERS]
    patterns = (*(source.files or every), *source.dev_files, *source.test_files)
    return hub.Repository(str(source.hub_id), source.revision, patterns, "dataset")


def files_hash(found: Files, cache_dir: Path) -> str:
    """Return a hash of what the files hold; large ones are read once."""
    return fingerprint([files.known_sha256(path, cache_dir) for path in found.all()])


def prepared(folder: Path) -> dict[str, Any]:
    """Return what task=prepare has noted of its files. Raises DataError when that is damaged."""
    try:
        said = files.read_state(folder / PREPARED, is_old_too=True)
    except DamagedError as error:
        raise DataError(f"{error}; prepare it again") from error
    splits = said.get("splits")
    named = splits if isinstance(splits, dict) else {}
    is_known = all(isinstance(of, dict) and of.keys() >= {"rows", "sha256"} for of in named.values())
    if not is_known or not any(name.endswith("train.jsonl") for name in named):
        raise DataError(f"{folder / PREPARED}: 'splits' names no file of training rows; prepare it again")
    return said


def _prepared(folder: Path, *, verified: bool) -> Files:
    """Return the files of a folder that task=prepare has written.

    Raises DataError when one has changed, where they are to be verified: every byte is read for it.
    """
    splits = prepared(folder)["splits"]
    for name, known in splits.items() if verified else ():
        if not (folder / name).is_file() or files.sha256(folder / name) != known["sha256"]:
            raise DataError(f"{folder / name} is not what task=prepare wrote; prepare it again")
    train, dev, test = (
        [folder / name for name in splits if name.endswith(f"{split}.jsonl")] for split in _SPLITS
    )
    return Files(train, dev, test, are_prepared=True)


def _refuse_a_run(folder: Path) -> None:
    """Refuse the folder of one of our runs that has left no rows: what else lies there is no data."""
    if (folder / _MANIFEST).is_file() and (folder / _LOCK).is_file():
        raise DataError(
            f"{folder}: is the folder of a run that has left no rows here ({PREPARED} is not there); what"
            f" it said stands in {folder / 'run.log'}: type its command again, or choose another folder"
        )


def _inside(folder: Path, source: SourceConfig) -> Files:
    """Return the data files of a folder, by name. Raises DataError when a split has none."""
    dev, test = (_matching(folder, patterns) for patterns in (source.dev_files, source.test_files))
    train = [path for path in _found(folder, source) if path not in {*dev, *test}]
    passed_over = () if source.files else _passed_over(folder)
    wanted = {"files": (source.files or [f"*{suffix}" for suffix in readers.IN_FOLDERS], train)}
    wanted |= {"dev_files": (source.dev_files, dev), "test_files": (source.test_files, test)}
    for key, (patterns, found) in wanted.items():
        if patterns and not found:
            there = "".join(f"; not read: {kind}" for kind in passed_over)
            raise DataError(f"{folder}: holds no data file ({', '.join(patterns)}; data.{key}){there}")
    return Files(
        train,
        dev if source.dev_files else None,
        test if source.test_files else None,
        passed_over=passed_over,
    )


def _passed_over(folder: Path) -> tuple[str, ...]:
    """Return what a folder holds beside its data files that may be rows, by kind, and what reads it."""
    counted: Counter[tuple[str, str]] = Counter()
    for path in folder.glob("**/*"):
        if not _is_shown(path, folder):
            continue
        if path.is_symlink() and path.is_dir():
            counted["linked folders", f" (data.path={path} reads what is in it)"] += 1
        elif path.is_file() and (cure := readers.unread_kind(path)) is not None:
            counted[f"{path.suffix.lower()} files", cure] += 1
    return tuple(f"{kind}: {number:,}{cure}" for (kind, cure), number in sorted(counted.items()))


def _found(folder: Path, source: SourceConfig) -> list[Path]:
    return _matching(folder, source.files or ["**/*"])


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    named = ((path, ".txt" in pattern.lower()) for pattern in patterns for path in folder.glob(pattern))
    return sorted(
        {
            path
            for path, is_text in named
            if path.is_file() and _is_shown(path, folder) and readers.is_data(path, is_text=is_text)
        }
    )


def _is_shown(path: Path, folder: Path) -> bool:
    """Return whether no part of a path is hidden: editors, notebooks and macOS keep copies so."""
    return not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)


def _from_hub(source: SourceConfig, place: Path) -> Files:
    from arabic_llm import hub

    wanted = repository(source)
    try:
        return _inside(hub.snapshot(wanted, lambda f: bool(_found(f, source)), network=True), source)
    except hub.UnreachableError as error:
        why = f" ({error})" if str(error) else ""
        raise DataError(
            f"data={source.name}: {source.hub_id} is not here and cannot be reached{why}; put its files in"
            f" {place}/, or {hub.cure(wanted, place, f'data={source.name}')}"
        ) from error
