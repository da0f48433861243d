"""Directories are named by what is done: hardware does not rename them, and a sweep's jobs stay apart."""

import re
import sys

import pytest
from omegaconf import OmegaConf

from arabic_llm.config import compose, naming, paths


@pytest.fixture
def names(monkeypatch):
    """Return the names of the directories that a command line's jobs get, without running them."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    def named(*typed, jobs=((),)):
        monkeypatch.setattr(sys, "argv", ["arabic_llm.run", *typed])
        compose.register()
        with initialize_config_dir(str(paths.CONF), version_base="1.3"):
            found = []
            for job in jobs:
                cfg = hydra_compose("config", list(job), return_hydra_config=True)
                found.append(
                    (OmegaConf.select(cfg, "hydra.run.dir"), OmegaConf.select(cfg, "hydra.sweep.subdir"))
                )
        return found

    return named


def test_hardware_and_places_do_not_rename_a_run(names):
    ways = [
        (),
        ("hw=cpu",),
        ("hw=8gb", "hw.micro_batch_size=1"),
        ("tracking=none",),
        ("cache_dir=c",),
        ("lang=ar",),
    ]
    assert len({run for run, _ in names(jobs=ways)}) == 1
    whats = [(), ("adapter.rank=8",), ("seed=3",), ("task.max_steps=9",)]
    assert len({run for run, _ in names(jobs=whats)}) == len(whats)


def test_a_job_is_named_by_the_last_parts_of_what_is_swept_first(names):
    sweep = ("-m", "task.max_steps=9", "hw.micro_batch_size=1", "adapter.rank=4,8")
    jobs = [("task.max_steps=9", "hw.micro_batch_size=1", f"adapter.rank={rank}") for rank in (4, 8)]
    assert [job for _, job in names(*sweep, jobs=jobs)] == ["rank=4,max_steps=9", "rank=8,max_steps=9"]


def test_jobs_on_several_kinds_of_hardware_have_a_directory_each(names):
    jobs = [("hw=cpu",), ("hw=8gb",)]
    assert [job for _, job in names("-m", "hw=cpu,8gb", jobs=jobs)] == ["hw=cpu", "hw=8gb"]


def test_every_job_of_a_grid_is_known_by_name_before_the_first_runs(names, monkeypatch):
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    typed = ("-m", "seed=1", "model=glob(qwen2_0*)", "hw=cpu,8gb", "task.epochs=range(1,3)")
    (_, first), *_ = names(*typed, jobs=[("seed=1", "model=qwen2_0_5b", "hw=cpu", "task.epochs=1")])
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        found = naming.of_jobs(OmegaConf.create({}), GlobalHydra.instance().config_loader())
    assert [name for name, _ in found] == [
        f"hw={hw},model=qwen2_0_5b,epochs={epochs},seed=1" for hw in ("cpu", "8gb") for epochs in (1, 2)
    ]
    assert found[0] == (first, ["seed=1", "model=qwen2_0_5b", "hw=cpu", "task.epochs=1"])


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (("adapter.rank=4,8", "adapter.alpha=16,32"), "sft/rank,alpha"),
        (("adapter.rank=4,8,16", "adapter.alpha=8,32"), "sft/rank,alpha"),  # another grid, noticed there
        (("adapter.rank=4,8", "hw=cpu", "tracking=none", "resume=false"), "sft/rank"),
        (("hw=cpu,8gb",), "sft/hw"),
        (("task=study", "seed=1,2", "suite.limit=3", "data.path=/a"), "study/seed,path=_a,limit=3-"),
        (("+experiment=lora_rank",), "sft/lora_rank"),
        (("+experiment=lora_rank", "seed=1,2", "task.max_steps=9"), "sft/lora_rank,seed,max_steps=9"),
        (("data.path=a,b", "model.path=c"), "sft/data.path,model.path=c"),
    ],
)
def test_a_sweep_lies_where_the_same_command_finds_it_again(typed, name, monkeypatch):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    monkeypatch.setattr(sys, "argv", ["arabic_llm.run", "-m", *typed])
    compose.register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        chosen = [one for one in typed if one.startswith(("task=", "+experiment="))]
        found = OmegaConf.select(
            hydra_compose("config", chosen, return_hydra_config=True), "hydra.sweep.dir"
        )
    assert found.startswith(f"multirun/{name}") if name.endswith("-") else found == f"multirun/{name}"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("my_questions.jsonl", "my_questions"),
        ("~/data/My Questions (final).v2.xlsx", "My_Questions_final_.v2"),
        ("بيانات/أسئلتي.xlsx", "أسئلتي"),
        ("أَسْئِلَةُ الطُّلّاب ٢٠٢٦.csv", "أسئلة_الطلاب_٢٠٢٦"),
        ("كتـــاب\u200f.jsonl", "كتاب"),
        ("folder/", "folder"),
        ("?.csv", "local"),
        ("م" * 90 + ".csv", "م" * 40),
    ],
)
def test_a_run_on_a_file_of_ones_own_carries_its_name(names, path, name):
    quoted = f"data.path='{path}'"
    jobs = [("data=local", quoted), ("task=prepare", "data=local", quoted)]
    (run, _), (prepared, _) = names(jobs=jobs)
    assert re.fullmatch(rf"outputs/sft/tiny-{re.escape(name)}-lora-[0-9a-f]{{8}}", run)
    assert prepared == f"data_proc/{name}"


def test_keys_with_the_same_last_part_keep_what_tells_them_apart(names):
    job = ("data.path=a", "model.path=b", "adapter.rank=2")
    assert names("-m", jobs=[job])[0][1] == "rank=2,data.path=a,model.path=b"


def test_a_name_fits_its_file_system_and_differs_where_the_values_do(names):
    found = [job for _, job in names("-m", jobs=[(f"data.path='{'م' * 300}{end}'",) for end in "اب"])]
    assert all(len(job.encode()) < 200 for job in found)
    assert len({*found}) == 2


def test_keys_that_jobs_differ_by_are_those_swept_now_and_before_but_not_the_hardware():
    jobs = [
        {"adapter.rank": "2", "hw": "cpu", "seed": "1"},
        {"adapter.alpha": "4", "hw": "8gb", "seed": "1"},
    ]
    assert naming.telling_apart(jobs, ["adapter.rank"]) == ["adapter.rank", "adapter.alpha"]


def test_a_recipes_grid_is_swept_too(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["arabic_llm.run", "-m", "seed=1,2", "hw=cpu"])
    assert naming.swept(["adapter.rank=4,8", "adapter.alpha=16"]) == ["adapter.rank", "seed"]


def test_a_recipes_jobs_are_named_by_its_grid_first(names):
    job = ("adapter.rank=4", "adapter.alpha=16", "+experiment=lora_rank")
    assert names("-m", "+experiment=lora_rank", jobs=[job])[0][1] == "alpha=16,rank=4,experiment=lora_rank"


def test_other_numbers_are_another_run(program, tmp_path):
    command = ("task=evaluate", "hw=cpu", "suite.limit=2")
    for more in ((), ("hw.precision=bfloat16",), ("hw.eval_batch_size=2",)):
        status, said = program(*command, *more)
        assert status == 0, said
    assert "done before" in said  # how many at once is no other run
    assert len(list((tmp_path / "outputs" / "evaluate").iterdir())) == 2
