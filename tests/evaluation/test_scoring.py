"""Our scorer says what lm-eval's model class says, on every shape we ship, and runs shared tokens once."""

import random

import pytest
import torch
from conftest import compose_config
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers_like import codec_of
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Glm4Config,
    GlmConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
)

from arabic_llm.errors import DataError, HardwareError
from arabic_llm.evaluation import scoring
from arabic_llm.evaluation.chat_lm import ChatLM, Limits
from arabic_llm.evaluation.prefixes import Request, Trie
from arabic_llm.models import bases, load, placement

VOCABULARY = 300
SIZE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "initializer_range": 0.4,  # so that probabilities differ
}
SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]
SHAPES = {
    "llama": LlamaConfig(**SIZE),
    "qwen2": Qwen2Config(**SIZE, tie_word_embeddings=True),
    "qwen2 sliding": Qwen2Config(
        **SIZE, use_sliding_window=True, sliding_window=11, layer_types=SLIDING, max_window_layers=0
    ),
    "gemma2": Gemma2Config(**SIZE, sliding_window=9, query_pre_attn_scalar=8),
    "glm": GlmConfig(**SIZE),
    "glm4": Glm4Config(**SIZE),
    "mistral": MistralConfig(**SIZE, sliding_window=9),  # not shared: its sliding is not named a layer
}
MAX_LENGTH = 64


def lm_evals(model, tokenizer):
    """Return lm-eval's model class.

    Its logits cache takes two requests that read the same ids for one, and scores the shorter answer of
    the two at the longer one's positions (lm-eval 0.4.13, Collator.get_cache): it is off here.
    """
    return HFLM(
        pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=MAX_LENGTH, logits_cache=False
    )


def model_of(config):
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(config).eval()


def ids(draw, count):
    return [draw.randrange(2, VOCABULARY) for _ in range(count)]


def pairs(draw):
    """Return (context, continuation): letters, choice texts, few-shot, prefixes of each other, cuts."""
    shots = ids(draw, 30)
    for length in (1, 7, 12):
        context = ids(draw, length)
        yield from ((context, [letter]) for letter in ids(draw, 4))  # letters
        yield from ((shots + context, ids(draw, draw.randrange(1, 9))) for _ in range(4))  # few-shot
    stem, context = ids(draw, 3), ids(draw, 9)
    for text in (stem, stem[:1], stem + ids(draw, 2), [*stem, 7, 8], stem):  # prefixes, and one twice
        yield context, text
    yield context + stem[:2], stem[2:]  # reads what another request says
    for length in (MAX_LENGTH - 4, MAX_LENGTH - 3, MAX_LENGTH, 2 * MAX_LENGTH):  # to the cut, and beyond
        long = ids(draw, length)
        yield from ((long, ids(draw, count)) for count in (4, 4, 1))
    yield ids(draw, 2), ids(draw, MAX_LENGTH)  # the answer alone fills it


def both(model, requests, tokens):
    """Return (our answers, HFLM's) to pairs of ids."""
    theirs = lm_evals(model, codec_of("tiny").tokenizer)
    asked = [Request((c + t)[-(MAX_LENGTH + 1) : -1], t) for c, t in requests]
    ours = dict(scoring.score(model, asked, range(len(asked)), tokens))
    wanted = theirs._loglikelihood_tokens([(("", ""), c, t) for c, t in requests], disable_tqdm=True)
    return [ours[index] for index in range(len(asked))], wanted


@pytest.mark.parametrize("tokens", [24, 2048])  # every way of growing and branching, and all at once
@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "mistral"])
def test_the_scores_are_lm_evals_on_every_shape(shape, tokens):
    model = model_of(SHAPES[shape])
    assert scoring.can_share(model)
    ours, theirs = both(model, list(pairs(random.Random(5))), tokens)
    for (our_logprob, our_greedy), (logprob, greedy) in zip(ours, theirs, strict=True):
        assert our_logprob == pytest.approx(logprob, abs=1e-4)
        assert our_greedy == greedy
    assert ours[0][0] != pytest.approx(ours[1][0], abs=1e-3)


def test_the_scores_are_lm_evals_on_the_built_in_model():
    config = compose_config("hw=cpu")
    base = bases.locate(config.model, None)
    model = load.base_model(config.model, base, config.adapter, placement.resolve(config.hw))
    ours, theirs = both(model, list(pairs(random.Random(6))), 128)
    for answer, wanted in zip(ours, theirs, strict=True):
        assert answer[0] == pytest.approx(wanted[0], abs=1e-4)
        assert answer[1] == wanted[1]


def test_greedy_answers_are_recognised():
    model = model_of(SHAPES["llama"])
    context = ids(random.Random(1), 8)
    said = model.generate(torch.tensor([context]), max_new_tokens=4, do_sample=False, pad_token_id=0)
    answer = said[0, len(context) :].tolist()
    ours, theirs = both(model, [(context, answer), (context, [*answer[:3], 5])], 64)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs] == [True, False]


@pytest.mark.parametrize("name", ["tiny", "llama3_8b", "gemma2_2b", "glm4_9b"])
def test_texts_are_encoded_as_lm_eval_encodes_them(name):
    codec = codec_of(name)
    model = model_of(Qwen2Config(**{**SIZE, "vocab_size": len(codec.tokenizer)}))
    ours = ChatLM(model, codec, Limits(4, MAX_LENGTH, None))
    theirs = lm_evals(model, codec.tokenizer)
    texts = [
        *(("ما عاصمة مصر؟ ", "القاهرة"), ("ما عاصمة مصر؟", " القاهرة"), ("ما عاصمة مصر؟", " القا")),
        *(("", "القاهرة"), ("الق", "اهرة"), ("سؤال " * 60, " أ"), ("سؤال " * 60, " ب")),
    ]
    asked = [Instance("loglikelihood", {}, text, 0) for text in texts]
    answers = [lm.loglikelihood(asked, disable_tqdm=True) for lm in (ours, theirs)]
    for (our_logprob, our_greedy), (logprob, greedy) in zip(*answers, strict=True):
        assert our_logprob == pytest.approx(logprob, abs=1e-4)
        assert our_greedy == greedy


def test_a_model_whose_attention_takes_no_mask_is_scored_by_lm_eval():
    assert not scoring.can_share(model_of(SHAPES["mistral"]))


def count_tokens(model):
    """Return a list that grows by the number of ids of each forward pass."""
    passes = []
    model.register_forward_pre_hook(
        lambda _, args, given: passes.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    return passes


def test_every_shared_token_is_run_once():
    model, draw = model_of(SHAPES["qwen2"]), random.Random(2)
    shots = ids(draw, 40)
    requests, distinct = [], len(shots)
    for first in range(2, 10):
        question = [first, *ids(draw, 19)]
        answers = [[first + 20 + at, *ids(draw, 5)] for at in range(4)]
        requests += [Request(shots + question + answer[:-1], answer) for answer in answers]
        distinct += 20 + 4 * 5
    passes = count_tokens(model)
    assert len(list(scoring.score(model, requests, range(len(requests)), 64))) == len(requests)
    assert sum(passes) == distinct
    assert max(passes) <= 64


def test_what_is_not_asked_is_not_run():
    model, draw = model_of(SHAPES["qwen2"]), random.Random(2)
    requests = [Request([first, *ids(draw, 30)], [5]) for first in range(2, 10)]
    whole = dict(scoring.score(model, requests, range(8), 64))
    passes = count_tokens(model)
    rest = dict(scoring.score(model, requests, [6, 7], 64))
    assert rest == {6: whole[6], 7: whole[7]}  # to the bit: the passes are those of the whole run
    assert len(passes) == 1
    assert list(scoring.score(model, requests, [], 64)) == []


def test_a_batch_that_does_not_fit_is_halved_and_repeated():
    model, draw = model_of(SHAPES["gemma2"]), random.Random(4)
    requests = [Request((c + t)[:-1], t) for c, t in pairs(draw)]
    wanted = dict(scoring.score(model, requests, range(len(requests)), 512))
    most = 40

    def small_memory(layer, args):
        if args[0].shape[1] > most:
            raise torch.OutOfMemoryError("a card this small")

    # Of the second layer: by then the first one's cache has grown.
    model.model.layers[1].register_forward_pre_hook(small_memory)
    halved = dict(scoring.score(model, requests, range(len(requests)), 512))
    assert halved.keys() == wanted.keys()
    for index, (logprob, _) in wanted.items():
        assert halved[index][0] == pytest.approx(logprob, abs=1e-4)
    most = 4
    with pytest.raises(HardwareError, match="no memory to score even 16 tokens at once"):
        list(scoring.score(model, requests, range(len(requests)), 512))


def test_an_answer_without_tokens_is_refused(tiny_codec):
    lm = ChatLM(model_of(SHAPES["qwen2"]), tiny_codec, Limits(1, MAX_LENGTH, None))
    with pytest.raises(DataError, match="an answer has 0 tokens"):
        lm._loglikelihood_tokens([(("س", ""), [4, 5], [])])


def test_the_trie_knows_what_rows_share():
    requests = [Request([1, 2, 3], [9]), Request([1, 2], [3]), Request([5], [1]), Request([1, 2, 4], [9])]
    trie = Trie(requests, range(4))
    assert [row.tolist() for row in trie.rows] == [[1, 2], [1, 2, 3], [1, 2, 4], [5]]
    assert trie.shared == [0, 2, 2, 0]
    assert trie.size(0, 4, 0) == 5
    assert trie.common(0, 3) == 2
    assert list(trie.parts(0, 4, 0, 4)) == [(0, 3), (3, 4)]
    assert [sorted(positions) for positions in trie.wanted] == [[1], [2], [2], [0]]
