"""What becomes of the whole server when one of its parts fails: nobody's answer, and none of the other parts."""

import threading

from faults import post, running_app

from offgrid.api import audit
from offgrid.store.db import Database


def test_an_answer_goes_out_and_is_counted_though_it_cannot_be_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "note", lambda *_: 1 / 0)
    with running_app(tmp_path, tmp_path / "data") as app:
        status, answer = post(app, {"messages": [{"role": "user", "content": "x"}]})
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
        assert app.traffic.in_flight.sum() == 0
        assert app.traffic.requests.sum() == 1


def test_the_stop_ends_everything_though_a_part_of_it_fails(tmp_path, monkeypatch):
    with running_app(tmp_path, tmp_path / "data") as app:
        monkeypatch.setattr(app.accounts, "close", lambda: 1 / 0)
    assert "audit" not in {thread.name for thread in threading.enumerate()}
    db = Database(tmp_path / "data" / "offgrid.db")
    last = db.row("SELECT action FROM audit ORDER BY seq DESC LIMIT 1")["action"]
    db.close()
    assert last == "server stop"
