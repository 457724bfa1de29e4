"""docker-compose.yml runs what the local stack runs. No Docker here: the file is read, and its parts are compared."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local import postgres, valkey
from deploy.local.stack import DEFAULT_WORKERS, FLOWER_SETTINGS

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "api", "worker-events", "worker-control", "beat", "flower", "sandbox")


def command(name: str) -> list[str]:
    given = SERVICES[name]["command"]
    return shlex.split(given) if isinstance(given, str) else list(given)


def test_every_process_has_a_service() -> None:
    assert set(SERVICES) == {"postgres", "redis", *OURS}
    assert SERVICES["sandbox"]["profiles"] == ["sandbox"]


def test_each_runs_the_command_of_the_local_stack() -> None:
    for worker in DEFAULT_WORKERS:
        assert command(worker.name) == list(worker.command())
    assert command("api") == ["python", "-m", "api"]
    assert command("migrate") == ["python", "-m", "shared.db.migrate"]
    assert command("beat")[:4] == ["celery", "-A", "workers.app", "beat"]
    assert command("flower") == ["celery", "-A", "workers.app", "flower"]
    assert command("sandbox")[:3] == ["python", "-m", "deploy.sandbox"]


def test_postgres_is_tuned_as_in_the_local_stack() -> None:
    given = dict(word.removeprefix("-c").split("=", 1) for word in command("postgres")[1:])
    assert given == postgres.SETTINGS
    assert SERVICES["postgres"]["image"] == "postgres:18"
    assert SERVICES["postgres"]["stop_signal"] == "SIGINT"
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"], "18 keeps its data one folder higher"


def test_redis_keeps_every_event() -> None:
    lines = dict(line.split(" ", 1) for line in COMPOSE["configs"]["redis"]["content"].splitlines())
    assert lines.pop("requirepass").startswith("${REDIS_PASSWORD:?")
    assert lines == valkey.SETTINGS
    assert lines["appendfsync"] == "always"
    assert lines["maxmemory-policy"] == "noeviction"
    assert command("redis") == ["valkey-server", SERVICES["redis"]["configs"][0]["target"]]
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


def test_workers_get_the_time_to_end_their_pushes() -> None:
    for worker in DEFAULT_WORKERS:
        assert SERVICES[worker.name]["stop_grace_period"] == "45s"
        assert SERVICES[worker.name].get("stop_signal", "SIGTERM") == "SIGTERM"


def test_flower_is_closed_and_read_only() -> None:
    given = SERVICES["flower"]["environment"]
    assert given.items() >= FLOWER_SETTINGS.items()
    assert given["FLOWER_BASIC_AUTH"].startswith("${FLOWER_BASIC_AUTH:?"), "without it Flower would let anyone in"


@pytest.mark.parametrize("name", OURS)
def test_our_processes_have_no_more_rights_than_they_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_nothing_else_is_open_to_the_network() -> None:
    assert "ports" not in SERVICES["postgres"]
    assert "ports" not in SERVICES["redis"]


@pytest.mark.parametrize("name", ["postgres", "redis", "api", "worker-events", "worker-control", "flower"])
def test_health_is_checked(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]


def test_no_secret_is_written_down() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / "deploy" / "env.example").read_text()
    wanted = set(re.findall(r"\$\{([A-Z_]+)", text))
    assert wanted == {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "FLOWER_BASIC_AUTH", "BOTHWAYS_KEYS"}
    for name in wanted - {"BOTHWAYS_KEYS"}:
        assert re.search(rf"^{name}=$", example, re.MULTILINE), f"{name} is asked for, and left empty"


def test_the_image_does_not_run_as_root() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
