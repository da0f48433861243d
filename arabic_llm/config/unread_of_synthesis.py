"""Combinations in which task=synthesize reads nothing of a setting: why, or None where it does."""

from __future__ import annotations

from arabic_llm.config.run import RunConfig
from arabic_llm.config.synthesize_task import Articles, Backend, PromptLanguage, SynthesizeConfig

_BENCHMARK = "with task.benchmark, whose rows templates reword"


def _task(config: RunConfig) -> SynthesizeConfig:
    if not isinstance(config.task, SynthesizeConfig):
        raise AssertionError("a setting of task=synthesize in another task")
    return config.task


def is_translated(config: RunConfig) -> bool:
    """Return whether rows come in another language than Arabic."""
    task = _task(config)
    if task.benchmark is not None:
        return config.data.language not in (None, "ar")
    return task.backend in (Backend.openai, Backend.transformers) and (
        task.sampling.prompts is PromptLanguage.en
    )


def of_adapter(config: RunConfig, key: str) -> str | None:
    """Refuse an adapter where no model of ours is asked."""
    task = config.task
    if not isinstance(task, SynthesizeConfig) or key.partition(".")[0] != "adapter":
        return None
    return of_a_model_here(config, None)


def of_articles(config: RunConfig, owner: object) -> str | None:
    """Refuse articles and who asks about them, where there are none."""
    return _BENCHMARK if _task(config).benchmark is not None else None


def of_paragraphs(config: RunConfig, owner: object) -> str | None:
    """Refuse paragraphs of nothing."""
    task = _task(config)
    if task.benchmark is None and task.backend is Backend.magpie:
        return "with task.backend=magpie, which reads no article"
    return of_articles(config, owner)


def of_a_wiki(config: RunConfig, owner: object) -> str | None:
    """Refuse a wiki that nobody asks."""
    is_asked = _task(config).articles is Articles.mediawiki
    return of_paragraphs(config, owner) or (None if is_asked else "without task.articles=mediawiki")


def of_a_server(config: RunConfig, owner: object) -> str | None:
    """Refuse a server that nobody asks."""
    is_asked = _task(config).backend is Backend.openai
    return of_articles(config, owner) or (None if is_asked else "without task.backend=openai")


def of_any_server(config: RunConfig, owner: object) -> str | None:
    """Refuse how a server is asked, where no judge is asked so either."""
    return None if config.judge.endpoint is not None else of_a_server(config, owner)


def of_prompts(config: RunConfig, owner: object) -> str | None:
    """Refuse a language for prompts, where there are none."""
    is_prompted = _task(config).backend in (Backend.openai, Backend.transformers)
    why = f"with task.backend={_task(config).backend.value}, which has no prompts"
    return of_articles(config, owner) or (None if is_prompted else why)


def of_a_model(config: RunConfig, owner: object) -> str | None:
    """Refuse how answers are drawn, where rules make them."""
    is_rules = _task(config).backend is Backend.extractive
    return of_articles(config, owner) or ("with task.backend=extractive" if is_rules else None)


def of_a_model_here(config: RunConfig, owner: object) -> str | None:
    """Refuse batches where no model is asked here."""
    is_here = _task(config).backend in (Backend.transformers, Backend.magpie)
    why = "without task.backend=transformers or magpie"
    return of_articles(config, owner) or (None if is_here else why)


def of_magpie(config: RunConfig, owner: object) -> str | None:
    """Refuse a number of conversations where paragraphs say it."""
    is_magpie = _task(config).backend is Backend.magpie
    return of_articles(config, owner) or (None if is_magpie else "without task.backend=magpie")


def of_translation(config: RunConfig, owner: object) -> str | None:
    """Refuse a translator of what is Arabic."""
    return None if is_translated(config) else "where rows are Arabic as they come"


def of_the_judge(config: RunConfig, owner: object) -> str | None:
    """Refuse a sample for nobody."""
    return None if config.judge.endpoint is not None else "without judge.endpoint"
