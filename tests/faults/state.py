"""Every file of a done run and of a half one, damaged in every way: the numbers come back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from bench import Bench, Case, End, ended
from damages import DAMAGES, restore
from warm import curve

from arabic_llm import files
from arabic_llm.errors import DamagedError

RUN = (
    *("task=study", "hw=cpu", "task.max_steps=3", "task.effective_batch_size=2", "data.max_rows=60"),
    *("task.save_steps=1", "task.eval_steps=2", "suite.limit=3", "hydra.run.dir=mine"),
    "task.held_out.num_bytes=1200",
)
PREPARE = (
    *("task=prepare", "data=local", "data.path=raw", "hydra.run.dir=mine", "hw.num_processes=1"),
    *("data.cleaning.near_duplicates=0.8", "data.dev_share=0.1"),
)
_SECONDS = 900  # of two runs that share their processor with eight
# Read by what comes after; of all others one damage is enough, drawn for each.
_STATE = (
    *("manifest.json", "result.json", "SEALED.json", "metrics.jsonl", "items.jsonl", "held_out.json"),
    *(
        "rows.json",
        "memory.json",
        "outputs.json",
        ".lock",
        "prepared.json",
        "outcome.json",
        "trainer_state.json",
    ),
)


def made(folder: Path) -> object:
    """Return the numbers that a run has made."""
    mine = folder / "mine"
    if (mine / "prepared.json").is_file():
        return {path.name: path.read_bytes() for path in sorted(mine.glob("*.jsonl"))}
    tables = [(mine / name).read_text() for name in ("comparison.csv", "forgetting.csv")]
    items = [(mine / "evaluation" / side / "items.jsonl").read_text() for side in ("base", "tuned")]
    return tables, items, curve(folder), files.read_json(mine / "result.json")["metric"]


def snapshots(bench: Bench) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """Return done and half runs, made once: name -> (folder, command)."""
    done = bench.folder / "done"
    if not (done / "mine" / "result.json").exists():
        shutil.rmtree(done, ignore_errors=True)
        done.mkdir(parents=True)
        bench.nursery.finish(done, (*RUN, "tracking=none"))
    half = bench.folder / "half"
    if not half.exists():
        shutil.copytree(done, half)
        for name in ("result.json", "adapter", "report.html", "summary.txt", "comparison.csv"):
            path = half / "mine" / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name in ("tuned",):
            shutil.rmtree(half / "mine" / "evaluation" / name)
        shutil.rmtree(half / "mine" / "training" / "checkpoint-3")
    prepared = bench.folder / "prepared"
    if not (prepared / "mine" / "result.json").exists():
        shutil.rmtree(prepared, ignore_errors=True)
        rows = [
            {"instruction": f"ما حاصل {n} و {n}؟", "output": f"حاصله {2 * n} تماما"} for n in range(200)
        ]
        files.write_json_lines(prepared / "raw" / "a.jsonl", rows)
        bench.nursery.finish(prepared, (*PREPARE, "tracking=none"))
    return {"done study": (done, RUN), "half study": (half, RUN), "done prepare": (prepared, PREPARE)}


def cases(bench: Bench, num_each: int) -> Iterator[Case]:
    """Yield damages of each file: of state files `num_each` of them, or all; of others one."""
    for kind, (folder, _) in snapshots(bench).items():
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if not path.is_file() or path.is_symlink() or name in ("log.txt", "raw/a.jsonl"):
                continue
            draw, is_state = bench.draw(name), path.name in _STATE or "/cache/" in name
            for damage in draw.sample(sorted(DAMAGES), min(num_each, len(DAMAGES)) if is_state else 1):
                case = f"{kind}: {name}: {damage}"
                yield Case("state", kind, case, lambda k=kind, n=name, d=damage: damaged(bench, k, n, d))


def damaged(bench: Bench, kind: str, name: str, damage: str) -> End:
    """Damage one file, type the command twice, and compare what was made with what it was."""
    folder, command = snapshots(bench)[kind]
    work = bench.folder / "damaged"
    restore(folder, work)
    DAMAGES[damage](bench.draw(f"{kind}{name}{damage}"), work / name)
    for _ in range(2):  # what was set aside must not come back
        status, said, _ = bench.run(work, command, _SECONDS)
        end = ended(status, said)
        if end.is_fault:
            return end
    if end.kind != "done":
        return end
    whole = bench.folder / ("prepared" if kind == "done prepare" else "done")
    try:
        is_same = made(work) == made(whole)
    except (DamagedError, OSError) as error:
        return End("other numbers", f"{error} {said[-500:]}")
    return End("the same numbers" if is_same else "other numbers", said[-500:])
