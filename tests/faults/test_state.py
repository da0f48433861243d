"""A sample of the campaign (make faults): whatever is damaged of a run, its numbers come back."""

import pytest
import state
from bench import Bench


@pytest.fixture(scope="module")
def bench(nursery, tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("campaign"), 17, nursery)


@pytest.mark.parametrize(
    ("kind", "name", "damage"),
    [
        ("done study", "mine/adapter/adapter_model.safetensors", "one byte"),
        ("half study", "mine/training/checkpoint-2/SEALED.json", "list"),
    ],
)
def test_the_numbers_come_back_after_damage(bench, kind, name, damage):
    assert state.damaged(bench, kind, name, damage).kind == "the same numbers"
