"""The Makefile, the pinned requirements and what CI runs."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.local import throwaway

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(*files: str) -> dict[str, Requirement]:
    lines = [line for name in files for line in (ROOT / name).read_text().splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in found}


def test_everything_the_project_asks_for_is_pinned() -> None:
    run_time = pins("requirements.txt")
    both = pins("requirements.txt", "requirements-dev.txt")
    extras = PROJECT["optional-dependencies"]
    for asked, given in [(PROJECT["dependencies"] + extras["local"], run_time), (extras["dev"], both)]:
        for wish in map(Requirement, asked):
            pin = given[canonicalize_name(wish.name)]
            assert wish.specifier.contains(next(iter(pin.specifier)).version), f"{pin} does not satisfy {wish}"


def test_pins_are_exact_and_complete() -> None:
    """Complete: what an installed package asks for is pinned too, or pip would choose a version on the day."""
    both = pins("requirements.txt", "requirements-dev.txt")
    for name, pin in both.items():
        assert [spec.operator for spec in pin.specifier] == ["=="], name
        if pin.marker and not pin.marker.evaluate():
            continue
        for text in distribution(name).requires or []:
            wish = Requirement(text)
            if wish.marker is None or wish.marker.evaluate({"extra": ""}):
                assert canonicalize_name(wish.name) in both, f"{name} needs {wish}"


def test_requirement_files_hold_no_address() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert not re.search(r"://|^-", (ROOT / name).read_text(), re.MULTILINE)


def test_make_help_names_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony
    env = {"PATH": os.environ["PATH"]}
    shown = subprocess.run(["make", "help"], cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout
    assert {line.split()[1] for line in shown.splitlines()} == set(phony[1].split())


def test_ci_runs_the_tests_that_make_runs() -> None:
    script, makefile = (ROOT / ".ci" / "run").read_text(), (ROOT / "Makefile").read_text()
    assert "make --no-print-directory check" in script
    words = "-m pytest -n 2 --dist loadfile --no-loadscope-reorder"
    assert f".venv/bin/python {words}\n" in script
    assert f"$(PY) {words} $(ARGS)\n" in makefile
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


CALLER = "import os, sys; sys.exit(0 if os.environ['DATABASE_URL'].startswith('postgresql') else 1)"


def test_a_command_with_servers_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert throwaway.run([sys.executable, "-c", CALLER]) == 0
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    assert throwaway.run([sys.executable, "-c", "import sys; sys.exit(7)"]) == 7
