"""Lists: order, pages by index and by position, totals, look-ups, and what a list refuses."""

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from functools import cmp_to_key, partial
from typing import Any

import orjson
import pytest

from control_plane.domain.ids import ResourceId
from control_plane.domain.resources import ResourceType
from control_plane.scim.attribute_path import AttributePath
from control_plane.scim.errors import InvalidFilter, InvalidValue, TooMany
from control_plane.scim.filters import parse_filter
from control_plane.scim.schema import Document
from control_plane.scim.sorting import Sort, SortValue, parse_sort_by, sort_targets, sort_value
from control_plane.storage import member_filter, memberships
from control_plane.storage.engine import Storage
from control_plane.storage.query import Found, Query, search
from tests.storage.random_directory import BADGE, BASE, KINDS, NAMES, REGISTRY, Dice, Directory, make_directory
from tests.storage.world import NOW, World, group, user

USER, GROUP = KINDS
USERS, GROUPS, SORTS = 45, 20, 20


def before(left: tuple[SortValue, ResourceId], right: tuple[SortValue, ResourceId], descending: bool) -> int:
    """Compare as RFC 7644 section 3.4.2.3 does: negative if ``left`` comes first."""
    (a, first), (b, second) = left, right
    if a == b:
        return -1 if first < second else 1
    if a is None or b is None:
        return 1 if (a is None) != descending else -1
    return -1 if (a < b) != descending else 1  # type: ignore[operator]  # both of one kind


def in_order(sort: Sort, directory: Directory, kinds: Sequence[ResourceType]) -> list[ResourceId]:
    """Return all ids as they must be listed; InvalidValue if the types have values of different kinds."""
    sort_targets(sort, [kind.scim_name for kind in kinds], REGISTRY)
    keyed = [
        (sort_value(sort, body, kind.scim_name, REGISTRY), one)
        for kind, one, body in directory.everything()
        if kind in kinds
    ]
    in_pairs = cmp_to_key(partial(before, descending=sort.descending))
    return [one for _, one in sorted(keyed, key=in_pairs)]


def sortable(dice: Dice, kind: ResourceType) -> Sort:
    """Return a random sort; every third is one that an index serves."""
    if dice.chance(0.3):
        path = AttributePath(None, dice.roll.choice(["displayName", "userName"] if kind is USER else ["displayName"]))
    else:
        path, _ = dice.path(kind)
    return Sort(path, dice.chance(0.5))


async def paged(storage: Storage, directory: Directory, query: Query) -> list[ResourceId]:
    """Return what a walk by cursor finds, page by page; positions survive JSON."""
    found: list[ResourceId] = []
    while True:
        async with storage.begin(directory.tenant, read_only=True) as tx:
            page = await search(tx, query, REGISTRY)
        found += [one.id for one in page.resources]
        if page.next is None:
            return found
        assert len(page.resources) == query.count
        value = orjson.loads(orjson.dumps(page.next.value))
        query = dataclasses.replace(query, by_cursor=True, after=dataclasses.replace(page.next, value=value))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_lists_are_in_the_order_of_their_sort_values(storage: Storage, seed: int) -> None:
    dice = Dice(seed)
    directory = await make_directory(storage, dice, USERS, GROUPS, unit_us=1000)
    for number in range(SORTS):
        kinds = (KINDS[number % 3 == 0],) if number % 4 else KINDS
        sort = sortable(dice, kinds[0])
        text = f"seed {seed}: {sort} of {kinds}"
        node = dice.filter(kinds[0], directory.near) if number % 5 == 0 else None
        query = Query(kinds, sort=sort, count=1000, base=BASE)
        try:
            wanted = in_order(sort, directory, kinds)
        except InvalidValue:
            with pytest.raises(InvalidValue):
                await listed(storage, directory, query)
            continue
        everything = await listed(storage, directory, query)
        assert ids(everything) == wanted, text
        assert everything.total == len(wanted), text
        # In pages by index, in pages by cursor, and filtered.
        small = [await listed(storage, directory, dataclasses.replace(query, start=n, count=9)) for n in (1, 10, 19)]
        assert [one for page in small for one in ids(page)] == wanted[:27], text
        assert {page.total for page in small} == {len(wanted)}
        by_cursor = dataclasses.replace(query, by_cursor=True, count=dice.roll.randint(1, 9))
        assert await paged(storage, directory, by_cursor) == wanted, text
        if node is not None:
            await check_filtered(storage, directory, dataclasses.replace(query, filter=node), wanted)


async def check_filtered(storage: Storage, directory: Directory, query: Query, order: list[ResourceId]) -> None:
    """A filter takes some out of the order and changes nothing else."""
    try:
        unsorted = await listed(storage, directory, dataclasses.replace(query, sort=None))
    except InvalidFilter:
        return
    matching = set(ids(unsorted))
    found = await listed(storage, directory, query)
    assert ids(found) == [one for one in order if one in matching]
    assert found.total == len(matching)
    assert await paged(storage, directory, dataclasses.replace(query, by_cursor=True, count=4)) == ids(found)


async def listed(storage: Storage, directory: Directory, query: Query) -> Found:
    """Return one page."""
    async with storage.begin(directory.tenant, read_only=True) as tx:
        return await search(tx, query, REGISTRY)


def ids(found: Found) -> list[ResourceId]:
    """Return the ids of a page."""
    return [one.id for one in found.resources]


async def names(world: World, filter_text: str = "", *, sort: str = "", **changes: Any) -> list[str | None]:
    """Return who a list of users has."""
    return [one.user_name for one in (await ask(world, filter_text, sort=sort, **changes)).resources]


async def ask(world: World, filter_text: str = "", *, sort: str = "", **changes: Any) -> Found:
    """Return one page."""
    query = Query(
        **{
            "types": (USER,),
            "filter": parse_filter(filter_text) if filter_text else None,
            "sort": parse_sort_by(sort.lstrip("-"), sort.startswith("-")) if sort else None,
            **changes,
        }
    )
    async with world.storage.begin(world.tenant, read_only=True) as tx:
        return await search(tx, query, REGISTRY)


async def test_the_unsorted_order_is_creation_also_over_types(world: World) -> None:
    rows = [user("ann"), group("Staff"), user("bob"), group("Admins")]
    await world.store(*rows)
    found = await ask(world, types=KINDS)
    assert ids(found) == [row.id for row in rows]
    assert found.total == 4
    assert ids(await ask(world, types=KINDS, start=2, count=2)) == [rows[1].id, rows[2].id]
    assert ids(await ask(world, types=(GROUP,))) == [rows[1].id, rows[3].id]


@pytest.mark.parametrize("start", [-5, 0, 1])
async def test_a_start_before_the_first_is_the_first(world: World, start: int) -> None:
    await world.store(user("ann"), user("bob"))
    for filter_text in ("", "userName pr"):
        assert await names(world, filter_text, start=start, count=1) == ["ann"]


@pytest.mark.parametrize("filter_text", ["", "userName pr", 'userName eq "ann"', 'displayName sw "x"'])
async def test_a_start_behind_the_last_is_an_empty_page_with_the_total(world: World, filter_text: str) -> None:
    await world.store(user("ann", display_name="xy"))
    for start in (2, 10**30):
        found = await ask(world, filter_text, start=start)
        assert (found.resources, found.total) == ((), 1)


@pytest.mark.parametrize("by_cursor", [False, True])
@pytest.mark.parametrize("filter_text", ["", "userName pr", 'userName sw "n"'])
async def test_count_0_is_the_total_alone(world: World, filter_text: str, by_cursor: bool) -> None:
    await world.store(*(user(f"n{number}") for number in range(3)))
    assert await ask(world, filter_text, count=0, by_cursor=by_cursor) == Found(3, (), None)


async def test_totals_are_exact_on_every_page(world: World) -> None:
    await world.store(*(user(f"n{number}", display_name=f"d{number % 2}") for number in range(7)))
    for start, count in ((1, 2), (1, 4), (1, 10), (3, 2), (4, 1), (5, 5), (9, 9)):
        assert (await ask(world, 'displayName co "0"', start=start, count=count)).total == 4


async def test_positions_survive_what_happens_between_pages(world: World) -> None:
    rows = [user(name) for name in "bdfh"]
    await world.store(*rows)
    first = await ask(world, sort="userName", by_cursor=True, count=2)
    assert [one.user_name for one in first.resources] == ["b", "d"]
    # The last one seen is gone, others came before and after.
    await world.delete(rows[1])
    await world.store(user("a"), user("e"))
    rest = await ask(world, sort="userName", by_cursor=True, count=9, after=first.next)
    assert [one.user_name for one in rest.resources] == ["e", "f", "h"]
    assert rest.next is None
    assert rest.total == 5


async def test_the_last_full_page_has_no_next(world: World) -> None:
    await world.store(*(user(name) for name in "abcd"))
    assert (await ask(world, by_cursor=True, count=4)).next is None
    assert (await ask(world, by_cursor=True, count=3)).next is not None


MANAGER = "26118915-6090-4610-87e4-49d8ca9f808d"


def enterprise(**attributes: Any) -> Document:
    """Return an enterprise extension."""
    return {"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": attributes}


async def test_the_look_ups_that_identity_providers_send(world: World) -> None:
    ann = user(
        "ann@x.example", external_id="e-1", display_name="Ann",
        document={"userName": "ann@x.example", "active": True, "emails": [{"value": "Ann@x.example", "type": "work"}],
                  **enterprise(manager={"value": MANAGER})},
        keys=(("emails.value", "ann@x.example"),
              ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value", MANAGER)),
    )  # fmt: skip
    bob, staff, inner = user("bob@x.example"), group("Staff"), group("Inner")
    await world.store(ann, bob, staff, inner)
    await world.join(staff, bob, inner)
    await world.join(inner, ann)
    found = {
        'userName eq "ANN@x.example"': [ann],
        'emails[type eq "work"].value eq "ann@X.example"': [ann],
        'emails[type eq "home"].value eq "ann@x.example"': [],
        'emails.value eq "ann@x.example" and active eq true': [ann],
        'emails eq "ann@x.example" or externalId eq "nobody"': [ann],
        f'id eq "{ann.id}" and manager eq "{MANAGER}"': [ann],
        f'id eq "{bob.id}" and manager eq "{MANAGER}"': [],
        f'manager.value eq "{MANAGER}"': [ann],
        f'groups.value eq "{staff.id}"': [ann, bob],
        f'groups[value eq "{staff.id}" and type eq "direct"]': [bob],
        f'groups[value eq "{staff.id}" and type eq "indirect"]': [ann],
        'groups.display eq "STAFF"': [ann, bob],
        f'groups.value eq "{str(staff.id).upper()}"': [],
    }
    for text, rows in found.items():
        assert ids(await ask(world, text)) == [row.id for row in rows], text
    of_groups = {
        f'id eq "{staff.id}" and members eq "{bob.id}"': [staff],
        f'id eq "{inner.id}" and members eq "{bob.id}"': [],
        f'members[value eq "{inner.id}"]': [staff],
        f'members.value eq "{ann.id}" or members.value eq "{bob.id}"': [staff, inner],
        'members.type eq "group"': [staff],
    }
    for text, rows in of_groups.items():
        assert ids(await ask(world, text, types=(GROUP,))) == [row.id for row in rows], text


async def test_meta_compares_as_it_is_shown(world: World) -> None:
    at = NOW + timedelta(microseconds=123_999)
    row = user("ann", at=at)
    await world.store(row)
    matching = (
        'meta.created eq "2026-05-01T12:00:00.123Z"', 'meta.created le "2026-05-01T12:00:00.123Z"',
        'meta.lastModified ge "2026-05-01T14:00:00.123+02:00"', 'meta.created lt "2026-05-01T12:00:00.1231Z"',
        'meta.created ew ".123Z"', 'meta.created ew ".123z"', 'meta.lastModified sw "2026-05-01t12"',
        'meta.created ne "2026-05-01T12:00:00.123999Z"', 'meta.version eq "W/\\"1\\""',
        f'meta.location eq "{BASE}/Users/{row.id}"', 'meta.resourceType eq "User"',
        'meta.created gt "0001-01-01T00:00:00+14:00"', 'meta.created lt "9999-12-31T23:59:59.999999-14:00"',
    )  # fmt: skip
    for text in matching:
        assert await names(world, text, base=BASE) == ["ann"], text
    for text in ('meta.created gt "2026-05-01T12:00:00.123Z"', 'meta.created eq "2026-05-01T12:00:00.123999Z"'):
        assert await names(world, text, base=BASE) == [], text


async def test_recent_changes_are_in_order_of_microseconds(world: World) -> None:
    rows = [user(name, at=NOW + timedelta(microseconds=us)) for name, us in (("b", 400), ("a", 300), ("c", 500))]
    await world.store(*rows)
    assert await names(world, sort="meta.lastModified") == ["a", "b", "c"]
    page = await ask(world, sort="-meta.lastModified", by_cursor=True, count=1)
    assert [one.user_name for one in page.resources] == ["c"]
    rest = await ask(world, sort="-meta.lastModified", by_cursor=True, after=page.next)
    assert [one.user_name for one in rest.resources] == ["b", "a"]


@pytest.mark.parametrize(
    ("filter_text", "types"),
    [
        ("shoeSize pr", (USER,)),
        ("userName eq 5", (USER,)),
        ("emails.value eq 5", (USER,)),
        ('id eq "x" and active eq "maybe"', (USER,)),
        (f"{BADGE}:number eq true", (USER,)),
        ("userName pr", (GROUP,)),
        ("members pr", (USER,)),
        ("shoeSize pr", KINDS),
        ("userName eq 5", KINDS),
        ('password eq "secret"', (USER,)),
        ("members[value eq 5]", (GROUP,)),
        ('id eq "x" and members[shoeSize eq "5"]', (GROUP,)),
    ],
)
async def test_wrong_filters_are_refused_also_where_nobody_could_match(
    world: World, filter_text: str, types: tuple[ResourceType, ...]
) -> None:
    with pytest.raises(InvalidFilter):
        await ask(world, filter_text, types=types)


@pytest.mark.parametrize(
    ("sort", "types", "why"),
    [
        ("shoeSize", (USER,), "has no attribute"),
        ("shoeSize", KINDS, "has no attribute"),
        ("members", (GROUP,), "no order"),
        ("groups.display", (USER,), "no order"),
        ("name", (USER,), "is complex"),
        ("password", (USER,), "never returned"),
        ("score", KINDS, "another type in each resource type"),
    ],
)
async def test_what_cannot_be_sorted_by(world: World, sort: str, types: tuple[ResourceType, ...], why: str) -> None:
    with pytest.raises(InvalidValue, match=why):
        await ask(world, sort=sort, types=types)


async def test_a_list_that_takes_too_long_says_what_is_fast(world: World) -> None:
    await world.store(*(user(f"user-{number}", document={"nickName": "x" * 20_000}) for number in range(300)))
    slow = " or ".join(f'nickName co "{"x" * 40}{number}"' for number in range(30))
    with pytest.raises(TooMany, match=r"Fast are: eq on id, userName.*sw on userName"):
        async with world.storage.begin(world.tenant, timeout_s=0.002, read_only=True) as tx:
            await search(tx, Query((USER,), parse_filter(slow)), REGISTRY)


async def test_other_tenants_are_not_found(storage: Storage, world: World) -> None:
    await world.store(user("ann", display_name="Ann"))
    directory = await make_directory(storage, Dice(9), 3, 1)
    for text in ("userName pr", 'displayName sw "Ann"', 'userName eq "ann"', "groups pr or not (groups pr)"):
        found = set(ids(await listed(storage, directory, Query((USER,), parse_filter(text), count=1000))))
        assert found <= set(directory.seen[USER])


async def test_nothing_of_a_filter_becomes_sql(world: World) -> None:
    await world.store(user("ann"))
    for evil in ("'; DROP TABLE resources; --", "%(x)s", "%s", ":x", "\\", "{}", "$1", "%"):
        text = evil.replace("\\", "\\\\")
        for attribute in ("userName", "title", "emails.value", f"{BADGE}:code", "groups.value", "meta.location"):
            for operator in ("eq", "co", "sw"):
                assert await names(world, f'{attribute} {operator} "{text}"') == []
    assert await names(world) == ["ann"]


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        ('type eq "Group"', ["ann", "bob"]),
        ('type eq "user"', ["Inner"]),
        ('display sw "a"', ["bob", "Inner"]),
        ('not (display eq "ANN")', ["ann"]),
        ("display pr", []),
        (f'$ref co "{BASE}/Groups/"', ["ann", "bob"]),
        ('value eq "nobody"', ["ann", "bob", "Inner"]),
        ("value eq null", ["ann", "bob", "Inner"]),
    ],
)
async def test_members_are_removed_by_what_is_shown_of_them(world: World, selection: str, left: list[str]) -> None:
    rows = {"ann": user("ann", display_name="Ann"), "bob": user("bob", display_name="Bob"), "Inner": group("Inner")}
    staff, other = group("Staff"), group("Other")
    await world.store(*rows.values(), staff, other)
    await world.join(staff, *rows.values())
    await world.join(other, *rows.values())
    async with world.storage.begin(world.tenant) as tx:
        written = await member_filter.remove_selected(tx, staff.id, parse_filter(selection), BASE)
        found = await memberships.render(tx, [staff.id, other.id], BASE)
    assert written == memberships.MemberWrite(3 - len(left), (), 3 - len(left))
    shown = orjson.loads(found[staff.id][0] or "[]")
    assert {one["value"] for one in shown} == {str(rows[name].id) for name in left}
    assert found[other.id][1] == 3


async def test_members_cannot_be_selected_by_what_they_lack(world: World) -> None:
    staff = group("Staff")
    await world.store(staff)
    async with world.storage.begin(world.tenant) as tx:
        with pytest.raises(InvalidFilter, match="has no sub-attribute shoeSize"):
            await member_filter.remove_selected(tx, staff.id, parse_filter("shoeSize pr"), BASE)


async def test_a_selection_that_takes_too_long_says_what_is_fast(world: World) -> None:
    rows = [user(f"user-{number}", display_name="x" * 300) for number in range(300)]
    staff = group("Staff")
    await world.store(*rows, staff)
    await world.join(staff, *rows)
    slow = " or ".join(f'display co "{"x" * 40}{number}"' for number in range(30))
    with pytest.raises(TooMany, match="remove them by their ids"):
        async with world.storage.begin(world.tenant, timeout_s=0.002) as tx:
            await member_filter.remove_selected(tx, staff.id, parse_filter(slow), BASE)


def test_names_are_those_of_the_wire() -> None:
    assert tuple(kind.scim_name for kind in KINDS) == NAMES
