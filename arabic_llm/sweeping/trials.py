"""A search over ranges: optuna says what to try next, and its journal knows what was tried.

Each draw has a seed of its own, from the run's and its number: a search that was cut carries on alike.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from arabic_llm import files, result
from arabic_llm.config import naming
from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.errors import ConfigError, DamagedError
from arabic_llm.result import RESULT
from arabic_llm.sweeping import ranges
from arabic_llm.sweeping.pool import Pool, SweptJob
from arabic_llm.sweeping.ranges import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)
JOURNAL, NOTE = "search.journal", "search.json"  # the note holds how long the journal was, and its hash
_Orders = Callable[[Sequence[tuple[str, list[str]]], int], list[SweptJob]]


class Search:
    """A search of a sweep's folder."""

    def __init__(self, folder: Path, space: Space, task: str, seed: int) -> None:
        """Take where it is kept, what is typed and drawn, whose result counts, and the seed."""
        from arabic_llm.analysis import sweep_found

        if task not in sweep_found.COMPARED:
            raise ConfigError(
                f"sweep.search.trials: task={task} has no result that says which of two is better"
            )
        self._folder, self._space, self._seed = folder, space, seed
        self._direction: Literal["minimize", "maximize"] = (
            "minimize" if task in sweep_found.LOSSES else "maximize"
        )
        self._drawn: dict[str, BaseDistribution] = {
            key: one for key, one in space.items() if not isinstance(one, str)
        }

    def run(self, pool: Pool, num_trials: int, orders: _Orders) -> None:
        """Try so many settings in all, those of earlier starts among them; what was cut first."""
        study = None if pool.is_dry else self._study()
        while study is not None:
            open_ = [one for one in study.trials if not one.state.is_finished()]
            left = [one for one in open_ if self._order(one, orders).name not in pool.failed]
            new = min(num_trials - len(study.trials), pool.most - len(left))
            left += [self._ask(study) for _ in range(max(0, new))]
            if not left:
                return
            chosen = [self._order(one, orders) for one in left[: pool.most]]
            pool.add(chosen)
            self._note()
            pool.run(chosen)
            for one, order in zip(left, chosen, strict=False):
                if (path := order.folder / RESULT).exists():
                    study.tell(one.number, float(result.read(path)["metric"]))
            self._note()

    def _ask(self, study: Study) -> FrozenTrial:
        """Return the next trial."""
        from optuna.samplers import TPESampler

        number = len(study.trials)
        digest = hashlib.sha256(f"{self._seed} {number}".encode()).digest()
        study.sampler = TPESampler(seed=int.from_bytes(digest[:4], "big"))
        asked = study.ask(self._drawn)
        return study.trials[asked.number]

    def _order(self, trial: FrozenTrial, orders: _Orders) -> SweptJob:
        """Return the job of a trial."""
        words = [
            f"{key}={one}" if isinstance(one, str) else ranges.typed(key, trial.params[key])
            for key, one in self._space.items()
        ]
        return orders([(naming.name_of_job(words, list(self._drawn)), words)], trial.number)[0]

    def _study(self) -> Study:
        """Return what is known of this search; one over other ranges is another search."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / JOURNAL
        files.kept(path, self._leave_what_is_noted, "the search begins anew, and finds its jobs done")
        storage = JournalStorage(JournalFileBackend(str(path)))
        what: dict[str, Any] = {key: str(one) for key, one in self._space.items()}
        name = fingerprint([what, self._seed])
        if (others := [s.study_name for s in storage.get_all_studies()]) and name not in others:
            log.info("another search ran in %s before; this one begins anew", self._folder)
        return optuna.create_study(
            storage=storage, study_name=name, direction=self._direction, load_if_exists=True
        )

    def _note(self) -> None:
        """Write down what the journal holds: optuna's lines have no hash."""
        whole = (self._folder / JOURNAL).read_bytes()
        told = {"bytes": len(whole), "journal": hashlib.sha256(whole).hexdigest()}
        files.write_state(self._folder / NOTE, told)

    def _leave_what_is_noted(self, journal: Path) -> None:
        """Cut a journal to what was noted of it: what a kill left behind that is drawn again, alike.

        Raises DamagedError where that is not what it holds, or nothing was noted.
        """
        noted = files.kept(self._folder / NOTE, files.read_state)
        whole = journal.read_bytes() if journal.is_file() else b""
        before = whole[: noted["bytes"]] if noted else b""
        if noted is None or hashlib.sha256(before).hexdigest() != noted["journal"]:
            raise DamagedError(f"{journal} is damaged: it does not hold what was written")
        os.truncate(journal, len(before))
