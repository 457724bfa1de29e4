"""What ends the demonstration early."""

from __future__ import annotations


class DemoError(Exception):
    """A sentence for the person who watches."""


class NotAsPromised(DemoError):
    """It came to its end, and something is doubled, lost or late. `figures`: the last line all the same."""

    def __init__(self, sentence: str, figures: str) -> None:
        super().__init__(sentence)
        self.figures = figures


class StopAsked(Exception):
    """Ctrl-C, or a signal to end."""
