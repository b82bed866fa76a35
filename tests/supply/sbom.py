"""Writes the bill of materials, CycloneDX JSON: ``python -m tests.supply.sbom FILE``.

cyclonedx-py reads the locked requirements. What it cannot know is added here: who needs what, and what stands in the
repository without being a package. The same lock gives the same file, byte for byte.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.supply.locked import BASE, ROOT, Locked, read

# Sources of others in this repository: the module is generated from the descriptor in the wheel of this package.
VENDORED = {"protos/buf/validate/validate_pb2.py": ("buf/validate/validate.proto", "protovalidate", "Apache-2.0")}
ROOT_REF = "root-component"


def main(target: Path) -> None:
    """Write the file and say how much is in it; exit with an error if anything that is locked is missing."""
    locked = read(BASE.read_text())
    bom = completed(from_requirements(), locked)
    missing = {one.name for one in locked} - {one["name"] for one in bom["components"]}
    if missing or not locked:
        sys.exit(f"the bill of materials lacks {', '.join(sorted(missing)) or 'everything'}")
    text = json.dumps(bom, indent=2, sort_keys=True) + "\n"
    # The whole, as it is written: against the schema of CycloneDX.
    wrong = JsonStrictValidator(SchemaVersion.from_version(bom["specVersion"])).validate_str(text)
    if wrong is not None:
        sys.exit(f"the bill of materials is not valid: {wrong}")
    target.write_text(text)
    print(f"{target}: CycloneDX {bom['specVersion']}, {len(locked)} packages, {len(VENDORED)} vendored file")


def completed(bom: dict[str, Any], locked: list[Locked]) -> dict[str, Any]:
    """Return the bill with names for references instead of line numbers, dependencies, and vendored files."""
    components = []
    for one in bom["components"]:
        # "requirements line 5: aiohttp==... --hash=... --hash=...": the hashes stand in their own place.
        kept = {key: value for key, value in one.items() if key != "description"}
        components.append({**kept, "bom-ref": kept["purl"]})
    refs = {one["name"]: one["bom-ref"] for one in components} | {"muster": ROOT_REF}
    vendored = [_vendored(path, {one.name: one.version for one in locked}) for path in sorted(VENDORED)]
    needs: dict[str, list[str]] = {ref: [] for ref in refs.values()}
    for package in locked:
        for who in package.needed_by:
            needs[refs[who]].append(refs[package.name])
    needs[ROOT_REF] += [one["bom-ref"] for one in vendored]
    return {
        **bom,
        "components": sorted(components + vendored, key=lambda one: one["bom-ref"]),
        "dependencies": [{"ref": ref, "dependsOn": sorted(needs[ref])} for ref in sorted(needs)],
    }


def _vendored(path: str, versions: dict[str, str]) -> dict[str, Any]:
    name, package, licence = VENDORED[path]
    digest = hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
    return {
        "type": "file",
        "bom-ref": f"file:{path}",
        "name": name,
        "version": versions[package],
        "description": f"generated into {path} from the descriptor in {package}",
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "licenses": [{"license": {"id": licence}}],
    }


def from_requirements() -> dict[str, Any]:
    """Return what cyclonedx-py makes of the locked requirements."""
    # The warning that the root has no dependencies: it gets them here.
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "cyclonedx_py",
        "requirements",
        "--output-reproducible",
        "--no-validate",
    ]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), str(BASE), "--output-file", "-"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"cyclonedx-py failed: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
