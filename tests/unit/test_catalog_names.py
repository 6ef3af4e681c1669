"""Names that servers give themselves, against those that the catalogue's file gives: who is meant by which."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.catalog import Discovered, build_catalog
from adapters.catalog.load import check_document
from adapters.catalog.names import clashes
from adapters.documents.read import parse_document
from adapters.providers.registry import DIALECTS
from service.domain.catalog import Alias, Catalog, visible_to
from service.domain.errors import Reason, ServiceError
from service.domain.preferences import OPEN, Preferences
from service.domain.selection import Selection, select
from tests.support.catalogs import catalog, endpoint, model, provider

FILE = """
providers:
  - {slug: eu-gpu, dialect: openai_chat, base_url: "http://a/v1"}
  - {slug: us-gpu, dialect: openai_chat, base_url: "http://b/v1", discover: true}
  - {slug: more, dialect: openai_chat, base_url: "http://e/v1", discover: true}
  - {slug: a-gpu, dialect: openai_chat, base_url: "http://c/v1", discover: true, owner: team-a}
  - {slug: b-gpu, dialect: openai_chat, base_url: "http://d/v1", discover: true, owner: team-b}
models:
  - {id: acme/big, endpoints: [{provider: eu-gpu}]}
  - {id: deep/er/name, endpoints: [{provider: eu-gpu}]}
  - {id: a/own, endpoints: [{provider: a-gpu}]}
aliases:
  - {name: company/private, models: [acme/big], provider: {data_residency: eu}}
  - {name: Private, models: [big], provider: {data_residency: eu}}
  - {name: free, models: ["big:free"], provider: {data_residency: eu}}
  - {name: mixed, models: [secret, big]}
  - {name: secret-one, models: [secret]}
"""
DIALECT_TABLES = {name: dialect.expressible_with for name, dialect in DIALECTS.items()}
DOCUMENT = check_document(parse_document(FILE, "catalogue.yaml"))


def built(**found: str) -> Catalog:
    """The catalogue after servers named these models, blanks between them; `_` in a server's slug is `-`."""
    discovered = {slug.replace("_", "-"): tuple(map(Discovered, names.split())) for slug, names in found.items()}
    return build_catalog(DOCUMENT, DIALECT_TABLES, lambda _: True, discovered=discovered)


def chosen(rows: Catalog, name: str, owner: str | None = "team-c") -> Selection:
    return select(
        rows,
        model=name,
        models=(),
        rule_id=None,
        rule_name=None,
        preferences=Preferences(),
        floor=OPEN,
        owner=owner,
    )


def meant(rows: Catalog, name: str, owner: str | None = "team-c") -> list[str]:
    wanted = chosen(rows, name, owner).wanted
    return [item.model.id + (f":{item.variant}" if item.variant else "") for item in wanted]


def missing(rows: Catalog, name: str, owner: str | None = "team-c") -> str:
    with pytest.raises(ServiceError) as caught:
        chosen(rows, name, owner)
    assert caught.value.reason is Reason.MODEL_NOT_FOUND
    return caught.value.message


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("company/private", "company/private"),
        ("company/private", "Company/PRIVATE"),
        ("company/private:floor", "company/private:floor"),
        ("private", "x/private private"),
        ("private:floor", "x/private:floor"),
        ("private:FREE", "private:free x/private:FREE"),
        ("Private:nitro", "private:NITRO"),
    ],
)
def test_an_alias_keeps_its_models_and_its_filter_whatever_a_server_calls_its_models(
    name: str, found: str
) -> None:
    before = chosen(built(), name)
    (wanted,) = before.wanted
    assert (wanted.model.id, before.policy.preferences.data_residency) == ("acme/big", "eu")
    rows = built(us_gpu=found, a_gpu=found)
    for owner in (None, "team-a", "team-c"):
        after = chosen(rows, name, owner)
        assert [(each.model.id, each.variant) for each in after.wanted] == [("acme/big", wanted.variant)]
        assert after.policy == before.policy


def test_a_discovered_id_that_means_something_else_by_the_file_is_left_out_and_told_with_what_it_means() -> None:
    found = "company/private company/PRIVATE:free acme/big:free ACME/big er/name good/one x/private"
    rows = built(us_gpu=found)
    assert set(rows.models) == {"acme/big", "deep/er/name", "a/own", "good/one", "x/private"}
    assert [e.id for e in rows.models["acme/big"].endpoints] == ["eu-gpu/acme/big", "us-gpu/acme/big"]
    assert list(clashes(DOCUMENT, "us-gpu", tuple(map(Discovered, found.split())))) == [
        ("company/private", "company/private"),
        ("company/PRIVATE:free", "company/private"),
        ("acme/big:free", "acme/big"),
        ("er/name", "deep/er/name"),
    ]
    assert meant(rows, "x/private") == ["x/private"], "its full id is nobody else's"


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("team/best", "acme/big"),
        ("team/best:free", "acme/big:free"),
        ("fast:floor", "acme/big:floor"),
        ("acme/big:nitro", "acme/big:nitro"),
    ],
)
def test_an_alias_and_a_model_of_the_file_never_lose_to_a_discovered_one_even_if_it_got_in(
    name: str, means: str
) -> None:
    intruders = ("team/best", "team/best:free", "x/fast:floor", "acme/big:nitro")
    rows = catalog(
        model("acme/big"),
        *(replace(model(each, endpoint("beta", model=each)), discovered=True) for each in intruders),
        aliases=[Alias("team/best", ("acme/big",)), Alias("fast", ("acme/big",))],
    )
    assert rows.names["fast:floor"] == "x/fast:floor"
    (wanted,) = chosen(rows, name).wanted
    assert (wanted.model.id, wanted.variant) == ("acme/big", means.removeprefix("acme/big").lstrip(":"))


@pytest.mark.parametrize("name", ["big", "BIG", "big:free", "private", "free"])
def test_a_bare_name_of_the_file_means_the_same_whatever_servers_have(name: str) -> None:
    found = "other/big other/big:free big big:free"
    after = built(us_gpu=found, a_gpu=found, b_gpu="acme/big:free y/big")
    for owner in (None, "team-a", "team-b", "team-c"):
        assert meant(after, name, owner) == meant(built(), name, owner)
    assert meant(after, "other/big") == ["other/big"]


def test_a_bare_name_that_two_servers_give_means_neither() -> None:
    assert meant(built(us_gpu="x/new"), "new") == ["x/new"]
    assert "ambiguous; use one of x/new, y/new" in missing(built(us_gpu="x/new", more="y/new"), "new")


def test_what_an_owners_server_has_counts_for_no_bare_name_of_others() -> None:
    rows = built(us_gpu="x/new", a_gpu="y/new y/fine X/NEW:free", b_gpu="z/fine")
    for owner in (None, "team-a", "team-b", "team-c"):
        assert meant(rows, "new", owner) == ["x/new"]
    assert (meant(rows, "fine", "team-a"), meant(rows, "fine", "team-b")) == (["y/fine"], ["z/fine"])
    assert meant(rows, "X/NEW:free", "team-a") == ["X/NEW:free"]
    (wanted,) = chosen(rows, "X/NEW:free", "team-c").wanted
    assert (wanted.model.id, wanted.variant) == ("x/new", "free")


def test_an_owners_model_in_the_file_keeps_its_bare_name_for_the_owner_and_takes_it_from_nobody_else() -> None:
    rows = built(us_gpu="x/own")
    assert (meant(rows, "own", "team-a"), meant(rows, "own", "team-c")) == (["a/own"], ["x/own"])
    assert meant(built(), "own", "team-a") == ["a/own"]


def test_models_of_other_owners_do_not_exist_and_are_not_suggested() -> None:
    rows = built(a_gpu="team-a/merger-plan-ft")
    assert meant(rows, "merger-plan-ft", "team-a") == ["team-a/merger-plan-ft"]
    for owner in (None, "team-b"):
        for name in ("team-a/merger-plan-ft", "TEAM-A/merger-plan-ft", "merger-plan-ft", "team-a/merger-plan-f"):
            assert missing(rows, name, owner) == f'there is no model "{name}"'
    assert "did you mean team-a/merger-plan-ft" in missing(rows, "team-a/merger-plan-f", "team-a")
    assert visible_to(rows.models["team-a/merger-plan-ft"], "team-a")


def test_providers_of_other_owners_are_not_suggested() -> None:
    rows = catalog(model("v/m"), providers=[provider("team-a-gpu", owner="team-a")])

    def told(owner: str) -> str:
        with pytest.raises(ServiceError) as caught:
            select(
                rows,
                model="v/m",
                models=(),
                rule_id=None,
                rule_name=None,
                preferences=Preferences(only=("team-a-gp",)),
                floor=OPEN,
                owner=owner,
            )
        return caught.value.message

    assert "did you mean team-a-gpu" in told("team-a")
    assert "team-a-gpu" not in told("team-b")


def test_an_alias_passes_over_members_that_are_another_owners_and_is_none_without_others() -> None:
    rows = built(a_gpu="x/secret")
    assert meant(rows, "mixed", "team-a") == ["x/secret", "acme/big"]
    assert meant(rows, "mixed", "team-b") == ["acme/big"]
    assert meant(rows, "secret-one", "team-a") == ["x/secret"]
    assert "x/secret" not in missing(rows, "secret-one", "team-b")
    assert 'there is no model "secret"' in missing(built(), "mixed")
