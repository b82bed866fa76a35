"""Writes the Python modules beside their sources: ``python -m protos.generate [--check | --image FILE]``.

protovalidate's wheel carries the descriptor of ``buf/validate/validate.proto`` but neither its source nor a module for
google.protobuf, so the module is generated here from that descriptor. Its file name must stay canonical (a second name
for the package ``buf.validate`` is refused by protovalidate as a duplicate), therefore only the Python import is moved
below ``protos``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "protos"
RULES = "buf/validate/validate.proto"
WELL_KNOWN = ("descriptor", "duration", "field_mask", "timestamp")
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def sources() -> list[str]:
    """Return our .proto files as paths from the repository root, sorted."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).glob("*/v*/*.proto"))


def _protoc(arguments: list[str]) -> None:
    # The plugins stand beside this interpreter, which need not be on the PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
    )
    if done.returncode != 0:
        raise SystemExit(f"protoc failed:\n{done.stderr}")


def _write_dependencies(path: Path) -> None:
    """Write a FileDescriptorSet with the well-known types and the protovalidate rules to ``path``."""
    from google.protobuf import descriptor_pb2
    from protovalidate._gen.buf.validate import validate_pb

    with resources.as_file(resources.files("grpc_tools") / "_proto") as include:
        _protoc(
            [
                f"-I{include}",
                "--include_imports",
                f"--descriptor_set_out={path}",
                *(f"google/protobuf/{name}.proto" for name in WELL_KNOWN),
            ]
        )
    files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
    files.file.append(descriptor_pb2.FileDescriptorProto.FromString(validate_pb._DESC.proto.to_binary()))
    path.write_bytes(files.SerializeToString())


def write_image(target: Path) -> None:
    """Write all descriptors with comments to ``target``: what ``buf lint`` and ``buf breaking`` read."""
    with tempfile.TemporaryDirectory() as folder:
        dependencies = Path(folder) / "dependencies.binpb"
        _write_dependencies(dependencies)
        _protoc(
            [
                f"--descriptor_set_in={dependencies}",
                "--include_imports",
                "--include_source_info",
                f"--descriptor_set_out={target}",
                *sources(),
            ]
        )


def generate(out: Path) -> None:
    """Write every generated module below ``out``, laid out as in the repository."""
    with tempfile.TemporaryDirectory() as folder:
        dependencies = Path(folder) / "dependencies.binpb"
        raw = Path(folder) / "raw"
        raw.mkdir()
        _write_dependencies(dependencies)
        base = [f"--descriptor_set_in={dependencies}", f"--python_out={raw}", f"--mypy_out={raw}"]
        _protoc([*base, f"--grpc_python_out={raw}", f"--mypy_grpc_out={raw}", *sources()])
        _protoc([*base, RULES])
        for path in sorted(raw.rglob("*_pb2*")):
            relative = path.relative_to(raw)
            if relative.parts[0] == "buf":
                relative = Path(PACKAGE) / relative
            (out / relative).parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text().replace("from buf.validate import", f"from {PACKAGE}.buf.validate import")
            text = text.replace("import buf.validate.", f"import {PACKAGE}.buf.validate.")
            (out / relative).write_text(text)


def generated(root: Path) -> dict[str, str]:
    """Return every generated module below ``root`` by its path."""
    return {
        str(path.relative_to(root)): path.read_text()
        for path in (root / PACKAGE).rglob("*_pb2*")
        if path.name.endswith(SUFFIXES)
    }


def stale() -> list[str]:
    """Return the paths of modules that differ from what the sources say, are missing, or have no source."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, committed = generated(Path(folder)), generated(ROOT)
    return sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))


def main() -> None:
    """Generate, or with ``--check`` exit 1 and name what is stale, or with ``--image`` write the descriptors."""
    parser = argparse.ArgumentParser(description=__doc__)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--check", action="store_true", help="change nothing; fail if a module is stale")
    group.add_argument("--image", type=Path, help="write all descriptors with comments to this file")
    arguments = parser.parse_args()
    if arguments.image:
        write_image(arguments.image)
    elif arguments.check:
        if names := stale():
            raise SystemExit("stale, run `make protos`:\n  " + "\n  ".join(names))
    else:
        generate(ROOT)


if __name__ == "__main__":
    main()
