"""Okta as its developer documentation shows the requests.

Source: developer.okta.com/docs/reference/scim/scim-20. Look-up by filter, ``groups`` and ``password`` in the create,
PUT of the whole profile, path-less PATCH for deactivation and for a group's name, single members by value filter.
"""

from collections.abc import Sequence

from control_plane.devstack.demo_data import Person, Team
from control_plane.devstack.demo_ledger import Ledger, account_of, now
from control_plane.devstack.demo_push import Json, ScimClient, each

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER_AGENT = "Okta SCIM Client 1.0.0"
PAGE = {"startIndex": "1", "count": "100"}
# Of every hundred people: whose title changes, and who leaves.
CHANGES_EACH, LEAVES_EACH = 9, 19


class Okta:
    """Provisions people and teams."""

    name = "Okta"

    def __init__(self, client: ScimClient, at_once: int) -> None:
        self.client, self.ledger, self._at_once = client, Ledger(), at_once

    async def test_connection(self) -> None:
        """Read one user: what Okta's test does."""
        await self.client.get("/Users", {"startIndex": "1", "count": "1"})

    async def push_user(self, person: Person) -> None:
        """Look the user up, then create."""
        sent = now()
        if await self.client.find("/Users", "userName", person.user_name, **PAGE) is not None:
            raise AssertionError(f"{person.user_name} is there before it was pushed")
        answer = await self.client.send("POST", "/Users", _user(person))
        self.ledger.user_created(account_of(person, with_enterprise=False), answer["id"], sent)

    async def push_team(self, team: Team) -> None:
        """Create the group empty, then add the members."""
        sent = now()
        await self.client.find("/Groups", "displayName", team.display_name, **PAGE)
        body: Json = {"schemas": [GROUP], "displayName": team.display_name, "members": []}
        answer = await self.client.send("POST", "/Groups", body)
        self.ledger.group_created(team.display_name, answer["id"], sent)
        value = [{"value": self.ledger.ids[name], "display": name} for name in team.members]
        await self._patch_group(team.display_name, [{"op": "add", "path": "members", "value": value}])
        self.ledger.book.groups[team.display_name].members.update(team.members)

    async def change(self, people: Sequence[Person], teams: Sequence[Team]) -> None:
        """Let the working day go on: new titles, departures, a renamed group, a member that is replaced."""
        await each(people[::CHANGES_EACH], self._at_once, self._retitle)
        await each(people[4::LEAVES_EACH], self._at_once, self._deactivate)
        if teams:
            await self._swap_member(teams[0].display_name, people)
            await self._rename(teams[0].display_name, f"{teams[0].display_name} 2")

    async def _retitle(self, person: Person) -> None:
        path, title = f"/Users/{self.ledger.ids[person.user_name]}", f"Lead {person.title}"
        profile = await self.client.get(path)
        self.ledger.users[person.user_name].last_at = now()
        # The whole profile comes back, with id, meta and groups, as Okta sends it.
        await self.client.send("PUT", path, profile | {"title": title, "groups": []})
        self.ledger.book.accounts[person.user_name].title = title

    async def _deactivate(self, person: Person) -> None:
        self.ledger.users[person.user_name].last_at = now()
        body: Json = {"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"active": False}}]}
        await self.client.send("PATCH", f"/Users/{self.ledger.ids[person.user_name]}", body)
        self.ledger.book.accounts[person.user_name].active = False

    async def _swap_member(self, team: str, people: Sequence[Person]) -> None:
        members = self.ledger.book.groups[team].members
        leaves = min(members)
        joins = next(person.user_name for person in people if person.user_name not in members)
        operations: list[Json] = [
            {"op": "remove", "path": f'members[value eq "{self.ledger.ids[leaves]}"]'},
            {"op": "add", "path": "members", "value": [{"value": self.ledger.ids[joins], "display": joins}]},
        ]
        await self._patch_group(team, operations)
        members.remove(leaves)
        members.add(joins)

    async def _rename(self, team: str, new_name: str) -> None:
        value = {"id": self.ledger.ids[team], "displayName": new_name}
        await self._patch_group(team, [{"op": "replace", "value": value}])
        self.ledger.group_renamed(team, new_name)

    async def _patch_group(self, team: str, operations: list[Json]) -> None:
        self.ledger.groups[team].last_at = now()
        body = {"schemas": [PATCH], "Operations": operations}
        await self.client.send("PATCH", f"/Groups/{self.ledger.ids[team]}", body)


def _user(person: Person) -> Json:
    return {
        "schemas": [USER],
        "userName": person.user_name,
        "name": {"givenName": person.given_name, "familyName": person.family_name},
        "emails": [{"primary": True, "value": person.user_name, "type": "work"}],
        "displayName": person.display_name,
        "title": person.title,
        "locale": "en-US",
        "externalId": person.external_id,
        "groups": [],
        "password": "1mz050nq",
        "active": True,
    }
