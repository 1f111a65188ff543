"""Chat sessions as rows: each its owner's, whole or not at all, bounded, in the order of their changes."""

import threading

import pytest

from offgrid.errors import Conflict, NotFound, TooLarge
from offgrid.store import sessions as module
from offgrid.store.db import Database
from offgrid.store.sessions import Message, Sessions

HELLO = Message("user", "Hello!")


@pytest.fixture
def sessions(tmp_path):
    db = Database(tmp_path / "offgrid.db")
    yield Sessions(db)
    db.close()


def texts(sessions: Sessions, owner: str, name: str) -> list[str]:
    return [message.content for message in sessions.get(owner, name).messages]


def test_a_session_keeps_its_messages_in_their_order(sessions):
    sessions.create("ada", "maths", "tiny", [Message("system", "Be kind."), HELLO])
    sessions.append("ada", "maths", [Message("assistant", "Hi")])
    found = sessions.get("ada", "maths")
    assert (found.name, found.model_id) == ("maths", "tiny")
    assert [(m.role, m.content) for m in found.messages] == [
        ("system", "Be kind."),
        ("user", "Hello!"),
        ("assistant", "Hi"),
    ]
    assert found.created_at <= found.messages[0].at <= found.messages[2].at == found.updated_at


def test_a_name_is_free_again_after_deleting_and_for_everybody_else(sessions):
    sessions.create("ada", "maths", "", [HELLO])
    with pytest.raises(Conflict, match="'maths'"):
        sessions.create("ada", "maths", "", [])
    sessions.create("bob", "maths", "", [])
    sessions.delete("ada", "maths")
    assert sessions.create("ada", "maths", "", []).messages == []
    assert texts(sessions, "ada", "maths") == []


def test_nobody_sees_or_changes_the_session_of_another(sessions):
    sessions.create("ada", "diary", "", [HELLO])
    for attempt in (sessions.get, sessions.delete, lambda *who: sessions.append(*who, [HELLO])):
        with pytest.raises(NotFound):
            attempt("bob", "diary")
    assert sessions.list("bob", 10, 0) == []
    assert texts(sessions, "ada", "diary") == ["Hello!"]
    assert [sessions.count(owner) for owner in ("ada", "bob", None)] == [1, 0, 1]


def test_the_list_begins_with_what_changed_last_also_where_the_clock_goes_back(sessions, monkeypatch):
    times = iter([1_800_000_000.0, 5.0, 4.0, 3.0])
    monkeypatch.setattr(module.time, "time", lambda: next(times))
    for name in ("a", "b", "c"):
        sessions.create("ada", name, "", [])
    sessions.append("ada", "a", [HELLO])
    assert [s.name for s in sessions.list("ada", 10, 0)] == ["a", "c", "b"]
    assert [s.name for s in sessions.list("ada", 1, 1)] == ["c"]


def test_a_page_is_bounded_in_bytes_but_never_empty(sessions, monkeypatch):
    for name in "abcd":
        sessions.create("ada", name, "", [Message("user", "x" * 100)])
    monkeypatch.setattr(module, "MAX_PAGE_BYTES", 150)
    assert [s.name for s in sessions.list("ada", 10, 0)] == ["d", "c"]
    monkeypatch.setattr(module, "MAX_PAGE_BYTES", 1)
    assert [s.name for s in sessions.list("ada", 10, 2)] == ["b"]


def test_what_does_not_fit_leaves_nothing_behind(sessions, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    sessions.create("ada", "a", "", [Message("user", "12345")])
    with pytest.raises(TooLarge, match="'a' would have 11 bytes; 10 is the most"):
        sessions.append("ada", "a", [Message("user", "6"), Message("user", "äö7")])
    with pytest.raises(TooLarge):
        sessions.create("ada", "b", "", [Message("user", "x" * 11)])
    monkeypatch.setattr(module, "MAX_MESSAGES", 2)
    with pytest.raises(TooLarge, match="3 messages; 2 is the most"):
        sessions.append("ada", "a", [Message("user", ""), Message("user", "")])
    assert [(s.name, len(s.messages)) for s in sessions.list("ada", 10, 0)] == [("a", 1)]
    monkeypatch.setattr(module, "MAX_SESSIONS", 1)
    with pytest.raises(Conflict, match="Delete one first"):
        sessions.create("ada", "b", "", [])


def test_many_threads_appending_lose_and_double_nothing_and_keep_each_ones_order(sessions):
    sessions.create("ada", "all", "", [])

    def write(who: int) -> None:
        for i in range(25):
            sessions.append("ada", "all", [Message("user", f"{who} {i} q"), Message("assistant", f"{who} {i} a")])

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = texts(sessions, "ada", "all")
    assert len(kept) == 8 * 25 * 2
    for who in range(8):
        assert [t for t in kept if t.startswith(f"{who} ")] == [f"{who} {i} {x}" for i in range(25) for x in "qa"]
    assert all(q[:-1] == a[:-1] for q, a in zip(kept[::2], kept[1::2], strict=True))  # pairs stay together
