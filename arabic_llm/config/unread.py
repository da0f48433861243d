"""Combinations in which nothing reads a setting: each says why, or None where something does.

A setting is given with what holds it: the settings beside it, and the whole configuration.
"""

from __future__ import annotations

from typing import Any

from arabic_llm.config import naming
from arabic_llm.config.adapter import AdapterConfig, Method, Quantization
from arabic_llm.config.chat_task import ChatConfig, ServeConfig, SpeakingConfig
from arabic_llm.config.data import Engine
from arabic_llm.config.hw import Device, ExecutorConfig, ExecutorKind, HardwareConfig
from arabic_llm.config.model import ModelConfig
from arabic_llm.config.preference_task import DpoConfig
from arabic_llm.config.run import RunConfig
from arabic_llm.config.study_task import Stage, StudyConfig
from arabic_llm.config.suite import SuiteTask
from arabic_llm.config.synthesize_task import SynthesizeConfig
from arabic_llm.config.task import (
    Area,
    ExportConfig,
    ExportFormat,
    FineTuningConfig,
    HeldOutConfig,
    InspectConfig,
    PlanConfig,
    Planned,
    RobustnessConfig,
)

_OF_A_RUN = ("model", "adapter")
# Tasks whose reports, those of sweeps too, follow lang; the hub's cards of the others are English.
REPORTS = (
    *("study", "compare", "report", "robustness", "classify", "inspect", "evaluate"),
    *("sft", "dpo", "orpo", "kto"),
)


def of_stages(config: RunConfig, key: str) -> str | None:
    """Return why a study reads nothing of a key: it has no stages, or none that would."""
    task = config.task
    if not isinstance(task, StudyConfig):
        return None
    group, _, rest = key.partition(".")
    name = rest.partition(".")[0]
    if not task.stages:
        is_of_stages = group == "task" and name in naming.of_no_stage([]) - {"stages"}
        return "without task.stages ('task.stages=[sft,dpo]')" if is_of_stages else None
    unread = naming.of_no_stage(task.stages)
    if group == "task" and name in unread:
        return f"without {'a stage that learns from pairs' if name == 'pairs' else name} in task.stages"
    is_of_sft = group == "data" or (group == "task" and name in FineTuningConfig.__dataclass_fields__)
    if Stage.sft in task.stages or not is_of_sft or name == "name":
        return None
    first = task.stages[0].name
    own = "task.pairs" if group == "data" else f"task.{first}{rest and '.'}{rest}"
    return f"without sft in task.stages: {own} is what {first} reads"


def of_a_sweep(_config: RunConfig, _owner: Any) -> str:
    """Refuse in a single run what says how several are run; a sweep keeps it from its jobs."""
    return "without -m: a single run is no sweep"


def of_stop_after(config: RunConfig, _owner: Any) -> str | None:
    """Refuse it where a plan trains nothing, and of a study that trains several times."""
    if isinstance(config.task, PlanConfig):
        return "with task=plan, which trains nothing"
    if isinstance(config.task, StudyConfig) and config.task.stages:
        return "with task.stages, each of which is a training of its own"
    return None


def of_reports(config: RunConfig, _config: RunConfig) -> str | None:
    """Refuse a language for a task that writes no report in it."""
    if config.task.name in REPORTS:
        return None
    others = ", ".join(f"task={name}" for name in REPORTS)
    return f"with task={config.task.name}; {others} would read it"


def place_of_model(config: RunConfig, model: ModelConfig) -> str | None:
    """Refuse another place for a model that ships with the package."""
    if not model.builtin:
        return None
    return (
        f"with model={model.name}, which is built in: for a folder of its shape add model.builtin=false,"
        " for another model choose model=auto, or its YAML (model=qwen2_0_5b, ...)"
    )


def hub_of_model(config: RunConfig, model: ModelConfig) -> str | None:
    """Refuse what is of the hub, where a folder is read instead."""
    if model.path is not None:
        return f"beside model.path={model.path}, which is read instead of the hub"
    return place_of_model(config, model) or ("without model.hub_id" if model.hub_id is None else None)


def learning_rate(config: RunConfig, model: ModelConfig) -> str | None:
    """Refuse the model's, where the task has another one."""
    rate = getattr(config.task, "learning_rate", model.learning_rate)
    return None if rate == model.learning_rate else f"beside task.learning_rate={rate:g}, which is taken"


def low_rank(config: RunConfig, adapter: AdapterConfig) -> str | None:
    """Refuse the shape of an adapter that is there already, or that there is none of."""
    if adapter.path is not None:
        return f"beside adapter.path={adapter.path}: that adapter keeps its own; leave one of them out"
    return None if adapter.method is Method.lora else f"with adapter={adapter.name}"


def new_tokens(config: RunConfig, adapter: AdapterConfig) -> str | None:
    """Refuse new tokens where the plan is of classes or pairs, which nothing trains with them."""
    of = getattr(config.task, "of", Planned.sft)
    return None if of in (Planned.sft, Planned.evaluate) else f"with task.of={of.name}"


def moments_on_host(config: RunConfig, hw: HardwareConfig) -> str | None:
    """Refuse to move what is there anyway."""
    return "on a CPU, where they are anyway" if hw.device is Device.cpu else None


def table_on_host(config: RunConfig, hw: HardwareConfig) -> str | None:
    """Refuse to move a table that is trained or the head, and what no plan would move."""
    if config.model.architecture.tie_word_embeddings is True:
        return (
            f"with model={config.model.name}, whose table of tokens is its head too (hw.head_on_host moves"
            " both)"
        )
    return _moved(config, hw)


def head_on_host(config: RunConfig, hw: HardwareConfig) -> str | None:
    """Refuse to move a head of classes, which is trained, and what no plan would move."""
    if config.task.name == "classify":
        return "with task=classify, whose head is of classes"
    return _moved(config, hw)


def _moved(config: RunConfig, hw: HardwareConfig) -> str | None:
    """Refuse to move what is trained, and what no plan would move."""
    if config.adapter.method is Method.full:
        return f"with adapter={config.adapter.name}, which trains the table of tokens and the head"
    if config.adapter.extend_vocabulary:
        return "with adapter.extend_vocabulary, which trains rows of the table of tokens"
    is_planned = hw.device is not Device.cpu and (hw.usable_gib is not None or hw.name == "auto")
    return None if is_planned else "without a card and a budget (hw.usable_gib)"


def shared_out(config: RunConfig, hw: HardwareConfig) -> str | None:
    """Refuse to share out over one card."""
    if config.adapter.extend_vocabulary:
        return "with adapter.extend_vocabulary, whose rows are not shared out"
    return "with hw.num_cards=1" if hw.num_cards == 1 and hw.device is not Device.cpu else None


def of_executor(config: RunConfig, executor: ExecutorConfig) -> str | None:
    """Refuse executors without datatrove."""
    return None if config.data.engine is Engine.datatrove else "without data.engine=datatrove"


def slurm(config: RunConfig, executor: ExecutorConfig) -> str | None:
    """Refuse what only Slurm takes."""
    is_slurm = executor.kind is ExecutorKind.slurm
    return of_executor(config, executor) or (None if is_slurm else "without hw.executor.kind=slurm")


def cluster(config: RunConfig, executor: ExecutorConfig) -> str | None:
    """Refuse memory for processes of this machine, which share it."""
    is_local = executor.kind is ExecutorKind.local
    return of_executor(config, executor) or ("with hw.executor.kind=local" if is_local else None)


def items(config: RunConfig, owner: object) -> str | None:
    """Return why no item of the suite is looked at, where the task may ask for them."""
    if config.task.reads & {Area.asking, Area.tuning} or isinstance(config.task, SynthesizeConfig):
        return None
    read = [config.data, *config.data.sources.values()]
    is_asked = any(source.cleaning.drop_test_items for source in read)
    return None if is_asked else "without data.cleaning.drop_test_items, which asks for the suite's items"


def split(config: RunConfig, task: SuiteTask) -> str | None:
    """Refuse a seed where no split is drawn."""
    if task.own_rows:
        return "with own_rows: they are split as seed= splits them"
    return items(config, task) or (None if task.data is not None else "without the task's data")


def epochs(config: RunConfig, task: Any) -> str | None:
    """Refuse epochs where steps are counted."""
    steps = getattr(task, "max_steps", None)
    return None if steps is None else f"beside task.max_steps={steps}, which is taken"


def held_out(config: RunConfig, held_out: HeldOutConfig) -> str | None:
    """Refuse texts of which no byte is read."""
    return None if held_out.num_bytes else "with task.held_out.num_bytes=0"


def smoothing(config: RunConfig, task: DpoConfig) -> str | None:
    """Refuse it beside a loss without."""
    return None if task.loss_type in task.SMOOTHED else f"with task.loss_type={task.loss_type.value}"


def rows_shown(config: RunConfig, task: InspectConfig) -> str | None:
    """Refuse a number of rows where they are named."""
    return "beside task.ids, which are shown instead" if task.ids else None


def diacritics(config: RunConfig, task: RobustnessConfig) -> str | None:
    """Refuse a text that nobody learns from."""
    return None if "diacritics_added" in task.perturbations else "without diacritics_added among them"


def of_merged(config: RunConfig, task: ExportConfig) -> str | None:
    """Refuse what is of merged weights where none are written."""
    return None if ExportFormat.merged in task.formats else "without merged among task.formats"


def of_gguf(config: RunConfig, task: ExportConfig) -> str | None:
    """Refuse what is of a GGUF file where none is written."""
    is_made = {ExportFormat.gguf, ExportFormat.ollama} & {*task.formats}
    return None if is_made else "without gguf or ollama among task.formats"


def of_ollama(config: RunConfig, task: ExportConfig) -> str | None:
    """Refuse what is of a Modelfile where none is written."""
    return None if ExportFormat.ollama in task.formats else "without ollama among task.formats"


def beside_a_run(config: RunConfig, key: str) -> str | None:
    """Refuse a model and an adapter where a run is talked to, which says them."""
    task = config.task
    if not isinstance(task, ChatConfig) or task.run is None or key.partition(".")[0] not in _OF_A_RUN:
        return None
    return f"beside task.run={task.run}, which says it; leave one of them out"


def is_way_to_train(adapter: AdapterConfig, key: str, reads: frozenset[Area]) -> bool:
    """Return whether a key says how to train, and that to a task that only asks."""
    is_way = key in ("adapter", "adapter.name", "adapter.method") and adapter.method is not Method.none
    is_asked = bool(reads & {Area.asking, Area.talking}) and Area.tuning not in reads
    return is_way and is_asked and adapter.quantization is Quantization.none


def of_nothing_trained(config: RunConfig, key: str) -> str | None:
    """Refuse a way to train where a model is only asked, without an adapter: its base would be."""
    if config.adapter.path or not is_way_to_train(config.adapter, key, config.task.reads):
        return None
    return (
        f"with task={config.task.name}, which trains nothing: it asks the model as it is. Leave it out, or"
        " name what was trained: adapter.path=<run>, or the weights of a run with adapter=full:"
        f" model.path=<run>/{Method.full.folder}"
    )


def of_run(config: RunConfig, task: SpeakingConfig) -> str | None:
    """Refuse another base of nothing."""
    is_there = not isinstance(task, ChatConfig) or task.run is not None
    return None if is_there else "without task.run: the base is model=... itself"


def port(config: RunConfig, task: SpeakingConfig) -> str | None:
    """Refuse a port where nothing listens."""
    is_there = not isinstance(task, ChatConfig) or task.web
    return None if is_there else "without task.web=true"


def on_a_page(config: RunConfig, task: ChatConfig) -> str | None:
    """Refuse a question where it is asked on a page."""
    return "with task.web=true: it is typed on the page" if task.web and task.prompt is not None else None


def drawn(config: RunConfig, task: ChatConfig) -> str | None:
    """Refuse to choose among tokens where the likeliest is taken."""
    return None if task.temperature else "with task.temperature=0: the likeliest token is taken"


def of_a_start(config: RunConfig, task: ServeConfig) -> str | None:
    """Refuse a question where nobody is asked."""
    return None if task.start else "without task.start=true"
