"""SQL selects what the evaluator selects: random resources against random filters, more than 10,000 pairs."""

import unicodedata
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import select

from control_plane.domain.ids import ResourceId
from control_plane.domain.resources import ResourceType
from control_plane.scim.errors import InvalidFilter
from control_plane.scim.evaluate import matches
from control_plane.scim.filters import Filter, write_filter
from control_plane.storage.engine import Storage, Tx
from control_plane.storage.filter_sql import Place, condition
from control_plane.storage.json_sql import FOLDING
from control_plane.storage.query import Query, search
from tests.storage.pointed_filters import pointed
from tests.storage.random_directory import BASE, KINDS, NAMES, REGISTRY, Dice, Directory, make_directory

USERS, GROUPS, FILTERS = 45, 20, 60
SEEDS = (1, 2, 3, 4)

Ids = list[ResourceId]


def expected(node: Filter, directory: Directory, kinds: Sequence[ResourceType]) -> Ids | None:
    """Return the matching ids in order of creation, None if the filter cannot be asked."""
    among = NAMES if len(kinds) > 1 else ()
    try:
        return [
            one
            for kind, one, body in directory.everything()
            if kind in kinds and matches(node, body, kind.scim_name, REGISTRY, among)
        ]
    except InvalidFilter:
        return None


async def found(tx: Tx, node: Filter, kinds: Sequence[ResourceType]) -> Ids | None:
    """Return what the list has, by whatever plan."""
    try:
        page = await search(tx, Query(tuple(kinds), node, count=1000, base=BASE), REGISTRY)
    except InvalidFilter:
        return None
    assert page.total == len(page.resources)
    return [one.id for one in page.resources]


async def selected(tx: Tx, node: Filter, kind: ResourceType) -> Ids | None:
    """Return what the bare condition selects, without needles and walks."""
    place = Place(tx.tenant, kind, REGISTRY, BASE)
    try:
        wanted = condition(node, place)
    except InvalidFilter:
        return None
    columns = place.rows.c
    query = select(columns.id).where(columns.type == int(kind), columns.tenant_id == tx.tenant, wanted)
    return [row.id for row in await tx.execute(query.order_by(columns.id))]


def filters(dice: Dice, directory: Directory) -> Iterator[Filter]:
    """Yield random filters, and such that name what somebody has."""
    for number in range(FILTERS):
        yield dice.filter(KINDS[number % 3 == 0], directory.near)
    for _, node in pointed(directory, dice):
        yield node


@pytest.mark.parametrize("seed", SEEDS)
async def test_sql_selects_what_the_evaluator_selects(storage: Storage, seed: int) -> None:
    dice = Dice(seed)
    directory = await make_directory(storage, dice, USERS, GROUPS)
    refused = selective = 0
    async with storage.begin(directory.tenant) as tx:
        for node in filters(dice, directory):
            text = f"seed {seed}: {write_filter(node)}"
            for kind in KINDS:
                wanted = expected(node, directory, [kind])
                assert await selected(tx, node, kind) == wanted, text
                assert await found(tx, node, [kind]) == wanted, text
            wanted = expected(node, directory, KINDS)
            assert await found(tx, node, KINDS) == wanted, text
            refused += wanted is None
            selective += 0 < len(wanted or ()) < USERS + GROUPS
    # Else the test would prove little.
    assert refused < FILTERS / 2
    assert selective > FILTERS / 2


async def test_every_letter_folds_as_in_python(storage: Storage) -> None:
    letters = [chr(code) for code in range(1, 0x110000) if not 0xD800 <= code <= 0xDFFF]
    # What this Python's Unicode does not know yet, the database may fold already.
    letters = [letter for letter in letters if unicodedata.category(letter) != "Cn"]
    async with storage.begin_batch(()) as tx:
        rows = await tx.fetch(
            f"SELECT x, casefold(x COLLATE {FOLDING}) FROM unnest(%(letters)b::text[]) AS l (x)",
            {"letters": letters},
        )
    assert {letter for letter, folded in rows if letter.casefold() != folded} == set()
