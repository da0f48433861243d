"""A judge model looks at a sample of made rows: how often it and the checks say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arabic_llm.synthesis import prompt_files
from arabic_llm.synthesis.asking import Asker, ServerRequest
from arabic_llm.synthesis.replies import MalformedError, json_object
from arabic_llm.synthesis.stage_files import Values


@dataclass(frozen=True)
class JudgeAgreement:
    """Rows that judge and checks both keep, both drop, one of them alone keeps; and those not judged."""

    both_keep: int
    both_drop: int
    judge_alone: int  # keeps
    checks_alone: int
    unjudged: int

    @property
    def judged(self) -> int:
        """Return how many rows the judge has looked at."""
        return self.both_keep + self.both_drop + self.judge_alone + self.checks_alone

    @property
    def kappa(self) -> float | None:
        """Return Cohen's kappa: agreement beyond chance; None where one of them says always the same."""
        if not (total := self.judged):
            return None
        observed = (self.both_keep + self.both_drop) / total
        judge, checks = (
            (self.both_keep + alone) / total for alone in (self.judge_alone, self.checks_alone)
        )
        chance = judge * checks + (1 - judge) * (1 - checks)
        return None if chance == 1 else (observed - chance) / (1 - chance)

    def line(self, model: str) -> str:
        """Return it as a person reads it."""
        beyond = "" if self.kappa is None else f" (Cohen's kappa {self.kappa:.2f})"
        return (
            f"judge {model}: {self.judged:,} rows; agrees with the checks on"
            f" {self.both_keep + self.both_drop:,}{beyond}; would keep {self.judge_alone:,} that the checks"
            f" drop, and drop {self.checks_alone:,} that they keep; {self.unjudged:,} without a verdict"
        )


def judged(sample: Sequence[tuple[Values, bool]], asker: Asker) -> JudgeAgreement:
    """Return how a judge agrees with the checks on rows, each with whether they keep it."""
    requests = [_request(row) for row, _ in sample]
    asker.ask(requests, {"type": "json_object"})
    counts = {(True, True): 0, (False, False): 0, (True, False): 0, (False, True): 0}
    unjudged = 0
    for request, (_, is_kept) in zip(requests, sample, strict=True):
        reply, _ = asker.outcome(request)
        if reply is None:
            unjudged += 1
        else:
            counts[verdict(reply), is_kept] += 1
    return JudgeAgreement(
        counts[True, True], counts[False, False], counts[True, False], counts[False, True], unjudged
    )


def verdict(reply: str) -> bool:
    """Return whether a judge keeps a row. Raises MalformedError."""
    keep = json_object(reply).get("keep")
    if not isinstance(keep, bool):
        raise MalformedError("verdict is neither true nor false")
    return keep


def _request(row: Values) -> ServerRequest:
    said = "\n".join(f"Q: {question}\nA: {answer}" for question, answer in row["exchanges"])
    prompt = prompt_files.load("judge", "en")
    return ServerRequest(prompt.messages({"paragraph": row["paragraph"] or "(none)", "row": said}), verdict)
