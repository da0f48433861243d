"""A run as W&B has it, beside the results: `make sync` uploads it later."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.tracking import PROJECT, Results, told

METRIC = "metric"  # in a run's summary: what result.json and a sweep go by


class WandbRun:
    """An offline run, unless WANDB_MODE=online is in the environment, which uploads at once."""

    def __init__(self, directory: Path, identity: Mapping[str, Any]) -> None:
        """Open the run, or carry it on. Neither machine nor command, program or packages are told."""
        self._id = fingerprint(str(directory.resolve()))
        self._run = wandb.init(
            project=PROJECT,
            name=told.name(directory),
            id=self._id,
            group=told.group(directory),
            job_type=told.job_type(identity),
            tags=told.tags(identity),
            resume="allow",  # a killed run and what carried it on are one
            dir=directory,
            config=told.settings(identity),
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            settings=wandb.Settings(
                silent=True,
                console="off",
                host="-",
                disable_git=True,
                save_code=False,
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )

    def log(self, values: dict[str, Any]) -> None:
        """Copy the values of one step; what was not measured is left out."""
        known = {key: value for key, value in values.items() if key != "step" and value is not None}
        self._run.log(known, step=int(values["step"]))

    def finish(self, results: Results) -> None:
        """Copy the results, tables as tables and the report as an artifact, and close the run."""
        self._run.summary.update({**results.figures, METRIC: results.metric})
        artifact = wandb.Artifact(f"report-{self._id}", type="report")
        for name, (header, rows) in results.tables.items():
            table = wandb.Table(
                columns=list(header), data=[list(row) for row in rows], allow_mixed_types=True
            )
            # Bound by hand: else W&B would keep a second copy in the user's home until it is uploaded.
            table.bind_to_run(self._run, name, self._run.step)  # type: ignore[no-untyped-call]
            self._run.log({name: table})
            self._add(
                artifact, self._own / "files" / table.to_json(self._run)["path"], f"{name}.table.json"
            )
        if results.report is not None and results.report.is_file():
            self._add(artifact, self._homeless(results.report), results.report.name)
        if artifact.manifest.entries:
            self._run.log_artifact(artifact)
        self._run.finish()

    @property
    def _own(self) -> Path:
        """Return the folder that W&B keeps of this start of the run."""
        return Path(self._run.dir).parent

    def _homeless(self, report: Path) -> Path:
        """Return the report as it may leave the machine: without where the user's home is."""
        copy = self._own / "report" / report.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(told.homeless(report.read_text(encoding="utf-8")), encoding="utf-8")
        return copy

    def _add(self, artifact: wandb.Artifact, path: Path, name: str) -> None:
        """Add a file; where it lies is told as seen from where it is uploaded, as W&B is sent that too."""
        entry = artifact.add_file(str(path), name, policy="immutable", skip_cache=True)
        entry.local_path = os.path.relpath(path, self._own if self._run.offline else Path.cwd())
