"""How much of a suite is asked at once, where neither memory nor a budget says less."""

from __future__ import annotations

from arabic_llm.config.hw import HardwareConfig

TOKENS_OF_A_SEQUENCE = 64  # what a pass of the scorer may take is counted in tokens
CPU_TREE = 256  # tokens: in a tree all meet all, also those that do not see each other; a CPU feels that
_MOST = ((6, 4), (12, 8), (20, 16), (48, 32))  # sequences below so many GiB
_MOST_OF_ALL, _MOST_ON_CPU = 64, 32


def most_at_once(hw: HardwareConfig, card_gib: float | None = None) -> int:
    """Return the sequences that are asked at once on hw, or on a card of which it says nothing."""
    gib = hw.usable_gib or card_gib
    if gib is None:
        return _MOST_ON_CPU
    return next((most for limit, most in _MOST if gib < limit), _MOST_OF_ALL)


def rows_of_prompts(size: int, tokens: int, device: str) -> int:
    """Return how many of so many prompts are read in one pass, where the longest has so many tokens."""
    most = CPU_TREE if device == "cpu" else size * TOKENS_OF_A_SEQUENCE
    return min(size, max(1, most // tokens))
