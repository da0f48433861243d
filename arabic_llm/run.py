"""Compose the configuration and run one task: `python -m arabic_llm.run task=sft hw=4gb`."""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # until the task runs: what is imported and composed stays, and is looked through in vain

import errno
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

# Read by the libraries when they are imported: no reports home, one line a stage and no chatter between.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # of a process whose fellows have gone, a stack
os.environ.setdefault("TQDM_DELAY", "2")  # seconds: no bar for what is done at once,
os.environ.setdefault("TQDM_LEAVE", "")  # and none left behind
if os.environ.get("RANK", "0") != "0":
    os.environ["TQDM_DISABLE"] = os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"  # the main one's do
os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us, and we say them in one line

try:
    import hydra
except ModuleNotFoundError as error:
    sys.stderr.write(
        f"error: this Python ({sys.executable}) has no {error.name}: activate the environment that"
        " `make demo` makes (. .venv/bin/activate), or type `make run ARGS=...`\n"
    )
    sys.exit(2)
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from arabic_llm import disk, processes, rundir, sweep, tasks, terminal
from arabic_llm.config import complaints, compose, help, paths
from arabic_llm.config.run import Language, RunConfig
from arabic_llm.errors import ConfigError, StoppedError, UserError, modules_of
from arabic_llm.reports import spoken
from arabic_llm.sweeping.pool import JobDiedError

log = logging.getLogger("arabic_llm")
USERS_TO_FIX = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count
_PLACE_ERRORS = (
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR),
    *(errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EIO),
)


_failures: list[Exception] = []  # of this process's jobs: Hydra would print them in five lines


@hydra.main(version_base="1.3", config_path=str(paths.CONF), config_name="config")
def _hydra_main(cfg: DictConfig) -> float | None:
    job = HydraConfig.get()
    gc.freeze()
    gc.enable()
    spoken.speak(cfg.lang)  # main forgets it
    try:
        if getattr(OmegaConf.get_type(cfg.task), "answers", False) and not cfg.dry_run:
            terminal.aside()
        return _run(_config(cfg))  # dataclasses from here on
    except Exception as error:  # noqa: BLE001 (raised again by main)
        _failures.append(error)
        return None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Rust: a tokenizer's pattern ran for too long
            raise
        said = " ".join(str(error).split())[:200]
        _failures.append(UserError(f"the tokenizer cannot split a text ({said}); take its files again"))
        return None
    finally:
        rundir.remove_if_empty(Path(job.runtime.output_dir))


def _config(cfg: DictConfig) -> RunConfig:
    """Return what was composed as dataclasses; a model that is not built in is looked at where it lies."""
    if cfg.model.builtin:
        return compose.to_config(cfg, compose.typed())
    from arabic_llm.workflows import auto  # safetensors

    config = compose.to_config(cfg, compose.typed(), auto.fill)
    auto.check(config)
    return config


def _run(config: RunConfig) -> float | None:
    from arabic_llm.workflows import next_steps

    task = tasks.load(config.task.name)
    if not task.shares_work:
        _refuse_several(f"task={config.task.name}")
    if config.dry_run:
        task.dry_run(config)
        return None
    with processes.together():  # who fails from here on ends the others too
        if (inputs := task.inputs(config)) is None:  # it keeps no directory, and is never done for good
            metric = task.run(config, Path(config.output_dir))
        else:
            metric = tasks.carry_out(task, config, inputs)
    if "hydra.mode=RUN" not in sys.argv:  # a sweep's job: the sweep says what comes after it
        next_steps.say(config)
    return metric


def _refuse_several(what: str) -> None:
    if processes.count() > 1:
        raise ConfigError(f"{what} runs in one process; start it without accelerate launch or torchrun")


def main() -> None:
    """Run what the command line says; exit with 0, 2 (yours to fix), 130 (interrupted), else 1."""
    log.setLevel(logging.INFO if processes.is_main() else logging.ERROR)
    _failures.clear()
    gc.disable()
    try:
        with terminal.ours(), _ended_by_sigterm(), spoken.speaking(Language.en):
            status = _status()
    finally:
        gc.enable()
    sys.exit(status)


def _status() -> int:
    """Run, and return the exit code."""
    status = 0
    try:
        processes.refuse_odd_places()
        _help_or_run()
    except StoppedError as error:
        _say(str(error))
    except JobDiedError as error:
        log.error("error: %s", error)
        status = 1
    except KeyboardInterrupt as error:
        _say(str(error) or "interrupted; the same command carries on")
        status = INTERRUPTED
    except Exception as error:
        if (line := _line_of(error)) is None:
            raise
        _say(f"error: {' '.join(line.splitlines())}")  # what was typed may have several
        status = USERS_TO_FIX
    return status


def _line_of(error: Exception) -> str | None:
    """Return the one line of an error whose cause is the user's to fix; None for a bug of ours."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return complaints.one_line(error)
    if (full := disk.no_room(error)) is not None:
        return full
    if isinstance(error, OSError) and _is_being_made(error):
        return f"{error.filename}: no folder can be made there ({error.strerror}); choose another place"
    if isinstance(error, OSError) and error.errno in _PLACE_ERRORS:
        return f"{error.filename or 'the disk'}: {error.strerror}"
    return None


def _is_being_made(error: OSError) -> bool:
    """Return whether it is of a folder that the system does not make; of /proc it says: no such one."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return frames[-1].f_code.co_name in {"mkdir", "makedirs"} and error.filename is not None


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End as Ctrl-C ends us where a batch system, or a sweep, asks for it; who trains saves first."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt("interrupted (SIGTERM); the same command carries on")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _help_or_run() -> None:
    if (topics := help.asked()) is not None:
        sys.stdout.write(f"{help.said(topics)}\n")
        return
    sys.argv[1:] = compose.sweep_first(sys.argv[1:])
    help.refuse_dashes(sys.argv[1:])
    compose.refuse_typed_secrets(sys.argv[1:])
    sys.argv[1:] = compose.meant(sys.argv[1:])
    compose.register()
    try:
        with compose.once(), sweep.ours() as swept:
            _hydra_main()  # a job's own errors are kept: what is raised, Hydra found in what was typed
    except (ValueError, OverflowError, TypeError, AttributeError, LookupError) as error:
        is_ours = modules_of(error)[-1].startswith("arabic_llm.")  # a resolver's: a bug keeps its traceback
        if is_ours or isinstance(error, OmegaConfBaseException):
            raise
        raise ConfigError(complaints.of_a_value(error)) from error
    with spoken.speaking(swept.language):
        for folder in swept.folders:
            _report_on(folder)
    if failures := [*_failures, *swept.failures]:
        raise sweep.of_all(failures)


def _report_on(folder: Path) -> None:
    """Write the report of a sweep that has ended; where that fails, its jobs' own failures still count."""
    from arabic_llm.workflows import next_steps, sweep_report

    try:
        sweep_report.write(folder)
        next_steps.after_sweep(folder)
    except UserError as error:
        log.error("no report of the sweep: %s", error)


def _say(message: str) -> None:
    """Say why the run ends, in one of its processes."""
    if processes.is_first_to_fail():
        log.error("%s", message)


if __name__ == "__main__":
    main()
