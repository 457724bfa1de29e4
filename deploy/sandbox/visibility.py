"""How long a new record is missing from lists and searches, while it can be read by id."""

from __future__ import annotations

from deploy.sandbox.jsonio import JsonObject


class Visibility:
    """Milliseconds, for all modules and for single ones. Seeds are seen at once."""

    def __init__(self) -> None:
        self._all_ms = 0
        self._modules: dict[str, int] = {}

    def hidden_ms(self, module: str) -> int:
        return self._modules.get(module, self._all_ms)

    def configure(self, given: JsonObject) -> JsonObject:
        """{new_records_hidden_ms, modules: {module: ms}}; what is left out is 0 and none."""
        unknown = set(given) - {"new_records_hidden_ms", "modules"}
        if unknown:
            raise ValueError(f"unknown: {sorted(unknown)}")
        modules = {str(name): int(ms) for name, ms in (given.get("modules") or {}).items()}
        self._all_ms, self._modules = int(given.get("new_records_hidden_ms") or 0), modules
        return self.describe()

    def describe(self) -> JsonObject:
        return {"new_records_hidden_ms": self._all_ms, "modules": self._modules}
