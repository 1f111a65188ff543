"""One child process, as whoever started it sees it."""

import sys

from offgrid.procs.child import Child

TWO_FRAMES = """
import sys
from offgrid.procs import frames
for n in (1, 2):
    sys.stdout.buffer.write(frames.encode({"n": n}))
sys.stdout.buffer.flush()
sys.stdin.read()
"""


def test_a_child_that_is_stopped_while_it_is_being_heard_is_heard_no_further():
    child = Child([sys.executable, "-c", TWO_FRAMES], name="child", log=lambda line: None)
    heard = child.frames()
    assert next(heard) == ({"n": 1}, b"")
    child.stop()  # by another thread, while the first message is being worked on
    assert list(heard) == []
    assert child.how_it_ended() == "ended with status 0"


def test_a_child_is_told_none_of_our_settings(monkeypatch):
    monkeypatch.setenv("OFFGRID_ADMIN_PASSWORD", "canary")
    monkeypatch.setenv("OTHER", "kept")
    say = "import os, sys; print(*(f'{n}={v}' for n, v in os.environ.items()), file=sys.stderr)"
    child = Child([sys.executable, "-c", say], name="child", log=lambda line: None, env={"MORE": "given"})
    assert list(child.frames()) == []
    child.stop()
    said = " ".join(child.last_words)
    assert "OTHER=kept" in said and "MORE=given" in said
    assert "canary" not in said
