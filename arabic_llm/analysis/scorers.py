"""Scores of short answers that work on Arabic: both sides are normalised for matching first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from sacrebleu.metrics.chrf import CHRF

from arabic_llm.text.normalize import normalize
from arabic_llm.text.words import words

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer


class _Words:
    """rouge_score's own tokenizer deletes every letter that is not ASCII: Arabic would score 0."""

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a normalised text."""
        return words(text)


_CHRF = CHRF()


@cache
def _rouge() -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer  # imports NLTK, and that scikit-learn: seconds

    return RougeScorer(["rougeL"], tokenizer=_Words())


def exact_match(answer: str, target: str) -> float:
    """Return 1 when both say the same under the matching profile, else 0.

    Where it leaves nothing of one (a sign alone), they must be the same as they stand.
    """
    said, wanted = normalize(answer, "matching"), normalize(target, "matching")
    return float(said == wanted if said and wanted else answer.strip() == target.strip())


def token_f1(answer: str, target: str) -> float:
    """Return the F1 of the words both share, as SQuAD scores answers (1606.05250)."""
    said, wanted = words(answer), words(target)
    if not said and not wanted:
        return exact_match(answer, target)
    shared = (Counter(said) & Counter(wanted)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(said), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def rouge_l(answer: str, target: str) -> float:
    """Return ROUGE-L's F-measure: the longest common subsequence of words."""
    if not words(target):
        return exact_match(answer, target)
    return float(_rouge().score(target, answer)["rougeL"].fmeasure)


def chrf(answer: str, target: str) -> float:
    """Return chrF (characters up to 6-grams, beta 2) as a share of 1, under the matching profile."""
    said, wanted = normalize(answer, "matching"), normalize(target, "matching")
    if not said or not wanted:
        return exact_match(answer, target)
    return float(_CHRF.sentence_score(said, [wanted]).score) / 100


SCORERS: dict[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "token_f1": token_f1,
    "rouge_l": rouge_l,
    "chrf": chrf,
}
