"""Every RPC of the wire contract, called by its name with a request written as JSON."""

import importlib
import json
import pkgutil
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

import protos

TIMEOUT_S = 10.0
# A stream that lives for ever has said what it has to say after this long.
STREAM_S = 1.0


def methods() -> Iterator[tuple[str, MethodDescriptor]]:
    """Yield the full name and the descriptor of each RPC there is."""
    for package in pkgutil.iter_modules(protos.__path__):
        if not package.ispkg or package.name == "buf":
            continue
        module = importlib.import_module(f"protos.{package.name}.v1.{package.name}_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"/{service.full_name}/{method.name}", method


@dataclass(frozen=True)
class Said:
    """What a call came to."""

    code: grpc.StatusCode
    message: str
    response: Message | None
    seconds: float

    def neutral(self, *ids: str) -> tuple[grpc.StatusCode, str, str]:
        """Return all that a caller sees, without the ids that were asked for and the request's own."""
        texts = (self.message, "" if self.response is None else str(self.response))
        hidden = [re.sub(r"\b[0-9a-f]{32}\b", "<request>", text) for text in texts]
        for one in ids:
            hidden = [text.replace(one, "<id>") for text in hidden]
        return self.code, hidden[0], hidden[1]


def call(channel: grpc.Channel, name: str, token: str, request: dict[str, Any] | bytes) -> Said:
    """Call an RPC with a bearer token and return the first response, or the refusal."""
    method = dict(methods())[name]
    asked: Any = request
    if not isinstance(request, bytes):
        message = message_factory.GetMessageClass(method.input_type)()
        asked = json_format.Parse(json.dumps(request), message).SerializeToString()
    answer = message_factory.GetMessageClass(method.output_type)
    stub: Any = channel.unary_stream(name, request_serializer=lambda raw: raw, response_deserializer=answer.FromString)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    began = time.perf_counter()
    stream = stub(asked, metadata=metadata, timeout=STREAM_S if method.server_streaming else TIMEOUT_S)
    try:
        response = next(iter(stream), None)
        return Said(grpc.StatusCode.OK, "", response, time.perf_counter() - began)
    except grpc.RpcError as err:
        return Said(err.code(), err.details() or "", None, time.perf_counter() - began)
    finally:
        stream.cancel()
