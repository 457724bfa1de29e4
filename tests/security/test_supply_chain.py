"""What is built and checked: static rules, and images that pin their versions. (Pins of packages: tests/local.)"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RUFF = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
INSECURE = """
import pickle, subprocess, yaml, hashlib

def f(x):
    eval(x); pickle.loads(x); yaml.load(x); subprocess.run(x, shell=True); hashlib.md5(x)
    assert x
"""


def test_the_security_rules_are_on_and_find_what_is_insecure(tmp_path: Path) -> None:
    assert "S" in RUFF["select"]
    assert set(RUFF["ignore"]) & {"S", "S608"} == {"S608"}, "SQL is text here by decision; parameters are bound"
    path = tmp_path / "insecure.py"
    path.write_text(INSECURE)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "S", "--output-format", "concise"]
    found = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    assert set(re.findall(r" (S\d+) ", found.stdout)) >= {"S307", "S301", "S506", "S602", "S324", "S101"}


def test_rules_are_switched_off_line_by_line_and_the_line_says_why() -> None:
    """But for the files that are listed: tests, and the sandbox's dice."""
    assert {name for name, rules in RUFF["per-file-ignores"].items() if any(one.startswith("S") for one in rules)} == {
        "tests/**",
        "deploy/sandbox/**",
    }
    for folder in ("api", "workers", "shared"):
        for path in (ROOT / folder).rglob("*.py"):
            for line in path.read_text().splitlines():
                found = re.search(r"# noqa: (S\d+)(.*)", line)
                if found is not None and found[1] != "S101":
                    assert found[2].strip(), f"{path}: {line.strip()}"


def test_yaml_is_only_read_safely_and_nothing_is_unpickled() -> None:
    for folder in ("api", "workers", "shared", "deploy"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            assert not re.search(r"\byaml\.(load|unsafe_load|full_load)\(", text), path
            assert not re.search(r"^\s*(import|from) (pickle|marshal|shelve|dill)\b", text, re.MULTILINE), path


def images() -> dict[str, str]:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    found = {name: service["image"] for name, service in compose["services"].items() if "image" in service}
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    found |= {f"FROM {n}": line.split()[1] for n, line in enumerate(lines) if line.startswith("FROM ")}
    return {name: image for name, image in found.items() if not image.startswith("bothways:")}


@pytest.mark.parametrize("name", sorted(images()))
def test_an_image_is_named_with_its_version(name: str) -> None:
    """Never `latest`; the digest is the matter of whoever deploys."""
    assert re.fullmatch(r"[\w./-]+:\d[\w.-]*(@sha256:[0-9a-f]{64})?", images()[name])


CONF = """
import json
from shared.settings import load_settings
from shared.wake import make_sender
from workers.app import app
names = ("accept_content", "task_serializer", "result_backend")
print(json.dumps([{name: one.conf[name] for name in names} for one in (app, make_sender(load_settings()))]))
"""


def test_task_messages_are_json_and_nothing_else() -> None:
    """A listed pickle would be executed even if nobody here sends one. (A process of its own: the app is made once.)"""
    env = {"PATH": os.environ["PATH"], "REDIS_URL": "redis://127.0.0.1:1/0"}
    told = subprocess.run([sys.executable, "-c", CONF], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    wanted = {"accept_content": ["json"], "task_serializer": "json", "result_backend": None}
    assert json.loads(told.stdout) == [wanted, wanted]
