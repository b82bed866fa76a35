"""Prints the table of docs/admin-api.md: ``python -m tests.rules.role_table [--write]``."""

import sys
from pathlib import Path

from control_plane.api.policy import POLICY, Rule
from control_plane.domain.identities import Role

PAGE = Path(__file__).resolve().parents[2] / "docs" / "admin-api.md"
BEGIN, END = "<!-- made by python -m tests.rules.role_table --write -->", "<!-- end of the table -->"
COLUMNS = (Role.OWNER, Role.OPERATOR, Role.AUDITOR, Role.GATEWAY, Role.WORKER)


def table() -> str:
    """Return the table of who may call what, from the policy."""
    heads = [role.value for role in COLUMNS]
    heads.insert(3, "service with scope")
    lines = [f"| RPC | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    return "\n".join([*lines, *(_row(name, rule) for name, rule in POLICY.items())])


def page_with(made: str, page: str) -> str:
    """Return the page with the table in its place."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def _row(name: str, rule: Rule) -> str:
    cells = ["yes" if role in rule.roles else "" for role in COLUMNS]
    scope = f"`{rule.scope}`" if rule.scope else "any"
    cells.insert(3, scope if Role.SERVICE in rule.roles else "")
    return f"| `{name.rpartition('.')[2]}` | {' | '.join(cells)} |"


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page_with(table(), PAGE.read_text()))
    else:
        print(table())
