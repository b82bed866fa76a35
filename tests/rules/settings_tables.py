"""Prints README.md's settings tables: ``python -m tests.rules.settings_tables``."""

from control_plane.cli.processes import MigrateSettings
from control_plane.runtime.settings import documented
from control_plane.settings import ControlPlaneSettings
from scim_gateway.settings import GatewaySettings
from workers.settings import WorkerSettings

PROCESSES: dict[str, type] = {
    "muster control-plane": ControlPlaneSettings,
    "muster gateway": GatewaySettings,
    "muster worker": WorkerSettings,
    "muster migrate": MigrateSettings,
}


def rows(settings: type) -> list[str]:
    """Return the table's rows of one settings class."""
    return [f"| `{one.variable}` | {one.default} | {one.meaning} |" for one in documented(settings)]


if __name__ == "__main__":
    for process, settings in PROCESSES.items():
        print(f"### `{process}`\n\n| variable | default | meaning |\n|---|---|---|")
        print("\n".join(rows(settings)) + "\n")
