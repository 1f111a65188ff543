"""How long a model stays after a request: Ollama's `keep_alive` and LM Studio's `ttl`, both in seconds for the pool."""

import math
import re

from offgrid.api.fields import Asked, Field
from offgrid.api.shapes import Number, Shape, wrong
from offgrid.errors import BadRequest

UNIT_S = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600}
PART = r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)"
LONGEST_S = 10_000_000  # as the setting keep_alive_s


class Duration(Shape):
    """Seconds, as a number or as Go's spelling; read as seconds."""

    wanted = 'seconds, or a duration such as "5m" or "1h30m"; 0 unloads right after, a negative one never'

    def read(self, value: object, path: str) -> float:
        seconds = _seconds(value)
        if seconds is None:
            raise wrong(path, self.wanted, value)
        return seconds

    def schema(self) -> dict:
        return {
            "anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^-?(?:[0-9]+(?:\\.[0-9]+)?|(?:{PART})+)$"}]
        }


KEEP_ALIVE = (
    Field("keep_alive", Duration(), "How long the model stays loaded without requests; a negative one: for good."),
    Field("ttl", Number(0, LONGEST_S), "The same in seconds, as LM Studio calls it."),
)


def read_keep_alive(asked: Asked) -> float | None:
    """Seconds that the model is to stay without requests, -1 until its room is needed; None: as it is set."""
    keep_alive_s, ttl_s = asked["keep_alive"], asked["ttl"]
    if keep_alive_s is not None and ttl_s is not None and keep_alive_s != ttl_s:
        raise BadRequest("keep_alive and ttl say different things; send one of them.", param="ttl")
    return ttl_s if keep_alive_s is None else keep_alive_s


def _seconds(given: object) -> float | None:
    """None for what is no duration."""
    if isinstance(given, str):
        given = _duration(given.strip())
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        return None
    return -1.0 if given < 0 else min(float(given), LONGEST_S)


def _duration(text: str) -> float | None:
    """Go's spelling, as Ollama's clients send it, or a plain number of seconds."""
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return sign * float(text)
    if not re.fullmatch(f"(?:{PART})+", text):
        return None
    return sign * sum(float(n) * UNIT_S[unit] for n, unit in re.findall(PART, text))
