"""New tokens change no text but of their script, and give every text back."""

from __future__ import annotations

import copy

import pytest
import tokenizers_like
from conftest import DATA, needs_data
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer

from arabic_llm import files
from arabic_llm.data.sample import corpus
from arabic_llm.errors import CheckpointError, ConfigError
from arabic_llm.models import merges, vocabulary

TEXTS = [
    *(row.words() for row in corpus.documents(150, 5)),
    *("المستشفيات والمستوصفات والمستودعات المستحدثة في الرياض؟ نعم، والحمد لله." for _ in range(3)),
    *("إِنَّ ٱلْعِلْمَ نُورٌ، وَٱلْجَهْلَ ظَلَامٌ" for _ in range(3)),
]
ARABIC = [
    *(
        "المستشفيات والمستودعات",
        "إِنَّ ٱلْعِلْمَ نُورٌ",
        "العـــربيـــة",
        "كتبwriteكتب",
        "  فراغ  مضاعف  ",
        "١٢٣ و456",
    ),
    *(
        "👍🏽 رائع 👨‍👩‍👧",
        "«قال»: نعم!\nثم لا؟",
        "ڤيديو گوگل پيتزا",
        "\u202bنص\u202c",
        "ﷺ ﻻ",
        "مرحبا 你好 hello",
    ),
]
OTHERS = [
    *(
        "The quick brown fox, don't you say?",
        "def f(x):\n    return {'a': [x, 1.5]}  # ok",
        "naïve café Ünïcode",
    ),
    *(
        "今天天气很好，我们去公园吧。",
        "Привет, как дела?",
        "שלום עולם",
        "नमस्ते दुनिया",
        "👍🏽 👨‍👩‍👧 ©®™",
        " \n\t  \r\n",
        "𝒳 ∑ ∞ ½ ①",
    ),
]


def learned(tokenizer, number=120, scripts=("arabic",), texts=TEXTS):
    return vocabulary.behind(tokenizer, merges.learn(tokenizer.backend_tokenizer, texts, number, scripts))


def ids(tokenizer, texts):
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


@pytest.fixture(scope="module", params=tokenizers_like.NAMES)
def both(request):
    """Return a tokenizer as it was, the same with new tokens, and these."""
    before = tokenizers_like.codec_of(request.param).tokenizer
    after = copy.deepcopy(before)
    new = learned(after)
    return before, vocabulary.extend(after, new), new


def test_arabic_takes_fewer_tokens_and_no_other_text_is_read_otherwise(both):
    before, after, new = both
    assert len(new) > 20
    assert sum(map(len, ids(after, TEXTS))) < 0.98 * sum(map(len, ids(before, TEXTS)))
    assert ids(after, OTHERS) == ids(before, OTHERS)
    assert after.all_special_ids == before.all_special_ids
    assert after(OTHERS)["input_ids"] == before(OTHERS)["input_ids"]  # what opens a text as well


def test_every_text_comes_back_as_it_did_before(both):
    before, after, _ = both
    for text in (*ARABIC, *OTHERS, *TEXTS):
        assert after.decode(ids(after, text)) == before.decode(ids(before, text))
        assert len(ids(after, text)) <= len(ids(before, text))


def test_a_new_token_says_what_its_pieces_say(both):
    before, after, new = both
    assert new.first == len(before)
    assert len(after) == new.first + len(new)
    for token, own in zip(new.ids, new.pieces, strict=True):
        assert len(own) > 1
        assert after.decode([token]) == before.decode(list(own))


def test_a_saved_tokenizer_reads_as_the_one_that_was_saved(both, tmp_path):
    _, after, _ = both
    after.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    alone = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in (*ARABIC, *OTHERS):
        assert ids(loaded, text) == ids(after, text) == alone.encode(text, add_special_tokens=False).ids
    assert loaded.get_vocab() == after.get_vocab()


def test_tokens_are_learned_alike_each_time():
    tokenizer = tokenizers_like.codec_of("tiny").tokenizer
    assert learned(tokenizer) == learned(tokenizer)
    shorter = learned(tokenizer, number=7)
    assert shorter.merges == learned(tokenizer).merges[:7]


def test_the_pair_that_stands_together_most_often_is_merged_first():
    backend = Tokenizer(models.BPE(vocab={"\u00d8": 0, "\u00a7": 1, "\u00a8": 2, "a": 3}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    # alef is the bytes D8 A7, beh D8 A8
    found = merges.learn(backend, ["\u0627\u0627\u0628", "\u0627\u0628", "aa aa aa aa aa"], 9, ["arabic"])
    assert found.merges[:2] == (("\u00d8", "\u00a7"), ("\u00d8", "\u00a8"))
    assert found.merges[2] == ("\u00d8\u00a7", "\u00d8\u00a8")
    assert found.pieces[2] == (0, 1, 0, 2)
    assert len(found.merges) == 3  # twice "ab" of Arabic letters; what stands once is no pattern


def test_chinese_tokens_are_learned_where_they_are_asked_for():
    tokenizer = copy.deepcopy(tokenizers_like.codec_of("tiny").tokenizer)
    before = copy.deepcopy(tokenizer)
    texts = ["今天天气很好", "今天天气不好", "我们今天去公园", "我们不去公园"] * 2
    vocabulary.extend(tokenizer, learned(tokenizer, 40, ["han"], texts))
    assert sum(map(len, ids(tokenizer, texts))) < 0.5 * sum(map(len, ids(before, texts)))
    unchanged = [text for text in (*ARABIC, *OTHERS) if not any("\u4e00" <= c <= "\u9fff" for c in text)]
    assert len(unchanged) > 15
    assert ids(tokenizer, unchanged) == ids(before, unchanged)
    for text in (*texts, *ARABIC):
        assert tokenizer.decode(ids(tokenizer, text)) == before.decode(ids(before, text))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (models.WordPiece({"[UNK]": 0, "a": 1}), "is WordPiece, and only BPE"),
        (models.Unigram([("a", 0.0), ("b", 0.0)]), "is Unigram, and only BPE"),
        (models.BPE(vocab={"a": 0}, merges=[]), "is BPE of whole letters or marked pieces, and only"),
    ],
)
def test_a_tokenizer_that_has_no_such_merges_is_refused(model, said):
    with pytest.raises(
        ConfigError, match=rf"^adapter\.extend_vocabulary: the tokenizer of this model {said}"
    ):
        merges.learn(Tokenizer(model), ["ا"], 3, ["arabic"])


@needs_data
def test_the_real_vocabulary_of_qwen2_keeps_its_ids_and_gives_all_back():
    before = AutoTokenizer.from_pretrained(DATA / "tokenizers" / "qwen2")
    after = AutoTokenizer.from_pretrained(DATA / "tokenizers" / "qwen2")
    vocabulary.extend(after, learned(after, 200))
    assert ids(after, OTHERS) == ids(before, OTHERS)
    assert sum(map(len, ids(after, TEXTS))) < 0.8 * sum(map(len, ids(before, TEXTS)))
    assert after.convert_tokens_to_ids("<|im_end|>") == before.convert_tokens_to_ids("<|im_end|>")
    for text in ARABIC:
        assert after.decode(ids(after, text)) == before.decode(ids(before, text))


def kept(folder, **changes):
    new = learned(tokenizers_like.codec_of("tiny").tokenizer, 3)
    files.write_json(folder / vocabulary.FILE, new.as_dict() | changes)
    return new


def test_new_tokens_are_kept_with_an_adapter(tmp_path):
    assert vocabulary.of_adapter(tmp_path) is None
    new = kept(tmp_path)
    assert vocabulary.of_adapter(tmp_path) == new


@pytest.mark.parametrize(
    "changes",
    [
        *({"first": "4096"}, {"first": -1}, {"first": 2**40}, {"merges": []}, {"pieces": [[1]]}),
        *(
            {"merges": [["a"]] * 3},
            {"merges": "abc"},
            {"pieces": [[5000], [1], [2]]},
            {"pieces": [[], [1], [2]]},
        ),
        *({"merges": [["", "a"]] * 3}, {"pieces": [[True], [1], [2]]}, {"pieces": {}}),
    ],
    ids=str,
)
def test_a_file_that_holds_no_new_tokens_is_refused(tmp_path, changes):
    kept(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=r"vocabulary\.json: these are no new tokens; take"):
        vocabulary.of_adapter(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"first": 4000, "pieces": [[1]] * 3},
            "new tokens begin at 4000, and this tokenizer's own end at 4096",
        ),
        ({"merges": [["a", "nothing"]] * 3}, "a merge takes 'nothing', which is no token here"),
        ({"merges": [["t", "he"]] * 3}, "'the' is a token already"),
    ],
)
def test_new_tokens_of_another_tokenizer_are_refused(tmp_path, changes, said):
    kept(tmp_path, **changes)
    tokenizer = copy.deepcopy(tokenizers_like.codec_of("tiny").tokenizer)
    with pytest.raises(CheckpointError, match=rf"^here: {said}; choose the base model"):
        vocabulary.extend(tokenizer, vocabulary.of_adapter(tmp_path), "here")
