"""The audit log is found changed, whatever is changed; and is found right after everything that may happen to it."""

import hashlib
import json
import shutil
import threading

import pytest
from audit_bench import NOW_MS, entry, findings, opened

from offgrid.store.audit_chain import BROKEN, START, Entry, Mark, check_lines, from_line, next_hash, to_line
from offgrid.store.audit_check import check_log

N = 9  # rows


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def db(folder, request):
    database, request.node.audit = opened(folder)
    yield database
    database.close()


@pytest.fixture
def log(db, request):
    """A log of N rows in three batches."""
    audit = request.node.audit
    for batch in range(3):
        audit.append([entry(n) for n in range(3 * batch, 3 * batch + 3)])
    assert findings(audit) == []
    return audit


def change(db, sql: str, *values) -> None:
    with db.write() as connection:
        assert connection.execute(sql, values).rowcount > 0


def one_finding(log, *texts: str) -> None:
    """It is found, and it is still found after the server has gone on writing."""
    before = findings(log)
    assert before, "nothing was found"
    for text in texts:
        assert any(text in finding for finding in before), before
    log.append([entry(100)])
    assert findings(log), "going on made it disappear"


def test_a_log_that_was_left_alone_is_right_and_says_how_long_it_is(log):
    report = check_log(log)
    assert (report.findings, report.n_rows, report.first_seq, report.last_seq) == ([], N, 1, N)
    assert report.n_unfinished == 0
    assert len(report.key) == 16


def test_nothing_recorded_yet_is_nothing_wrong(db, request, folder):
    report = check_log(request.node.audit)
    assert (report.findings, report.n_rows) == ([], 0)
    assert not (folder / "audit.key").exists()


@pytest.mark.parametrize("seq", [1, 4, 5, N], ids=lambda seq: f"row {seq}")
@pytest.mark.parametrize("field", [*Entry._fields, "hash"])
def test_one_changed_byte_is_found_in_every_field_of_every_row(log, db, field, seq):
    [old] = db.row(f"SELECT {field} FROM audit WHERE seq = ?", (seq,))
    if isinstance(old, int):
        new = old ^ 1
    elif isinstance(old, bytes):
        new = bytes([old[0] ^ 1]) + old[1:]
    else:
        new = chr(ord(old[0]) ^ 1) + old[1:]
    change(db, f"UPDATE audit SET {field} = ? WHERE seq = ?", new, seq)
    one_finding(log, f"row {seq}")


@pytest.mark.parametrize("field", ["user_id", "key_id"])
def test_a_value_that_was_taken_away_is_found(log, db, field):
    change(db, f"UPDATE audit SET {field} = NULL WHERE seq = 5")
    one_finding(log, "row 5")


@pytest.mark.parametrize("seq", range(1, N))
def test_a_deleted_row_is_found(log, db, seq):
    change(db, "DELETE FROM audit WHERE seq = ?", seq)
    one_finding(log, f"row {seq} is missing")


def test_a_deleted_row_with_the_others_moved_up_is_found(log, db):
    change(db, "DELETE FROM audit WHERE seq = 5")
    for seq in range(6, N + 1):
        change(db, "UPDATE audit SET seq = seq - 1 WHERE seq = ?", seq)
    one_finding(log, "row 5 was changed", f"row {N} is missing at the end")


def test_an_inserted_row_is_found(log, db):
    for seq in range(N, 4, -1):
        change(db, "UPDATE audit SET seq = seq + 1 WHERE seq = ?", seq)
    change(db, "INSERT INTO audit SELECT 5, " + ", ".join([*Entry._fields, "hash"]) + " FROM audit WHERE seq = 2")
    one_finding(log, "row 5 was changed", f"row {N + 1} was added")


def test_rows_put_at_the_end_with_right_hashes_are_found(log, db):
    forged = entry(50)
    [last] = db.row("SELECT hash FROM audit WHERE seq = ?", (N,))
    values = (N + 1, *forged, next_hash(last, N + 1, forged))
    change(db, f"INSERT INTO audit VALUES ({', '.join('?' * len(values))})", *values)
    one_finding(log, "without the key")


def test_swapped_rows_are_found(log, db):
    for old, new in ((3, 99), (7, 3), (99, 7)):
        change(db, "UPDATE audit SET seq = ? WHERE seq = ?", new, old)
    one_finding(log, "row 3 was changed", "row 7 was changed")


@pytest.mark.parametrize("n_left", [0, 1, 6, N - 1])
def test_a_cut_tail_is_found(log, db, n_left):
    change(db, "DELETE FROM audit WHERE seq > ?", n_left)
    one_finding(log, "missing at the end", f"signed for row {N}")


def test_a_cut_tail_is_found_also_when_the_head_in_the_database_goes_with_it(log, db):
    change(db, "DELETE FROM audit WHERE seq > 6")
    change(db, "DELETE FROM audit_marks WHERE kind = 'head'")
    one_finding(log, "missing at the end", "audit.head was signed for row 9")


def test_a_database_put_back_to_an_earlier_day_is_found(log, db, folder, tmp_path):
    earlier = tmp_path / "earlier.db"
    db.read("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(folder / "offgrid.db", earlier)
    log.append([entry(20)])
    db.close()
    for file in folder.glob("offgrid.db*"):
        file.unlink()
    shutil.copy(earlier, folder / "offgrid.db")
    again, put_back = opened(folder)
    one_finding(put_back, "row 10 is missing at the end")
    again.close()


def rewrite(db, text: str) -> None:
    """What somebody without the key can do at most: another past, with a chain that fits."""
    hash = START
    for row in db.read("SELECT * FROM audit ORDER BY seq"):
        seq, *fields, _ = row
        changed = Entry(*fields)._replace(target=text) if seq == 4 else Entry(*fields)
        hash = next_hash(hash, seq, changed)
        change(db, "UPDATE audit SET target = ?, hash = ? WHERE seq = ?", changed.target, hash, seq)


def test_a_past_that_was_written_anew_with_a_right_chain_is_found(log, db):
    rewrite(db, "somebody else")
    one_finding(log, "is not the one that audit.head was signed for")


def test_a_forged_head_is_found(log, db, folder):
    rewrite(db, "somebody else")
    [hash] = db.row("SELECT hash FROM audit WHERE seq = ?", (N,))
    forged = Mark.sign(b"another key", "head", N, hash)
    change(db, "UPDATE audit_marks SET hash = ?, signature = ? WHERE kind = 'head'", forged.hash, forged.signature)
    (folder / "audit.head").write_text(forged.to_json())
    one_finding(log, "audit.head is not signed", "the head in the database is not signed")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"head": {"seq": "9"}}', b"[" * 100_000])
def test_a_damaged_head_is_found(log, folder, content):
    (folder / "audit.head").write_bytes(content)
    one_finding(log, "audit.head is missing or damaged")


def test_a_missing_head_is_found(log, folder):
    (folder / "audit.head").unlink()
    one_finding(log, "audit.head is missing")


def test_a_replaced_key_is_found(log, folder):
    (folder / "audit.key").write_bytes(b"k" * 32)
    one_finding(log, "not signed by audit.key")


def test_a_missing_key_is_found_and_the_server_goes_on_with_a_new_one(log, folder):
    (folder / "audit.key").unlink()
    one_finding(log, "audit.key is missing")
    assert (folder / "audit.key").stat().st_size == 32


def test_a_missing_key_and_head_are_found(log, folder):
    (folder / "audit.key").unlink()
    (folder / "audit.head").unlink()
    one_finding(log, "audit.key is missing")


def test_what_the_server_found_stands_in_a_row_of_its_own(log, db):
    change(db, "DELETE FROM audit WHERE seq > 6")
    log.append([entry(20)])
    [after, broken] = log.newest(2)
    assert (broken.seq, broken.entry.action) == (N + 1, BROKEN)
    assert json.loads(broken.entry.detail) == {"found": "the last row is 6, and the signed head says 9"}
    assert (after.seq, after.entry.request_id) == (N + 2, "r20")
    assert any("rows 7 to 9 are missing" in finding for finding in findings(log))


def test_a_head_that_was_kept_elsewhere_finds_a_database_and_a_head_that_were_put_back_together(log, db, folder):
    kept = log.seal.head()
    assert findings(log, saved=kept) == []
    rewrite(db, "somebody else")
    key = (folder / "audit.key").read_bytes()  # not even the key helps
    [hash] = db.row("SELECT hash FROM audit WHERE seq = ?", (N,))
    forged = Mark.sign(key, "head", N, hash)
    change(db, "UPDATE audit_marks SET hash = ?, signature = ? WHERE kind = 'head'", forged.hash, forged.signature)
    log.seal.write_head(forged)
    assert findings(log) == []
    assert findings(log, saved=kept) == ["row 9 is not the one that the saved head was signed for"]


def test_a_batch_whose_head_was_not_written_any_more_is_unfinished_and_not_tampering(log, folder):
    before = (folder / "audit.head").read_bytes()
    log.append([entry(20), entry(21)])
    (folder / "audit.head").write_bytes(before)  # as if the power had gone between the two
    report = check_log(log)
    assert (report.findings, report.n_unfinished, report.n_rows) == ([], 2, N + 2)
    log.append([entry(22)])
    assert check_log(log).n_unfinished == 0
    assert findings(log) == []


def test_a_byte_flipped_in_the_file_itself_is_found(log, db, folder):
    db.read("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    path = folder / "offgrid.db"
    data = path.read_bytes()
    places = [data.index(b"r4" + b"u1"), data.index("Zoë".encode()) + 2]  # the second is no UTF-8 then
    for place in places:
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xC0]) + data[place + 1 :])
        again, changed = opened(folder)
        found = findings(changed)
        assert found and all("row" in finding for finding in found)
        again.close()


def test_a_check_beside_a_writer_finds_nothing(log):
    is_over = threading.Event()

    def write():
        for n in range(60):
            log.append([entry(n), entry(n)])
        is_over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not is_over.is_set():
        assert findings(log) == []
    writer.join()
    assert check_log(log).last_seq == N + 120


# --- removing old rows ---

DAY_MS = 86_400_000


def days(log, *ages: int) -> None:
    log.append([entry(n, NOW_MS - age * DAY_MS) for n, age in enumerate(ages)])


def test_old_rows_are_removed_and_the_rest_is_still_right(db, request):
    log = request.node.audit
    days(log, 9, 8, 7, 2, 1, 0)
    assert log.prune(NOW_MS - 5 * DAY_MS) == 3
    report = check_log(log)
    assert (report.findings, report.first_seq, report.last_seq) == ([], 4, 7)
    assert log.newest(1)[0].entry.action == "audit prune"
    assert log.prune(NOW_MS - 5 * DAY_MS) == 0
    change(db, "DELETE FROM audit WHERE seq = 4")
    one_finding(log, "row 4 is missing")


def test_rows_from_before_the_clock_was_set_go_with_those_after_them(db, request):
    log = request.node.audit
    log.append([entry(0, 5_000), entry(1, 6_000), entry(2, NOW_MS), entry(3, 7_000), entry(4, NOW_MS)])
    assert log.prune(NOW_MS - DAY_MS) == 0
    assert log.prune(NOW_MS + 3) == 3
    assert findings(log) == []


def test_a_log_of_old_rows_only_goes_on_after_all_were_removed(log):
    assert log.prune(NOW_MS + DAY_MS) == N
    log.append([entry(1)])
    report = check_log(log)
    assert (report.findings, report.first_seq, report.n_rows) == ([], N + 1, 2)


def test_more_rows_than_a_page_are_removed(db, request):
    log = request.node.audit
    log.append([entry(n) for n in range(2500)])
    assert log.prune(NOW_MS + 2400) == 2400
    assert findings(log) == []


@pytest.mark.parametrize("column", ["seq", "hash", "signature"])
def test_a_forged_anchor_is_found(log, db, column):
    assert log.prune(NOW_MS + 4) == 4
    value = 5 if column == "seq" else b"x" * 32
    change(db, f"UPDATE audit_marks SET {column} = ? WHERE kind = 'anchor'", value)
    one_finding(log, "the anchor, where the removed rows ended, is not signed by audit.key")
    log.prune(NOW_MS + 7)  # the server signs a new anchor, but not in silence
    assert [finding for finding in findings(log) if "the anchor was not signed" in finding]


def test_rows_cut_off_at_the_beginning_are_found(log, db):
    change(db, "DELETE FROM audit WHERE seq < 4")
    one_finding(log, "rows 1 to 3 are missing")


def test_what_was_wrong_with_removed_rows_is_said_in_a_new_one(log, db):
    change(db, "UPDATE audit SET target = 'x' WHERE seq = 2")
    log.prune(NOW_MS + 5)
    assert [finding for finding in findings(log) if "row 2 was changed" in finding]


# --- exports ---


def lines_of(log) -> list[str]:
    anchor, head = log.ends()
    rows = [to_line(row) for row in log.rows(anchor.seq if anchor else 0, head.seq)]
    return [*([anchor.to_json()] if anchor else []), *rows, head.to_json()]


def test_an_export_is_right_until_something_is_changed_in_it(log, folder):
    key = (folder / "audit.key").read_bytes()
    lines = lines_of(log)
    assert [from_line(line).seq for line in lines[:-1]] == list(range(1, N + 1))
    assert check_lines(lines, key).findings == []
    assert check_lines(lines, None).findings == []
    for i, line in enumerate(lines):
        assert check_lines([*lines[:i], *lines[i + 1 :]], key).findings, f"without line {i}"
        assert check_lines([*lines[:i], line.replace("1", "2", 1), *lines[i + 1 :]], key).findings, line
    assert check_lines([*lines[1:3], lines[0], *lines[3:]], key).findings
    assert check_lines(lines, b"another key").findings == ["the head is not signed by this key"]
    assert check_lines([], key).findings
    assert check_lines(["[]", '{"seq": 1}', '{"head": 5}'], key).findings


def test_an_export_of_a_log_with_removed_rows_begins_with_the_anchor(log, folder):
    log.prune(NOW_MS + 4)
    key = (folder / "audit.key").read_bytes()
    lines = lines_of(log)
    assert check_lines(lines, key).findings == []
    assert check_lines(lines[1:], key).findings
    forged = Mark.sign(b"another key", "anchor", *log.page(4, 5)[0][::2])
    assert check_lines([forged.to_json(), *lines[2:]], key).findings == ["the anchor is not signed by this key"]


def test_the_hash_is_the_one_that_the_documentation_describes(log):
    row = log.page(0, 1)[0]
    text = json.dumps([1, *row.entry], ensure_ascii=False, separators=(",", ":"))
    assert row.hash == hashlib.sha256(bytes(32) + text.encode()).digest()
