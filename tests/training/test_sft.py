"""A real run on the built-in model: the loss is what it says, guards stop, checkpoints carry on."""

import math
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lab import Lab, learned
from transformers import AutoConfig, AutoModelForCausalLM

from arabic_llm import disk, files
from arabic_llm.errors import CheckpointError, ConfigError, HardwareError, TrainingError
from arabic_llm.memory.static import MIN_8BIT
from arabic_llm.models import adapter
from arabic_llm.training import batches, callbacks, checkpoint, sft


def losses(directory):
    lines = files.read_json_lines(directory / callbacks.METRICS)
    return [(line["step"], line.get("loss"), line.get("dev_loss"), line.get("grad_norm")) for line in lines]


def mean_loss(model, rows, codec):
    """Return nats a supervised token, with transformers' own logits and torch's own cross-entropy."""
    batch = batches.Collate(codec.tokenizer.pad_token_id)(list(batches.sequences(rows, 1024)))
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=-100
    ).item()


NO_DROPOUT = "adapter.dropout=0"


def test_the_logged_loss_is_the_mean_over_the_steps_supervised_tokens(tmp_path):
    lab = Lab((NO_DROPOUT, "task.max_steps=1", "hw.micro_batch_size=2"))
    plan = lab.plan()
    rows = [lab.train_rows[i] for i in plan.rows_of(0)]
    lab.model.eval()
    expected, dev = mean_loss(lab.model, rows, lab.codec), mean_loss(lab.model, lab.dev_rows, lab.codec)
    _, outcome = lab.train(tmp_path)
    (_, _, dev_before, _), (_, loss, _, _) = losses(tmp_path)[:2]
    assert loss == pytest.approx(expected, rel=1e-5)
    assert dev_before == pytest.approx(dev, rel=1e-5)
    first, *_, last = [m for m in files.read_json_lines(tmp_path / callbacks.METRICS) if "dev_loss" in m]
    num_tokens = sum(label >= 0 for row in lab.dev_rows for label in row.labels)
    num_bytes = sum(
        len(turn.content.encode())
        for row in lab.data.dev[:12]
        for turn in row.messages
        if turn.role == "assistant"
    )
    assert first["dev_bits_per_byte"] == pytest.approx(dev * num_tokens / num_bytes / math.log(2), rel=1e-5)
    assert outcome.dev_bits_per_byte == last["dev_bits_per_byte"]
    assert outcome.bits == f" ({last['dev_bits_per_byte']:.3f} bits a byte)"


@pytest.mark.parametrize("adapter", ["lora", "qlora"])
def test_hw_does_not_change_what_is_learned(tmp_path, adapter):
    curves = []
    for hw, micro in (("4gb", 1), ("8gb", 3), ("cpu", 8)):
        how = (f"hw={hw}", f"hw.micro_batch_size={micro}", f"hw.gradient_checkpointing={micro == 1}")
        lab = Lab((f"adapter={adapter}", NO_DROPOUT, *how))
        lab.dev_rows = []
        lab.train(tmp_path / hw)
        curves.append([loss for _, loss, _, _ in losses(tmp_path / hw)])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0] == pytest.approx(curves[2], rel=1e-4)


def test_as_many_rows_as_fill_the_tokens_learn_the_same_and_are_carried_on_to_the_same_bytes(tmp_path):
    fixed = (NO_DROPOUT, "task.eval_steps=100", "task.save_total_limit=2")
    cut = (*fixed, "hw.tokens_per_micro_batch=100")
    for name, overrides in (("rows", fixed), ("tokens", cut)):
        lab = Lab(overrides)
        lab.dev_rows = []
        model, _ = lab.train(tmp_path / name)
    curves = [[loss for _, loss, _, _ in losses(tmp_path / name)] for name in ("rows", "tokens")]
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0] != curves[1]
    shutil.rmtree(tmp_path / "tokens" / "checkpoint-6")
    lab = Lab(cut)
    lab.dev_rows = []
    again, outcome = lab.train(tmp_path / "tokens")
    assert outcome.resumed_from == 4
    assert learned(again) == learned(model)


def test_where_the_moments_lie_does_not_change_what_is_learned(tmp_path):
    """Bitsandbytes' paged AdamW and torch's are one, and take up each other's checkpoints."""
    curves = []
    for on_host in (False, True):
        for place in (on_host, not on_host):
            lab = Lab((NO_DROPOUT,))
            lab.place = replace(lab.place, optimizer_on_host=place)
            lab.train(tmp_path / str(on_host))
            curves.append([loss for _, loss, _, _ in losses(tmp_path / str(on_host)) if loss])
            shutil.rmtree(tmp_path / str(on_host) / "checkpoint-6")  # the next carries on from step 4
    assert len(curves[0]) == 6
    for curve in curves[1:]:
        assert curve == pytest.approx(curves[0], rel=1e-3)


def test_8_bit_moments_learn_almost_the_same_on_a_cpu_too(tmp_path):
    for name in ("adamw", "adamw_8bit"):
        Lab((NO_DROPOUT, f"task.optimizer={name}")).train(tmp_path / name)
    exact, rounded = (
        [loss for _, loss, _, _ in losses(tmp_path / name) if loss] for name in ("adamw", "adamw_8bit")
    )
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.02)
    saved = torch.load(tmp_path / "adamw_8bit" / "checkpoint-6" / "optimizer.pt")["state"].values()
    moments = [tensors["__bnb_optimizer_quant_state__"]["state1"] for tensors in saved]
    assert {m.dtype for m in moments} == {torch.uint8, torch.float32}
    assert all((m.dtype == torch.uint8) == (m.numel() >= MIN_8BIT) for m in moments)


def test_a_line_of_metrics_holds_what_the_user_was_promised(tmp_path):
    lab = Lab(is_watched=True)
    lab.train(tmp_path)
    lines = [line for line in files.read_json_lines(tmp_path / callbacks.METRICS) if "loss" in line]
    promised = {
        *("step", "loss", "learning_rate", "grad_norm", "tokens_seen"),
        *("supervised_tokens_per_second", "seconds_per_step", "memory_mib"),
    }
    measured = {"measured_mib", "measured_sequences", "measured_tokens"}
    memory = {*measured, "predicted_mib", "planned_mib"}  # without the optimiser's moments, and with
    assert all(set(line) == promised | memory for line in lines[:2])
    assert all(set(line) == promised for line in lines[2:])
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    plan = lab.plan()
    seen = sum(len(lab.train_rows[i].input_ids) for step in range(6) for i in plan.rows_of(step))
    assert lines[-1]["tokens_seen"] == seen
    assert lines[0]["learning_rate"] > lines[-1]["learning_rate"] > 0  # cosine


def test_training_lowers_the_loss_of_what_it_sees(tmp_path):
    lab = Lab(("task.max_steps=30", "task.eval_steps=30", "task.save_steps=30"))
    before = mean_loss(lab.model, lab.train_rows, lab.codec)
    model, outcome = lab.train(tmp_path)
    model.eval()
    assert mean_loss(model, lab.train_rows, lab.codec) < 0.7 * before
    assert outcome.steps == 30
    assert outcome.dev_loss is not None


def test_qlora_trains_its_adapter_in_float32(tmp_path):
    lab = Lab(("adapter=qlora", "task.max_steps=2"))
    before = learned(lab.model)
    model, _ = lab.train(tmp_path)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert learned(model) != before


def test_qlora_learns_the_same_with_gradient_checkpointing(tmp_path):
    """What hw=4gb turns on: the backward pass goes through 4-bit weights a second time."""
    fixed = ("adapter=qlora", NO_DROPOUT, "task.max_steps=3")
    Lab(fixed).train(tmp_path / "kept")
    again, _ = Lab((*fixed, "hw.gradient_checkpointing=true")).train(tmp_path / "again")
    assert again.is_gradient_checkpointing
    curves = [[loss for _, loss, _, _ in losses(tmp_path / name) if loss] for name in ("kept", "again")]
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)
    assert curves[0][0] != curves[0][-1]


def test_mixed_precision_keeps_the_adapter_in_float32(tmp_path):
    lab = Lab(("hw.precision=bfloat16", "task.max_steps=3"))
    model, outcome = lab.train(tmp_path)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    lab = Lab(("hw.precision=float32", "task.max_steps=3"))
    lab.train(tmp_path / "exact")
    assert outcome.train_loss == pytest.approx(losses(tmp_path / "exact")[-2][1], rel=0.01)


@pytest.mark.parametrize("adapter", ["lora", "qlora"])
def test_an_evaluation_between_steps_changes_nothing_that_is_learned(tmp_path, adapter):
    """In eval mode bitsandbytes repacks 4-bit weights on some CPUs, and their gradient is gone."""
    fixed = (f"adapter={adapter}", NO_DROPOUT, "task.save_steps=100")
    often, _ = Lab((*fixed, "task.eval_steps=1")).train(tmp_path / "often")
    never = Lab((*fixed, "task.eval_steps=100"))
    never.dev_rows = []
    seldom, _ = never.train(tmp_path / "never")
    assert learned(often) == learned(seldom)


class Interrupt:
    """A tracker that sends this process a signal after a step."""

    def __init__(self, step, number):
        self.step, self.number = step, number

    def log(self, values):
        if values["step"] == self.step and "loss" in values:
            os.kill(os.getpid(), self.number)

    def finish(self, summary):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("adapter", ["lora", "qlora", "full"])
def test_a_signal_saves_and_the_run_carries_on_to_the_same_bytes(tmp_path, number, adapter):
    overrides = (f"adapter={adapter}", "task.learning_rate=1e-4")
    whole, _ = Lab(overrides).train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match="after a checkpoint; the same command carries on"):
        Lab(overrides, tracker=Interrupt(3, number)).train(tmp_path / "cut")
    again, outcome = Lab(overrides).train(tmp_path / "cut")
    assert outcome.resumed_from == 3  # the signal came before its loss on dev, which is measured later
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert learned(again) == learned(whole)


def test_a_signal_is_answered_at_once(tmp_path, capfd):
    with pytest.raises(KeyboardInterrupt):
        Lab(tracker=Interrupt(1, signal.SIGINT)).train(tmp_path / "cut")
    assert "stopping after this step with a checkpoint; again ends now\n" in capfd.readouterr().err
    stop = callbacks.StopCalmly()
    stop._seconds = 74.6
    assert stop._answer() == "stopping after this step, about 75 s, with a checkpoint; again ends now"


def test_a_parents_death_that_is_told_twice_is_one_and_a_later_signal_ends_at_once(monkeypatch):
    """Linux tells it once for each thread of the parent."""
    stop = callbacks.StopCalmly()
    with pytest.raises(KeyboardInterrupt, match=r"\(SIGTERM\) after a checkpoint"), stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal is signal.SIGTERM
    for first, again in ((signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGINT)):
        reached, stop = [], callbacks.StopCalmly()
        with pytest.raises(KeyboardInterrupt, match="^$"), stop.listening():
            os.kill(os.getpid(), first)
            os.kill(os.getpid(), again)
            reached.append(1)
        assert not reached
    monkeypatch.setattr(callbacks, "_ONE_DEATH", 0.0)  # as if the second came later
    with pytest.raises(KeyboardInterrupt, match="^$"), callbacks.StopCalmly().listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)


def signalled(lab, number):
    """Let a process get SIGTERM when its model reads such a batch of dev rows, counted from 1."""
    asked = []

    def watch(module, _):
        if not module.training:
            asked.append(1)
            if len(asked) == number:
                os.kill(os.getpid(), signal.SIGTERM)

    lab.model.register_forward_pre_hook(watch)
    return lab, asked


def test_a_signal_during_the_loss_on_dev_leaves_it_and_it_is_measured_when_the_run_carries_on(tmp_path):
    overrides = ("task.eval_steps=2", "task.save_steps=3", "hw.eval_batch_size=1")
    lab, asked = signalled(Lab(overrides), 0)
    whole, _ = lab.train(tmp_path / "whole")
    each = len(asked) // 4  # before the first step, and after 2, 4 and 6
    assert each > 1
    lab, asked = signalled(Lab(overrides), 2 * each + 1)
    with pytest.raises(KeyboardInterrupt, match=r"interrupted \(SIGTERM\) after a checkpoint"):
        lab.train(tmp_path / "cut")
    assert len(asked) == 2 * each + 1  # after step 4
    lab, asked = signalled(Lab(overrides), 1)  # again, before any step
    with pytest.raises(KeyboardInterrupt, match="before the first step"):
        lab.train(tmp_path / "cut")
    assert len(asked) == 1
    again, outcome = Lab(overrides).train(tmp_path / "cut")
    assert outcome.resumed_from == 4
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert learned(again) == learned(whole)


@pytest.mark.parametrize("adapter", ["lora", "qlora"])
def test_an_adapter_in_bfloat16_stays_so_and_carries_on_to_the_same_bytes(tmp_path, adapter):
    """PEFT reads what is in 16 bits as float32."""
    overrides = (f"adapter={adapter}", "adapter.dtype=bfloat16", NO_DROPOUT)
    whole, _ = Lab(overrides).train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        Lab(overrides, tracker=Interrupt(3, signal.SIGTERM)).train(tmp_path / "cut")
    again, outcome = Lab(overrides).train(tmp_path / "cut")
    assert outcome.resumed_from == 3
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert learned(again) == learned(whole)
    assert {p.dtype for p in again.parameters() if p.requires_grad} == {torch.bfloat16}
    state = torch.load(tmp_path / "cut" / "checkpoint-6" / "optimizer.pt")["state"]
    assert {moments["exp_avg"].dtype for moments in state.values()} == {torch.bfloat16}


def test_the_best_weights_of_an_adapter_in_bfloat16_are_taken_up_as_such(tmp_path):
    patient = ("task.early_stopping_patience=1", "task.eval_steps=2", "task.save_steps=2")
    wild = ("task.learning_rate=5e-2", "task.max_steps=20", "adapter.dtype=bfloat16")
    model, outcome = Lab((*patient, *wild), rows=4).train(tmp_path)
    assert outcome.kept_step < outcome.steps < 20
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.bfloat16}


def test_a_torn_checkpoint_is_set_aside_and_an_older_whole_one_is_used(tmp_path):
    whole, _ = Lab().train(tmp_path)
    curve = losses(tmp_path)
    (tmp_path / "checkpoint-6" / "optimizer.pt").write_bytes(b"torn")
    again, outcome = Lab().train(tmp_path)
    assert outcome.resumed_from == 4
    assert (tmp_path / "torn-checkpoint-6").is_dir()
    assert losses(tmp_path) == curve
    assert learned(again) == learned(whole)


def test_a_checkpoint_without_its_seal_is_torn(tmp_path):
    Lab().train(tmp_path)
    (tmp_path / "checkpoint-6" / files.SEAL).unlink()
    assert checkpoint.newest_whole(tmp_path).name == "checkpoint-4"


def test_only_so_many_checkpoints_are_kept(tmp_path):
    Lab(("task.save_total_limit=1",)).train(tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-6"]


def test_other_rows_are_refused(tmp_path):
    Lab().train(tmp_path)
    with pytest.raises(CheckpointError, match="was begun on other rows"):
        Lab(rows=30).train(tmp_path)


def test_a_loss_that_is_not_finite_stops_at_its_step_and_names_its_rows(tmp_path):
    lab = Lab(("hw.micro_batch_size=2",))
    plan = lab.plan()
    poisoned = plan.rows_of(1)[5]  # second step, third forward pass of two rows
    ids = {i for number, row in enumerate(lab.train_rows) if number != poisoned for i in row.input_ids}
    token = next(i for i in range(4000, 0, -1) if i not in ids)
    lab.train_rows[poisoned].input_ids[2] = token

    def poison(_module, inputs, output):
        return output.masked_fill((inputs[0] == token)[..., None], float("inf"))

    lab.model.get_input_embeddings().register_forward_hook(poison)
    with pytest.raises(TrainingError) as error:
        lab.train(tmp_path)
    first, second = plan.rows_of(1)[4:6]
    said = str(error.value)
    assert said.startswith("step 2: loss is nan; no weight was changed by it.")
    assert f"Rows: {lab.train_rows[first].id}, {lab.train_rows[second].id}." in said
    assert [step for step, loss, _, _ in losses(tmp_path) if loss] == [1]


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(tmp_path):
    lab = Lab()
    before = learned(lab.model)
    parameter = next(p for p in lab.model.parameters() if p.requires_grad)
    parameter.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainingError, match="step 1: gradient norm is nan; no weight was changed"):
        lab.train(tmp_path)
    assert learned(lab.model) == before


def test_weights_that_are_not_finite_are_not_sealed(tmp_path):
    """The loss and the gradients of the step were: only its weights are not."""
    lab = Lab(("task.weight_decay=1e36", "task.save_steps=1", "task.max_steps=1"))
    lab.config.task.learning_rate = 1e36  # none of which a configuration takes
    lab.dev_rows = []
    with pytest.raises(
        TrainingError, match=r"^step 1, before its checkpoint: the weights \S+lora_\S+ hold (nan|-?inf),"
    ):
        lab.train(tmp_path)
    assert list(tmp_path.glob("*checkpoint-*")) == []
    with pytest.raises(TrainingError, match=r"adapter, before it was written: the weights \S+ hold"):
        adapter.save(lab.model, lab.codec.tokenizer, tmp_path / "adapter", {})
    assert list(tmp_path.glob("*adapter*")) == []


def test_a_loss_on_dev_or_held_out_texts_that_is_not_finite_stops(tmp_path):
    for number, (follows, said) in enumerate(((False, "dev"), (True, "held-out texts"))):
        lab = Lab(("task.max_steps=1", "task.held_out.num_bytes=1500"), follows=follows)
        with torch.no_grad():
            lab.model.get_output_embeddings().weight[7] = float("nan")
        with pytest.raises(TrainingError, match=rf"^after step 0: the loss on {said} is nan"):
            lab.train(tmp_path / str(number))


class Scaled(sft.GuardedTrainer):
    """A trainer with the scaler that float16 has on a card; accelerate makes none on a CPU."""

    scale = 2.0**16

    def __init__(self, **options):
        super().__init__(**options)
        self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=self.scale)
        self.accelerator.unscale_gradients = lambda *_: self.accelerator.scaler.unscale_(
            self.optimizer.optimizer  # accelerate wraps it
        )


def test_a_scaler_lowers_its_scale_and_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(Scaled, "scale", 2.0**127)  # the loss of 4 nats is infinite once it is scaled
    monkeypatch.setattr(sft, "GuardedTrainer", Scaled)
    lab = Lab(("hw.micro_batch_size=8", "task.max_steps=16"))
    lab.dev_rows = []
    before = learned(lab.model)
    model, outcome = lab.train(tmp_path)
    assert outcome.steps == 16
    norms = [norm for _, _, _, norm in losses(tmp_path)]
    assert norms[0] is None  # not finite: the step was left out
    assert 0 < norms[-1] < 100
    assert learned(model) != before


def test_a_gradient_that_no_scale_cures_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(sft, "GuardedTrainer", Scaled)
    lab = Lab(("task.max_steps=30", "task.save_steps=100", "task.effective_batch_size=1"))
    lab.dev_rows = []
    before = learned(lab.model)
    parameter = next(p for p in lab.model.parameters() if p.requires_grad)
    parameter.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match=r"step 25: gradient norm is (nan|inf); no weight was changed"):
        lab.train(tmp_path)
    assert learned(lab.model) == before


def test_early_stopping_ends_the_run_and_returns_the_best_weights(tmp_path):
    patient = ("task.early_stopping_patience=1", "task.eval_steps=5", "task.save_steps=5")
    lab = Lab((*patient, "task.learning_rate=5e-3", "task.max_steps=80"), rows=4)
    model, outcome = lab.train(tmp_path)  # four rows, soon known by heart
    assert outcome.steps < 80
    dev = {d: step for step, _, d, _ in losses(tmp_path) if d is not None and step > 0}
    assert outcome.dev_loss == min(dev) < list(dev)[-1]
    assert outcome.kept_step == dev[min(dev)] < outcome.steps
    model.eval()
    assert mean_loss(model, lab.dev_rows, lab.codec) == pytest.approx(min(dev), rel=1e-3)


def test_an_early_stop_that_was_killed_before_its_end_returns_the_same_weights(tmp_path):
    patient = ("task.early_stopping_patience=1", "task.eval_steps=5", "task.save_steps=5")
    options = (*patient, "task.learning_rate=5e-3", "task.max_steps=80")
    whole, outcome = Lab(options, rows=4).train(tmp_path)  # as if killed before the adapter was written
    again, carried_on = Lab(options, rows=4).train(tmp_path)
    assert learned(again) == learned(whole)
    assert (carried_on.steps, carried_on.dev_loss) == (outcome.steps, outcome.dev_loss)
    assert carried_on.resumed_from == outcome.steps


def test_early_stopping_without_dev_rows_is_refused(tmp_path):
    lab = Lab(("task.early_stopping_patience=1", "task.eval_steps=2"))
    lab.dev_rows = []
    with pytest.raises(ConfigError, match="needs dev rows"):
        lab.train(tmp_path)


def test_a_torn_last_line_of_metrics_is_forgotten(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2}\n{"step": 2, "loss": 1}\n{"step": 3, "lo')
    callbacks.forget_after(path, 1)
    assert path.read_text() == '{"step": 1, "loss": 2}\n'


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a disk of its own, of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs rights that this user lacks")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays_whole(small_disk: Path):
    lab = Lab(("adapter.rank=8",))  # a checkpoint of some 1.6 MiB: the second does not fit
    with pytest.raises(
        HardwareError, match=r"no room on the disk for .*checkpoint-4 .*the last checkpoint is whole"
    ):
        lab.train(small_disk)
    assert checkpoint.newest_whole(small_disk).name == "checkpoint-2"


@pytest.mark.parametrize(
    "write", [lambda path: torch.save(torch.ones(10**6), path), lambda path: path.write_bytes(b"x")]
)
def test_each_librarys_way_of_saying_that_the_disk_is_full_is_understood(tmp_path, write):
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    (folder / "file").symlink_to("/dev/full")  # every write to it fails with ENOSPC
    with pytest.raises(HardwareError, match="no room on the disk"), disk.room_for(folder):
        write(folder / "file")
    assert not folder.exists()


def test_other_errors_of_writing_are_not_called_a_full_disk(tmp_path):
    with pytest.raises(PermissionError), disk.room_for(tmp_path / "checkpoint-1"):
        raise PermissionError("no")


def test_a_mixture_of_experts_is_trained_for_their_balance_too_and_its_loss_on_dev_is_of_labels(tmp_path):
    lab = Lab(("task.max_steps=2", "task.eval_steps=2", "adapter.dropout=0"))
    shape = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
    shape |= {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}
    config = AutoConfig.for_model(
        "qwen3_moe", vocab_size=4096, intermediate_size=48, output_router_logits=True, **shape
    )
    model = AutoModelForCausalLM.from_config(config)
    lab.model = adapter.attach(model, lab.config.adapter, lab.base, lab.config.seed)
    expected = mean_loss(lab.model.eval(), lab.dev_rows, lab.codec)
    lab.train(tmp_path)
    (_, _, first, _), *steps = losses(tmp_path)
    assert first == pytest.approx(expected, abs=1e-5)
    balance = steps[0][1] - expected  # coefficient 0.001 of what is 2 where experts are asked evenly
    assert [loss for _, loss, *_ in steps if loss] and abs(balance) < 0.1
