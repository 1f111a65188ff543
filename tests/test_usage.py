"""Usage: every request that asked a model is counted once, whatever the disk, the clock and a restart do."""

import threading

import pytest
from running import wait_until

from offgrid.errors import StorageFull
from offgrid.store import usage as usage_module
from offgrid.store.db import Database
from offgrid.store.usage import DAY_S, UsageBook
from offgrid.types import Principal, Tally

ANNA = Principal("user", "anna", "Anna", "10.0.0.5", user_id="a1", key_id=1)
LAN = Principal("user", "lan", "lan", "10.0.0.9")
DAY = 25_000  # 2038-06-13
EVER = ("0001-01-01", "9999-12-31", 1000)


class Clock:
    def __init__(self):
        self.at = DAY * DAY_S + 10.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def db(tmp_path):
    database = Database(tmp_path / "offgrid.db")
    yield database
    database.close()


@pytest.fixture
def book(db, clock):
    book = UsageBook(db, clock)
    yield book
    book.close()


def chat(n_prompt: int = 10, n_cached: int = 4, n_completion: int = 5, model: str = "m") -> Tally:
    return Tally("chat", model, n_prompt, n_cached, n_completion)


def written(db: Database) -> list[tuple]:
    return [tuple(row) for row in db.read("SELECT * FROM usage ORDER BY 1, 2, 3, 4, 5")]


def test_requests_are_summed_by_day_account_key_model_and_service(db, book, clock):
    book.add(ANNA, chat())
    book.add(ANNA, chat())
    book.add(LAN, Tally("embeddings", "v", 7))
    clock.at += DAY_S
    book.add(ANNA, chat())
    assert written(db) == []
    book.write()
    assert written(db) == [
        ("2038-06-13", "10.0.0.9", 0, "v", "embeddings", 1, 7, 0, 0),
        ("2038-06-13", "a1", 1, "m", "chat", 2, 20, 8, 10),
        ("2038-06-14", "a1", 1, "m", "chat", 1, 10, 4, 5),
    ]
    book.add(ANNA, chat())
    book.write()
    assert written(db)[-1][5:] == (2, 20, 8, 10)


def test_sums_hold_what_is_not_written_yet_and_group_as_asked(book, clock):
    book.add(ANNA, chat())
    book.add(LAN, chat())
    assert [(row["user"], row["requests"]) for row in book.sums(["user"], *EVER)] == [("10.0.0.9", 1), ("a1", 1)]
    assert book.sums(["service", "model"], *EVER) == [
        {
            "service": "chat",
            "model": "m",
            "requests": 2,
            "prompt_tokens": 20,
            "cached_tokens": 8,
            "completion_tokens": 10,
        }
    ]
    assert book.sums(["day"], "2038-06-14", "9999-12-31", 10) == []


def test_what_asked_no_model_leaves_no_trace(book):
    book.add(ANNA, Tally())
    book.add(ANNA, Tally(service="chat"))
    book.add(None, chat())
    assert book.sums(["user"], *EVER) == []


def test_tokens_of_today_count_over_all_keys_of_a_user_and_for_each_key(book, clock):
    book.add(ANNA, chat())
    book.add(Principal("user", "anna", "Anna", "10.0.0.6", user_id="a1"), chat())
    assert (book.tokens_of_account("a1"), book.tokens_of_key(1), book.tokens_of_key(2)) == (30, 15, 0)
    clock.at += DAY_S
    assert (book.tokens_of_account("a1"), book.tokens_of_key(1)) == (0, 0)
    clock.at -= DAY_S  # a jump back: what is unwritten still counts, and so does what is written
    assert (book.tokens_of_account("a1"), book.tokens_of_key(1)) == (30, 15)
    book.write()
    clock.at += DAY_S
    book.tokens_of_account("a1")
    clock.at -= DAY_S
    assert (book.tokens_of_account("a1"), book.tokens_of_key(1)) == (30, 15)


def timers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "usage:clock"]


def test_what_was_counted_is_written_by_itself_and_an_idle_book_has_no_thread(db, clock, monkeypatch):
    monkeypatch.setattr(usage_module, "WRITE_EVERY_S", 0.01)
    book = UsageBook(db, clock)
    for n in (1, 2):
        book.add(ANNA, chat())
        wait_until(lambda n=n: [row[5] for row in written(db)] == [n])
        wait_until(lambda: not timers())
    book.close()


def test_closing_writes_the_rest_and_ends_the_timer(db, book):
    book.add(ANNA, chat())
    assert timers()
    book.close()
    wait_until(lambda: not timers())
    assert [row[5] for row in written(db)] == [1]


def test_a_full_disk_loses_no_count(db, book):
    book.add(ANNA, chat())
    pages = db._writer.execute("PRAGMA page_count").fetchone()[0]
    db._writer.execute(f"PRAGMA max_page_count = {pages}")
    for i in range(3000):
        book.add(ANNA, chat(model=f"model {i:0100}"))
    with pytest.raises(StorageFull):
        book.write()
    book.add(ANNA, chat())
    assert book.tokens_of_account("a1") == 15 * 3002
    db._writer.execute("PRAGMA max_page_count = 1000000")
    assert book.sums(["user"], *EVER)[0]["requests"] == 3002


def test_a_day_that_cannot_be_read_begins_at_zero(db, book):
    with db.write() as sql:
        sql.execute("ALTER TABLE usage RENAME TO gone")
    book.add(ANNA, chat())
    assert book.tokens_of_account("a1") == 15
    with db.write() as sql:
        sql.execute("ALTER TABLE gone RENAME TO usage")


def test_what_cannot_be_written_is_bounded_and_its_sums_stay_true(book, monkeypatch):
    monkeypatch.setattr(usage_module, "MAX_UNWRITTEN", 10)
    for i in range(50):
        book.add(Principal("user", "lan", "lan", f"10.0.0.{i}"), chat())
    assert len(book._unwritten) == 11
    rows = {row["user"]: row["requests"] for row in book.sums(["user"], *EVER)}
    assert rows.pop("(others)") == 40
    assert sum(rows.values()) == 10


def test_many_threads_add_while_others_write_and_nothing_is_lost_or_doubled(db, book):
    def add() -> None:
        for _ in range(500):
            book.add(ANNA, chat())

    def write() -> None:
        for _ in range(20):
            book.write()

    threads = [threading.Thread(target=work) for work in [add] * 8 + [write] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    book.write()
    assert [row[5:] for row in written(db)] == [(4000, 40_000, 16_000, 20_000)]
    assert book.tokens_of_account("a1") == 60_000
