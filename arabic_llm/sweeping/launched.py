"""Jobs that one of Hydra's launchers runs, here or on other machines: there each is one process too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig

from arabic_llm import child
from arabic_llm.child import Ended
from arabic_llm.config import compose
from arabic_llm.grid import Grid
from arabic_llm.sweeping.forks import program
from arabic_llm.sweeping.pool import NOT_TOLD, SweptJob, failure


class Launched:
    """What a launcher calls where a job is to run: it returns how the job ended."""

    def __call__(self, _cfg: DictConfig) -> Ended:
        """Run the job as a program."""
        job = HydraConfig.get()
        typed = [w for w in job.overrides.task if not w.lstrip("+~").startswith(NOT_TOLD)]
        folder = f'hydra.run.dir="{job.runtime.output_dir}"'
        return child.run(program([*typed, folder, "hydra.mode=RUN"]), f"[{job.job.num}] ")

    def __reduce__(self) -> tuple[Callable[[], Launched], tuple[()]]:
        """Come to another process with what composing a configuration needs there."""
        return _arrived, ()


def _arrived() -> Launched:
    compose.register()
    return Launched()


def run(grid: Grid, orders: Sequence[SweptJob], cfg: DictConfig, context: HydraContext) -> list[Exception]:
    """Have a launcher run jobs, and return why some failed."""
    launcher = Plugins.instance().instantiate_launcher(
        hydra_context=context, task_function=Launched(), config=cfg
    )
    words = [[*order.typed] for order in orders]
    failures = []
    for order, returned in zip(orders, launcher.launch(words, initial_job_idx=0), strict=True):
        ended: Ended = returned.return_value
        grid.end(order.name, ended, 0.0)
        if ended.how is not None:
            failures.append(failure(order, ended))
    return failures
