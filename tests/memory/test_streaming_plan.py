"""The plan takes layers off the card when nothing else helps, and no more of them than it must."""

from dataclasses import replace

import pytest
from conftest import compose_config

from arabic_llm import machine
from arabic_llm.config.hw import GIB, MIB
from arabic_llm.errors import HardwareError
from arabic_llm.memory import eval_batching, static, training_peak, visits
from arabic_llm.memory import training_plan as planning
from arabic_llm.profiling import depth, evaluation_fit, evaluation_rehearsal, training_fit
from arabic_llm.workflows import plan


def wanted(model, hw, *more):
    return plan.checked(compose_config("task=plan", f"model={model}", "adapter=qlora", f"hw={hw}", *more))


@pytest.mark.parametrize(
    ("model", "hw", "tokens"),
    [
        *(("qwen2_7b", "4gb", tokens) for tokens in (512, 1024, 2048)),
        *(("llama3_8b", "4gb", 2048), *(("gemma2_9b", "4gb", tokens) for tokens in (512, 1024, 2048))),
        *(("qwen2_5_14b", "8gb", 2048), ("qwen2_5_32b", "24gb", 2048), ("qwen2_5_32b", "16gb", 1024)),
    ],
)
def test_what_a_card_does_not_hold_whole_fits_with_layers_that_stream(model, hw, tokens):
    ask = wanted(model, hw, f"task.max_length={tokens}")
    best = planning.best(ask)
    assert planning.fits(best, ask.hw)
    resident = planning.best(replace(ask, hw=replace(ask.hw, streamed_layers=0)))
    assert (best.work.streamed_layers == 0) == planning.fits(resident, ask.hw)
    if best.work.streamed_layers:  # one layer more on the card would be too many
        fewer = replace(best.work, streamed_layers=best.work.streamed_layers - 1)
        assert not planning.fits(replace(best, work=fewer, parts=training_peak.predict(fewer)), ask.hw)


def test_a_head_leaves_the_card_only_where_nothing_else_helps_and_a_tied_table_goes_with_it():
    found = {}
    for model, tokens in (("qwen2_7b", 2048), ("gemma2_9b", 512), ("gemma2_9b", 2048)):
        ask = wanted(model, "4gb", f"task.max_length={tokens}")
        found[model, tokens] = planning.best(ask)
    assert [plan.work.head_on_host for plan in found.values()] == [False, False, True]
    last = found["gemma2_9b", 2048]
    table = 2 * 256000 * 3584
    with_it = training_peak.predict(replace(last.work, head_on_host=False))
    assert with_it.weights_kept - last.parts.weights_kept == table
    (line,) = plan._of_layers(last)
    assert "and blocks of the head's rows come from the host's memory" in line
    own = visits.moved(last.work, 16) - visits.moved(replace(last.work, head_on_host=False), 16)
    assert own == 2 * 16 * table  # for the loss, and on the way back
    kept = planning.best(wanted("gemma2_9b", "4gb", "hw.head_on_host=false"))
    assert not planning.fits(kept, wanted("gemma2_9b", "4gb").hw)
    rehearsed = depth.peak(last.work).allocated
    assert last.parts.allocated == pytest.approx(rehearsed, rel=0.03)
    assert last.parts.allocated >= rehearsed


def test_what_fits_whole_streams_nothing_and_without_4_bits_nothing_can():
    assert planning.best(wanted("qwen2_1_5b", "4gb")).work.streamed_layers == 0
    lora = planning.best(wanted("qwen2_7b", "4gb", "adapter.quantization=none"))
    assert lora.work.streamed_layers == 0
    assert planning.best(wanted("qwen2_7b", "80gb", "hw.streamed_layers=9")).work.streamed_layers == 9


def test_the_plan_says_where_layers_are_what_the_host_needs_and_what_crosses_the_bus():
    ask = wanted(
        "qwen2_7b", "4gb", "hw.streamed_layers=28", "task.max_length=2048", "hw.micro_batch_size=1"
    )
    best = planning.best(ask)
    (line,) = plan._of_layers(best)
    packed = 28 * (2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18944) / 2  # half a byte each
    assert visits.pinned(best.work) == packed
    assert "0 layers stay on the card, 28 stream from the host's memory" in line
    assert f"{2 * 16 * packed / GIB:,.1f} GiB come over the bus in a step" in line
    table, moments = 2 * 152064 * 3584, best.work.optimizer_on_host * static.moments_on_host(best.work)
    assert f"of which {(packed + table + moments) / MIB:,.0f} MiB are needed" in line


def test_a_rehearsal_of_visits_is_what_the_closed_form_says():
    best = planning.best(wanted("qwen2_7b", "4gb", "task.max_length=512"))
    rehearsed = depth.peak(best.work).allocated
    assert best.parts.allocated == pytest.approx(rehearsed, rel=0.03)
    assert best.parts.allocated >= rehearsed


def test_two_cards_share_4_bit_weights_out_where_one_does_not_hold_them():
    ask = wanted("qwen2_5_32b", "2x24gb", "task.max_length=2048")
    shared = planning.best(replace(ask, hw=replace(ask.hw, fsdp=True)))
    whole = planning.best(replace(ask, hw=replace(ask.hw, fsdp=False, streamed_layers=0)))
    layers = 64 * visits.packed_layer(ask.model.architecture)
    assert whole.parts.weights_4bit - shared.parts.weights_4bit == pytest.approx(layers / 2)
    assert shared.parts.adapters == whole.parts.adapters
    assert planning.fits(shared, ask.hw)
    assert plan._of_layers(shared) == [
        "4-bit weights shared out over the cards (FSDP2), all else whole on each of them"
    ]


def test_a_host_that_is_too_small_is_refused(monkeypatch):
    config = compose_config("model=qwen2_7b", "adapter=qlora", "hw=4gb")
    fitted = training_fit.fit(config, config.task)
    fitted = replace(fitted, place=replace(fitted.place, device="cuda"))
    assert fitted.place.streamed_layers == fitted.plan.work.streamed_layers > 0
    monkeypatch.setattr(machine, "free_gib", lambda: 2.0)
    with pytest.raises(
        HardwareError, match=r"layers of model=qwen2_7b stream from \d\.\d GiB .* 2.0 GiB are free"
    ):
        training_fit.refuse(config, fitted)


def test_a_model_that_is_judged_where_it_does_not_fit_streams_before_and_after_its_training():
    config = compose_config("task=evaluate", "model=qwen2_7b", "adapter=qlora", "hw=4gb")
    room = eval_batching.room(config.model, config.adapter, config.hw)
    number = room.held.streamed_layers
    assert 0 < number < 28
    assert room.fits(1, eval_batching.QUESTION, generates=True)
    fewer = replace(room, held=replace(room.held, streamed_layers=number - 1))
    assert not fewer.fits(1, eval_batching.QUESTION, generates=True)
    fitted = [evaluation_fit.fit(config, [], adapted=adapted) for adapted in (False, True)]
    assert {one.place.streamed_layers for one in fitted} == {number}
    assert [one.room.held for one in fitted] == [room.held, room.held]  # the same batches
    roomy = compose_config("task=evaluate", "model=qwen2_7b", "adapter=qlora", "hw=24gb")
    assert eval_batching.room(roomy.model, roomy.adapter, roomy.hw).held.streamed_layers == 0


def test_a_rehearsed_question_of_a_model_that_streams_holds_its_visitors_while_layers_compute():
    config = compose_config("task=evaluate", "adapter=qlora", "hw=4gb", "hw.streamed_layers=4")
    held = eval_batching.hold(config.model, config.adapter, config.hw, adapted=False)
    (shape,) = eval_batching.scoring(held, 2, 512)
    streamed, whole = (evaluation_rehearsal.peak(replace(held, streamed_layers=n), shape) for n in (4, 0))
    there, packed = visits.on_card(held.architecture, 4), visits.packed_layer(held.architecture)
    assert (
        streamed.by_phase["logits"] == whole.by_phase["logits"] - 4 * packed
    )  # none is there for the head
    assert 0 < streamed.by_phase["forward"] - (whole.by_phase["forward"] - 4 * packed) <= there
