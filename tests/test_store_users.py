"""Accounts against a real database file: names, passwords, the last admin, the first one, and what is written when."""

import sqlite3
import threading
import unicodedata

import pytest
from running import wait_until

from offgrid.api.sessions import Name
from offgrid.errors import BadRequest, Conflict, NotFound, SetupError
from offgrid.store import accounts as accounts_module
from offgrid.store.accounts import Accounts
from offgrid.store.db import Database
from offgrid.store.owners import OWNED_TABLES, adopt, delete_owned
from offgrid.store.passwords import Passwords
from offgrid.store.users import Users, folded

HOUR_S = 3600.0


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


# --- users ---


@pytest.mark.parametrize("name", ["a", "Ада", "नमस्ते", "李小龍", "o.b-r_i@en", "x" * 64, "٣"])
def test_names_of_every_script_are_names(users, name):
    assert users.create(name, "secret1").username == name
    assert users.named(name).username == name


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a/b", "a\n", "<b>", "a\0", "\ud800", "½", "😀", "a\u202eb"])
def test_what_is_no_name_is_refused(users, name):
    with pytest.raises(BadRequest) as caught:
        users.create(name, "secret1")
    assert caught.value.param == "username"


def test_a_text_of_any_length_is_no_name_and_no_password_without_its_marks_being_put_in_order(monkeypatch, users, ada):
    normalize, lengths = unicodedata.normalize, []
    monkeypatch.setattr(unicodedata, "normalize", lambda form, text: lengths.append(len(text)) or normalize(form, text))
    marks = "\u0301\u0316" * 5000  # out of order: putting n of them in order takes n² steps
    assert users.named(marks) is None
    folded(marks)
    assert not users.knows_password(ada, marks)
    with pytest.raises(BadRequest):
        users.create("bob", marks)
    with pytest.raises(BadRequest):
        Name().read(marks, "name")
    assert max(lengths) < 1000


def test_names_and_passwords_may_be_typed_with_their_marks_apart(users):
    name, password = "ệ" * 64, "ệ" * 24
    user = users.create(name, password)
    assert users.named(unicodedata.normalize("NFD", name)) == user
    assert users.knows_password(user, unicodedata.normalize("NFD", password))


def test_names_that_differ_in_case_or_width_are_one_account(users):
    user = users.create("Straße", "secret1")
    for name in ("strasse", "STRASSE", "ｓｔｒａｓｓｅ"):
        assert users.named(name) == user
        with pytest.raises(Conflict) as caught:
            users.create(name, "secret1")
        assert caught.value.code == "user_exists"
    assert folded("İ") == folded(folded("İ"))


def test_a_name_that_was_taken_while_its_password_was_hashed_is_a_conflict(users, monkeypatch):
    users.create("ada", "secret1")
    monkeypatch.setattr(users, "named", lambda _name: None)
    with pytest.raises(Conflict):
        users.create("Ada", "secret1")


@pytest.mark.parametrize("password", ["short", "", "x" * 73, "ä" * 37, "with\0nul", "half \ud800"])
def test_a_password_is_6_characters_to_72_bytes(users, ada, password):
    for change in (lambda: users.create("bob", password), lambda: users.set_password(ada.id, password)):
        with pytest.raises(BadRequest) as caught:
            change()
        assert caught.value.param == "password"
    assert not users.knows_password(ada, password)


@pytest.mark.parametrize("password", ["sixsix", "x" * 72, "ä" * 36, "pass wörd"])
def test_a_password_is_known_again_and_no_other_one(users, ada, password):
    users.set_password(ada.id, password)
    ada = users.get(ada.id)
    assert users.knows_password(ada, password)
    assert not users.knows_password(ada, password[:-1] + "y")
    assert not users.knows_password(None, password)


def test_a_password_is_the_same_however_its_letters_are_composed(users, ada):
    users.set_password(ada.id, "pass w\u00f6rd")
    assert users.knows_password(users.get(ada.id), "pass wo\u0308rd")


def test_no_password_is_in_the_database(db, users, ada):
    db.close()
    for file in db.path.parent.iterdir():
        assert b"secret1" not in file.read_bytes()
    assert "secret1" not in repr(ada) and ada.password_hash not in repr(ada)


def test_an_unknown_name_costs_a_hash_of_the_same_cost(monkeypatch, users, ada):
    import bcrypt

    costs = []
    check = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", lambda word, hashed: costs.append(hashed[:7]) or check(word, hashed))
    strong = Users(users._db, Passwords())
    bob = strong.create("bob", "secret1")
    assert not strong.knows_password(bob, "wrong-one")
    assert not strong.knows_password(None, "wrong-one")
    assert not strong.knows_password(bob, "")  # not even a password that can be none
    assert len(costs) == 3 and len(set(costs)) == 1


def test_the_last_admin_stays(users, ada):
    boss = users.create("boss", "secret1", "admin")
    for act in (lambda: users.delete(boss.id), lambda: users.set_role(boss.id, "user")):
        with pytest.raises(Conflict) as caught:
            act()
        assert caught.value.code == "last_admin"
    users.set_role(boss.id, "admin")
    users.set_role(ada.id, "admin")
    users.set_role(boss.id, "user")
    users.delete(boss.id)
    assert [user.username for user in users.all()] == ["ada"]


def test_two_admins_who_remove_each_other_at_once_leave_one(users):
    for _ in range(10):
        first, second = users.create("first", "secret1", "admin"), users.create("second", "secret1", "admin")
        refused = []

        def remove(user, refused=refused):
            try:
                users.delete(user.id)
            except Conflict as error:
                refused.append(error)

        threads = [threading.Thread(target=remove, args=(user,)) for user in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) == 1 and users.has_admin()
        with users._db.write() as sql:
            sql.execute("DELETE FROM users")


def test_what_is_nobodys_is_not_found(users):
    for act in (users.get, users.delete, lambda id: users.set_role(id, "user")):
        with pytest.raises(NotFound):
            act("nobody")
    with pytest.raises(NotFound):
        users.set_password("nobody", "secret1")
    with pytest.raises(BadRequest):
        users.create("x", "secret1", "root")


# --- whose rows ---


def test_every_table_with_an_owner_is_listed(db):
    tables = [row["name"] for row in db.read("SELECT name FROM sqlite_master WHERE type = 'table'")]
    owned = [t for t in tables if any(c["name"] == "owner" for c in db.read(f"PRAGMA table_info({t})"))]
    assert sorted(owned) == sorted(OWNED_TABLES)


def test_rows_are_adopted_and_deleted_by_owner(db):
    with db.write() as sql:
        sql.execute("CREATE TABLE notes (owner TEXT, text TEXT)")
        sql.execute("INSERT INTO notes VALUES ('local', 'a'), ('other', 'b')")
        adopt(sql, "local", "ada", ["notes"])
    assert [tuple(row) for row in db.read("SELECT * FROM notes")] == [("ada", "a"), ("other", "b")]
    with db.write() as sql:
        delete_owned(sql, "ada", ["notes"])
    assert [tuple(row) for row in db.read("SELECT * FROM notes")] == [("other", "b")]


# --- accounts as a whole ---


def test_the_first_admin_has_a_password_made_up_or_the_given_one_and_is_made_once(db):
    accounts = Accounts(db, HOUR_S)
    password = accounts.make_first_admin("")
    admin = accounts.users.named("admin")
    assert admin.must_change_password and accounts.users.knows_password(admin, password)
    assert accounts.make_first_admin("another-one") == ""
    assert accounts.users.get(admin.id) == admin
    with db.write() as sql:
        sql.execute("DELETE FROM users")
    with pytest.raises(SetupError, match=r"OFFGRID_ADMIN_PASSWORD.*72 bytes"):
        accounts.make_first_admin("x" * 80)
    assert accounts.make_first_admin("given-one") == ""
    admin = accounts.users.named("admin")
    assert not admin.must_change_password and accounts.users.knows_password(admin, "given-one")


def test_without_an_admin_a_user_called_admin_is_not_made_one_in_silence(db, users):
    users.create("Admin", "secret1")
    with pytest.raises(SetupError, match="users role admin admin"):
        Accounts(db, HOUR_S).make_first_admin("")


def test_uses_are_written_in_one_go_some_time_later_or_at_the_end(db, ada, monkeypatch):
    monkeypatch.setattr(accounts_module, "SAVE_AFTER_S", 0.01)
    accounts = Accounts(db, HOUR_S)
    _, text = accounts.keys.create(ada.id, "a")
    assert accounts.by_key(text)[0] == ada and accounts.by_key(text + "x") is None
    wait_until(lambda: db.row("SELECT last_used_at FROM keys")["last_used_at"])
    assert db.row("SELECT at_s FROM session_clock")
    monkeypatch.setattr(accounts_module, "SAVE_AFTER_S", 1000)
    patient = Accounts(db, HOUR_S)
    with db.write() as sql:
        sql.execute("UPDATE keys SET last_used_at = NULL")
    patient.by_key(text)
    patient.close()
    accounts.close()
    assert db.row("SELECT last_used_at FROM keys")["last_used_at"]
    assert not [t for t in threading.enumerate() if t.name == "store:accounts"]


def test_the_clock_of_the_logins_is_written_at_the_stop_if_there_are_any(db, ada):
    Accounts(db, HOUR_S).close()
    assert db.row("SELECT * FROM session_clock") is None
    accounts = Accounts(db, HOUR_S)
    accounts.logins.create(ada)
    accounts.close()
    assert db.row("SELECT * FROM session_clock")


def test_a_role_that_is_taken_away_is_gone_for_the_next_request(db, users, ada):
    accounts = Accounts(db, HOUR_S)
    _, text = accounts.keys.create(ada.id, "a")
    other = sqlite3.connect(db.path)  # another process: `offgrid.py users role`
    other.execute("UPDATE users SET role = 'viewer'")
    other.commit()
    other.close()
    assert accounts.by_key(text)[0].role == "viewer"
