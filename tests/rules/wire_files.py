"""Every file of the wire contract: what is declared anywhere under protos/ is found."""

import importlib
import pkgutil
from collections.abc import Iterator

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

import protos


def wire_files() -> Iterator[FileDescriptor]:
    """Yield the files of our own packages."""
    for module in pkgutil.walk_packages(protos.__path__, "protos."):
        if module.name.endswith("_pb2"):
            file: FileDescriptor = importlib.import_module(module.name).DESCRIPTOR
            if file.package.startswith("muster."):
                yield file


def rpcs() -> dict[str, MethodDescriptor]:
    """Return every RPC by its full name, "/muster.<area>.v1.<Service>/<Method>"."""
    return {
        f"/{service.full_name}/{method.name}": method
        for file in wire_files()
        for service in file.services_by_name.values()
        for method in service.methods
    }
