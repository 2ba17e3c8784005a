"""Who is meant by a user id."""

from __future__ import annotations

import json

import pytest

from services.edge.channels.message_ids import of_backend, of_client
from services.edge.channels.namespaces import personal_channel
from services.sessions.privacy.person import NobodyMeant, Person
from services.sessions.values import identity

ODD = ['a"b\\c', "Ünï©ødé 🦆", "two\nlines", "a,b#c:d", "x" * 600, "nul\0byte", "</script>"]


@pytest.mark.parametrize("user", ODD)
def test_an_id_is_found_however_it_is_written(user: str) -> None:
    person = Person(user)
    for value in (user, identity(user)):
        assert person.has_id(value)
        assert person.is_in({"events": [{"user": value}]}) and person.is_in({value: 1})
        for ascii_only in (True, False):
            assert person.is_named_in(b"no JSON " + json.dumps(value, ensure_ascii=ascii_only).encode())
    other = Person(f"{user}2")
    assert not other.has_id(user) and not other.is_named_in(json.dumps(user)) and other.digest != person.digest


@pytest.mark.parametrize("user", ODD)
@pytest.mark.parametrize("namespace", ["", "me"])
def test_a_personal_channel_is_its_user_s(user: str, namespace: str) -> None:
    channel = personal_channel(user, namespace)
    assert Person(user).owns(channel) and not Person(f"{user}2").owns(channel)
    assert not Person("other").owns(channel)


def test_a_channel_of_several_users_is_no_one_s() -> None:
    assert not any(Person(user).owns("talk#ann,bob") for user in ("ann", "bob", "ann,bob"))
    assert Person("ann").owns("talk#ann"), "only she may subscribe"
    assert not Person("ann").owns("ann") and not Person("ann").owns("chat:ann")


@pytest.mark.parametrize("user", ODD)
def test_the_idempotency_keys_of_a_user_are_known(user: str) -> None:
    person = Person(user)
    assert person.gave_key(of_client("chat:x", user, "k")) and person.gave_key(of_client(f"#{user}", "bob", "k"))
    assert not person.gave_key(of_client("chat:x", "bob", user)), "the key is what its sender made of it"
    assert not person.gave_key("client.no base64") and not person.gave_key("api.xyz") and not person.gave_key("")
    if "\n" not in user:
        assert person.is_of_his_channel(of_backend(f"me:#{user}", "k"))
    assert not person.is_of_his_channel(of_backend("chat:x", user)) and not person.is_of_his_channel("api.%")


@pytest.mark.parametrize("user", ["", "half \ud800"])
def test_nobody_is_meant_by_some(user: str) -> None:
    with pytest.raises(NobodyMeant, match="expected a user id"):
        Person(user)


def test_a_person_does_not_show_the_id() -> None:
    assert "ann" not in repr(Person("ann")) and "ann" not in str(Person("ann"))
