"""What a classifier must be held against: the answer of the majority, and character n-grams counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

# Chosen on the dev rows of ArSarcasm-v2 (dialect) and DARES, from 2 to 4 or 5 letters and C of 1 or 10.
_LETTERS, _C = (2, 5), 10.0
_MIN_TEXTS, _MAX_ITERATIONS = 2, 1000
SETTINGS = (_LETTERS, _C, _MIN_TEXTS, _MAX_ITERATIONS)


def majority(train_classes: Sequence[int], num_texts: int) -> list[int]:
    """Return the most frequent class of the training rows, for every text."""
    ((most, _),) = Counter(train_classes).most_common(1)
    return [most] * num_texts


def tfidf(train_texts: Sequence[str], train_classes: Sequence[int], texts: Sequence[str]) -> list[int]:
    """Return what logistic regression on TF-IDF of the letters inside words says of each text.

    Without weights of classes, as the classifier itself is trained.
    """
    model = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=_LETTERS, min_df=_MIN_TEXTS, sublinear_tf=True),
        LogisticRegression(C=_C, max_iter=_MAX_ITERATIONS),
    )
    return [int(said) for said in model.fit(list(train_texts), list(train_classes)).predict(list(texts))]
