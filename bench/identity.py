"""What it costs to know who asks: requests/s by kind of credential, one key check, and logins while somebody guesses.

    python bench/identity.py              some 40 s; prints a table
    python bench/identity.py --seconds 1 --guesses 100

Servers without models on free loopback ports; one client with a kept-alive connection, so the figures are the whole
way of a request, of which the client's own half is the larger one.
"""

import argparse
import http.client
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPO), str(REPO / "tests")]

from people import PASSWORD, People  # noqa: E402
from running import RunningServer  # noqa: E402

from offgrid.store.accounts import Accounts  # noqa: E402
from offgrid.store.db import Database  # noqa: E402

GUESSER, OTHER = "127.0.2.1", "127.0.2.2"  # addresses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3, help="for each rate")
    parser.add_argument("--guesses", type=int, default=1000, help="wrong logins, spread over 60 ms each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        alone = RunningServer(Path(folder) / "alone", "--models-dir", folder)
        with People(Path(folder) / "people") as people:
            person = people.add()
            login = {"Authorization": f"Bearer {people.token(person.username)}"}
            for name, port, headers in (
                ("no accounts, no credentials", alone.port, {}),
                ("an API key", people.server.port, person.headers),
                ("a login", people.server.port, login),
            ):
                rate, median_ms = requests_rate(port, headers, options.seconds)
                print(f"GET /v1/models, {name:28} {rate:7.0f} requests/s, median {median_ms:.3f} ms")
            guess_and_log_in(people, person.username, options.guesses)
        alone.stop()
        check_keys(Path(folder))


def requests_rate(port: int, headers: dict, seconds: float) -> tuple[float, float]:
    """(requests/s, median in ms) of one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    times_s, began = [], time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        connection.request("GET", "/v1/models", headers=headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"bench: status {answer.status}")
        times_s.append(time.perf_counter() - now)
    connection.close()
    return len(times_s) / (time.perf_counter() - began), 1e3 * statistics.median(times_s)


def guess_and_log_in(people: People, username: str, n_guesses: int) -> None:
    """Wrong logins from one address in 60 s (or their part of it), and right ones from another meanwhile."""
    statuses, times_s, every_s = [], [], 60 / 1000
    log_in(people, OTHER, username, PASSWORD)
    end = time.monotonic() + n_guesses * every_s

    def guess() -> None:
        for n in range(n_guesses):
            statuses.append(log_in(people, GUESSER, f"name-{n}", "guess-it"))
            time.sleep(max(0.0, end - (n_guesses - n) * every_s - time.monotonic()))

    thread = threading.Thread(target=guess)
    thread.start()
    while thread.is_alive():
        began = time.perf_counter()
        if log_in(people, OTHER, username, PASSWORD) != 200:
            raise SystemExit("bench: the right password was refused")
        times_s.append(time.perf_counter() - began)
        time.sleep(1)
    thread.join()
    refused = {status: statuses.count(status) for status in sorted(set(statuses))}
    print(f"{n_guesses} wrong logins in {n_guesses * every_s:.0f} s from one address: {json.dumps(refused)}")
    print(
        f"  another user's {len(times_s)} logins meanwhile: median {1e3 * statistics.median(times_s):.0f} ms, "
        f"longest {1e3 * max(times_s):.0f} ms"
    )


def log_in(people: People, address: str, username: str, password: str) -> int:
    return people.log_in_from(address, username, password)[0]


def check_keys(folder: Path, n: int = 20_000) -> None:
    """One key check, without HTTP, among a thousand keys."""
    db = Database(folder / "keys.db")
    accounts = Accounts(db, 3600)
    users = [accounts.users.create(f"user{n}", PASSWORD) for n in range(10)]
    texts = [accounts.keys.create(user.id, f"key{n}")[1] for user in users for n in range(100)]
    for name, text in (("a good key", texts[500]), ("a wrong key", texts[500][:-1] + "?")):
        began = time.perf_counter()
        for _ in range(n):
            accounts.by_key(text)
        print(f"checking {name:12} {1e6 * (time.perf_counter() - began) / n:6.1f} µs")
    accounts.close()
    db.close()


if __name__ == "__main__":
    main()
