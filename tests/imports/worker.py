"""`python -m tests.imports.worker IMPORT`: a process that works on one import until it has ended.

Its settings are those of the environment, as with any worker.
"""

from __future__ import annotations

import sys
import time

from shared.engine import data_import
from shared.observability import configure_logging
from shared.points import run_test_hook
from shared.settings import load_settings
from tests.integration.world import opened


def main(import_id: int) -> None:
    configure_logging()
    settings = load_settings()
    run_test_hook(settings)
    with opened(settings, threads=0, beat=False) as office:
        while office.value("SELECT ended_at IS NULL FROM import_job WHERE id = :id", id=import_id):
            data_import.advance(office.ports, office.keeper, import_id)
            time.sleep(0.02)  # in the place of wake-ups and of the sweep


if __name__ == "__main__":
    main(int(sys.argv[1]))
