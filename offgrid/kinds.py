"""Kinds of settings: what a value may be, and how the text of a flag or a variable becomes one.

A check answers with the value as the code gets it, or raises ValueError.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from offgrid.types import SERVICES as SERVICE_NAMES


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be. `check` takes a typed value, `parse` the text of a flag or an environment variable.

    Both raise ValueError; its message, if any, is a hint shown after what is wanted.
    """

    wanted: str
    check: Callable[[object], object]
    parse: Callable[[str], object] = str


def _need(is_right: bool, hint: str = "") -> None:
    if not is_right:
        raise ValueError(hint)


def whole(low: int, high: int, *, or_zero: bool = False) -> Kind:
    def check(value):
        _need(type(value) is int and (low <= value <= high or (or_zero and value == 0)))
        return value

    def parse(text):
        _need(re.fullmatch(r"[+-]?[0-9]+", text) is not None)
        return int(text)

    return Kind(f"{'0 or ' if or_zero else ''}a whole number from {low} to {high}", check, parse)


def number(low: float, high: float) -> Kind:
    def check(value):
        _need(type(value) in (int, float) and math.isfinite(value) and low <= value <= high)
        return float(value)

    def parse(text):
        _need(re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", text) is not None)
        return float(text)

    return Kind(f"a number from {low} to {high}", check, parse)


def choice(*options: str) -> Kind:
    def check(value):
        if {"on", "off"} & set(options) and type(value) is bool:  # YAML 1.1 reads a bare on/off as true/false
            value = "on" if value else "off"
        _need(value in options)
        return value

    return Kind(f"one of {', '.join(options)}", check)


def _text(value: object) -> str:
    _need(type(value) is str, "Put it in quotes.")
    return value


_SWITCH_WORDS = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def _switch_word(text: str) -> bool:
    _need(text.lower() in _SWITCH_WORDS)
    return _SWITCH_WORDS[text.lower()]


def _switch(value: object) -> bool:
    _need(type(value) is bool)
    return value


def _key(value: object) -> str:
    _need(re.fullmatch(r"[!-~]*", _text(value)) is not None)
    return value


def _file(value: object) -> Path | None:
    return Path(value) if _text(value) else None


def _folder(value: object) -> Path:
    _need(_text(value) != "")  # Path("") would be the current folder
    return Path(value)


_URL_HINT = (
    "A URL with its port is for clients; a server listens on an address: "
    "--host 127.0.0.1 is this machine only, --host 0.0.0.0 the whole network, and --port is the port."
)


def _host(value: object) -> str:
    """An address to listen on. The socket module's own check is used, for it is what will be asked to bind."""
    import socket

    _need("/" not in _text(value) and re.fullmatch(r"[^:]*:[0-9]+", value) is None, _URL_HINT)
    try:
        if ":" in value:
            socket.inet_pton(socket.AF_INET6, value.partition("%")[0])
        elif re.fullmatch(r"[0-9.]*", value):
            socket.inet_pton(socket.AF_INET, value)
    except OSError:
        raise ValueError from None
    _need(":" in value or re.fullmatch(r"[A-Za-z0-9._-]+", value) is not None)
    return value


def _host_name(value: object) -> str:
    _need(re.fullmatch(r"[A-Za-z0-9._-]+", _text(value)) is not None)
    return value


def _origin(value: object) -> str:
    _need(re.fullmatch(r"\*|null|[a-z][a-z0-9+.-]*://[^/\s]+", _text(value)) is not None)
    return value


def _server(value: object) -> str:
    _need(re.fullmatch(r"[A-Za-z0-9._-]+:[0-9]{1,5}", _text(value)) is not None)
    return value


def _network(value: object):
    import ipaddress

    return ipaddress.ip_network(_text(value))


def _service(value: object) -> str:
    _need(value in SERVICE_NAMES)
    return value


def _list_of(check: Callable[[object], object], wanted: str) -> Kind:
    def check_all(value):
        _need(type(value) is list)
        return tuple(check(item) for item in value)

    def parse(text):
        return [part.strip() for part in text.split(",") if part.strip()]

    return Kind(f"a list of {wanted}", check_all, parse)


def _port(value: object) -> int:
    _need(type(value) is int and 0 <= value <= 65535)
    return value


def _port_numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    _need(all(re.fullmatch(r"[0-9]{1,5}", part) for part in parts))
    return list(map(int, parts))


def _aliases(value: object) -> Mapping[str, str]:
    _need(isinstance(value, dict))
    return MappingProxyType({_text(alias): _text(model) for alias, model in value.items()})


SWITCH = Kind("one of true, false, yes, no, on, off, 1, 0", _switch, _switch_word)
TEXT = Kind("text", _text)
KEY = Kind("text of visible ASCII characters without spaces", _key)
HOST = Kind("an IP address or a host name to listen on", _host)
FILE = Kind("the path of a file", _file)
FOLDER = Kind("the path of a folder", _folder)
FOLDERS = _list_of(_folder, "folders")
HOST_NAMES = _list_of(_host_name, "host names without scheme and port")
ORIGINS = _list_of(_origin, "origins such as http://192.168.1.20:8080, or *")
NAMES = _list_of(_text, "names")
TEXTS = _list_of(_text, "texts")
PORTS = replace(_list_of(_port, "port numbers from 0 to 65535"), parse=_port_numbers)
SERVICES = _list_of(_service, ", ".join(SERVICE_NAMES))
NETWORKS = _list_of(_network, "networks such as 192.168.1.0/24 or 10.0.0.5")
SERVERS = _list_of(_server, "host:port addresses")
ALIASES = Kind("a mapping of other names to model ids", _aliases)
SECONDS = number(0.01, 86400)
SECONDS_OR_NONE = number(0, 86400)
LOAD_MODE = choice("auto", "none", "mmap", "mlock", "mmap+mlock", "direct")
FLASH_ATTENTION = choice("auto", "on", "off")
KV_TYPE = choice("f16", "q8_0", "q4_0")
KEEP_ALIVE = number(-1, 10_000_000)
SPECULATION = choice("auto", "off")
CONTEXT = whole(256, 2**24, or_zero=True)
