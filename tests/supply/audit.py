"""Asks for known vulnerabilities of what is locked: ``python -m tests.supply.audit``.

It needs the advisory service that pip-audit asks. "Nothing found" counts only if every locked package was looked up: no
answer is a failure, never a pass.
"""

import json
import subprocess
import sys

from tests.supply.locked import BASE, read

LIMIT_S = 300


def main() -> None:
    """Run pip-audit on the locked requirements; exit with an error unless all were audited and none is vulnerable."""
    command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--require-hashes", "--format", "json"]
    command += ["--progress-spinner", "off", "--requirement", str(BASE)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    problem = verdict(done.stdout, done.stderr, len(read(BASE.read_text())))
    if problem:
        sys.exit(problem)


def verdict(answer: str, complaint: str, locked: int) -> str:
    """Print what pip-audit found and return why that is no pass; "" if it is one."""
    try:
        found = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return f"0 of {locked} packages audited: {_last_line(complaint)}"
    audited = [one for one in found if "vulns" in one]
    vulnerable = [one for one in audited if one["vulns"]]
    for one in vulnerable:
        for each in one["vulns"]:
            fixed = ", ".join(each.get("fix_versions", [])) or "no fix yet"
            print(f"{one['name']} {one['version']}: {each['id']} (fixed in: {fixed})")
    print(f"{len(audited)} of {locked} packages audited, {len(vulnerable)} with known vulnerabilities")
    if not audited or len(audited) < locked:
        return "not every locked package was audited: this says nothing"
    return f"{len(vulnerable)} packages with known vulnerabilities" if vulnerable else ""


def _last_line(complaint: str) -> str:
    lines = complaint.strip().splitlines()
    return lines[-1] if lines else "pip-audit said nothing"


if __name__ == "__main__":
    main()
