"""Floods of refusals: what is one flood, what is kept of it, and when its count is told."""

import json

from audit_bench import entry

from offgrid.store.audit_repeats import MAX_KINDS, N_SINGLY, WINDOW_S, Repeats


def test_a_flood_of_refusals_is_a_few_rows_and_one_that_says_how_many():
    repeats = Repeats()
    kept = [n for n in range(1000) if repeats.admit(entry(n), now=n / 100)]
    assert kept == list(range(N_SINGLY))
    assert repeats.due(WINDOW_S - 1) == []
    [summary] = repeats.due(WINDOW_S)
    assert json.loads(summary.detail) == {"model": "tiny", "times": 1000 - N_SINGLY}
    assert (summary.request_id, summary.target, summary.status) == ("r999", "", 403)
    assert repeats.admit(entry(1), now=WINDOW_S)
    assert repeats.due(3 * WINDOW_S) == []


def test_another_address_or_account_is_another_flood_but_another_path_or_a_neighbouring_ipv6_address_is_not():
    repeats = Repeats()
    for n in range(N_SINGLY):
        assert repeats.admit(entry(n), 0)
    assert repeats.admit(entry(1, address="10.0.0.2"), 0)
    assert repeats.admit(entry(1, user_id="u2"), 0)
    assert repeats.admit(entry(1, status=401), 0)
    assert not repeats.admit(entry(1, target="x")._replace(action="GET /v1/x"), 0)
    assert not repeats.admit(entry(1), 0)
    summary, *_ = repeats.due(0, everything=True)
    assert summary.action == "several"
    addresses = [f"fe80::{n:x}%eth0" for n in range(N_SINGLY + 1)]
    assert [repeats.admit(entry(1, address=a), 0) for a in addresses] == [True] * N_SINGLY + [False]


def test_the_kinds_of_refusals_are_bounded():
    repeats = Repeats()
    for n in range(2 * MAX_KINDS):
        assert repeats.admit(entry(n, user_id=f"u{n}"), 0)
    assert len(repeats._kinds) == MAX_KINDS
    repeats.due(WINDOW_S)
    assert repeats._kinds == {}
    assert repeats.wait_s(0) is None
