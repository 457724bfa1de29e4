"""Bodies that are no UTF-8."""

from __future__ import annotations

from collections.abc import Iterable

# A byte that never occurs, one that begins nothing, one that begins what does not follow.
INVALID = b"\xff\xfe\xc3"


def with_bad_utf8(body: bytes, names: Iterable[str]) -> bytes:
    """At the start of the first text of one of the names, else in a text that is put first. Empty stays empty."""
    for name in names:
        start = f'"{name}":"'.encode()
        before, found, after = body.partition(start)
        if found:
            return before + found + INVALID + after
    if body.startswith(b"{"):
        return b'{"note":"' + INVALID + b'",' + body[1:] if body != b"{}" else b'{"note":"' + INVALID + b'"}'
    return body
