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
