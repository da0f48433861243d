"""Losses of pairs and of classes, rehearsed: they take what TRL's own trainers take of a real model."""

from dataclasses import replace

import pytest
import torch
from conftest import model_config
from datasets import Dataset
from peft import LoraConfig
from test_training_rehearsal import TINY
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import DPOConfig, DPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from arabic_llm.config.hw import Precision
from arabic_llm.data.tokens import chat
from arabic_llm.memory.workload import Attention, Loss, Objective
from arabic_llm.models import bases, tokenization
from arabic_llm.profiling import training_rehearsal
from arabic_llm.profiling.timeline import Exact, Timeline

TOKENS = 32
LONG = "القاهرة " * TOKENS  # cut to as many tokens
PAIRS = [{"prompt": "ما عاصمة مصر؟ ", "chosen": LONG, "rejected": "لندن " * n} for n in (3, 5, 7, 9)]
TRAINERS = {Objective.dpo: (DPOTrainer, DPOConfig), Objective.orpo: (ORPOTrainer, ORPOConfig)}
PADDED = replace(TINY, attention=Attention.efficient, padded=True, dropout=0.0)


class Watch(TrainerCallback):
    """Count the bytes of a training step."""

    def on_step_begin(self, args, state, control, model=None, optimizer=None, **_):
        self.timeline = Timeline(Exact(), model.config.vocab_size)
        for tensor in (*model.parameters(), *model.buffers()):
            self.timeline.see(tensor)
        self.timeline.follow(model, optimizer.optimizer)
        self.timeline.__enter__()

    def on_step_end(self, *_, **__):
        self.timeline.__exit__(None, None, None)
        self.timeline.close()
        self.peak = self.timeline.allocator.peak_allocated


@pytest.mark.parametrize(
    ("objective", "checkpointing"), [(Objective.dpo, True), (Objective.orpo, False)], ids=str
)
def test_a_step_of_trls_own_trainer_is_predicted_within_five_percent(tmp_path, objective, checkpointing):
    config, watch = model_config("tiny"), Watch()
    base = bases.locate(config, None)
    trainer, arguments = TRAINERS[objective]
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    trainer(
        model,
        args=arguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            max_length=TOKENS,
            max_steps=1,
            gradient_checkpointing=checkpointing,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(PAIRS),
        processing_class=chat.prepare(tokenization.load(base), config).tokenizer,
        peft_config=LoraConfig(r=8, target_modules=list(TINY.target_modules), task_type="CAUSAL_LM"),
        callbacks=[watch],
    ).train()
    work = replace(
        PADDED,
        batch_size=4,
        tokens=TOKENS,
        objective=objective,
        loss=Loss.tiled if objective is Objective.dpo else Loss.full,
        nf4=False,
        weights=Precision.float32,
        compute=Precision.float32,
        autocast=False,
        checkpointing=checkpointing,
        accumulates=False,
        workspace_bytes=0,
        device="cpu",
    )
    predicted, _ = training_rehearsal.curve(work, is_first=True)
    assert predicted.allocated == pytest.approx(watch.peak, rel=0.05)
