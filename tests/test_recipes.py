"""Recipes are dry-run, on the shapes of their models alone, and each job of a grid can be run."""

from __future__ import annotations

import re

import pytest
from conftest import compose_config
from omegaconf import OmegaConf

from arabic_llm.config import naming, paths

GRIDS = {
    "lora_grid": 36,
    "small_grid": 8,
    "rank": 12,
    "alpha": 18,
    "seeds": 3,
    "target_modules": 9,
    "lora_vs_qlora_vs_dora": 9,
}
STUDIES = {  # recipe -> what its question rests on
    "barka_2b": {"adapter.rank": 128, "task.learning_rate": 1e-4, "task.max_length": 2048},
    "barka_9b": {"adapter.rank": 128, "task.learning_rate": 1e-4, "model.name": "gemma2_9b"},
    "resource_aware_qwen2_1_5b": {
        **{"adapter.rank": 8, "adapter.alpha": 32, "adapter.dropout": 0.05, "task.max_length": 512},
        **{"task.learning_rate": 2e-5, "task.max_steps": 625, "task.effective_batch_size": 16},
        **{"task.loss_also_divided": True, "hw.micro_batch_size": 1},
        **{"adapter.target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    },
    "llama2_chinese": {"data.sample_size": 50_000, "model.name": "llama2_7b"},
    "qwen_chinese": {
        **{"adapter.rank": 8, "adapter.alpha": 32, "task.learning_rate": 1e-4, "task.epochs": 3.0},
        **{"hw.micro_batch_size": 4, "task.effective_batch_size": 32},
    },
    "k12_chinese": {"adapter.rank": 16, "adapter.alpha": 16, "data.name": "k12_chinese"},
    "k12_chinese_orpo": {"adapter.rank": 16, "adapter.alpha": 16, "task.name": "orpo"},
    "arabic_education": {"adapter.rank": 16, "adapter.alpha": 32, "adapter.dropout": 0.05},
}


def head(name):
    """Return what a recipe opens with."""
    text = (paths.EXPERIMENTS / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    return text.split("defaults:")[0]


@pytest.mark.parametrize("name", [*GRIDS, *STUDIES])
def test_a_recipe_says_its_question_its_command_and_where_its_data_come_from(name):
    opens = head(name)
    assert "?" in opens
    assert f"python -m arabic_llm.run {'-m ' if name in GRIDS else ''}+experiment={name}" in opens
    assert "Data: " in opens
    assert ("Weights: " in opens) == (name in STUDIES)
    config = compose_config(f"+experiment={name}")
    fetch = f"task=download model={config.model.name} data={config.data.name}"
    assert (fetch in opens) == (name in STUDIES)


@pytest.mark.parametrize("name", [*GRIDS, *STUDIES])
def test_a_recipe_is_dry_run_on_the_shapes_of_its_model(name, program, tmp_path):
    rows = "sample_pairs" if name.endswith("_orpo") else "sample"  # its own are on the hub
    suite = () if name.endswith("_orpo") else ("suite=sample",)
    status, said = program(f"+experiment={name}", f"data={rows}", *suite, "dry_run=true", "hydra.mode=RUN")
    assert status == 0, said
    config = compose_config(f"+experiment={name}")
    assert f"plan: {config.model.name} (" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "number"), GRIDS.items())
def test_a_grid_has_its_number_of_jobs_and_its_ends_compose(name, number, monkeypatch):
    jobs = jobs_of(name, monkeypatch)
    assert len(jobs) == len({job for job, _ in jobs}) == number
    for _, typed in (jobs[0], jobs[-1]):
        compose_config(*typed)


def jobs_of(name, monkeypatch):
    """Return (directory name, overrides) of each job of a recipe."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from arabic_llm.config import compose

    monkeypatch.setattr("sys.argv", ["arabic_llm.run", "-m", f"+experiment={name}"])
    compose.register()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        composed = hydra_compose("config", [f"+experiment={name}"], return_hydra_config=True)
        return naming.of_jobs(composed.hydra, GlobalHydra.instance().config_loader())


@pytest.mark.parametrize(("name", "settings"), STUDIES.items())
def test_a_study_of_the_field_has_the_settings_that_were_published(name, settings):
    config = OmegaConf.structured(compose_config(f"+experiment={name}"))
    assert {key: OmegaConf.select(config, key) for key in settings} == settings


def test_they_are_known_in_the_overview():
    overview = (paths.EXPERIMENTS / "README.md").read_text(encoding="utf-8")
    assert [name for name in (*GRIDS, *STUDIES) if not re.search(rf"\b{name}\b", overview)] == []
