"""A mix gives what was asked of it, loses and repeats nothing, and holds like lengths together."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from conftest import compose_config

from arabic_llm.config.data import DataConfig, SourceConfig
from arabic_llm.data.preparing import mix_report
from arabic_llm.data.preparing.mixing import Mix, MixedBucketSampler
from arabic_llm.errors import ConfigError

K12 = Mix({"belle": 2, "oasst": 1, "cidar": 5}, {"belle": "zh", "oasst": "zh", "cidar": "ar"}, {"zh": 0.7})


def sampler(counts, mix=None, steps=None, batch=8, seed=17):
    """Return a sampler over so many sequences of each source, of lengths of its own; two epochs."""
    sources = [name for name, count in counts.items() for _ in range(count)]
    draw = np.random.default_rng(len(sources))
    lengths = draw.integers(4, 1000, len(sources)) // draw.integers(1, 20, len(sources)) + 1
    steps = steps or -(-2 * len(sources) // batch)
    return MixedBucketSampler(sources, lengths, mix or Mix(), batch, steps, seed)


def random_samplers(num=200):
    """Yield samplers of 1 to 6 sources, any batch, up to three epochs, 2 to 9 buckets."""
    draw = np.random.default_rng(3)
    for _ in range(num):
        names = [f"s{k}" for k in range(draw.integers(1, 7))]
        counts = {name: int(draw.integers(1, 90)) for name in names}
        weights = {name: float(draw.uniform(0.05, 5)) for name in names} if draw.random() < 0.7 else {}
        mix = Mix(weights, num_buckets=int(draw.integers(2, 10)))
        batch = int(draw.integers(1, 33))
        steps = max(1, int(draw.uniform(0.2, 3) * sum(counts.values()) / batch))
        yield sampler(counts, mix, steps, batch, int(draw.integers(2**32)))


def without_buckets(chosen):
    return replace(chosen, mix=replace(chosen.mix, num_buckets=1))


def drawn(chosen):
    """Return how often each source stands in the order."""
    return Counter(chosen.sources[row] for row in chosen.order())


def test_one_source_has_the_order_that_runs_always_had():
    chosen = sampler({"": 10}, steps=4, batch=5)
    first, second = [2, 0, 6, 7, 1, 5, 8, 9, 3, 4], [2, 3, 0, 7, 4, 9, 1, 8, 5, 6]
    assert chosen.order().tolist() == first + second
    assert np.array_equal(sampler({"cidar": 10}, steps=4, batch=5).order(), chosen.order())


def test_weights_are_shares_of_the_sequences():
    assert drawn(sampler({"a": 100, "b": 300}, Mix({"a": 3, "b": 1}), steps=50)) == {"a": 300, "b": 100}
    assert drawn(sampler({"a": 100, "b": 300}, steps=50)) == {"a": 100, "b": 300}


def test_quotas_fix_languages_and_keep_proportions_inside_them():
    shares = K12.shares({"belle": 1000, "oasst": 10, "cidar": 50})
    assert shares == pytest.approx({"belle": 0.7 * 2 / 3, "oasst": 0.7 / 3, "cidar": 0.3})
    bare = replace(K12, weights={}).shares({"belle": 30, "oasst": 10, "cidar": 50})
    assert bare == pytest.approx({"belle": 0.7 * 3 / 4, "oasst": 0.7 / 4, "cidar": 0.3})


def test_sources_without_a_language_share_what_the_quotas_leave():
    mix = Mix({"zh": 1, "x": 1, "y": 3}, {"zh": "zh"}, {"zh": 0.6})
    assert mix.shares(dict.fromkeys("xy", 5) | {"zh": 5}) == pytest.approx({"zh": 0.6, "x": 0.1, "y": 0.3})


def test_shares_are_exact_over_the_whole_run_by_largest_remainders():
    for chosen in random_samplers():
        shares, total = chosen.mix.shares(chosen.counts), chosen.num_steps * chosen.batch
        counts = drawn(chosen)
        assert counts.total() == total
        assert all(abs(counts[name] - share * total) < 1 for name, share in shares.items())
    thirds = sampler({"a": 5, "b": 5, "c": 5}, Mix({"a": 1, "b": 1, "c": 1}), steps=1, batch=16)
    assert drawn(thirds) == {"a": 6, "b": 5, "c": 5}


def test_each_epoch_has_its_shares():
    mix = Mix({"a": 0.55, "b": 0.25, "c": 0.2}, num_buckets=4)
    chosen = sampler({"a": 400, "b": 50, "c": 50}, mix, batch=10)
    for epoch in np.split(chosen.order()[:1000], 2):
        assert Counter(chosen.sources[row] for row in epoch) == {"a": 275, "b": 125, "c": 100}


def test_sources_are_evenly_interleaved():
    for chosen in map(without_buckets, random_samplers()):
        names = list(chosen.counts)
        is_of = np.array([names.index(name) for name in chosen.sources])[chosen.order()]
        for number, name in enumerate(names):
            share = (is_of == number).mean()
            ahead = np.cumsum(is_of == number) - share * np.arange(1, len(is_of) + 1)
            assert np.abs(ahead).max() <= 1 + share * len(names) / 2, name


def test_buckets_keep_the_shares_of_any_long_stretch():
    weights = Mix({"short": 0.3, "long": 0.7}, num_buckets=4)
    sources = ["short"] * 3000 + ["long"] * 3000
    draw = np.random.default_rng(0)
    lengths = np.concatenate([draw.integers(10, 200, 3000), draw.integers(100, 1000, 3000)])
    chosen = MixedBucketSampler(sources, lengths, weights, 16, 750, 17)
    is_short = np.convolve(chosen.order() < 3000, np.ones(640) / 640, "valid")  # any 40 steps
    assert 0.26 < is_short.min() < is_short.max() < 0.34


def test_more_buckets_than_steps_are_one_a_step():
    (one_a_step, many) = (sampler({"a": 80}, Mix(num_buckets=n), steps=5) for n in (5, 10**30))
    assert many.order().tolist() == one_a_step.order().tolist()


def test_every_row_of_a_source_is_seen_once_before_any_again():
    for chosen in map(without_buckets, random_samplers(60)):
        order = chosen.order()
        for name in chosen.counts:
            rows = [row for row in order.tolist() if chosen.sources[row] == name]
            size = chosen.counts[name]
            for start in range(0, len(rows), size):
                assert len(set(rows[start : start + size])) == len(rows[start : start + size])


def test_a_large_source_goes_on_where_it_stopped():
    chosen = sampler({"large": 90, "small": 10}, Mix({"large": 1, "small": 1}), steps=20, batch=10)
    large = [row for row in chosen.order().tolist() if row < 90]
    assert len(set(large[:90])) == 90  # 50 of the first epoch, 40 more of the second
    small = Counter(row for row in chosen.order().tolist() if row >= 90)
    assert set(small.values()) == {10}


def test_buckets_lose_and_repeat_nothing():
    for chosen in random_samplers():
        assert Counter(chosen.order().tolist()) == Counter(without_buckets(chosen).order().tolist())


def test_buckets_keep_each_row_in_its_epoch():
    for chosen in random_samplers():
        buckets, plain = chosen.order(), without_buckets(chosen).order()
        for end in range(len(chosen.sources), len(plain), len(chosen.sources)):
            step = end // chosen.batch * chosen.batch  # the last that ends within the epoch
            assert Counter(buckets[:step].tolist()) == Counter(plain[:step].tolist())
            step += chosen.batch if end % chosen.batch else 0
            assert Counter(buckets[:step].tolist()) == Counter(plain[:step].tolist())


def test_a_steps_rows_are_of_one_bucket_and_buckets_take_turns():
    chosen = sampler({"a": 800}, Mix(num_buckets=4), steps=100)
    steps = chosen.lengths[chosen.order()].reshape(100, 8)
    edges = np.sort(chosen.lengths)[::-1].reshape(4, 200)
    for number, step in enumerate(steps):
        bucket = edges[number % 4]
        assert bucket[0] >= step.max() >= step.min() >= bucket[-1]


def test_inside_a_step_the_longest_come_first():
    for chosen in random_samplers():
        steps = chosen.lengths[chosen.order()].reshape(-1, chosen.batch)
        assert (np.diff(steps, axis=1) <= 0).all()


def test_the_order_follows_from_seed_and_names_alone():
    chosen = sampler({"a": 40, "b": 60}, Mix(num_buckets=3))
    again = sampler({"a": 40, "b": 60}, Mix(num_buckets=3))
    assert np.array_equal(chosen.order(), again.order())
    assert not np.array_equal(chosen.order(), replace(chosen, seed=18).order())


@pytest.mark.parametrize(
    ("mix", "counts", "said"),
    [
        (K12, {"belle": 5, "cidar": 5}, "data.sources: no row of oasst is left to draw"),
        (replace(K12, weights={}), {"cidar": 5}, "data.language_quotas.zh: no row in this language"),
        (
            replace(K12, quotas={"zh": 0.6, "ar": 0.4}, weights={}),
            {"belle": 5, "cidar": 5, "tulu": 3},
            "data.language_quotas leave nothing to tulu; set its weight to 0",
        ),
        (
            replace(K12, quotas={"zh": 0.5, "ar": 0.2}, weights={}),
            {"belle": 5, "cidar": 5},
            "data.language_quotas add up to 0.7, and there is no source in another language",
        ),
        (replace(K12, quotas={"zh": 0}), {"belle": 5, "oasst": 2, "cidar": 5}, "leave nothing to belle"),
    ],
)
def test_a_mix_that_cannot_be_is_refused(mix, counts, said):
    with pytest.raises(ConfigError, match=said):
        mix.shares(counts)


def test_quotas_that_add_up_to_one_but_for_rounding_are_taken():
    languages = {"a": "ar", "b": "zh", "c": "en"}
    shares = Mix({}, languages, {"ar": 0.6, "zh": 0.3, "en": 0.1}).shares({"a": 1, "b": 1, "c": 1})
    assert shares == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1})


def source(name, **values):
    return SourceConfig(name=name, **values)


def test_the_mix_of_a_configuration_leaves_out_what_is_not_read():
    sources = {
        "belle": source("belle", language="zh", weight=2),
        "cidar": source("cidar", language="ar", weight=1),
        "off": source("off", weight=0),
        "plain": source("plain", weight=3),
    }
    data = DataConfig(name="k12", sources=sources, language_quotas={"zh": 0.7}, num_length_buckets=4)
    weights = {"belle": 2, "cidar": 1, "plain": 3}
    assert Mix.of(data) == Mix(weights, {"belle": "zh", "cidar": "ar"}, {"zh": 0.7}, 4)
    assert Mix.of(compose_config().data) == Mix()


def test_two_sources_of_one_name_are_refused():
    data = DataConfig(name="twice", sources={"a": source("local"), "b": source("local")})
    with pytest.raises(ConfigError, match="data.sources: 2 are named local"):
        Mix.of(data)


def test_the_report_counts_what_the_order_holds():
    sources = ["belle"] * 4 + ["cidar"] * 4 + ["tulu"] * 2
    mix = Mix({"belle": 5, "cidar": 3, "tulu": 2}, {"belle": "zh", "cidar": "ar", "tulu": "ar"})
    lengths = np.array([10] * 4 + [20] * 4 + [50] * 2)
    seen = mix_report.report(MixedBucketSampler(sources, lengths, mix, 4, 5, 17))
    assert seen.sources == (
        mix_report.Share("belle", 0.5, 0.5, 100 / 420, 2.5),
        mix_report.Share("cidar", 0.3, 0.3, 120 / 420, 1.5),
        mix_report.Share("tulu", 0.2, 0.2, 200 / 420, 2.0),
    )
    assert [(share.name, share.asked, share.times_seen) for share in seen.languages] == [
        ("ar", 0.5, 10 / 6),
        ("zh", 0.5, 2.5),
    ]
    said = (
        "mix: belle  asked  50.0%, achieved  50.0% of sequences,  23.8% of tokens; each row seen 2.50 times"
    )
    assert seen.lines()[0] == said
    assert len(seen.lines()) == 6  # three sources, two languages, padding


def test_padding_is_counted_as_batches_are_padded():
    lengths, order = np.array([1, 2, 3, 4]), np.array([0, 3, 1, 2])
    assert mix_report.padding(order, lengths, 2) == 1 - 10 / 14
    assert mix_report.padding(order, lengths, 4) == 1 - 10 / 16
    assert mix_report.padding(order, lengths, 1) == 0


def test_buckets_save_padding_at_every_size_of_the_forward_pass():
    lengths = np.random.default_rng(0).integers(1, 1000, 2048)  # a bucket spans an eighth of them
    seen = mix_report.report(MixedBucketSampler([""] * 2048, lengths, Mix(num_buckets=8), 16, 128, 17))
    assert [padding.sequences for padding in seen.padding] == [16, 8, 4, 2]
    for padding in seen.padding:
        assert padding.in_order < 0.25 * padding.without_buckets
    assert seen.lines()[0].startswith("padding saved by 8 length buckets")


def test_one_source_in_one_bucket_has_nothing_to_report():
    assert mix_report.report(sampler({"": 20})).lines() == []
