"""The loss on dev before the first step is the base's: asked once, and only where it is that to the bit."""

import pytest
from conftest import FEW_ROWS, run_in

from arabic_llm import files

SHORT = (*FEW_ROWS, "task=sft", "hw=cpu", "task.max_steps=1", "task.effective_batch_size=2")
SHORT += ("task.eval_steps=1", "task.held_out.num_bytes=0", "data.dev_share=0.3")


def first(folder, name, *overrides):
    """Train a step in folder/name and return the loss on dev before it."""
    folder.mkdir(exist_ok=True)
    status, said = run_in(folder, *SHORT, *overrides, f"hydra.run.dir={name}")
    assert status == 0, said
    before, *_ = files.read_json_lines(folder / name / "training" / "metrics.jsonl")
    assert before["step"] == 0
    return before["dev_loss"]


def kept(folder):
    return sorted((folder / "outputs" / "cache").glob("first_dev_loss/*"))


def test_jobs_that_differ_in_their_adapter_alone_ask_their_base_once_to_the_same_bits(tmp_path):
    other = ("adapter.rank=16", "adapter.dropout=0.3", "adapter.target_modules=[q_proj]", "seed=17")
    asked = first(tmp_path / "one", "a", "adapter.rank=4")
    (path,) = kept(tmp_path / "one")
    assert files.read_state(path) == {"dev_loss": asked}
    assert first(tmp_path / "one", "b", *other) == asked
    assert first(tmp_path / "two", "b", *other) == asked  # where nobody had asked before
    files.write_state(path, {"dev_loss": 1.25})
    assert first(tmp_path / "one", "c", *other, "adapter.use_rslora=true") == 1.25  # it is read
    path.write_text("{", encoding="utf-8")
    assert first(tmp_path / "one", "d") == asked  # damage is asked again


@pytest.mark.parametrize(
    ("overrides", "adds"),
    [
        (("adapter=dora",), 0),
        (("adapter=full",), 0),
        (("adapter.extend_vocabulary=20",), 0),
        (("adapter=qlora",), 1),
        (("hw.precision=bfloat16",), 1),
        (("hw.eval_batch_size=3",), 1),
        (("data.dev_share=0.5",), 1),
    ],
)
def test_what_changes_a_bit_of_it_is_never_read_from_another(tmp_path, overrides, adds):
    first(tmp_path, "a")
    first(tmp_path, "b", *overrides)
    assert len(kept(tmp_path)) == 1 + adds


def test_what_an_adapter_has_learned_is_not_taken_for_its_base(tmp_path):
    asked = first(tmp_path, "a", "task.learning_rate=0.01")
    assert abs(first(tmp_path, "b", "adapter.path=a/adapter") - asked) > 0.01
    assert len(kept(tmp_path)) == 1
