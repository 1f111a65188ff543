"""From token pieces to text that may be shown: whole characters only, and never a part of a stop string.

Pure: bytes in, text out. One TextAssembler per sequence. The other way, `without_accents` prepares text for BERT.
"""

import codecs
import unicodedata


class StopFilter:
    """Text up to the first stop string, which may be spread over several pieces: what could begin one is held back.

    When a stop string is complete, `stopped_by` is that; it and everything after it are never given out.
    """

    def __init__(self, stop: tuple[str, ...] = ()):
        self._stop = stop
        self._held = ""
        self.stopped_by = ""

    @property
    def is_stopped(self) -> bool:
        return bool(self.stopped_by)

    def push(self, text: str) -> str:
        """The text that became safe to show; often empty."""
        if not self._stop:
            return text
        if self.is_stopped:
            return ""
        pending = self._held + text
        found = [(i, stop) for stop in self._stop if (i := pending.find(stop)) >= 0]
        if found:
            end, self.stopped_by = min(found, key=lambda place: place[0])
            self._held = ""
            return pending[:end]
        keep = max(_overlap(pending, stop) for stop in self._stop)
        self._held = pending[len(pending) - keep :]
        return pending[: len(pending) - keep]

    def flush(self) -> str:
        """What was held back, now that it cannot be the begin of a stop string any more."""
        rest, self._held = self._held, ""
        return rest


class TextAssembler:
    """Turns the byte pieces of successive tokens, each of which may end inside a UTF-8 character, into text."""

    def __init__(self, stop: tuple[str, ...] = ()):
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._stops = StopFilter(stop)

    @property
    def is_stopped(self) -> bool:
        return self._stops.is_stopped

    @property
    def stopped_by(self) -> str:
        return self._stops.stopped_by

    def push(self, piece: bytes) -> str:
        """The text that became safe to show with this piece; often empty."""
        return self._stops.push(self._decode(piece))

    def flush(self) -> str:
        """What was held back, now that no more will come: the end of the text, not of a stop string."""
        rest = self._stops.push(self._decode(b"", True))
        return rest + self._stops.flush()


def without_accents(text: str) -> str:
    """`text` as BERT's own normaliser leaves it: decomposed (NFD), and without non-spacing marks.

    llama.cpp does this differently: it keeps only the first part of a decomposition (Korean) and takes vowel signs for
    accents (Hindi, Bengali), so that those texts get vectors of other words.
    """
    return "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that begins `stop`."""
    for n in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
