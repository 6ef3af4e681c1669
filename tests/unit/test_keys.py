"""Keys: their form, their hash, who they are for, and what a refusal says."""

from dataclasses import replace

import pytest

from adapters import keys
from adapters.keys import CertificateOwners, KeyRow, OwnerRow, SettingsKeys
from service.domain.calls import Principal
from service.domain.errors import Reason, ServiceError
from service.domain.preferences import Floor

PEPPER = b"a pepper of more than sixteen characters"


def row_for(key: str, owner: str = "team", *, disabled: bool = False, floor: Floor | None = None) -> KeyRow:
    hashed = keys.hash_secret(key, PEPPER)
    return KeyRow(keys.public_id(key), hashed, owner, disabled=disabled, floor=floor or Floor())


def over(*rows: KeyRow, pepper: bytes = PEPPER, owners: tuple[OwnerRow, ...] = ()) -> SettingsKeys:
    return SettingsKeys(lambda: rows, lambda: pepper, owners=lambda: owners)


def refusal(store: SettingsKeys, presented: str | None) -> str:
    with pytest.raises(ServiceError) as caught:
        store.authenticate(presented)
    assert caught.value.reason is Reason.INVALID_KEY
    return caught.value.message


def test_a_new_key_has_the_documented_form_and_is_new() -> None:
    made = {keys.make_key() for _ in range(200)}
    assert len(made) == 200
    assert all(keys.is_key(key) and len(key) == 40 and key.startswith("eur_") for key in made)
    assert len({character for key in made for character in key[4:]}) == 62


def test_a_key_is_for_the_owner_in_its_row() -> None:
    key = keys.make_key()
    assert over(row_for(key)).authenticate(key) == Principal(owner="team", key_id=key[4:16])


def test_the_hash_is_keyed_and_covers_the_whole_secret() -> None:
    key = keys.make_key()
    assert keys.hash_secret(key, PEPPER) != keys.hash_secret(key, b"another")
    assert keys.hash_secret(key, PEPPER) != keys.hash_secret(key[:-1] + "_", PEPPER)
    assert key[16:] not in keys.hash_secret(key, PEPPER)


@pytest.mark.parametrize("pepper", [PEPPER, b"another pepper"])
def test_a_wrong_secret_an_unknown_id_and_another_pepper_get_one_answer(pepper: bytes) -> None:
    key, other = keys.make_key(), keys.make_key()
    forged = key[:16] + other[16:]
    store = over(row_for(key), pepper=pepper)
    answers = {refusal(store, forged), refusal(store, other)}
    if pepper != PEPPER:
        answers.add(refusal(store, key))
    assert len(answers) == 1


@pytest.mark.parametrize("presented", [None, "", "sk-1234", "eur_short", "eur_" + "a" * 37, "eur_" + "é" * 36])
def test_no_key_or_another_form_is_refused_without_repeating_it(presented: str | None) -> None:
    message = refusal(over(row_for(keys.make_key())), presented)
    assert "eur_" in message
    assert not presented or presented not in message


def test_a_disabled_key_says_so_only_to_who_holds_it() -> None:
    key = keys.make_key()
    store = over(row_for(key, disabled=True))
    assert "disabled" in refusal(store, key)
    assert "disabled" not in refusal(store, key[:16] + keys.make_key()[16:])


@pytest.mark.parametrize("presented", [None, "anything", "eur_" + "a" * 36])
def test_without_configured_keys_everybody_is_local(presented: str | None) -> None:
    assert over().authenticate(presented) == Principal(owner="local")


def test_without_keys_behind_mutual_tls_nobody_is_local() -> None:
    store = SettingsKeys(lambda: (), lambda: b"", open_without_keys=lambda: False)
    assert "client certificate" in refusal(store, None)


def test_exchanged_rows_count_for_the_next_call() -> None:
    key = keys.make_key()
    rows: tuple[KeyRow, ...] = (row_for(key),)
    store = SettingsKeys(lambda: rows, lambda: PEPPER)
    assert store.authenticate(key).owner == "team"
    rows = (row_for(key, "other"),)
    assert store.authenticate(key).owner == "other"
    rows = (row_for(keys.make_key()),)
    refusal(store, key)


def test_floors_of_key_and_owner_are_both_kept() -> None:
    key = keys.make_key()
    owners = (OwnerRow("team", floor=Floor(data_residency=("eu",), max_retention_days=30)),)
    store = over(row_for(key, floor=Floor(data_residency=("de",), max_retention_days=60)), owners=owners)
    assert store.authenticate(key).floor == Floor(data_residency=("de", "eu"), max_retention_days=30)


@pytest.mark.parametrize(("keys_own", "owners"), [(True, False), (False, True), (True, True), (False, False)])
def test_media_is_fetched_where_the_keys_row_or_its_owners_says_so(keys_own: bool, owners: bool) -> None:
    key = keys.make_key()
    store = over(replace(row_for(key), fetch_media=keys_own), owners=(OwnerRow("team", fetch_media=owners),))
    assert store.authenticate(key).fetch_media is (keys_own or owners)


def test_without_keys_media_is_fetched_only_where_the_owner_local_may() -> None:
    assert over().authenticate(None) == keys.LOCAL
    assert over(owners=(OwnerRow("team", fetch_media=True),)).authenticate(None) == keys.LOCAL
    assert over(owners=(OwnerRow("local"),)).authenticate(None) == keys.LOCAL
    allowed = over(owners=(OwnerRow("local", fetch_media=True),)).authenticate(None)
    assert allowed == Principal(owner="local", fetch_media=True)


def test_without_keys_the_filters_of_the_owner_local_hold_for_everybody() -> None:
    floor = Floor(data_residency=("eu",), max_retention_days=0)
    owners = (OwnerRow("team", floor=Floor(eu_owned=True)), OwnerRow("local", floor=floor))
    assert over(owners=owners).authenticate(None) == Principal(owner="local", floor=floor)


def test_a_certificates_owner_may_have_media_fetched() -> None:
    owners = (OwnerRow("a", ("a.example",), fetch_media=True),)
    assert CertificateOwners(lambda: owners)(("a.example",)) == Principal(owner="a", fetch_media=True)


def test_a_client_certificate_speaks_for_the_owner_that_lists_one_of_its_names() -> None:
    owners: tuple[OwnerRow, ...] = (OwnerRow("a", ("a.example", "spiffe://x/a")), OwnerRow("b", ("b.example",)))
    by_certificate = CertificateOwners(lambda: owners)
    assert by_certificate(("unknown", "spiffe://x/a")) == Principal(owner="a")
    assert by_certificate(("nobody",)) is None
    assert by_certificate(()) is None
    owners = (OwnerRow("c", ("a.example",), Floor(eu_owned=True)),)
    assert by_certificate(("a.example",)) == Principal(owner="c", floor=Floor(eu_owned=True))
