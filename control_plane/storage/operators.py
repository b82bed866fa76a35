"""Operators. They belong to the installation: every transaction here is one of ``begin(SYSTEM_TENANT)``."""

from typing import Any

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy import insert as insert_into

from control_plane.domain.ids import OperatorId
from control_plane.domain.operators import OidcSubject, Operator, OperatorRole, email_key
from control_plane.storage.engine import Tx
from control_plane.storage.schema import operators


async def insert(tx: Tx, operator: Operator) -> None:
    """Store a new operator."""
    values = {"id": operator.id, "tenant_id": tx.tenant, "created_at": operator.created_at, **_changing(operator)}
    await tx.execute(insert_into(operators).values(values))


async def save(tx: Tx, operator: Operator) -> None:
    """Store everything of an operator that can change."""
    await tx.execute(
        update(operators)
        .where(operators.c.id == operator.id, operators.c.tenant_id == tx.tenant)
        .values(_changing(operator))
    )


async def remove(tx: Tx, operator: OperatorId) -> None:
    """Delete an operator; the keys go too (ON DELETE CASCADE)."""
    await tx.execute(delete(operators).where(operators.c.id == operator, operators.c.tenant_id == tx.tenant))


async def get(tx: Tx, operator: OperatorId) -> Operator | None:
    """Return one operator, or None if there is none."""
    query = select(operators).where(operators.c.id == operator, operators.c.tenant_id == tx.tenant)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else _operator(row)


async def find_by_email(tx: Tx, email: str) -> Operator | None:
    """Return the operator whom ``email`` names, in any case."""
    query = select(operators).where(operators.c.email_key == email_key(email), operators.c.tenant_id == tx.tenant)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else _operator(row)


async def find_by_oidc(tx: Tx, subject: OidcSubject) -> Operator | None:
    """Return the operator whom tokens of ``subject`` stand for."""
    query = select(operators).where(
        operators.c.oidc_subject == subject.subject,
        operators.c.oidc_issuer == subject.issuer,
        operators.c.tenant_id == tx.tenant,
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else _operator(row)


async def list_after(tx: Tx, after: OperatorId | None, limit: int) -> list[Operator]:
    """Return up to ``limit`` operators in order of creation, from the one behind ``after``."""
    query = select(operators).where(operators.c.tenant_id == tx.tenant).order_by(operators.c.id).limit(limit)
    if after is not None:
        query = query.where(operators.c.id > after)
    return [_operator(row) for row in await tx.execute(query)]


async def count_active_owners(tx: Tx) -> int:
    """Return how many owners can act."""
    query = (
        select(func.count())
        .select_from(operators)
        .where(
            operators.c.tenant_id == tx.tenant,
            operators.c.role == int(OperatorRole.OWNER),
            operators.c.disabled_at.is_(None),
        )
    )
    return int((await tx.execute(query)).scalar_one())


def _changing(operator: Operator) -> dict[str, object]:
    return {
        "email": operator.email,
        "email_key": email_key(operator.email),
        "display_name": operator.display_name,
        "role": int(operator.role),
        "oidc_issuer": operator.oidc.issuer if operator.oidc else None,
        "oidc_subject": operator.oidc.subject if operator.oidc else None,
        "disabled_at": operator.disabled_at,
    }


def _operator(row: Row[Any]) -> Operator:
    return Operator(
        id=OperatorId(row.id),
        email=row.email,
        display_name=row.display_name,
        role=OperatorRole(row.role),
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        oidc=OidcSubject(row.oidc_issuer, row.oidc_subject) if row.oidc_issuer is not None else None,
    )
