"""When each setting is read: one that was typed and that nothing would read is refused, not passed over.

A task says which parts of a configuration it reads (`TaskConfig.reads`); here each field says of which part
it is, and in which combination nothing reads it after all. A new field needs its line: a test looks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from arabic_llm.config import schemas, synthesize_task, unread, unread_of_data, unread_of_synthesis
from arabic_llm.config import task as tasks
from arabic_llm.config.adapter import AdapterConfig
from arabic_llm.config.chat_task import ChatConfig, ServeConfig, SpeakingConfig
from arabic_llm.config.complaints import spelled
from arabic_llm.config.data import CleaningConfig, ColumnsConfig, DataConfig, SourceConfig
from arabic_llm.config.hw import ExecutorConfig, HardwareConfig
from arabic_llm.config.model import ArchitectureConfig, ModelConfig
from arabic_llm.config.preference_task import (
    DpoConfig,
    KtoConfig,
    OrpoConfig,
    PairConfig,
    PreferenceConfig,
)
from arabic_llm.config.run import RunConfig
from arabic_llm.config.study_task import StudyConfig
from arabic_llm.config.suite import JudgeConfig, SuiteConfig, SuiteTask
from arabic_llm.config.sweep_settings import HalvingConfig, SearchConfig, SweepConfig
from arabic_llm.config.task import Area, TaskConfig
from arabic_llm.errors import ConfigError

Why = Callable[[RunConfig, Any], str | None]  # of the settings and those beside it: why nothing reads it


@dataclass(frozen=True)
class Rule:
    """By which tasks a field is read, those that read one of some parts (none: all), and when it is not."""

    parts: frozenset[Area]
    why_not: Why


def _read(names: str, *parts: Area, why_not: Why = lambda _config, _owner: None) -> dict[str, Rule]:
    return {name: Rule(frozenset(parts), why_not) for name in names.split()}


_TRAINED = (Area.training, Area.asking)
_ITEMS = (Area.items, Area.asking)
_SOURCE = {
    **_read("name builtin language", Area.rows),
    **_read("path shape", Area.rows, why_not=unread_of_data.of_files),
    **_read("files dev_files test_files", Area.rows, why_not=unread_of_data.of_folders),
    **_read("hub_id", Area.rows, why_not=unread_of_data.hub_of_data),
    **_read("revision", Area.rows, why_not=unread_of_data.revision_of_data),
    **_read("license seen_in_training", Area.cleaning),
    **_read("profile without_steps max_rows sample_size", Area.rows, why_not=unread_of_data.of_a_source),
    **_read("dedup on_bad_row", Area.rows, why_not=unread_of_data.of_rows),
    **_read("weight", Area.rows, why_not=unread_of_data.weight),
}
# Files of conf/ that a task reads or does not; hw is typed by habit, and changes nothing.
_OF_THIS_RUN = ("task", "experiment", "resume", "dry_run", "output_dir")
_OF_ANY_KEY = (
    *(unread.beside_a_run, unread.of_stages, unread_of_synthesis.of_adapter),
    unread.of_nothing_trained,
)
_CHOICES = ("model", "adapter", "data", "suite")
READ: dict[type, dict[str, Rule]] = {
    RunConfig: {
        **_read("seed resume dry_run tracking data_root cache_dir output_dir"),
        **_read("lang", why_not=unread.of_reports),
        **_read("stop_after", Area.training, why_not=unread.of_stop_after),
    },
    SweepConfig: _read("jobs", why_not=unread.of_a_sweep),
    HalvingConfig: _read("eta", why_not=unread.of_a_sweep),
    SearchConfig: _read("trials", why_not=unread.of_a_sweep),
    ModelConfig: {
        **_read("name kind builtin", Area.model),
        **_read("path hub_id gguf", Area.model, why_not=unread.place_of_model),
        **_read("revision extra_files", Area.model, why_not=unread.hub_of_model),
        **_read("chat_template stop_token pad_token end_of_text", Area.template),
        **_read("max_length", Area.template),
        **_read("learning_rate", Area.training, why_not=unread.learning_rate),
    },
    ArchitectureConfig: _read(
        "model_type hidden_size intermediate_size num_hidden_layers num_attention_heads head_dim vocab_size"
        " num_key_value_heads tie_word_embeddings attention_bias max_position_embeddings type_vocab_size"
        " other",
        *_TRAINED,
    ),
    AdapterConfig: {
        **_read("name method quantization path", Area.tuning, Area.asking, Area.talking),
        **_read("dtype", Area.tuning),
        **_read(
            "rank alpha dropout target_modules use_dora use_rslora", Area.tuning, why_not=unread.low_rank
        ),
        **_read("extend_vocabulary", Area.tokens, why_not=unread.new_tokens),
    },
    HardwareConfig: {
        **_read("name device precision", *_TRAINED, Area.talking),
        **_read("usable_gib card_gib compute_capability num_cards", *_TRAINED),
        **_read("eval_batch_size streamed_layers", *_TRAINED),
        **_read("micro_batch_size tokens_per_micro_batch gradient_checkpointing", Area.training),
        **_read("fsdp", Area.training, why_not=unread.shared_out),
        **_read("optimizer_on_host", Area.training, why_not=unread.moments_on_host),
        **_read("embedding_on_host", Area.training, why_not=unread.table_on_host),
        **_read("head_on_host", Area.training, why_not=unread.head_on_host),
        **_read("num_processes", Area.cleaning),
    },
    ExecutorConfig: {
        **_read("kind num_tasks", Area.cleaning, why_not=unread.of_executor),
        **_read("mem_per_cpu_gb", Area.cleaning, why_not=unread.cluster),
        **_read("partition time sbatch_args", Area.cleaning, why_not=unread.slurm),
    },
    SourceConfig: _SOURCE,
    DataConfig: {
        **_read("language_quotas prefer_chinese_ratio", Area.rows),
        **_read("labels labels_are_ordered", Area.labels),
        **_read("num_length_buckets", Area.training, Area.cleaning),
        **_read("dev_share", Area.rows, Area.training, why_not=unread_of_data.dev_share),
        **_read("test_share", Area.rows, why_not=unread_of_data.test_share),
        **_read("overflow", Area.tokens, why_not=unread_of_data.cut),
        **_read("max_lost_share", Area.tokens),
        **_read("engine", Area.cleaning),
    },
    ColumnsConfig: _read(
        "messages prompt context history response rejected system text label rating subject unread_keys",
        *(Area.rows,),
        why_not=unread_of_data.of_files,
    ),
    CleaningConfig: {
        **_read(
            "bidi_controls min_chars max_chars max_repetition min_script_share max_latin_words drop_echoes"
            " drop_test_items min_answer_distance drop_refused",
            *(Area.rows,),
            why_not=unread_of_data.of_a_source,
        ),
        **_read("scripts allow_english_fallback", Area.rows, why_not=unread_of_data.scripts),
        # Near copies of a mix are looked for over all its sources.
        **_read("near_duplicates", Area.rows, why_not=unread_of_data.of_rows),
    },
    SuiteConfig: {
        **_read("name allow_missing", *_ITEMS, why_not=unread.items),
        **_read("overall overall_mixes limit prompt_variants", Area.asking),
    },
    SuiteTask: {
        **_read("folder path reader columns data own_rows", *_ITEMS, why_not=unread.items),
        **_read("seed", *_ITEMS, why_not=unread.split),
        **_read("language skill metrics num_fewshot chat limit aggregate seen_in_training", Area.asking),
        **_read("compared_with", Area.asking),
    },
    JudgeConfig: _read("endpoint model", Area.judge),
    TaskConfig: _read("name"),
    tasks.TrainingConfig: {
        **_read("learning_rate max_steps effective_batch_size max_length optimizer warmup_ratio"),
        **_read("weight_decay max_grad_norm eval_steps save_steps save_total_limit"),
        **_read("early_stopping_patience"),
        **_read("epochs", why_not=unread.epochs),
    },
    tasks.FineTuningConfig: _read("loss_also_divided"),
    StudyConfig: _read("stages starts_from prompts"),
    PreferenceConfig: _read("beta"),
    PairConfig: _read("length_penalty"),
    DpoConfig: {
        **_read("loss_type reference_free sft_weight"),
        **_read("label_smoothing", why_not=unread.smoothing),
    },
    OrpoConfig: _read("nll_on"),
    KtoConfig: _read("loss_type desirable_weight undesirable_weight"),
    tasks.HeldOutConfig: {**_read("num_bytes"), **_read("texts", why_not=unread.held_out)},
    tasks.CompareConfig: _read("base tuned"),
    tasks.RobustnessConfig: {
        **_read("perturbations rates"),
        **_read("diacritised_text", why_not=unread.diacritics),
    },
    tasks.PretrainConfig: _read("num_documents export_to"),
    tasks.PlanConfig: _read("of exact"),
    tasks.PrepareConfig: _read("epochs effective_batch_size"),
    tasks.InspectConfig: {**_read("ids max_length form"), **_read("rows", why_not=unread.rows_shown)},
    tasks.ReportConfig: _read("folders"),
    tasks.ExportConfig: {
        **_read("run formats base push"),
        **_read("dtype shard_mib", why_not=unread.of_merged),
        **_read("gguf_type", why_not=unread.of_gguf),
        **_read("num_ctx", why_not=unread.of_ollama),
    },
    SpeakingConfig: {
        **_read("base", why_not=unread.of_run),
        **_read("max_new_tokens"),
        **_read("port", why_not=unread.port),
    },
    ChatConfig: {
        **_read("run show system web temperature repetition_penalty"),
        **_read("prompt", why_not=unread.on_a_page),
        **_read("top_p top_k", why_not=unread.drawn),
    },
    ServeConfig: {**_read("run start exported"), **_read("prompt", why_not=unread.of_a_start)},
    synthesize_task.SynthesizeConfig: {
        **_read("benchmark review marks"),
        **_read("articles backend", why_not=unread_of_synthesis.of_articles),
    },
    synthesize_task.MediaWikiConfig: _read(
        "api contact categories search max_articles license seconds_between max_tries",
        why_not=unread_of_synthesis.of_a_wiki,
    ),
    synthesize_task.ParagraphsConfig: _read(
        "min_chars max_chars min_score near_duplicates short_share long_share max_paragraphs",
        why_not=unread_of_synthesis.of_paragraphs,
    ),
    synthesize_task.ServerConfig: {
        **_read("endpoint model max_tokens max_cost", why_not=unread_of_synthesis.of_a_server),
        **_read(
            "in_flight timeout_seconds wait_seconds input_price output_price",
            why_not=unread_of_synthesis.of_any_server,
        ),
    },
    synthesize_task.SamplingConfig: {
        **_read("prompts", why_not=unread_of_synthesis.of_prompts),
        **_read("num_pairs", why_not=unread_of_synthesis.of_paragraphs),
        **_read("num_examples", why_not=unread_of_synthesis.of_prompts),
        **_read("temperature top_p max_new_tokens max_tries", why_not=unread_of_synthesis.of_a_model),
        **_read("batch_tokens", why_not=unread_of_synthesis.of_a_model_here),
        **_read("num_conversations", why_not=unread_of_synthesis.of_magpie),
    },
    synthesize_task.TranslationConfig: _read(
        "engine path source target batch_tokens num_beams max_tokens license",
        why_not=unread_of_synthesis.of_translation,
    ),
    synthesize_task.QualityConfig: {
        **_read("min_grounded", why_not=unread_of_synthesis.of_paragraphs),
        **_read("min_arabic max_latin_words max_repetition near_duplicates"),
        **_read("min_length_ratio max_length_ratio", why_not=unread_of_synthesis.of_translation),
        **_read("judged", why_not=unread_of_synthesis.of_the_judge),
    },
}


def refuse_unread(config: RunConfig, overrides: Iterable[str]) -> None:
    """Refuse what was typed and nothing would read. Raises ConfigError."""
    for key, value in _settings(overrides):
        if (why := next(filter(None, (of(config, key) for of in _OF_ANY_KEY)), None)) is not None:
            raise ConfigError(f"{key}={spelled(value)} has no meaning {why}")
        if (found := _rule(config, key)) is None:
            continue
        owner, rule = found
        if rule.parts and not rule.parts & _reads(config, config.task.reads):
            names = ", ".join(f"task={name}" for name in readers(rule.parts))
            typed = f"{key}={value}" if key in _CHOICES else key
            asks = Area.rows in rule.parts and Area.asking in config.task.reads
            own = "; with suite=own its test rows are asked" if asks else ""
            why = f"has no meaning with task={config.task.name}; {names} would read it{own}"
            raise ConfigError(f"{typed} {why}")
        if (why := rule.why_not(config, owner)) is not None:
            raise ConfigError(f"{key}={spelled(value)} has no meaning {why}")


def kept_for(name: str, config: RunConfig, overrides: Iterable[str]) -> list[str]:
    """Return what was typed for this run and another task reads as well, but for the settings of a task."""
    reads = _reads(config, next(node for node in schemas.TASKS if task_of(node) == name).reads)
    kept = []
    for override in overrides:
        leaves = [key for key, _ in _settings([override])]
        rules = [found[1] for key in leaves if (found := _rule(config, key)) is not None]
        is_read = all(not rule.parts or rule.parts & reads for rule in rules)
        is_read &= not any(unread.is_way_to_train(config.adapter, key, reads) for key in leaves)
        is_read &= leaves != ["lang"] or name in unread.REPORTS
        if leaves and is_read and not any(key.partition(".")[0] in _OF_THIS_RUN for key in leaves):
            kept.append(override)
    return kept


def _reads(config: RunConfig, parts: frozenset[Area]) -> frozenset[Area]:
    """Return which parts a task reads: whoever asks a suite of the rows of data= reads those too."""
    asks_rows = any(task.own_rows for task in config.suite.tasks.values())
    return parts | {Area.rows} if asks_rows and Area.asking in parts else parts


def readers(parts: frozenset[Area]) -> list[str]:
    """Return the tasks that read one of some parts, by name."""
    return sorted(
        task_of(node) for node in schemas.TASKS if node.reads & parts and node.reads != frozenset(Area)
    )


def is_of(name: str, key: str) -> bool:
    """Return whether a task has a setting: `task.max_steps` of task=sft."""
    node = next(node for node in schemas.TASKS if task_of(node) == name)
    return key.partition(".")[2].partition(".")[0] in node.__dataclass_fields__


def task_of(node: type) -> str:
    """Return the name of the task that a type of settings is of."""
    return node.__name__.removesuffix("Config").lower()


def rule_of(owner: type, name: str) -> Rule | None:
    """Return when a field of a type of settings is read; those it inherits are its bases'."""
    return next((READ[base][name] for base in owner.__mro__ if name in READ.get(base, {})), None)


def _settings(overrides: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield full key and value of what was typed, of mappings what is in them."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if not override.is_delete() and not override.is_sweep_override():
            key = override.get_key_element().lstrip("+").rpartition("@")[2]  # a group's choice: its place
            yield from _leaves(key, override.value())


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}", inner)
    else:
        yield key, value


def _rule(config: RunConfig, key: str) -> tuple[Any, Rule] | None:
    """Return the settings that hold a key and the rule of its field; None for what is none of ours."""
    owner: Any = config
    outer: Rule | None = None
    for name in key.split("."):
        if isinstance(owner, Mapping):
            owner = owner.get(name)
            continue
        if not hasattr(owner, name):
            return None
        rule, inner = rule_of(type(owner), name), getattr(owner, name)
        is_mapping = isinstance(inner, Mapping) and any(map(is_dataclass, inner.values()))
        if not is_dataclass(inner) and not is_mapping:
            if rule is not None and outer is not None:
                rule = Rule(outer.parts, rule.why_not)  # of rows that a suite asks: not those of data=
            return None if rule is None else (owner, rule)
        owner, outer = inner, outer or rule
    if key in _CHOICES and (rule := rule_of(type(owner), "name")) is not None:
        return owner, Rule(rule.parts, lambda _config, _owner: None)
    return None
