"""PDF, page by page, by the `pypdf` package. Text that is a picture (a scan) is not there to be read."""

import contextlib
import re

from offgrid.errors import BadRequest, UnsupportedMediaType
from offgrid.rag.readers.draft import Draft, Source

MAX_PAGES = 20_000
PARAGRAPH_END = re.compile(r"\n[ \t]*\n\s*")
BROKEN_WORD = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_])")
LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
SPACE_WIDTH = 250  # thousandths of the size, as usual
PROPERTIES = {"/Title": "title", "/Author": "author", "/Subject": "subject", "/Keywords": "keywords"}


def read_pdf(source: Source, draft: Draft) -> None:
    try:
        from pypdf import PdfReader
        from pypdf.errors import DependencyError, PyPdfError
    except ImportError:
        raise UnsupportedMediaType("is a PDF, which needs a package that is not installed: pip install pypdf") from None
    try:
        reader = PdfReader(source.file, strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise BadRequest("is protected by a password: save it without one")
        n_pages = len(reader.pages)
    except DependencyError:
        raise UnsupportedMediaType(
            "is an encrypted PDF, which needs a package that is not installed: pip install cryptography"
        ) from None
    except PyPdfError as error:
        raise BadRequest(f"is damaged: it cannot be read as a PDF ({type(error).__name__})") from error
    if n_pages > MAX_PAGES:
        raise BadRequest(f"has {n_pages:,} pages; the limit is {MAX_PAGES:,}")
    draft.n_pages = n_pages
    _note_properties(reader, draft)
    mended: set = set()
    unread = [number for number in range(1, n_pages + 1) if not _add_page(reader, number, draft, mended)]
    if len(unread) == n_pages:
        raise BadRequest("is damaged: none of its pages can be read")
    if unread:
        draft.note("unread_pages", ", ".join(map(str, unread)))
    if draft.is_empty:
        raise BadRequest("holds no text; that of pages which are pictures (scans) cannot be read")


def _note_properties(reader, draft: Draft) -> None:
    try:
        values = reader.metadata or {}
        for key, name in PROPERTIES.items():
            draft.note(name, str(values.get(key) or ""))
    except (MemoryError, RecursionError):
        raise
    except Exception:  # a title that cannot be read is no reason to refuse the pages
        return


def _add_page(reader, number: int, draft: Draft, mended: set) -> bool:
    """False when this page is too broken to be read; what is wrong with it differs from file to file."""
    try:
        page = reader.pages[number - 1]
        with contextlib.suppress(AttributeError, KeyError, IndexError, TypeError):  # a broken font is not mended
            _mend_spaces(page, mended)
        text = page.extract_text().translate(LIGATURES)
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return False
    draft.page = number
    for paragraph in PARAGRAPH_END.split(text):
        draft.add("paragraph", BROKEN_WORD.sub("", paragraph))
    return True


def _mend_spaces(page, mended: set) -> None:
    """Keep the words of TeX's PDFs apart, which have gaps instead of spaces. `mended`: ids of fonts that are done.

    pypdf takes gaps for spaces from half the width of glyph 32 on. In fonts whose codes are the numbers of glyphs that
    is any character, often a wide one; here it becomes as wide as a space.
    """
    from pypdf.generic import ArrayObject, DictionaryObject, NumberObject

    resources = page.get("/Resources", DictionaryObject()).get_object()
    for reference in resources.get("/Font", DictionaryObject()).get_object().values():
        font = reference.get_object()
        if id(font) not in mended and font.get("/Encoding") == "/Identity-H":
            mended.add(id(font))
            widths = font["/DescendantFonts"].get_object()[0].get_object().get("/W", ArrayObject()).get_object()
            widths.extend((NumberObject(32), ArrayObject([NumberObject(SPACE_WIDTH)])))
