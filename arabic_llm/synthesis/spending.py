"""What requests cost, in tokens and money; what might pass a cap is not asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from arabic_llm.config.synthesize_task import ServerConfig

_MILLION = 1_000_000


@dataclass(frozen=True)
class Tokens:
    """Tokens of a request: read and said."""

    read: int = 0
    said: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        """Return the tokens of both."""
        return Tokens(self.read + other.read, self.said + other.said)

    def __sub__(self, other: Tokens) -> Tokens:
        """Return the tokens without the other's."""
        return Tokens(self.read - other.read, self.said - other.said)

    def cost(self, server: ServerConfig) -> float:
        """Return what they cost."""
        return (self.read * server.input_price + self.said * server.output_price) / _MILLION


NOTHING = Tokens()


class Purse:
    """What was spent, and what the requests under way may still spend."""

    def __init__(self, server: ServerConfig, spent: Tokens) -> None:
        """Take the caps, and what earlier starts have spent."""
        self._server, self.spent, self._reserved = server, spent, Tokens()
        self._changed = asyncio.Condition()

    async def reserve(self, most: Tokens) -> bool:
        """Return whether a request may be made that takes so much at most; wait while others decide it."""
        async with self._changed:
            while not self._fits(self.spent + self._reserved + most):
                if self._reserved == Tokens():
                    return False
                await self._changed.wait()
            self._reserved += most
            return True

    async def pay(self, most: Tokens, used: Tokens) -> None:
        """Count what a request has taken of what was reserved for it."""
        async with self._changed:
            self._reserved -= most
            self.spent += used
            self._changed.notify_all()

    def _fits(self, tokens: Tokens) -> bool:
        most, money = self._server.max_tokens, self._server.max_cost
        if most is not None and tokens.read + tokens.said > most:
            return False
        return money is None or tokens.cost(self._server) <= money
