"""Which format a file is of. Content that is certain (a signature, NULs) counts more than the name, the name more
than the type that its sender claims.
"""

import re
from typing import BinaryIO

from offgrid.errors import BadRequest, UnsupportedMediaType
from offgrid.rag.readers.encoding import has_mark
from offgrid.rag.readers.formats import BY_EXTENSION, BY_MEDIA_TYPE, BY_READER, FORMATS, Format, extension_of
from offgrid.rag.readers.zipped import Archive

HEAD_BYTES = 64 * 1024
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# What is no text, and what to say of it. A format of ours whose name is wrong is found before.
FOREIGN = (
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"\xfd7zXZ\0", "an xz archive: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"Rar!\x1a\x07", "a rar archive: unpack it first"),
    (b"\x89PNG\r\n", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"II*\0", "a picture (TIFF)"),
    (b"MM\0*", "a picture (TIFF)"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\0", "a program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"GGUF", "a model (GGUF)"),
    (b"ID3", "a sound file"),
    (b"OggS", "a sound or video file"),
    (b"RIFF", "a picture, sound or video file (RIFF)"),
)
ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
OFFICE_PARTS = (("word/", "docx"), ("ppt/", "pptx"), ("xl/", "xlsx"))
BINARY_READERS = ("docx", "pptx", "xlsx", "odt", "ods", "odp", "epub", "pdf", "rtf")
HTML = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
# C0 controls but tab, line ends, form feed, backspace and escape, which old texts and logs do hold.
CONTROLS = bytes(set(range(32)) - {8, 9, 10, 12, 13, 27})
GENERIC_TYPES = ("application/octet-stream", "binary/octet-stream", "text/plain", "")


def find_format(file: BinaryIO, name: str, content_type: str) -> Format:
    """The format of the open file. Raises UnsupportedMediaType, or BadRequest when its name and its content differ."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    extension = extension_of(name)
    named = BY_EXTENSION.get(extension) or _declared(content_type)
    if (certain := _certain(file, head, named)) is not None:
        return certain
    _check_is_text(head)
    if named is not None and named.reader in BINARY_READERS:
        if HTML.match(head):  # the page of an error, kept under the name of what was wanted
            return BY_READER["html"]
        raise BadRequest(f"is named or declared as {named.name}, but its content is something else (a text?)")
    if named is not None and not (named.reader == "text" and HTML.match(head)):
        return named
    if HTML.match(head):
        return BY_READER["html"]
    if head.lstrip().startswith(b"<?xml"):
        return BY_READER["xml"]
    if "." in name and not _is_utf8(head):
        raise UnsupportedMediaType(f"is of a kind (.{extension[:20]}) that cannot be read; {what_can_be_read()}")
    return BY_READER["text"]


def what_can_be_read() -> str:
    return "what can be read: " + ", ".join(form.extensions[0] for form in FORMATS if form.reader != "code") + ", code"


def _declared(content_type: str) -> Format | None:
    media_type = content_type.partition(";")[0].strip().lower()
    return None if media_type in GENERIC_TYPES else BY_MEDIA_TYPE.get(media_type)


def _certain(file: BinaryIO, head: bytes, named: Format | None) -> Format | None:
    is_named_pdf = named is not None and named.reader == "pdf"
    if head.startswith(b"%PDF-") or (is_named_pdf and b"%PDF-" in head[:1024]):
        return BY_READER["pdf"]
    if head.startswith(b"{\\rtf"):
        return BY_READER["rtf"]
    if head.startswith(ZIP_SIGNATURES):
        return _in_zip(file)
    if head.startswith(OLE):
        file.seek(0)
        if "EncryptedPackage".encode("utf-16-le") in file.read(1 << 20):
            raise BadRequest("is protected by a password: save it without one")
        raise UnsupportedMediaType("is of the old Office format (doc, xls, ppt): save it as docx, xlsx, pptx or PDF")
    if (what := next((what for start, what in FOREIGN if head.startswith(start)), None)) is not None:
        raise UnsupportedMediaType(f"is {what}; {what_can_be_read()}")
    return None


def _in_zip(file: BinaryIO) -> Format:
    archive = Archive(file)
    kind = archive.read("mimetype")[:200].decode("ascii", "replace").strip() if "mimetype" in archive else ""
    if (form := BY_MEDIA_TYPE.get(kind)) is not None:
        return form
    if "[Content_Types].xml" in archive:
        for start, reader in OFFICE_PARTS:
            if any(name.startswith(start) for name in archive.names):
                return BY_READER[reader]
    if "META-INF/container.xml" in archive:
        return BY_READER["epub"]
    raise UnsupportedMediaType("is a zip archive, and no document of a kind that can be read: unpack it first")


def _check_is_text(head: bytes) -> None:
    if has_mark(head):
        return
    if b"\0" in head:
        raise UnsupportedMediaType(
            f"is no text: it holds NUL bytes (UTF-16 is read when it has a byte order mark); {what_can_be_read()}"
        )
    n_controls = len(head) - len(head.translate(None, CONTROLS))
    if n_controls * 100 > len(head):
        raise UnsupportedMediaType(f"is no text: it holds many control characters; {what_can_be_read()}")


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(head) == HEAD_BYTES and error.start > HEAD_BYTES - 4  # a character that was cut
    return True
