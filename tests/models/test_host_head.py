"""A head whose rows come from the host in blocks is what one on the card is."""

import pytest
import torch
from torch import nn
from trl.kernels.chunked_logprob import ChunkedLogProbFunction

from arabic_llm.models import host_head
from arabic_llm.models.host_head import HostHead, HostTable

WIDTH, WORDS = 16, 96


@pytest.fixture
def fetched(monkeypatch):
    """Return how many rows came each time."""
    found, arrive = [], host_head.arrived
    monkeypatch.setattr(
        host_head, "arrived", lambda rows, device: (found.append(len(rows)), arrive(rows, device))[1]
    )
    return found


@pytest.mark.parametrize("cap", [None, 5.0])
def test_the_kernels_of_the_loss_fetch_a_tile_of_rows_at_a_time_and_find_the_same(fetched, cap):
    torch.manual_seed(2)
    table, hidden = torch.randn(WORDS, WIDTH), torch.randn(7, WIDTH)
    targets = torch.randint(0, WORDS, (7,))
    found = []
    for weight in (table, HostTable.of(table, "cpu")):
        own = hidden.clone().requires_grad_()
        log_probs = ChunkedLogProbFunction.apply(own, weight, None, targets, 1.0, 40, cap, 1.0, ())[0]
        log_probs.sum().backward()
        found.append((log_probs.detach().numpy().tobytes(), own.grad.numpy().tobytes()))
    assert found[0] == found[1]
    assert fetched == [40, 40, 16] * 2  # for the loss, and on the way back


def test_logits_of_all_words_are_made_block_by_block(fetched, monkeypatch):
    monkeypatch.setattr(host_head, "_ROWS", 40)
    linear = nn.Linear(WIDTH, WORDS)
    hidden = torch.randn(2, 3, WIDTH)
    away = HostHead(linear.weight, linear.bias, "cpu")
    with torch.no_grad():
        torch.testing.assert_close(away(hidden), linear(hidden), rtol=0, atol=1e-6)
    assert fetched == [40, 40, 16]
    assert [name for name, _ in away.named_parameters()] == ["bias"]
