"""Owns an allowance: how much of something a viewer may have a second, and how long it waits beyond that."""

import time


class Allowance:
    """So much a second, saved up for a second at most."""

    def __init__(self, rate: float):
        self.rate = rate
        self.left = rate
        self.at = time.monotonic()

    def spend(self, amount: float) -> float:
        """Seconds to wait until as much as that will have been allowed."""
        now = time.monotonic()
        self.left = min(self.rate, self.left + (now - self.at) * self.rate) - amount
        self.at = now
        return max(0.0, -self.left / self.rate)
