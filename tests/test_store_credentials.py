"""API keys, logins and their clock, and turns at hashing, against a real database file."""

import threading
import time

import pytest
from running import wait_until

from offgrid.errors import Conflict, NotFound, Unavailable
from offgrid.store.db import Database
from offgrid.store.keys import LOLLMS, MAX_KEYS_EACH, Keys
from offgrid.store.logins import MAX_LOGINS_EACH, Logins, hash_of
from offgrid.store.passwords import Passwords
from offgrid.store.session_clock import SessionClock
from offgrid.store.turns import Turns
from offgrid.store.users import Users

IN_2026 = 1_780_000_000.0
HOUR_S = 3600.0


class Machine:
    """A machine's two clocks, for tests to turn."""

    def __init__(self, wall_s: float = IN_2026):
        self.wall_s, self.running_s = wall_s, 5.0

    def pass_(self, seconds: float) -> None:
        self.wall_s += seconds
        self.running_s += seconds

    def clock(self, db: Database) -> SessionClock:
        return SessionClock(db, lambda: self.running_s, lambda: self.wall_s)


@pytest.fixture
def db(tmp_path):
    database = Database(tmp_path / "offgrid.db")
    yield database
    database.close()


@pytest.fixture
def users(db):
    return Users(db, Passwords(cost=4))


@pytest.fixture
def ada(users):
    return users.create("ada", "secret1")


# --- keys ---


def test_a_key_is_found_by_its_text_only_and_its_text_is_kept_nowhere(db, ada):
    keys = Keys(db)
    key, text = keys.create(ada.id, "laptop")
    other, lollms = keys.create(ada.id, "lollms", issuer=LOLLMS)
    assert len(text) == 46 and text.startswith(key.prefix) and key.prefix.startswith("og_")
    assert len(lollms) == 59 and lollms.startswith(other.prefix + "_") and lollms.count("_", 0, 16) == 2
    assert keys.find(text) == (ada, key.id)
    assert keys.find(lollms) == (ada, other.id)
    wrong = [text[:-1], text + "x", text[:-1] + "?", key.prefix, lollms[:-1] + "?", "", "og_", "x" * 46, "lollms_ä" * 9]
    assert [keys.find(word) for word in wrong] == [None] * len(wrong)
    db.close()
    assert text.encode() not in db.path.read_bytes()


def test_a_revoked_or_expired_key_is_no_key(db, ada):
    keys = Keys(db)
    key, text = keys.create(ada.id, "a")
    keys.revoke(ada.id, [key.id])
    _, over = keys.create(ada.id, "b", expires_at=time.time() - 1)
    _, good = keys.create(ada.id, "c", expires_at=time.time() + 100)
    assert keys.find(text) is keys.find(over) is None
    assert keys.find(good)
    with pytest.raises(NotFound):
        keys.revoke(ada.id, [key.id])


def test_somebody_elses_key_cannot_be_revoked_and_of_several_all_go_or_none(db, users, ada):
    keys = Keys(db)
    mine, text = keys.create(ada.id, "a")
    theirs, _ = keys.create(users.create("bob", "secret1").id, "b")
    with pytest.raises(NotFound):
        keys.revoke(ada.id, [mine.id, theirs.id])
    assert keys.find(text)


def test_an_id_of_a_key_is_never_given_again(db, ada):
    keys = Keys(db)
    first, _ = keys.create(ada.id, "a")
    keys.revoke(ada.id, [first.id])
    assert keys.create(ada.id, "a")[0].id > first.id


def test_the_number_of_keys_is_bounded_and_a_replaced_one_makes_room(db, ada):
    keys = Keys(db)
    for n in range(MAX_KEYS_EACH):
        keys.create(ada.id, f"key {n}")
    with pytest.raises(Conflict):
        keys.create(ada.id, "one more")
    keys.create(ada.id, "key 0", replaces="key 0")
    assert len(keys.of(ada.id)) == MAX_KEYS_EACH
    with pytest.raises(NotFound):
        keys.create("nobody", "a")


def test_the_last_use_is_seen_at_once_and_written_later(db, ada):
    keys = Keys(db)
    key, text = keys.create(ada.id, "a")
    assert keys.of(ada.id)[0].last_used_at is None
    keys.find(text)
    [seen] = keys.of(ada.id)
    assert seen.last_used_at >= key.created_at
    assert Keys(db).of(ada.id)[0].last_used_at is None
    keys.save_uses()
    assert Keys(db).of(ada.id) == keys.of(ada.id) == [seen]


def test_deleting_a_user_ends_keys_and_logins(db, users, ada):
    keys, logins = Keys(db), Logins(db, Machine().clock(db), HOUR_S)
    _, text = keys.create(ada.id, "a")
    token = logins.create(ada)
    users.delete(ada.id)
    assert keys.find(text) is None and logins.find(token) is None
    assert db.read("SELECT 1 FROM keys UNION SELECT 1 FROM logins") == []


# --- logins ---


def test_a_login_ends_by_logging_out_and_by_a_change_of_the_password(db, users, ada):
    logins = Logins(db, Machine().clock(db), HOUR_S)
    tokens = [logins.create(ada) for _ in range(3)]
    assert [logins.find(token).id for token in tokens] == [ada.id] * 3
    logins.revoke(tokens[0])
    logins.revoke(tokens[0])
    assert logins.find(tokens[0]) is None
    users.set_password(ada.id, "secret2", kept_login=hash_of(tokens[1]))
    assert logins.find(tokens[1]) and logins.find(tokens[2]) is None
    users.set_password(ada.id, "secret3")
    assert logins.find(tokens[1]) is None


def test_a_password_that_was_changed_while_it_was_checked_gives_no_login(db, users, ada):
    logins = Logins(db, Machine().clock(db), HOUR_S)
    users.set_password(ada.id, "secret2")
    assert logins.create(ada) is None
    assert logins.create(users.get(ada.id))


def test_a_login_of_1970_lives_through_the_jump_to_2026_and_ends_after_its_hours_of_running(db, ada):
    machine = Machine(wall_s=30.0)
    logins = Logins(db, machine.clock(db), 24 * HOUR_S)
    token = logins.create(ada)
    machine.pass_(HOUR_S)
    machine.wall_s = IN_2026
    assert logins.find(token)
    machine.wall_s = 0.0
    machine.pass_(23 * HOUR_S - 1)
    assert logins.find(token)
    machine.pass_(2)
    assert logins.find(token) is None


@pytest.mark.parametrize(
    ("before_s", "after_s", "counted_s"),
    [
        (IN_2026, IN_2026 + 10 * HOUR_S, 10 * HOUR_S),  # a machine with a clock was off for ten hours
        (100.0, 30.0, 0.0),  # a Pi without a network, always in 1970
        (100.0, IN_2026, 0.0),  # the clock was set in between: how long it was off, nobody knows
        (IN_2026, 30.0, 0.0),
        (IN_2026, IN_2026 - 5 * HOUR_S, 0.0),  # set back
        (IN_2026, IN_2026 + 1e9, 1e9),  # far in the future: all logins end, which is the safe side
    ],
)
def test_over_a_restart_the_clock_goes_on_as_far_as_the_machines_can_be_believed(db, before_s, after_s, counted_s):
    clock = Machine(before_s).clock(db)
    saved_s = clock.now_s()
    clock.save()
    assert Machine(after_s).clock(db).now_s() == pytest.approx(saved_s + counted_s)


def test_logins_of_one_user_are_bounded_and_ended_ones_are_swept_away(db, users, ada):
    machine = Machine()
    logins = Logins(db, machine.clock(db), HOUR_S)
    tokens = []
    for _ in range(MAX_LOGINS_EACH + 2):
        tokens.append(logins.create(ada))
        machine.pass_(1)
    assert [logins.find(token) is None for token in tokens].count(True) == 2
    assert logins.find(tokens[-1])
    machine.pass_(HOUR_S)
    logins.create(ada)
    assert len(db.read("SELECT 1 FROM logins")) == 1


# --- turns ---


def test_turns_go_round_by_name_so_that_a_crowd_delays_others_by_one(db):
    turns = Turns(1, most_waiting=10, most_waiting_each=5, refusal="busy")
    order, threads = [], []

    def work(name):
        with turns.turn(name):
            order.append(name)

    with turns.turn("crowd"):
        for n, name in enumerate(["crowd"] * 4 + ["ada"], 1):
            threads.append(threading.Thread(target=work, args=(name,)))
            threads[-1].start()
            wait_until(lambda n=n: turns.n_waiting == n)
    for thread in threads:
        thread.join()
    assert order == ["crowd", "ada", "crowd", "crowd", "crowd"]
    with turns.turn("again"):
        pass


def test_the_line_for_a_turn_is_bounded_for_one_name_and_for_all():
    turns = Turns(1, most_waiting=3, most_waiting_each=2, refusal="busy")
    threads = []

    def work(name):
        with turns.turn(name):
            pass

    with turns.turn("holder"):
        for n, name in enumerate(["a", "a", "b"], 1):
            threads.append(threading.Thread(target=work, args=(name,)))
            threads[-1].start()
            wait_until(lambda n=n: turns.n_waiting == n)
            if n == 2:
                with pytest.raises(Unavailable), turns.turn("a"):
                    pass
        with pytest.raises(Unavailable), turns.turn("c"):
            pass
    for thread in threads:
        thread.join()
    assert turns.n_waiting == 0
