"""The plan keeps what is learned, takes the fastest settings that fit, and says what would."""

import re
import shlex
import subprocess
import sys

import pytest
from conftest import FEW_ROWS, compose_config

from arabic_llm import files
from arabic_llm.errors import ConfigError
from arabic_llm.memory import training_plan as planning
from arabic_llm.memory.workload import Attention
from arabic_llm.profiling import training_fit
from arabic_llm.workflows import plan


def wanted(*overrides):
    return plan.checked(compose_config("task=plan", *overrides))


def chosen(*overrides):
    return planning.best(wanted(*overrides))


@pytest.mark.parametrize("hw", ["4gb", "8gb", "16gb", "24gb", "80gb"])
def test_hw_changes_neither_the_effective_batch_nor_the_length(hw):
    settings = chosen("model=qwen2_1_5b", "adapter=qlora", f"hw={hw}")
    assert settings.micro_batch_size * settings.accumulation == 16
    assert settings.work.tokens == 1024


@pytest.mark.parametrize(
    ("model", "tokens"), [("qwen2_0_5b", 4096), ("qwen2_1_5b", 4096), ("gemma2_2b", 2048)]
)
def test_what_a_4_gb_card_is_bought_for_fits(model, tokens):
    ask = wanted(f"model={model}", "adapter=qlora", "hw=4gb", f"task.max_length={tokens}")
    assert planning.fits(planning.best(ask), ask.hw)


def test_layers_whose_figures_are_those_of_more_layers_are_named():
    assert plan.bound(chosen("adapter.target_modules=[q_proj,v_proj]")) == []
    (line,) = plan.bound(chosen("adapter.target_modules=[q_proj,k_proj]"))
    assert "of adapters on k_proj, o_proj, q_proj, v_proj, not on q_proj, k_proj alone" in line


def test_two_cards_share_the_sequences_of_a_step():
    best = chosen("model=qwen2_7b", "adapter=lora", "hw=2x24gb")
    alone = chosen("model=qwen2_7b", "adapter=lora", "hw=24gb")
    assert 2 * best.micro_batch_size * best.accumulation == 16
    assert not best.work.fsdp
    assert best.parts.gradients == 2 * alone.parts.gradients  # buckets to sum them up in
    assert best.parts.weights_kept == alone.parts.weights_kept
    with pytest.raises(ConfigError, match="effective_batch_size=15 cannot be shared evenly by the 2 cards"):
        wanted("hw=2x24gb", "task.effective_batch_size=15")


def test_what_does_not_fit_one_card_is_shared_out():
    given = ("model=qwen2_1_5b", "adapter=full", "hw.optimizer_on_host=false")
    ask = wanted(*given, "hw=2x24gb")
    best, alone = planning.best(ask), chosen(*given, "hw=24gb")
    assert best.work.fsdp
    assert planning.fits(best, ask.hw)
    assert best.parts.weights_kept == alone.parts.weights_kept / 2
    assert best.parts.optimizer == alone.parts.optimizer / 2
    said = "\n".join(plan.of_a_step(best, compose_config("task=plan", *given, "hw=2x24gb")))
    assert "shared out over the cards (FSDP)" in said
    assert "accelerate launch --num_processes 2 -m arabic_llm.run" in said


def test_where_only_holes_are_in_the_way_a_rehearsal_decides():
    overrides = ("model=gemma2_2b", "adapter=qlora", "hw=4gb", "task.max_length=2048")
    overrides = (*overrides, "hw.optimizer_on_host=false")
    ask = wanted(*overrides, "hw.streamed_layers=0", "hw.head_on_host=false")
    best = planning.best(ask)
    assert not planning.fits(best, ask.hw)
    assert "task.exact=true decides" in plan.verdict(best, ask, [])[0]
    config = compose_config(*overrides)
    fitted = training_fit.fit(config, config.task)
    assert fitted.missing is None
    assert (fitted.place.streamed_layers, fitted.place.head_on_host) == (0, False)  # both can stay


def test_qwen2_7b_does_not_fit_4_gb_with_all_layers_there_and_what_would_is_said():
    ask = wanted(
        "model=qwen2_7b", "adapter=qlora", "hw=4gb", "hw.streamed_layers=0", "hw.head_on_host=false"
    )
    best = planning.best(ask)
    lines = plan.verdict(best, ask, [])
    # linear layers 3210 MiB, embedding and head 1039.5 MiB each: the project's facts; one is on the host
    assert best.parts.weights_4bit / 2**20 == pytest.approx(3210, abs=1)
    assert best.parts.weights_kept / 2**20 == pytest.approx(1039.5, abs=2)
    assert lines[0].startswith("it does not fit: 1.")
    assert any("model=llama3_2_3b" in line for line in lines)
    assert any("hw=8gb" in line for line in lines)


def test_what_lies_on_the_host_costs_time_and_is_chosen_where_it_saves_more():
    roomy, tight = (
        chosen("hw=80gb", "model=llama3_8b"),
        chosen("hw=8gb", "model=llama3_8b", "adapter=qlora"),
    )
    assert (roomy.work.optimizer_on_host, roomy.work.embedding_on_host) == (False, False)
    assert tight.work.optimizer_on_host or tight.work.embedding_on_host
    tied = chosen("hw=4gb", "model=qwen2_1_5b", "adapter=qlora", "hw.embedding_on_host=true")
    assert not tied.work.embedding_on_host  # the head on the card is the same table


QWEN2_7B = ("model=qwen2_7b", "adapter=qlora", "hw=4gb", "hw.streamed_layers=0")
NOT_FITTING = {
    "by hand": (*QWEN2_7B, "hw.optimizer_on_host=false", "hw.usable_gib=3", "hw.micro_batch_size=2"),
    "arabic": (*QWEN2_7B, "data=local", 'data.path="بيانات/ملف ١.jsonl"', "adapter.dropout=0", "seed=5"),
    "targets": (
        *(
            "model=glm4_9b",
            "adapter=qlora",
            "hw=8gb",
            "hw.card_gib=7",
            "hw.usable_gib=6.5",
            "hw.streamed_layers=0",
        ),
        *("adapter.rank=64", "adapter.target_modules=[gate_up_proj,down_proj]", "task.max_length=2048"),
    ),
    "own folder": ("model=qwen2_1_5b", "model.path=mine", "hw=4gb", "hw.precision=float16", "adapter=dora"),
    "on the card": (
        *("model=llama3_8b", "adapter=qlora", "hw=8gb", "adapter.rank=64", "task.epochs=1"),
        *("hw.optimizer_on_host=false", "hw.embedding_on_host=false", "task.optimizer=adamw"),
        "hw.streamed_layers=0",
    ),
}


@pytest.mark.parametrize("typed", NOT_FITTING.values(), ids=NOT_FITTING)
def test_every_way_out_when_copied_is_a_run_that_fits(program, tmp_path, typed):
    own = compose_config("model=qwen2_1_5b").model.architecture.fields()
    files.write_json(tmp_path / "mine" / "config.json", own)
    status, said = program("task=plan", *typed)
    assert status == 0
    assert "it does not fit" in said or "the holes between them may not" in said
    commands = [line for line in said.splitlines() if "-m arabic_llm.run" in line]
    assert commands
    for command in commands:
        overrides = shlex.split(command.partition("-m arabic_llm.run")[2])  # as a shell reads it
        assert len(set(typed) - set(overrides)) <= 4, command  # the rest of what was typed stays
        status, said = program("task=plan", *overrides)
        assert "\nit fits\n" in said, command


def test_what_fits_within_3_percent_is_said_to_be_tight(program):
    asked = ("task=plan", "model=gemma2_2b", "adapter=qlora", "hw=4gb")
    (line,) = [line for line in program(*asked, "task.max_length=2048")[1].splitlines() if "tight" in line]
    left = int(line.split()[1])
    assert 0 <= left <= 0.03 * 3686
    assert "tight" not in program(*asked, "task.max_length=1024")[1]


def test_what_does_not_fit_of_pairs_is_run_with_what_would(program):
    typed = ("task=plan", "task.of=orpo", "model=llama3_8b", "adapter=qlora", "hw=4gb")
    typed = (*typed, "hw.streamed_layers=0")
    status, said = program(*typed)
    assert status == 0
    assert "16 pairs of answers" in said
    commands = [line for line in said.splitlines() if "-m arabic_llm.run" in line]
    assert commands
    for command in commands:
        overrides = shlex.split(command.partition("-m arabic_llm.run")[2])
        assert "task=orpo" in overrides
        as_planned = [word for word in overrides if word != "task=orpo"]
        assert "\nit fits\n" in program("task=plan", "task.of=orpo", *as_planned)[1], command


def test_what_does_not_fit_of_classes_is_run_with_what_would():
    ask = wanted("task.of=classify", "model=qwen2_7b", "adapter=qlora", "hw=4gb", "hw.streamed_layers=0")
    lines = plan.verdict(planning.best(ask), ask, ["task=plan", "task.of=classify", "hw=4gb"])
    assert "not fit" in lines[0] or "may not" in lines[0]
    assert all("task=classify" in line and "task.of" not in line for line in lines[1:])
    assert len(lines) > 2


def test_a_classifier_needs_no_head_of_tokens_and_pairs_need_two_sequences():
    same = ("model=llama3_8b", "adapter=lora", "hw=80gb", "hw.micro_batch_size=2")
    sft, classes, pairs = (chosen(*same, *of) for of in ((), ("task.of=classify",), ("task.of=dpo",)))
    head = 128256 * 4096 * 2
    assert sft.parts.weights_kept - classes.parts.weights_kept == pytest.approx(head, rel=0.001)
    assert classes.parts.logits < 2**20
    assert (sft.work.batch_size, pairs.work.batch_size) == (2, 4)
    assert pairs.parts.activations > sft.parts.activations


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("model=arabert",), "model=arabert is a masked language model: set task.of=classify"),
    ],
)
def test_what_no_plan_is_made_of_is_refused(overrides, said):
    with pytest.raises(ConfigError, match=said):
        wanted("hw=4gb", "task.max_length=128", *overrides)


def test_a_larger_card_is_never_slower():
    costs = [
        planning._cost(chosen("model=qwen2_1_5b", "adapter=qlora", f"hw={hw}"))
        for hw in ("4gb", "8gb", "16gb", "24gb", "80gb")
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


def test_what_hw_fixes_stays():
    settings = chosen("hw=8gb", "hw.micro_batch_size=3", "hw.gradient_checkpointing=true")
    assert (settings.micro_batch_size, settings.checkpointing) == (2, True)  # 3 does not divide 16


def test_the_kernel_of_attention_is_the_one_that_will_run():
    one = ("adapter=qlora", "hw=4gb", "hw.micro_batch_size=1")
    assert chosen("model=qwen2_1_5b", *one).work.attention is Attention.flash
    assert chosen("model=gemma2_2b", *one).work.attention is Attention.eager
    assert (
        chosen("model=qwen2_1_5b", *one[:2], "hw.micro_batch_size=2").work.attention is Attention.efficient
    )
    assert chosen("model=qwen2_1_5b", *one, "hw.precision=float16").work.attention is Attention.eager


def test_adapters_in_bfloat16_take_half_and_are_proposed_where_that_is_enough(program):
    large = (
        "model=qwen2_1_5b",
        "adapter=qlora",
        "hw=4gb",
        "adapter.rank=128",
        "hw.optimizer_on_host=false",
        "hw.streamed_layers=0",
        "hw.head_on_host=false",
    )
    on_24 = (*large, "hw=24gb", "hw.micro_batch_size=4")  # so that gradients of an earlier pass are there
    whole, half = chosen(*on_24).parts, chosen(*on_24, "adapter.dtype=bfloat16").parts
    for name in ("adapters", "gradients", "optimizer"):
        # not quite: blocks of other sizes leave other rests
        assert getattr(half, name) == pytest.approx(getattr(whole, name) / 2, rel=0.02)
    _, said = program("task=plan", *large)
    assert "adapter.dtype=bfloat16" in said
    _, said = program("task=plan", *large, "adapter.dtype=bfloat16")
    assert "adapters (bfloat16)" in said
    assert "\nit fits\n" in said


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("hw.usable_gib=0", "hw.usable_gib must be positive, not 0; raise it, or leave it out"),
        ("hw.usable_gib=-1", "hw.usable_gib must be positive, not -1; raise it, or leave it out"),
        (
            "hw.card_gib=2",
            "hw.usable_gib=3.6 is more than hw.card_gib=2, all that the card has; lower it, or",
        ),
        (
            "task.max_length=4096",
            "task.max_length=4096 is more than the 2048 tokens that model=tiny can see;",
        ),
        (
            "adapter.rank=65",
            "adapter.rank=65 is more than 64, the width of k_proj in model=tiny: the adapter",
        ),
        (
            "adapter.target_modules=[c_attn]",
            "adapter.target_modules: this model has no 'c_attn'; there are: d",
        ),
        (
            "hw.num_cards=3",
            "task.effective_batch_size=16 cannot be shared evenly by the 3 cards of hw=4gb; s",
        ),
        ("model.path=nowhere", "model.path=nowhere: no config.json there; give the folder of the model"),
        (
            "adapter.dtype=bfloat16 hw.optimizer_on_host=true",
            "hw.optimizer_on_host=true has moments of 32 bits",
        ),
        (
            "hw.precision=float32",
            "hw=4gb: what is planned of a card is its memory in 16 bits; leave hw.precision out",
        ),
        (
            "adapter.dtype=float16",
            "adapter.dtype=float16 is no type to train in: small updates would be lost",
        ),
        (
            "task.of=evaluate task.exact=true",
            "task.exact=true rehearses a training step; leave it out with",
        ),
        ("adapter=none", "adapter=none trains nothing; choose lora, qlora, dora, rslora or full"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(program, override, said):
    chosen = () if override.startswith("hw=") else ("hw=4gb",)
    model = () if "path" not in override else ("model=qwen2_0_5b",)
    status, printed = program("task=plan", *chosen, *model, *override.split())
    assert status == 2
    assert printed.startswith(f"error: {said}")
    assert printed.count("\n") == 1


def test_judging_is_planned_with_its_table_and_with_a_command_that_fits(program):
    asked = ("task=plan", "task.of=evaluate", "model=qwen2_7b", "hw=16gb")
    status, printed = program(*asked, "adapter=qlora")
    assert status == 0
    rows = dict(re.findall(r"^(.+?) {2,}([\d,]+) MiB", printed, re.MULTILINE))
    sizes = {name: int(size.replace(",", "")) for name, size in rows.items()}
    total = sizes.pop("total")
    del sizes["CUDA context, outside the budget"]
    assert total == pytest.approx(sum(sizes.values()), abs=len(sizes))
    assert "\nit fits\nnext:\n" in printed
    _, printed = program(*asked[:-1], "hw=8gb", "adapter=lora")
    assert "it does not fit, not even one question at a time. Evaluations that do:\n" in printed
    commands = re.findall(r"arabic_llm.run (.*)", printed)
    assert commands
    for command in commands:
        _, printed = program(*command.replace("task=evaluate", "task=plan task.of=evaluate").split())
        assert "\nit fits\nnext:\n" in printed


def test_a_rank_counts_against_the_layers_it_is_for():
    narrow = ("adapter.rank=100", "adapter.target_modules=[q_proj,down_proj]")
    assert wanted(*narrow, "hw=4gb").adapter.rank == 100
    with pytest.raises(ConfigError, match="adapter.rank=100 is more than 64, the width of k_proj"):
        training_fit.fit((config := compose_config("hw=cpu", "adapter.rank=100")), config.task)


def test_a_dry_run_refuses_layers_that_the_model_has_not(program):
    status, said = program("adapter.target_modules=[q_proj,qproj]", "dry_run=true", *FEW_ROWS)
    assert status == 2
    assert said.endswith(
        "error: adapter.target_modules: this model has no 'qproj'; there are: down_proj, gate_proj, k_proj,"
        " o_proj, q_proj, up_proj, v_proj\n"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"hidden_size": None},
            "config.json of mine: no 'hidden_size'; take the file of the model again, or",
        ),
        (
            {"vocab_size": 99},
            "mine/config.json: vocab_size is 99, but model=qwen2_0_5b says 151936; set model.",
        ),
        (
            {"tie_word_embeddings": False},
            "mine/config.json: tie_word_embeddings is False, but model=qwen2_0_5b",
        ),
        ({"head_dim": None}, None),  # as Qwen2's own file is
    ],
)
def test_a_folder_of_another_shape_is_not_planned_for(program, tmp_path, change, said):
    own = compose_config("model=qwen2_0_5b").model.architecture.fields()
    (tmp_path / "mine").mkdir()
    shape = {key: value for key, value in {**own, **change}.items() if value is not None}
    files.write_json(tmp_path / "mine" / "config.json", shape)
    status, printed = program("task=plan", "hw=4gb", "model=qwen2_0_5b", "model.path=mine")
    assert status == (2 if said else 0)
    assert printed.startswith(f"error: {said}") or said is None
    assert said is None or printed.count("\n") == 1


def test_a_torn_config_is_refused(program, tmp_path):
    (tmp_path / "models" / "qwen2_0_5b").mkdir(parents=True)
    (tmp_path / "models" / "qwen2_0_5b" / "config.json").write_text('{"hidden_size": 8')
    status, printed = program("task=plan", "hw=4gb", "model=qwen2_0_5b")
    assert status == 2
    assert printed.startswith("error: models/qwen2_0_5b/config.json: no JSON (")


def test_steps_are_counted_from_the_rows_that_are_there(program, tmp_path):
    lines = [f'{{"prompt": "سؤال {n}", "response": "جواب {n}"}}\n' for n in range(100)]
    (tmp_path / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    local = ("data=local", "data.path=rows.jsonl", "hw=4gb")
    _, said = program("task=plan", *local)
    assert "steps: up to 12 in 2 epochs of up to 90 rows before filters (rows.jsonl), up to 196," in said
    assert program("task=prepare", "data=local", "data.path=rows.jsonl", "data.dedup=false")[0] == 0
    tokens = files.read_json(tmp_path / "data_proc" / "rows" / "prepared.json")["tokens"]["train"]
    _, said = program("task=plan", *local, "data.dedup=false", "task.epochs=3")
    counted = f"90 rows (data_proc/rows/prepared.json), {3 * tokens:,} tokens without the chat template's"
    assert f"steps: up to 17 in 3 epochs of {counted}" in said
    _, said = program("task=plan", *local, "task.max_steps=7")
    assert "steps: 7, up to 114,688 tokens" in said
    _, said = program("task=plan", "data=cidar", "hw=4gb")
    assert "rows that are not counted yet (data=cidar: nothing is at data_raw/cidar; task=download" in said


def test_the_plan_is_printed_without_torch_and_leaves_nothing(tmp_path):
    program = (
        "import sys; sys.argv[1:] = ['task=plan', 'model=qwen2_1_5b', 'adapter=qlora', 'hw=4gb']\n"
        "from arabic_llm import run\n"
        "heavy = {'torch', 'transformers', 'numpy', 'peft', 'pandas', 'pyarrow', 'datasets'}\n"
        "try: run.main()\n"
        "finally: print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert "weights in 4 bits                       645 MiB" in done.stdout
    assert "it fits" in done.stdout
    assert "steps: up to 611 in 2 epochs of up to 4,881 rows before filters (data=sample)" in done.stdout
    assert not any(tmp_path.rglob("*.json"))


def test_a_budget_is_kept_on_a_cpu_too():
    small = compose_config("hw=4gb", "model=qwen2_1_5b", "adapter=qlora", "task.max_length=4096")
    fitted = training_fit.fit(small, small.task)
    place = fitted.place
    assert (place.device, place.micro_batch_size, place.gradient_checkpointing) == ("cpu", 1, True)
    assert fitted.missing is None
    large = compose_config("hw=4gb", "model=gemma2_9b", "adapter=qlora", "task.max_length=4096")
    assert re.match(
        r"hw=4gb leaves 3.6 GiB and this run needs 9\.\d+", training_fit.fit(large, large.task).missing
    )


@pytest.mark.parametrize(
    ("tokens", "rows", "passes"), [(2048, 2, 8), (1500, 2, 8), (3000, 3, 6), (500, 1, 16), (99999, 16, 1)]
)
def test_a_plan_by_tokens_counts_as_many_of_the_longest_rows_as_hold_them(tokens, rows, passes):
    """Two rows of 750 tokens hold more than one of 1,024: never fewer are counted than may come."""
    settings = chosen("model=qwen2_1_5b", "adapter=qlora", "hw=24gb", f"hw.tokens_per_micro_batch={tokens}")
    assert (settings.micro_batch_size, settings.accumulation) == (rows, passes)
    assert settings.work.batch_size * settings.work.tokens >= min(tokens, 16 * 1024)
