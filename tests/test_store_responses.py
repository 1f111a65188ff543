"""Responses as rows: each its owner's, forming conversations, bounded; what others go on from stays theirs."""

import pytest

from offgrid.errors import BadRequest, NotFound
from offgrid.store import responses as module
from offgrid.store.db import Database
from offgrid.store.responses import Responses


@pytest.fixture
def db(tmp_path):
    db = Database(tmp_path / "offgrid.db")
    yield db
    db.close()


@pytest.fixture
def responses(db):
    return Responses(db)


def keep(responses: Responses, id: str, previous: str | None = None, owner: str = "ada") -> None:
    response = {"id": id, "output": [f"{id} said"], "metadata": {"of": owner}}
    responses.keep(owner, response, [f"{id} asked"], previous)


def n_rows(db: Database) -> int:
    return db.row("SELECT count(*) FROM responses")[0]


def test_a_response_comes_back_as_it_was_kept(responses):
    keep(responses, "a")
    assert responses.get("ada", "a") == {"id": "a", "output": ["a said"], "metadata": {"of": "ada"}}
    assert responses.items_before("ada", "a") == ["a asked"]


def test_a_conversation_is_what_was_asked_and_said_the_first_first(responses):
    keep(responses, "a")
    keep(responses, "b", "a")
    keep(responses, "other", "a")
    keep(responses, "c", "b")
    assert responses.conversation("ada", "c") == ["a asked", "a said", "b asked", "b said", "c asked", "c said"]
    assert responses.items_before("ada", "c") == ["a asked", "a said", "b asked", "b said", "c asked"]
    assert responses.conversation("ada", "other") == ["a asked", "a said", "other asked", "other said"]


def test_nobody_sees_deletes_or_goes_on_from_the_response_of_another(responses):
    keep(responses, "a")
    for attempt in (responses.get, responses.items_before, responses.delete):
        with pytest.raises(NotFound):
            attempt("bob", "a")
    with pytest.raises(BadRequest) as caught:
        responses.conversation("bob", "a")
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
    with pytest.raises(BadRequest):
        keep(responses, "b", "a", owner="bob")
    assert responses.conversation("ada", "a") == ["a asked", "a said"]


def test_a_deleted_response_is_gone_and_what_goes_on_from_it_stays_whole(responses, db):
    keep(responses, "a")
    keep(responses, "b", "a")
    responses.delete("ada", "a")
    for attempt in (responses.get, responses.items_before, responses.delete):
        with pytest.raises(NotFound):
            attempt("ada", "a")
    with pytest.raises(BadRequest):
        responses.conversation("ada", "a")
    assert responses.conversation("ada", "b") == ["a asked", "a said", "b asked", "b said"]
    assert db.row("SELECT about FROM responses WHERE id = 'a'")[0] == ""
    responses.delete("ada", "b")
    assert n_rows(db) == 0


def test_a_response_that_was_hidden_meanwhile_can_still_be_gone_on_from_by_one_that_had_begun(responses):
    keep(responses, "a")
    keep(responses, "b", "a")
    responses.delete("ada", "a")
    keep(responses, "late", "a")
    assert responses.conversation("ada", "late") == ["a asked", "a said", "late asked", "late said"]


def test_the_oldest_go_when_there_are_too_many_and_conversations_stay_whole(responses, db, monkeypatch):
    monkeypatch.setattr(module, "MAX_RESPONSES", 3)
    keep(responses, "bobs", owner="bob")
    for id, previous in (("a", None), ("b", "a"), ("c", "b"), ("alone", None), ("d", "c")):
        keep(responses, id, previous)
    for id in ("a", "b"):
        with pytest.raises(NotFound):
            responses.get("ada", id)
    assert responses.conversation("ada", "d")[:2] == ["a asked", "a said"]
    for id in ("x", "y", "z"):
        keep(responses, id)
    assert n_rows(db) == 4  # bob's, and the newest three: of the conversation nothing is left behind
    assert responses.get("bob", "bobs")["id"] == "bobs"


def test_the_oldest_go_when_they_are_too_large_but_never_the_newest(responses, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    keep(responses, "a")
    keep(responses, "b")
    with pytest.raises(NotFound):
        responses.get("ada", "a")
    assert responses.get("ada", "b")["id"] == "b"


def test_half_a_surrogate_pair_does_not_keep_a_response_from_being_kept(responses):
    responses.keep("ada", {"id": "a", "output": ["\ud800 é 🐟"]}, ["\udc00"], None)
    assert responses.conversation("ada", "a") == ["?", "? é 🐟"]


def test_items_are_found_by_their_id_among_those_that_are_kept_of_their_owner(responses):
    def of(id: str, text: str) -> dict:
        return {"id": id, "text": text}

    responses.keep("ada", {"id": "a", "output": [of("o1", "first"), of("o2", "kept")]}, [of("i1", "asked")], None)
    responses.keep("ada", {"id": "b", "output": [of("o1", "newer")]}, [], "a")
    responses.keep("bob", {"id": "c", "output": [of("o3", "bob's")]}, [], None)
    wanted = {"o1", "o2", "i1", "o3"}
    assert responses.items("ada", wanted) == {
        "o1": of("o1", "newer"),
        "o2": of("o2", "kept"),
        "i1": of("i1", "asked"),
    }
    assert responses.items("bob", wanted) == {"o3": of("o3", "bob's")}
    responses.delete("ada", "a")
    assert responses.items("ada", wanted) == {"o1": of("o1", "newer")}
