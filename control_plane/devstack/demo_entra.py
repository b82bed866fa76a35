"""Microsoft Entra ID as its documentation shows the requests (without the aadOptscim062020 flag).

Source: learn.microsoft.com/entra/identity/app-provisioning/use-scim-to-provision-users-and-groups. Look-up by filter,
operations with a capital letter, URN colon paths, ``active`` as the text "False", members in value arrays.
"""

import uuid
from collections.abc import Sequence

from control_plane.devstack.demo_data import NAMESPACE, Person, Team
from control_plane.devstack.demo_ledger import Ledger, account_of, now
from control_plane.devstack.demo_push import Json, ScimClient, each

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ADSCIM_GROUP = "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER_AGENT = "Microsoft Entra ID (as documented)"
MEMBERS_AT_ONCE = 20
# Of every hundred people: who moves to another department, and who leaves.
MOVES_EACH, LEAVES_EACH = 7, 23


class Entra:
    """Provisions people and teams."""

    name = "Entra ID"

    def __init__(self, client: ScimClient, at_once: int) -> None:
        self.client, self.ledger, self._at_once = client, Ledger(), at_once

    async def test_connection(self) -> None:
        """Look for a user that cannot exist: the documented test."""
        await self.client.find("/Users", "userName", str(uuid.uuid5(NAMESPACE, "entra connection test")))

    async def push_user(self, person: Person) -> None:
        """Look the user up, then create."""
        sent = now()
        if await self.client.find("/Users", "userName", person.user_name) is not None:
            raise AssertionError(f"{person.user_name} is there before it was pushed")
        answer = await self.client.send("POST", "/Users", _user(person))
        self.ledger.user_created(account_of(person, with_enterprise=True), answer["id"], sent)

    async def push_team(self, team: Team) -> None:
        """Look the group up without its members, create it empty, then add the members in batches."""
        sent = now()
        await self.client.find("/Groups", "displayName", team.display_name, excludedAttributes="members")
        body: Json = {
            "schemas": [GROUP, ADSCIM_GROUP],
            "externalId": team.external_id,
            "displayName": team.display_name,
            "meta": {"resourceType": "Group"},
        }
        answer = await self.client.send("POST", "/Groups", body)
        self.ledger.group_created(team.display_name, answer["id"], sent)
        for start in range(0, len(team.members), MEMBERS_AT_ONCE):
            await self._add_members(team.display_name, team.members[start : start + MEMBERS_AT_ONCE])

    async def change(self, people: Sequence[Person], teams: Sequence[Team]) -> None:
        """Let the working day go on: moves, departures, a renamed group, members that leave one."""
        await each(people[::MOVES_EACH], self._at_once, self._move)
        await each(people[5::LEAVES_EACH], self._at_once, self._deactivate)
        if teams:
            await self._remove_members(teams[0].display_name, teams[0].members[:3])
            await self._rename(teams[0].display_name, f"{teams[0].display_name} (renamed)")

    async def _move(self, person: Person) -> None:
        title, department = f"Senior {person.title}", "Neue Märkte"
        operations = [
            {"op": "Replace", "path": "title", "value": title},
            {"op": "Replace", "path": f"{ENTERPRISE}:department", "value": department},
        ]
        await self._patch_user(person.user_name, operations)
        account = self.ledger.book.accounts[person.user_name]
        account.title, account.department = title, department

    async def _deactivate(self, person: Person) -> None:
        await self._patch_user(person.user_name, [{"op": "Replace", "path": "active", "value": "False"}])
        self.ledger.book.accounts[person.user_name].active = False

    async def _add_members(self, team: str, members: Sequence[str]) -> None:
        value = [{"$ref": None, "value": self.ledger.ids[name]} for name in members]
        await self._patch_group(team, [{"op": "Add", "path": "members", "value": value}])
        self.ledger.book.groups[team].members.update(members)

    async def _remove_members(self, team: str, members: Sequence[str]) -> None:
        # A value array, not a filter: what Entra sends by default.
        value = [{"$ref": None, "value": self.ledger.ids[name]} for name in members]
        await self._patch_group(team, [{"op": "Remove", "path": "members", "value": value}])
        self.ledger.book.groups[team].members.difference_update(members)

    async def _rename(self, team: str, new_name: str) -> None:
        await self._patch_group(team, [{"op": "Replace", "path": "displayName", "value": new_name}])
        self.ledger.group_renamed(team, new_name)

    async def _patch_user(self, user_name: str, operations: list[Json]) -> None:
        self.ledger.users[user_name].last_at = now()
        body = {"schemas": [PATCH], "Operations": operations}
        await self.client.send("PATCH", f"/Users/{self.ledger.ids[user_name]}", body)

    async def _patch_group(self, team: str, operations: list[Json]) -> None:
        self.ledger.groups[team].last_at = now()
        body = {"schemas": [PATCH], "Operations": operations}
        await self.client.send("PATCH", f"/Groups/{self.ledger.ids[team]}", body)


def _user(person: Person) -> Json:
    return {
        "schemas": [USER, ENTERPRISE],
        "externalId": person.external_id,
        "userName": person.user_name,
        "active": True,
        "displayName": person.display_name,
        "title": person.title,
        "emails": [{"primary": True, "type": "work", "value": person.user_name}],
        "meta": {"resourceType": "User"},
        "name": {
            "formatted": person.display_name,
            "familyName": person.family_name,
            "givenName": person.given_name,
        },
        "phoneNumbers": None,
        "roles": [],
        ENTERPRISE: {
            "employeeNumber": person.employee_number,
            "department": person.department,
            "costCenter": None,
        },
    }
