"""Written answers that a judge gives 0 to 10, by lighteval's prompt for ALRAGE; its replies are kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from httpx2 import Client, HTTPError

from arabic_llm.config.fingerprint import fingerprint
from arabic_llm.config.suite import JUDGE, JudgeConfig
from arabic_llm.errors import DataError
from arabic_llm.evaluation import judge
from arabic_llm.evaluation.answers import Answers
from arabic_llm.evaluation.suites import SuiteEntry

_MOST_TOKENS = 16  # of a reply: a number
_BEST = 10
_NUMBER = re.compile(r"\d+(?:\.\d+)?")  # \d knows the Arabic digits, and so does float
_SYSTEM = """أنت مقيّم محايد خبير باللغة العربية. يجب عليك:
1. تقييم دقة الإجابة مقارنة بالإجابة الصحيحة
2. التحقق من أن الإجابة مدعومة بالسياق المقدم
3. تقييم جودة وشمولية الإجابة

مهم جداً: يجب أن يكون ردك رقماً فقط من 0 إلى 10. لا تضف أي نص أو تفسير."""
_USER = """السؤال: {question}

الإجابة المقدمة: {answer}

الإجابة الصحيحة: {gold}

أعط تقييماً من 0 إلى 10:
0-2: إجابة خاطئة تماماً
3-4: إجابة جزئية مع أخطاء
5-6: إجابة متوسطة
7-8: إجابة جيدة
9-10: إجابة ممتازة

اكتب رقماً فقط من 0 إلى 10 بدون أي نص إضافي:"""
PROMPT = fingerprint([_SYSTEM, _USER])


def settle(chosen: Sequence[SuiteEntry], settings: JudgeConfig, cache_dir: Path) -> None:
    """Let the answers to these be scored by the judge; each of its replies is kept, and asked once."""
    for entry in chosen:
        kept = Answers(cache_dir / "judge" / f"{fingerprint([settings.model, PROMPT])}.jsonl")
        for name, task in entry.leaves.items():
            task.process_results = _Grader(name, task, settings, kept)


class _Grader:
    """The score of one task's answers, in the place of lm-eval's own."""

    def __init__(self, name: str, task: Any, settings: JudgeConfig, kept: Answers) -> None:
        self._name, self._task, self._settings, self._kept = name, task, settings, kept
        self._client = judge.client()

    def __call__(self, doc: dict[str, Any], results: list[str]) -> dict[str, float]:
        """Return the judge's share of 10. Raises DataError where it gives none, naming what it said."""
        asked = {"question": self._task.doc_to_text(doc), "answer": results[0]}
        question = _USER.format(**asked, gold=self._task.doc_to_target(doc))
        key = fingerprint([self._settings.model, question])
        if key not in self._kept:
            reply = _reply(self._client, self._settings, question)
            share(reply, self._name, self._settings)  # nonsense is not kept: another try may do better
            self._kept.add({key: reply})
            self._kept.flush()
        return {JUDGE: share(self._kept[key], self._name, self._settings)}


def share(reply: str, task: str, settings: JudgeConfig) -> float:
    """Return the first number of a reply as a share of 10. Raises DataError for none from 0 to 10."""
    found = _NUMBER.search(reply)
    number = float(found[0]) if found else None
    if number is None or number > _BEST or "-" in reply[: found.start() if found else 0]:
        raise DataError(
            f"{task}: judge.model={settings.model} was asked for a number from 0 to 10 and said"
            f" {reply.strip()[:80]!r}; take a judge that follows instructions"
        )
    return number / _BEST


def _reply(client: Client, settings: JudgeConfig, question: str) -> str:
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": question}]
    try:
        return judge.completion(client, settings, messages, _MOST_TOKENS)
    except (HTTPError, judge.StrangeReplyError) as error:
        said = judge.said_of(error)
        raise DataError(
            f"judge.endpoint={settings.endpoint}: {said}; the same command carries on"
        ) from error
