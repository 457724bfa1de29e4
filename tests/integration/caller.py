"""A process that asks for one thing whenever it is told to: a sync of an integration, or an import into an org.

`python -m tests.integration.caller sync INTEGRATION` or `import CONNECTION`. Each line of its input is the moment at
which it asks (seconds since 1970); it answers with a line of JSON: {"got": id}, or {"code", "holder", "said"}.
"""

from __future__ import annotations

import json
import sys
import time

from shared.db.session import Database, make_engine
from shared.errors import OrgHeld, Refused
from shared.services.imports import ImportService, Upload
from shared.services.integrations import IntegrationService
from shared.services.runs import RunService
from shared.services.workspaces import host_actor
from shared.settings import load_settings
from shared.sync.imports import ImportKind
from tests.integration.crew import Crew
from tests.stub_crm.world import register


def main(what: str, number: int) -> None:
    register()
    settings = load_settings()
    database, crew = Database(make_engine(settings, threads=1)), Crew()
    actor = host_actor(database)
    runs = RunService(database, crew, IntegrationService(database, settings), settings)
    imports = ImportService(database, settings, crew)
    runs.recent(actor)  # its connection stands before anything counts
    print("ready", flush=True)
    for n, line in enumerate(sys.stdin):
        time.sleep(max(0.0, float(line) - time.time()))
        try:
            if what == "sync":
                got = runs.sync_now(actor, number)
            else:
                got = _imported(imports.begin(actor, number, ImportKind.ITEMS), n)
            told: dict[str, object] = {"got": got}
        except OrgHeld as error:
            told = {"code": error.code, "holder": error.holder, "said": str(error)}
        except Refused as error:
            told = {"code": error.code, "holder": "", "said": str(error)}
        print(json.dumps(told), flush=True)


def _imported(upload: Upload, n: int) -> int:
    """As the door does it: what is refused is not kept."""
    try:
        upload.write(f"name,rate\nImported {n},{n}\n".encode())
        return upload.finish().id
    except BaseException:
        upload.drop()
        raise


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
