"""JSON lines on standard error: a fixed event plus fields, with the request id; what it may not say is cut out."""

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

from control_plane.runtime.context import request_id
from control_plane.runtime.redaction import redacted


def _add_request_id(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if current := request_id.get():
        fields.setdefault("request_id", current)
    return fields


def _redact(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # The formatter's own two, which it takes away itself.
    own = {name: fields.pop(name) for name in ("_record", "_from_structlog") if name in fields}
    return redacted(fields) | own


def _render(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> str:
    return orjson.dumps(fields, default=str).decode()


def configure(service: str, level: str = "INFO") -> None:
    """Send structlog and standard logging of this process to standard error as JSON lines."""

    def add_service(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        fields["service"] = service
        return fields

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        add_service,
        _add_request_id,
        structlog.processors.format_exc_info,
        # Last: what an exception says is looked at too.
        _redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # gRPC's core writes a line that is no JSON for each handshake that fails, as often as anybody likes.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # aiohttp logs a traceback with the attacker's bytes for each bad request line.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)


def get_logger(name: str) -> "structlog.stdlib.BoundLogger":
    """Return a logger: ``log.info("lease lost", key=..., target=...)``."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
