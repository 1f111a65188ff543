"""The audit log's arithmetic: the hash that ties a row to the one before it, signed heads, and what a check finds.

Pure: no SQL, no files, no clock. A row's hash is SHA-256 over the hash before it (32 bytes; zeros before row 1) and the
JSON array of the row's fields in the order of `seq, *Entry._fields`, without spaces, in UTF-8. Anybody can compute
that; what only the holder of the key can make is the signature of a `Mark`, which says how far the chain went.
"""

import hashlib
import hmac
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

START = bytes(32)  # stands where row 1 has no row before it
BROKEN = "audit broken"  # the action of the row in which the server says that it found its own log changed
MAX_FINDINGS = 20  # more of them help nobody


class Entry(NamedTuple):
    """What is known of one event; the fields of a row besides its number and hash."""

    action: str  # "POST /v1/users/{id}/role", "server start", "cli users passwd"
    at_ms: int  # Unix time
    request_id: str = ""
    user_id: str | None = None  # None: nobody with an account
    name: str = ""
    role: str = ""
    key_id: int | None = None
    address: str = ""
    target: str = ""  # the values of the path's parameters
    status: int = 0  # 0: no request
    code: str = ""  # of the error
    took_ms: int = 0
    detail: str = "{}"  # a JSON object


def to_json(detail: Mapping[str, object]) -> str:
    """A detail as a row holds it. Half a surrogate pair, which JSON can spell, becomes a question mark."""
    return json.dumps(detail, ensure_ascii=False).encode("utf-8", "replace").decode()


def utc_text(at_ms: int) -> str:
    """A time for people, RFC 3339; the number itself where it is no time, as in a row that somebody changed."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(at_ms)


class Row(NamedTuple):
    seq: int
    entry: Entry
    hash: bytes


def next_hash(previous: bytes, seq: int, entry: Entry) -> bytes:
    fields = json.dumps([seq, *entry], ensure_ascii=False, separators=(",", ":"))
    # surrogatepass: a check must be able to look at whatever somebody has put into a file.
    return hashlib.sha256(previous + fields.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class Mark:
    """A signed statement: row `seq` has this hash. Kind "head": it is the last one; "anchor": the last one removed."""

    kind: str
    seq: int
    hash: bytes
    signature: bytes

    @classmethod
    def sign(cls, key: bytes, kind: str, seq: int, hash: bytes) -> "Mark":
        return cls(kind, seq, hash, _signature(key, kind, seq, hash))

    @classmethod
    def from_json(cls, text: str | bytes, kind: str) -> "Mark":
        """Raises ValueError for what is no mark at all; a wrong signature is still one."""
        try:
            given = json.loads(text)[kind]
            seq = given["seq"]
            if type(seq) is not int:
                raise ValueError(seq)
            return cls(kind, seq, bytes.fromhex(given["hash"]), bytes.fromhex(given["signature"]))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"this is no signed {kind}") from error

    def to_json(self) -> str:
        about = {"seq": self.seq, "hash": self.hash.hex(), "signature": self.signature.hex()}
        return json.dumps({self.kind: about})

    def is_signed_by(self, key: bytes) -> bool:
        return hmac.compare_digest(self.signature, _signature(key, self.kind, self.seq, self.hash))


def _signature(key: bytes, kind: str, seq: int, hash: bytes) -> bytes:
    return hmac.digest(key, f"offgrid audit {kind} {seq} {hash.hex()}".encode(), "sha256")


def fingerprint(key: bytes) -> str:
    """What tells one key from another without giving it away."""
    return hashlib.sha256(b"offgrid audit key " + key).hexdigest()[:16]


class ChainCheck:
    """Walks over rows in the order of the chain and notes everything that does not fit.

    Give it what is known first (`pin`), then each row (`take`), then `end`; `findings` is empty when all is well.
    """

    def __init__(self, seq: int = 0, hash: bytes | None = START):
        """The chain goes on after row `seq` with this hash."""
        self.seq, self.hash = seq, hash  # hash None: of a row that nobody could read
        self.first_seq = seq + 1
        self.n_rows = 0
        self.findings: list[str] = []
        self._pins: dict[int, list[tuple[str, bytes]]] = {}

    @property
    def is_full(self) -> bool:
        """Whether so much is wrong that looking further is of no use."""
        return len(self.findings) >= MAX_FINDINGS

    def find(self, finding: str) -> None:
        if not self.is_full:
            self.findings.append(finding)

    def pin(self, name: str, mark: Mark) -> None:
        """What `name` says: the row of the mark has the mark's hash."""
        if mark.seq > self.seq:
            self._pins.setdefault(mark.seq, []).append((name, mark.hash))
        elif mark.seq < self.seq:
            self.find(f"{name} was signed for row {mark.seq}, but rows are kept from {self.first_seq} on")
        elif mark.hash != self.hash:
            self.find(f"{name} does not fit the row that was before the first one here")

    def take(self, row: Row) -> None:
        expected = self.seq + 1
        if row.seq < expected:
            self.find(f"row {row.seq} stands where row {expected} should be")
        elif row.seq > expected:
            self.find(span(expected, row.seq - 1, "is missing", "are missing"))
        elif self.hash is not None and not _follows(self.hash, row):
            self.find(f"row {row.seq} was changed, or the one before it, or it does not belong there")
        for name, hash in self._pins.pop(row.seq, ()):
            if hash != row.hash:
                self.find(f"row {row.seq} is not the one that {name} was signed for")
        self.seq, self.hash = row.seq, row.hash
        self.n_rows += 1

    def hear(self, row: Row) -> None:
        """What the server itself has said of the log, by a row of its own."""
        if row.entry.action == BROKEN:
            self.find(f"row {row.seq} says what the server found then: {row.entry.detail}")

    def skip(self, why: str) -> None:
        """Go on after a row that is not there to be taken."""
        self.find(f"row {self.seq + 1} {why}")
        self.seq, self.hash = self.seq + 1, None

    def end(self) -> None:
        for seq in sorted(self._pins):
            for name, _ in self._pins[seq]:
                if seq > self.seq:
                    missing = span(self.seq + 1, seq, "is missing", "are missing")
                    self.find(f"{missing} at the end: {name} was signed for row {seq}")
                else:
                    self.find(f"row {seq}, which {name} was signed for, is missing")


def _follows(previous: bytes, row: Row) -> bool:
    try:
        return next_hash(previous, row.seq, row.entry) == row.hash
    except TypeError:  # a damaged file holds bytes where text was
        return False


def to_line(row: Row) -> str:
    """A row as a line of an export: every field as it is hashed, and the hash."""
    return json.dumps({"seq": row.seq, **row.entry._asdict(), "hash": row.hash.hex()}, ensure_ascii=False)


def from_line(line: str) -> Row:
    """Raises ValueError."""
    try:
        given = json.loads(line)
        seq, hash = given.pop("seq"), bytes.fromhex(given.pop("hash"))
        if type(seq) is int:
            return Row(seq, Entry(**given), hash)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        pass  # all that may stand in a file
    raise ValueError("this is no row of an audit log")


def check_lines(lines: Iterable[str], key: bytes | None, saved: Mark | None = None) -> ChainCheck:
    """Check an export. Without a key the chain is checked, but not who signed its ends."""
    lines = iter(lines)
    first = next(lines, "")
    anchor, head = _mark_in(first, "anchor"), None
    check = ChainCheck(anchor.seq, anchor.hash) if anchor else ChainCheck()
    if saved:
        check.pin("the saved head", saved)
    for line in lines if anchor else itertools.chain([first], lines):
        if check.is_full:
            break
        if found := _mark_in(line, "head"):
            head = found
        elif line.strip():
            try:
                row = from_line(line)
                check.take(row)
                check.hear(row)
            except ValueError:
                check.find(f"after row {check.seq} there is a line that is no row")
    if head is None:
        check.find("the signed head, which is the last line of an export, is missing")
    elif (head.seq, head.hash) != (check.seq, check.hash):
        check.find(f"the head was signed for row {head.seq}, and the last row here is {check.seq}, or was changed")
    for mark in (anchor, head):
        if key and mark and not mark.is_signed_by(key):
            check.find(f"the {mark.kind} is not signed by this key")
    check.end()
    return check


def _mark_in(line: str, kind: str) -> Mark | None:
    if not line.startswith(f'{{"{kind}"'):
        return None
    try:
        return Mark.from_json(line, kind)
    except ValueError:
        return None


def span(first: int, last: int, one: str, many: str) -> str:
    return f"row {first} {one}" if first == last else f"rows {first} to {last} {many}"
