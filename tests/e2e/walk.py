"""The walk-through of docs/admin-api.md, run as it stands: its blocks are one script, in order."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "admin-api.md"
BLOCK = re.compile(r"```bash\n# tested: (\w+)\n(.*?)```", re.DOTALL)
LIMIT_S = 60
# What each step must print.
EXPECTED: dict[str, list[str]] = {
    "plaintext": [],
    "mtls": [],
    "field": [],
    "operator": ['"role": "operator"', '"email": "grace@example.com"', "TenantService/CreateTenant"],
    "tokens": ['"secret": "muster_', '"replaced": {', '"revoke_time"', '"label": "Okta production"'],
    "suspend": ['"state": "TENANT_STATE_SUSPENDED"', '"suspend_reason": "unpaid"', '"state": "TENANT_STATE_ACTIVE"'],
    "audit": ['"action": "token.rotate"', '"action": "tenant.resume"', '"seq": "1"', '"is_done": true', " initech"],
    "refused": ["PermissionDenied"],
}


def blocks() -> dict[str, str]:
    """Return the page's blocks by name."""
    return {match[1]: match[2] for match in BLOCK.finditer(PAGE.read_text())}


def walk(folder: Path, variables: dict[str, str], without: str) -> None:
    """Run all blocks but ``without`` in ``folder`` and check what each printed."""
    steps = [(name, text) for name, text in blocks().items() if name != without]
    script = "\n".join(f"echo '@@@ {name}'\n{text}" for name, text in steps)
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **variables}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"exec 2>&1\n{script}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    printed = {part.partition("\n")[0]: part for part in done.stdout.split("@@@ ")[1:]}
    for name, _ in steps:
        assert [text for text in EXPECTED[name] if text not in printed[name]] == [], printed[name]
