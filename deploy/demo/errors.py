"""What ends the demonstration early."""

from __future__ import annotations


class DemoError(Exception):
    """A sentence for the person who watches."""


class StopAsked(Exception):
    """Ctrl-C, or a signal to end."""
