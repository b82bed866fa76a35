"""The people and teams of the demo: invented, the same in every run, with names from many languages."""

import random
import unicodedata
import uuid
from dataclasses import dataclass

SEED = 20_643  # of the dice, not a number with a meaning
NAMESPACE = uuid.UUID("6f9a4f0e-6d1b-4f0a-9b1e-0d8f5c3a7b21")
DOMAIN = "acme.example"

GIVEN = (
    "Aïcha", "Åsa", "Björn", "Chloé", "Dmitri", "Eszter", "Fátima", "Grzegorz", "Hélène", "İpek", "Jörg", "Károly",
    "Łukasz", "Małgorzata", "Núria", "Øystein", "Paweł", "Quỳnh", "René", "Søren", "Thảo", "Ümit", "Věra",
    "Władysław", "Xóchitl", "Yıldız", "Željko", "Aiko", "Bao", "Carmen", "Deniz", "Emily", "Farid", "Gita", "Hiroshi",
    "Ines", "John", "Kofi", "Lena", "Mohammed", "Nina", "Omar", "Priya", "Rosa", "Samuel", "Tara", "Uwe", "Victor",
    "Wanjiru", "Yusuf", "Zoë", "小林", "Мария", "Νίκος",
)  # fmt: skip
FAMILY = (
    "Ångström", "Bäcker", "Čapek", "Dvořák", "Ekström", "Fernández", "Guðmundsdóttir", "Hämäläinen", "Ionescu",
    "Jørgensen", "Kovács", "Løvland", "Müller", "Nguyễn", "O'Brien", "Pérez", "Quiñones", "Råberg", "Şahin", "Tóth",
    "Urbańczyk", "Võ", "Wójcik", "Yılmaz", "Žižka", "Adeyemi", "Brown", "Chen", "Díaz", "Evans", "Fischer", "García",
    "Haddad", "Ito", "Jones", "Kim", "Lopez", "Martin", "Novák", "Okafor", "Patel", "Rossi", "Smith", "Tanaka",
    "Usman", "Visser", "Weber",
)  # fmt: skip
TITLES = (
    "Account Manager", "Backend Engineer", "Controller", "Data Analyst", "Facility Manager", "Nurse Practitioner",
    "Product Designer", "Recruiter", "Sales Representative", "Site Reliability Engineer", "Support Specialist",
)  # fmt: skip
DEPARTMENTS = (
    "Engineering",
    "Finance",
    "Forschung & Entwicklung",
    "Legal",
    "Marketing",
    "Operations",
    "People",
    "Sales",
)
TEAMS = (
    "Engineering", "Finance", "Sales EMEA", "Sales Amériques", "People & Culture", "Legal", "Marketing", "IT Helpdesk",
    "München Office", "東京オフィス", "VPN Users", "Project Łódź", "Security Champions", "Works Council",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody as the identity provider knows them."""

    external_id: str
    user_name: str
    given_name: str
    family_name: str
    title: str
    department: str
    employee_number: str

    @property
    def display_name(self) -> str:
        """The name as shown."""
        return f"{self.given_name} {self.family_name}"


@dataclass(frozen=True, slots=True)
class Team:
    """A group and the user names of its first members."""

    external_id: str
    display_name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Organisation:
    """All whom one identity provider looks after."""

    people: tuple[Person, ...]
    teams: tuple[Team, ...]


def organisations(people: int, teams: int) -> tuple[Organisation, Organisation]:
    """Return a larger organisation and a smaller one, with so many people and teams in all."""
    dice = random.Random(SEED)  # noqa: S311 - the same people in every run
    staff = tuple(_person(number, dice) for number in range(people))
    cut, team_cut = people * 3 // 5, (teams + 1) // 2
    return (
        Organisation(staff[:cut], tuple(_team(n, staff[:cut], dice) for n in range(team_cut))),
        Organisation(staff[cut:], tuple(_team(n, staff[cut:], dice) for n in range(team_cut, teams))),
    )


def _person(number: int, dice: random.Random) -> Person:
    given, family = dice.choice(GIVEN), dice.choice(FAMILY)
    local = ".".join(filter(None, (_plain(given), _plain(family), str(1000 + number))))
    return Person(
        external_id=str(uuid.uuid5(NAMESPACE, f"person {number}")),
        user_name=f"{local}@{DOMAIN}",
        given_name=given,
        family_name=family,
        title=dice.choice(TITLES),
        department=dice.choice(DEPARTMENTS),
        employee_number=f"E{10_000 + number}",
    )


def _team(number: int, staff: tuple[Person, ...], dice: random.Random) -> Team:
    name = TEAMS[number] if number < len(TEAMS) else f"Project {number}"
    size = dice.randint(max(1, len(staff) // 12), max(1, len(staff) // 2))
    members = tuple(person.user_name for person in dice.sample(staff, size))
    return Team(str(uuid.uuid5(NAMESPACE, f"team {number}")), name, members)


def _plain(name: str) -> str:
    """Return what is left of a name in ASCII letters, as mail systems make addresses; maybe nothing."""
    decomposed = unicodedata.normalize("NFKD", name)
    return "".join(char for char in decomposed if char.isascii() and char.isalpha()).lower()
