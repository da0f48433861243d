"""Packed pieces do not see each other; padding and positions change no loss."""

from dataclasses import replace

import pytest
import torch
from conftest import model_config
from transformers import AutoConfig, AutoModelForCausalLM

from arabic_llm.data.tokens.chat import IGNORED, TokenRow
from arabic_llm.training import batches


@pytest.fixture(scope="module", params=["tiny", "gemma2_2b", "llama3_8b", "glm4_9b"])
def model(request):
    """Return a small random model of each architecture we name, in float64 but for Gemma's softmax."""
    shape = model_config(request.param).architecture.fields() | {
        **{"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4},
        **{"num_key_value_heads": 2, "head_dim": 16, "vocab_size": 300},
    }
    torch.manual_seed(0)
    config = AutoConfig.for_model(**shape, pad_token_id=0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()


def texts(*lengths):
    rows = []
    for number, length in enumerate(lengths):
        ids = [10 + (7 * number + 3 * i) % 280 for i in range(length)]
        rows.append(TokenRow(f"t{number}", ids, ids, "text"))
    return rows


def loss_sum(model, batch):
    """Return the summed loss as training computes it: no cache, and a mask only if the batch has one."""
    labels = batch["labels"][:, 1:]
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def test_packed_pieces_have_the_loss_they_have_alone(model):
    rows = texts(20, 11, 7, 30, 2)
    packed = batches.sequences(rows, max_length=40)
    assert max(len(lengths) for lengths in packed["seq_lengths"]) > 1
    together = loss_sum(model, batches.Collate(0)(list(packed)))
    alone = sum(
        loss_sum(model, batches.Collate(0)([line])) for line in batches.sequences(texts_as_chat(rows), 40)
    )
    assert together == pytest.approx(alone.item(), abs=1e-5)


def test_without_isolation_the_loss_would_differ(model):
    """The test above can fail: one position sequence over all pieces lets them see each other."""
    packed = batches.Collate(0)(list(batches.sequences(texts(20, 11, 7), max_length=40)))
    seen = packed | {"position_ids": torch.arange(packed["input_ids"].shape[1])[None]}
    assert abs(loss_sum(model, packed) - loss_sum(model, seen)) > 1e-3


def texts_as_chat(rows):
    return [replace(row, kind="chat") for row in rows]


def two_sources():
    """Return five raw texts of one source and two conversations of another, as they come."""
    raw = [replace(row, source="wiki") for row in texts(20, 11, 7, 30, 2)]
    said = [replace(row, id=f"c{n}", source="cidar") for n, row in enumerate(texts_as_chat(texts(25, 3)))]
    return [*raw[:3], said[0], *raw[3:], said[1]]


def test_conversations_beside_packed_texts_have_the_loss_they_have_alone(model):
    rows = two_sources()
    lines = batches.sequences(rows, max_length=40)
    assert [len(lengths) for lengths in lines["seq_lengths"]] == [1, 4, 1, 1]
    together = loss_sum(model, batches.Collate(0)(list(lines)))
    alone = sum(
        loss_sum(model, batches.Collate(0)([line])) for line in batches.sequences(texts_as_chat(rows), 40)
    )
    assert together == pytest.approx(alone.item(), abs=1e-5)


def test_each_source_becomes_what_it_would_become_alone():
    rows = two_sources()
    lines = batches.sequences(rows, max_length=40)
    assert batches.sources(lines, rows) == ["wiki", "wiki", "cidar", "cidar"]
    assert batches.row_ids(lines, rows) == [["t3"], ["t0", "t1", "t2", "t4"], ["c0"], ["c1"]]
    for name in ("wiki", "cidar"):
        own = [row for row in rows if row.source == name]
        alone = batches.sequences(own, max_length=40)
        of_it = lines.filter(lambda line, name=name: rows[line["rows"][0]].source == name)
        for column in ("input_ids", "labels", "seq_lengths"):
            assert alone[column][:] == of_it[column][:]
        assert batches.row_ids(alone, own) == batches.row_ids(of_it, rows)


def test_conversations_among_the_texts_of_one_source_are_packed_with_them():
    rows = [*texts(20, 11), *texts_as_chat(texts(5))]
    assert batches.sequences(rows, max_length=40)["seq_lengths"][:] == [[20, 11, 5]]


def test_padding_changes_no_loss(model):
    lines = list(batches.sequences(texts_as_chat(texts(5, 30)), 40))
    together = loss_sum(model, batches.Collate(0)(lines))
    alone = sum(loss_sum(model, batches.Collate(0)([line])) for line in lines)
    assert together == pytest.approx(alone.item(), abs=1e-5)


def test_packing_loses_no_token_and_remembers_its_rows():
    rows = texts(20, 11, 7, 30, 2)
    packed = batches.sequences(rows, max_length=40)
    assert sorted(i for ids in packed["input_ids"] for i in ids) == sorted(
        i for r in rows for i in r.input_ids
    )
    assert sorted(name for names in batches.row_ids(packed, rows) for name in names) == [
        "t0",
        "t1",
        "t2",
        "t3",
        "t4",
    ]
    assert all(len(ids) <= 40 for ids in packed["input_ids"])


def test_the_first_token_of_a_piece_is_predicted_by_nothing():
    packed = batches.sequences(texts(20, 11), max_length=40)
    for line in packed:
        start = 0
        for length in line["seq_lengths"]:
            assert line["labels"][start] == IGNORED
            start += length


def test_conversations_are_never_packed():
    rows = texts_as_chat(texts(5, 6))
    lines = batches.sequences(rows, 40)
    assert [len(ids) for ids in lines["input_ids"]] == [5, 6]
    assert batches.row_ids(lines, rows) == [["t0"], ["t1"]]


def test_padding_is_masked_and_ignored():
    batch = batches.Collate(0)(list(batches.sequences(texts_as_chat(texts(2, 4)), 40)))
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert batch["labels"][0].tolist()[2:] == [IGNORED, IGNORED]
