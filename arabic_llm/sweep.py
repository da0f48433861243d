"""One process per sweep job: an OOM, a kill or an exit ends that job and no other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.config_loader import ConfigLoader
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from arabic_llm import grid as grids
from arabic_llm import processes
from arabic_llm.config import compose, naming
from arabic_llm.config.run import Language
from arabic_llm.config.sweep_settings import SweepConfig
from arabic_llm.config.task import Area, TaskConfig
from arabic_llm.errors import ConfigError
from arabic_llm.grid import Grid
from arabic_llm.sweeping import launched, pool, ranges, trials
from arabic_llm.sweeping.forks import Warm
from arabic_llm.sweeping.halving import Halving
from arabic_llm.sweeping.pool import NOT_TOLD, JobDiedError, JobError, Pool, SweptJob

_SUBDIR = "${job_name:}"  # as conf/config.yaml has it
_BASIC = "hydra._internal.core_plugins.basic_"  # Hydra's own sweeper and launcher, which ours stands for


class Swept:
    """What the sweeps of this process have left: their grids, and the errors of jobs that failed."""

    def __init__(self) -> None:
        """Begin with none."""
        self.grids: list[Grid] = []
        self.failures: list[Exception] = []
        self.language = Language.en  # of their reports

    @property
    def folders(self) -> list[Path]:
        """Return the folders of sweeps where there is something to report."""
        return [grid.folder for grid in self.grids if not grid.is_dry and grid.has_runs()]


@contextmanager
def ours() -> Iterator[Swept]:
    """Have Hydra hand us a command with -m: its own sweeper runs one job after another, in one process.

    Hydra only takes plugins from packages of its own namespace.
    """
    theirs, swept = Hydra.multirun, Swept()

    def multirun(hydra: Hydra, config_name: str, overrides: list[str], **_settings: Any) -> None:
        if processes.count() > 1:
            raise ConfigError("a sweep runs in one process; start it without accelerate launch or torchrun")
        cfg = hydra.compose_config(config_name, overrides, run_mode=RunMode.MULTIRUN)
        swept.language = cfg.lang
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(cfg))
        _Command(cfg, context, swept).run()

    Hydra.multirun = multirun  # type: ignore[method-assign, assignment]
    try:
        yield swept
    finally:
        Hydra.multirun = theirs  # type: ignore[method-assign]


class _Command:
    """A command with -m: its settings, its jobs, and what becomes of them."""

    def __init__(self, cfg: DictConfig, context: HydraContext, swept: Swept) -> None:
        self._cfg, self._context, self._swept = cfg, context, swept
        self._folder = Path(cfg.hydra.sweep.dir)
        try:
            self._settings = cast(SweepConfig, OmegaConf.to_object(cfg.sweep))
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def run(self) -> None:
        """Run it."""
        halving, search = self._settings.halving, self._settings.search
        self._refuse_others()
        if search.trials is not None:
            space = ranges.of(self._cfg, self._loader)
            asked = trials.Search(self._folder, space, self._cfg.task.name, self._cfg.seed)
            grid = self._begin([])
            with self._pool(grid, search.trials) as own:
                asked.run(own, search.trials, self._orders)
            return
        ranges.refuse_endless(self._cfg.hydra, self._loader)
        orders = self._orders(naming.of_jobs(self._cfg.hydra, self._loader))
        _refuse_shared(orders)
        self._refuse_what_all_are(orders)
        rungs = None
        if halving.eta is not None:
            rungs = Halving.of(self._folder, halving.eta, self._composed(0, orders[0].typed), self._keys)
        grid = self._begin(orders)
        if not self._is_here:
            self._swept.failures += launched.run(grid, orders, self._cfg, self._context)
            return
        with self._pool(grid, len(orders)) as own:
            own.run(orders) if rungs is None else rungs.run(own, orders)

    def _refuse_others(self) -> None:
        """Refuse what would run jobs elsewhere where this is to choose them. Raises ConfigError."""
        if not self._cfg.hydra.sweeper._target_.startswith(_BASIC):
            raise ConfigError("hydra/sweeper: leave it out; sweep.search.trials=20 searches over ranges")
        settings = self._settings
        named = {
            "sweep.jobs": settings.jobs > 1,
            "sweep.halving.eta": settings.halving.eta is not None,
            "sweep.search.trials": settings.search.trials is not None,
        }
        if not self._is_here and (typed := [key for key, is_set in named.items() if is_set]):
            raise ConfigError(
                f"{', '.join(typed)}: hydra/launcher runs the jobs where it will, all of them; leave one of"
                " the two out (how many at a time is a setting of the launcher, e.g. hydra.launcher.n_jobs)"
            )

    @property
    def _is_here(self) -> bool:
        """Return whether no launcher runs the jobs elsewhere."""
        return bool(self._cfg.hydra.launcher._target_.startswith(_BASIC))

    @property
    def _keys(self) -> list[str]:
        return naming.of_sweep(self._cfg.hydra)

    def _begin(self, orders: Sequence[SweptJob]) -> Grid:
        typed = {order.name: list(order.typed) for order in orders}
        grid = grids.begin(self._folder, typed, self._keys)
        grid.is_dry = bool(self._cfg.dry_run)
        grid.write()
        self._swept.grids.append(grid)
        return grid

    @contextmanager
    def _pool(self, grid: Grid, num_jobs: int) -> Iterator[Pool]:
        """Yield what runs jobs; what failed is kept."""
        warm = self._warm(num_jobs)
        with closing(warm) if warm else nullcontext():
            own = Pool(grid, self._settings.jobs, warm)
            try:
                yield own
            finally:
                self._swept.failures += own.failed.values()

    @property
    def _loader(self) -> ConfigLoader:
        return self._context.config_loader

    def _orders(self, named: Sequence[tuple[str, list[str]]], first: int = 0) -> list[SweptJob]:
        """Return jobs with their folders, numbered from `first`; one of each choice of files is composed.

        All are, where hydra.sweep.subdir names their folders. Raises what Hydra says of a job it refuses.
        """
        subdir = OmegaConf.to_container(self._cfg.hydra.sweep, resolve=False)
        is_ours = isinstance(subdir, dict) and subdir["subdir"] == _SUBDIR
        orders, composed = [], set[tuple[str, ...]]()
        for number, (name, words) in enumerate(named, first):
            typed = tuple(w for w in words if not w.lstrip("+~").startswith(NOT_TOLD))
            choices = tuple(word for word in typed if "." not in word.partition("=")[0])
            folder = (self._folder / name).absolute()
            if not is_ours or choices not in composed:
                composed.add(choices)
                found = self._composed(number, words)
                folder = folder if is_ours else (self._folder / found.hydra.sweep.subdir).absolute()
            orders.append(SweptJob(number, folder.name, folder, typed))
        return orders

    def _composed(self, number: int, words: Sequence[str]) -> DictConfig:
        """Return the configuration of a job, as Hydra's launcher composes it."""
        found = self._loader.load_sweep_config(self._cfg, list(words))
        with open_dict(found):
            found.hydra.job.id = found.hydra.job.num = number
        return found

    def _refuse_what_all_are(self, orders: Sequence[SweptJob]) -> None:
        """Refuse, before any starts, jobs that would all be refused for the same. Raises ConfigError."""
        said = set[str]()
        for order in orders if self._cfg.model.builtin else ():  # others are looked at where they lie
            found = self._composed(order.number, order.typed)
            with open_dict(found):
                del found["hydra"]
                found.output_dir = str(order.folder)
            try:
                compose.to_config(found, order.typed)
                return
            except ConfigError as error:
                said.add(str(error))
        if len(said) == 1:
            raise ConfigError(*said)

    def _warm(self, num_jobs: int) -> Warm | None:
        """Return a process that jobs are forks of, where that is worth its start."""
        task = OmegaConf.get_type(self._cfg.task)
        reads = task.reads if isinstance(task, type) and issubclass(task, TaskConfig) else frozenset()
        is_slow = bool(reads & {Area.training, Area.asking}) and not self._cfg.dry_run
        return Warm(self._cfg.task.name) if is_slow and num_jobs > 1 and pool.can_fork() else None


def _refuse_shared(jobs: Sequence[SweptJob]) -> None:
    """Refuse a directory that two jobs would have: the result of one would be taken for the other's."""
    taken: dict[Path, SweptJob] = {}
    for job in jobs:
        first = taken.setdefault(job.folder, job)
        if first.typed != job.typed:
            raise JobError(
                f"job {job.number} ({' '.join(job.typed)}) would write into the directory of job"
                f" {first.number} ({' '.join(first.typed)}): {job.folder}. Type each key once, and leave"
                " hydra.sweep.subdir out"
            )


def of_all(failures: Sequence[Exception]) -> Exception:
    """Return what a command ends with: of a sweep's jobs that failed, one error with a word for each."""
    jobs = [error for error in failures if isinstance(error, JobError | JobDiedError)]
    if len(jobs) < len(failures):
        return next(error for error in failures if error not in jobs)
    kind = JobError if all(isinstance(error, JobError) for error in jobs) else JobDiedError
    return kind(f"{'; '.join(map(str, jobs))}; the others went on")
