"""`options` of a request, and `parameters` of a model that is made: Ollama's names, its defaults, its words for errors.

Unknown names are passed over with a line in the log, as Ollama does, because its own clients still send some that no
version reads any more. Those about loading are checked and have no effect on a request: how a model is loaded is the
machine's matter (settings), and one request does not reload it for all others.
"""

import logging
from dataclasses import dataclass
from typing import Any

from offgrid.api.sampling import MAX_STOPS, MOST_TOKENS, SEED_LIMIT
from offgrid.api.shapes import Shape, wrong
from offgrid.errors import BadRequest
from offgrid.sections import ModelSettings
from offgrid.types import Sampling

log = logging.getLogger(__name__)

# Ollama's defaults, where they are not those of OffGrid.
USUAL = Sampling(temperature=0.8, top_k=40, top_p=0.9, min_p=0.0)


@dataclass(frozen=True)
class Option:
    """`setting` is the field of ModelSettings, and of Sampling, that it sets; "" where it has no effect."""

    kind: str  # Ollama's word
    setting: str = ""
    low: float = -SEED_LIMIT
    high: float = SEED_LIMIT - 1

    def read(self, name: str, value: Any) -> Any:
        """The value, in range. Raises BadRequest."""
        value = KINDS[self.kind](value)
        if value is None:
            raise BadRequest(f'option "{name}" must be of type {self.kind}', param="options")
        if self.kind in ("integer", "float32") and not self.low <= value <= self.high:
            wanted = f"from {self.low:g} to {self.high:g}"
            raise BadRequest(f'option "{name}" must be {wanted}; it is {value:g}', param="options")
        return value


def _integer(value: Any) -> int | None:
    """Go's conversion: what stands after the point is cut off."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _strings(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return tuple(item for item in value if item)


KINDS = {"integer": _integer, "float32": _float, "boolean": _boolean, "array": _strings}
INTEGER, SWITCH = Option("integer"), Option("boolean")
OPTIONS = {
    "temperature": Option("float32", "temperature", 0, 2),
    "top_p": Option("float32", "top_p", 0, 1),
    "top_k": Option("integer", "top_k", -1, 1_000_000),
    "min_p": Option("float32", "min_p", 0, 1),
    "typical_p": Option("float32", "typical_p", 0, 1),
    "repeat_penalty": Option("float32", "repeat_penalty", 0.01, 10),
    "repeat_last_n": Option("integer", "repeat_last_n", -1, MOST_TOKENS),
    "presence_penalty": Option("float32", "presence_penalty", -2, 2),
    "frequency_penalty": Option("float32", "frequency_penalty", -2, 2),
    "mirostat": Option("integer", "mirostat", 0, 2),
    "mirostat_tau": Option("float32", "mirostat_tau", 0, 100),
    "mirostat_eta": Option("float32", "mirostat_eta", 0, 1),
    "seed": Option("integer", "seed"),
    "num_predict": Option("integer", "max_tokens", -MOST_TOKENS, MOST_TOKENS),
    "stop": Option("array", "stop"),
    "num_ctx": Option("integer", "ctx_size"),
    "num_batch": Option("integer", "batch_size"),
    "num_thread": Option("integer", "threads"),
    "num_keep": INTEGER,
    "num_gpu": INTEGER,
    "main_gpu": INTEGER,
    "draft_num_predict": INTEGER,
    "use_mmap": SWITCH,
}
LOADING = ("ctx_size", "batch_size", "threads")  # settings that a request cannot change
RANGES = {"ctx_size": (256, 2**24), "batch_size": (32, 8192), "threads": (1, 1024)}


class Options(Shape):
    """Read as {option: value} of what has an effect."""

    wanted = "an object"

    def read(self, value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise wrong(path, self.wanted, value)
        read = {}
        for name, given in value.items():
            option = OPTIONS.get(name)
            if option is None:
                log.warning("the option %.60r is not known here and has no effect", name)
            elif given is not None:
                checked = option.read(name, given)
                if option.setting:
                    read[name] = checked
        if len(read.get("stop", ())) > MAX_STOPS:
            raise BadRequest(f'option "stop" must be an array of at most {MAX_STOPS} strings', param=path)
        return read

    def schema(self) -> dict:
        types = {"integer": {"type": "number"}, "float32": {"type": "number"}, "boolean": {"type": "boolean"}}
        types["array"] = {"type": "array", "items": {"type": "string"}, "maxItems": MAX_STOPS}
        properties = {}
        for name, option in OPTIONS.items():
            is_number = option.kind in ("integer", "float32")
            bounds = {"minimum": option.low, "maximum": option.high} if is_number else {}
            schema = types[option.kind] | bounds
            properties[name] = {**schema, "type": [schema["type"], "null"]}
        return {"type": "object", "properties": properties}


def settings_of(options: dict[str, Any]) -> dict[str, Any]:
    """Options that were read, as the fields of ModelSettings that they are."""
    settings = {OPTIONS[name].setting: value for name, value in options.items()}
    for name, (low, high) in RANGES.items():
        if name in settings and not low <= settings[name] <= high:
            option = next(one for one, known in OPTIONS.items() if known.setting == name)
            message = f'option "{option}" must be from {low} to {high}; it is {settings[name]}'
            raise BadRequest(message, param="parameters")
    if settings.get("max_tokens", 1) <= 0:  # Ollama's words for no limit, and for a fresh seed
        del settings["max_tokens"]
    if settings.get("seed", 0) < 0:
        del settings["seed"]
    if "top_k" in settings:
        settings["top_k"] = max(settings["top_k"], 0)
    return settings


def options_of(settings: dict[str, Any]) -> dict[str, Any]:
    """The reverse: settings of a model under Ollama's names."""
    names = {option.setting: name for name, option in OPTIONS.items() if option.setting}
    return {names[setting]: value for setting, value in settings.items() if setting in names}


def generation_of(options: dict[str, Any], own: ModelSettings) -> dict[str, Any]:
    """`sampling`, `max_tokens` and `stop` of a GenerateRequest: the request's, else the model's own, else Ollama's."""
    chosen = {name: value for name in ModelSettings.__dataclass_fields__ if (value := getattr(own, name)) is not None}
    chosen |= {OPTIONS[name].setting: value for name, value in options.items()}
    sampling = {name: chosen.get(name, getattr(USUAL, name)) for name in Sampling.__dataclass_fields__}
    sampling["top_k"] = max(sampling["top_k"], 0)
    sampling["seed"] = None if sampling["seed"] is None or sampling["seed"] < 0 else sampling["seed"]
    max_tokens = chosen.get("max_tokens")
    return {
        "sampling": Sampling(**sampling),
        "max_tokens": max_tokens if max_tokens is not None and max_tokens > 0 else None,
        "stop": tuple(chosen.get("stop", ())),
    }
