from control_plane.devstack.demo_data import organisations


def test_the_people_are_the_same_in_every_run() -> None:
    assert organisations(50, 6) == organisations(50, 6)


def test_so_many_people_and_teams_are_split_between_two_providers() -> None:
    first, second = organisations(200, 12)
    assert (len(first.people) + len(second.people), len(first.teams) + len(second.teams)) == (200, 12)
    assert len(first.people) > len(second.people) > 0
    names = [person.user_name for person in (*first.people, *second.people)]
    assert len({name.lower() for name in names}) == 200
    assert len({team.display_name for team in (*first.teams, *second.teams)}) == 12


def test_members_belong_to_the_providers_own_people() -> None:
    for organisation in organisations(10, 2):
        known = {person.user_name for person in organisation.people}
        assert all(team.members and known.issuperset(team.members) for team in organisation.teams)
        # So that one can always be swapped for another.
        assert all(len(team.members) < len(known) for team in organisation.teams)


def test_many_names_are_not_ascii_and_all_user_names_are() -> None:
    people = organisations(200, 12)[0].people
    assert sum(not person.display_name.isascii() for person in people) > len(people) // 2
    assert all(person.user_name.isascii() for person in people)
