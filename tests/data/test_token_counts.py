"""Tokens counted word by word are those of the whole text, or the tokenizer is asked about the whole."""

import random

import pytest
from conftest import compose_config
from tokenizers import Tokenizer, normalizers, pre_tokenizers

from arabic_llm.data.preparing.token_counts import TokenCounter, finest_cut
from arabic_llm.models import tokenization

CHARACTERS = [*"abZ'sت\u0629\u0651\u064b7٣.,!؟_()\"-😀中文\n\t\u200c\u00a0\u2028\u3000", *" " * 10]


@pytest.fixture(scope="module")
def rules():
    return tokenization.rules(compose_config().model)


def with_rules(rules, pre_tokenizer, normalizer=None):
    tokenizer = Tokenizer.from_str(rules)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.normalizer = normalizer or tokenizer.normalizer
    return tokenizer


def texts():
    draw = random.Random(17)
    return ["", *("".join(draw.choices(CHARACTERS, k=draw.randrange(60))) for _ in range(3000))]


def test_words_have_the_tokens_of_the_whole_text(rules):
    tokenizer, counter, said = Tokenizer.from_str(rules), TokenCounter(rules), texts()
    whole = [len(tokenizer.encode(text, add_special_tokens=False)) for text in said]
    assert finest_cut(tokenizer) is not None
    assert counter(said) == whole
    assert counter(said[::-1]) == whole[::-1]  # with words that it knows by now


@pytest.mark.parametrize(
    ("pre_tokenizer", "normalizer"),
    [
        (pre_tokenizers.ByteLevel(use_regex=False), None),  # reads a text whole
        (pre_tokenizers.Split(" ", "merged_with_previous"), None),  # a space belongs to the word before it
        (pre_tokenizers.ByteLevel(), normalizers.Prepend("_")),  # a sign before every text
    ],
)
def test_a_tokenizer_that_does_not_cut_at_words_is_asked_about_the_whole(rules, pre_tokenizer, normalizer):
    tokenizer, said = with_rules(rules, pre_tokenizer, normalizer), texts()
    assert finest_cut(tokenizer) is None
    whole = [len(tokenizer.encode(text, add_special_tokens=False)) for text in said]
    assert TokenCounter(tokenizer.to_str())(said) == whole


def test_signs_are_cut_off_only_where_the_tokenizer_does(rules):
    by_sign = finest_cut(Tokenizer.from_str(rules))
    by_space = finest_cut(with_rules(rules, pre_tokenizers.Metaspace(prepend_scheme="first")))
    assert by_sign.split("قال: نعم. \nلا") == ["قال", ":", " نعم", ". \nلا"]
    assert by_space.split("قال: نعم. \nلا") == ["قال:", " نعم. \nلا"]


def test_a_token_with_a_space_in_it_is_never_cut(rules):
    tokenizer = Tokenizer.from_str(rules)
    tokenizer.add_tokens(["في مدينة"])
    assert finest_cut(tokenizer) is None
    assert TokenCounter(tokenizer.to_str())(["في مدينة"]) == [1]
