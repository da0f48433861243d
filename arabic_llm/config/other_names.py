"""What other programs call our settings: num_train_epochs, lora_r, load_in_4bit, and what is typed here."""

from __future__ import annotations

# As transformers, TRL, PEFT, Unsloth, LLaMA-Factory, axolotl and lm-eval spell them -> what is typed.
OURS = {
    "task.learning_rate": "lr learning_rate",
    "task.epochs": "epoch epochs num_epochs num_train_epochs n_epochs",
    "task.max_steps": "steps max_iters num_steps num_train_steps",
    "task.effective_batch_size": "batch bs batch_size train_batch_size global_batch_size"
    " gradient_accumulation_steps",
    "hw.micro_batch_size": "per_device_train_batch_size micro_batch_size",
    "hw.eval_batch_size": "per_device_eval_batch_size",
    "task.max_length": "max_seq_length max_seq_len max_sequence_length seq_len seq_length sequence_len"
    " cutoff_len context_length",
    "task.max_grad_norm": "gradient_clipping clip_grad",
    "task.optimizer": "optim",
    "task.eval_steps": "eval_every evals_per_epoch",
    "task.save_steps": "save_every saves_per_epoch",
    "task.early_stopping_patience": "patience early_stopping",
    "task.beta": "dpo_beta pref_beta",
    "task.max_new_tokens": "max_tokens max_gen_toks",
    "adapter.rank": "r lora_r lora_rank peft_lora_r",
    "adapter.alpha": "lora_alpha peft_lora_alpha",
    "adapter.dropout": "lora_dropout peft_lora_dropout",
    "adapter.target_modules": "lora_target lora_target_modules lora_target_linear peft_lora_target_modules",
    "adapter=qlora": "load_in_4bit load_in_8bit quantization_bit use_qlora qlora bnb_4bit_quant_type",
    "adapter=lora": "use_peft use_lora",
    "adapter=dora": "use_dora",
    "adapter=rslora": "use_rslora",
    "adapter=full": "full_finetuning",
    "adapter.path": "adapter_name_or_path lora_model_dir peft_path",
    "model.path": "model_name_or_path base_model model_name model_path pretrained pretrained_model_name"
    " pretrained_model_name_or_path",
    "data.path": "dataset datasets dataset_name dataset_path data_path data_files train_file train_data",
    "data.columns.text": "dataset_text_field text_column",
    "data.columns.prompt": "prompt_column question_column question instruction query",
    "data.columns.response": "response_column answer_column answer output_column completion target",
    "data.test_share": "test_size",
    "data.dev_share": "val_size val_set_size validation_split",
    "hw.precision": "fp16 bf16 torch_dtype mixed_precision",
    "hw.gradient_checkpointing": "use_gradient_checkpointing",
    "suite.limit": "limit num_samples",
    "tracking": "report_to",
    "hydra.run.dir": "output output_folder out_dir save_dir",
}
_NAMES = {name: key for key, names in OURS.items() for name in names.split()}


def ours(name: str) -> str | None:
    """Return what is typed here for another program's setting: `task.epochs`, `adapter=qlora`; or None."""
    return _NAMES.get(name.lower().replace("-", "_"))


def every() -> list[str]:
    """Return the names of other programs."""
    return list(_NAMES)
