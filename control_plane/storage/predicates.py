"""Conditions of SQL with two values only: what is unknown is false, so that ``not`` may be put before any of them.

What can never hold, or always does, is seen while compiling: a branch that selects nothing is left out of a statement.
"""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, and_, false, func, not_, or_, true

Predicate = ColumnElement[bool]
NEVER: Predicate = false()
ALWAYS: Predicate = true()


def every(terms: Iterable[Predicate]) -> Predicate:
    """Return what holds if all of ``terms`` hold."""
    kept = [term for term in terms if term is not ALWAYS]
    if any(term is NEVER for term in kept):
        return NEVER
    return and_(*kept) if kept else ALWAYS


def either(terms: Iterable[Predicate]) -> Predicate:
    """Return what holds if one of ``terms`` holds."""
    kept = [term for term in terms if term is not NEVER]
    if any(term is ALWAYS for term in kept):
        return ALWAYS
    return or_(*kept) if kept else NEVER


def negated(term: Predicate) -> Predicate:
    """Return what holds if ``term`` does not."""
    if term is NEVER or term is ALWAYS:
        return ALWAYS if term is NEVER else NEVER
    return not_(term)


def known(term: Predicate) -> Predicate:
    """Return ``term``, false where it is null."""
    return func.coalesce(term, false())


def constant(value: bool) -> Predicate:
    """Return what always holds, or never."""
    return ALWAYS if value else NEVER
