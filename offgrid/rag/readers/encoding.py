"""Bytes to characters. No encoding is an error: what is no text at all is refused before, by `detect.py`.

The rule: a byte order mark (UTF-8, 16, 32); else what the file declares about itself, if it holds; else UTF-8, also
with a few broken places (one to ten good characters of several bytes); else Windows-1252, and Latin-1 where that has
holes. A declared Latin encoding holds for any bytes: there UTF-8 comes first.
"""

import codecs
import re

MARKS = (  # UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What is declared so is Windows-1252 in truth, in browsers too, or UTF-8 under a wrong name.
LATIN = re.compile(r"iso-?8859-?1|latin-?1|us-ascii|ascii|windows-?1252|cp-?1252", re.IGNORECASE)


def has_mark(data: bytes) -> bool:
    return any(data.startswith(mark) for mark, _ in MARKS)


def decode(data: bytes, declared: str = "") -> str:
    """The text of `data`. `declared` is an encoding's name as a file or its sender has it."""
    for mark, name in MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    if LATIN.fullmatch(declared):
        declared = ""
    if declared:
        try:
            return data.decode(declared)
        except (LookupError, UnicodeError, ValueError):  # no such encoding, or it does not hold, or is no text's
            pass
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    n_broken = text.count("\ufffd")
    n_good = sum(1 for _ in filter(lambda c: c > "\x7f", text)) - n_broken
    if n_broken * 10 <= n_good:
        return text
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")
