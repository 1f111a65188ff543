"""Documents for the tests, written part by part: as small as they may be, and able to be wrong."""

import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from offgrid.rag.parsed import KINDS, Parsed
from offgrid.rag.reader import Reader

XML = '<?xml version="1.0" encoding="UTF-8"?>'
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
S = f'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="{RELATION}"'
P = (
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    f'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:r="{RELATION}"'
)
ODF = (
    " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "text", "table", "meta", "presentation")
    )
    + ' xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" xmlns:dc="http://purl.org/dc/elements/1.1/"'
)


def zipped(parts: dict[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def relations(*rows: tuple[str, str, str]) -> str:
    """(id, kind, target) of each."""
    inner = "".join(f'<Relationship Id="{id}" Type="{RELATION}/{kind}" Target="{at}"/>' for id, kind, at in rows)
    return f"{XML}<Relationships>{inner}</Relationships>"


def office(main: str, parts: dict[str, str | bytes]) -> dict[str, str | bytes]:
    return {"[Content_Types].xml": f"{XML}<Types/>", "_rels/.rels": relations(("r1", "officeDocument", main)), **parts}


def paragraph(text: str, style: str = "", extra: str = "") -> str:
    style = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f"<w:p><w:pPr>{style}{extra}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def docx_parts(body: str, **parts: str) -> dict[str, str | bytes]:
    """`parts`: further members below word/, which the document names."""
    members = {f"word/{name}.xml": content for name, content in parts.items()}
    named = relations(*((f"r{n}", name, f"{name}.xml") for n, name in enumerate(parts)))
    document = f"{XML}<w:document {W}><w:body>{body}</w:body></w:document>"
    return office(
        "word/document.xml", {"word/document.xml": document, "word/_rels/document.xml.rels": named, **members}
    )


def docx(body: str, **parts: str) -> bytes:
    return zipped(docx_parts(body, **parts))


def xlsx_parts(sheets: dict[str, str], strings: str = "", styles: str = "", book: str = "") -> dict[str, str | bytes]:
    """`sheets`: name → rows; `strings`: the <si> elements; `styles`: what stands in the style sheet."""
    rows = [(f"r{n}", "worksheet", f"worksheets/sheet{n}.xml") for n in range(len(sheets))]
    list_ = "".join(f'<sheet name="{name}" sheetId="{n + 1}" r:id="r{n}"/>' for n, name in enumerate(sheets))
    members = {
        f"xl/worksheets/sheet{n}.xml": f"{XML}<worksheet {S}><sheetData>{inner}</sheetData></worksheet>"
        for n, inner in enumerate(sheets.values())
    }
    extra = [("s1", "sharedStrings", "sharedStrings.xml"), ("s2", "styles", "styles.xml")]
    return office(
        "xl/workbook.xml",
        {
            "xl/workbook.xml": f"{XML}<workbook {S}>{book}<sheets>{list_}</sheets></workbook>",
            "xl/_rels/workbook.xml.rels": relations(*rows, *extra),
            "xl/sharedStrings.xml": f"{XML}<sst {S}>{strings}</sst>",
            "xl/styles.xml": f"{XML}<styleSheet {S}>{styles}</styleSheet>",
            **members,
        },
    )


def xlsx(sheets: dict[str, str], **parts: str) -> bytes:
    return zipped(xlsx_parts(sheets, **parts))


def shape(role: str, *lines: str) -> str:
    inner = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in lines)
    return f'<p:sp><p:nvPr><p:ph type="{role}"/></p:nvPr><p:txBody>{inner}</p:txBody></p:sp>'


def pptx(*slides: str, notes: dict[int, str] | None = None) -> bytes:
    """Slides as shapes, the last of which is stored first; `notes` by the slide's number from 0."""
    rows = [(f"r{n}", "slide", f"slides/slide{len(slides) - n}.xml") for n in range(len(slides))]
    list_ = "".join(f'<p:sldId id="{256 + n}" r:id="r{n}"/>' for n in range(len(slides)))
    parts: dict[str, str | bytes] = {
        "ppt/presentation.xml": f"{XML}<p:presentation {P}><p:sldIdLst>{list_}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations(*rows),
    }
    for n, inner in enumerate(slides):
        name = f"slide{len(slides) - n}.xml"
        parts[f"ppt/slides/{name}"] = f"{XML}<p:sld {P}>{inner}</p:sld>"
        if notes and n in notes:
            parts[f"ppt/slides/_rels/{name}.rels"] = relations(("n", "notesSlide", f"../notesSlides/{name}"))
            parts[f"ppt/notesSlides/{name}"] = f"{XML}<p:notes {P}>{notes[n]}</p:notes>"
    return zipped(office("ppt/presentation.xml", parts))


def odf(kind: str, content: str, **parts: str) -> bytes:
    """`kind`: text, spreadsheet, presentation. `parts`: further members, without their .xml."""
    members = {f"{name}.xml": inner for name, inner in parts.items()}
    body = f"<office:body><office:{kind}>{content}</office:{kind}></office:body>"
    document = f"{XML}<office:document-content {ODF}>{body}</office:document-content>"
    return zipped({"mimetype": f"application/vnd.oasis.opendocument.{kind}", "content.xml": document, **members})


def epub(*chapters: str, metadata: str = "", extra: dict[str, str] | None = None) -> bytes:
    """Chapters in reading order; they are stored in the other one."""
    numbers = range(len(chapters))
    items = "".join(
        f'<item id="c{n}" href="text/c%20{n}.xhtml" media-type="application/xhtml+xml"/>' for n in reversed(numbers)
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in numbers)
    inner = f"<metadata>{metadata}</metadata><manifest>{items}</manifest><spine>{spine}</spine>"
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": f'{XML}<container><rootfile full-path="OPS/book.opf"/></container>',
            "OPS/book.opf": f"{XML}<package>{inner}</package>",
            **{f"OPS/text/c {n}.xhtml": chapters[n] for n in numbers},
            **(extra or {}),
        }
    )


def pdf(objects: list[bytes]) -> bytes:
    """Objects from number 1 on; the first is the catalogue."""
    data, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size, start = len(objects) + 1, len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
    return data + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, start)


def pdf_pages(*texts: str) -> bytes:
    """A page for each text, which may be empty."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(texts)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(texts)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for n, text in enumerate(texts):
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % (5 + 2 * n),
            stream(b"BT /F1 12 Tf 50 700 Td (%s) Tj ET" % text.encode("cp1252") if text else b""),
        ]
    return pdf(objects)


def stream(content: bytes) -> bytes:
    packed = zlib.compress(content, 9)
    return b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)


def reading(reader: Reader, folder: Path) -> Callable[..., Parsed]:
    """`read(data, name, content_type)` by this reader, checked; the file lies in the folder."""

    def read(data: str | bytes, name: str, content_type: str = "") -> Parsed:
        path = folder / "document"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        parsed = reader.read(path, name, content_type)
        check(parsed)
        return parsed

    return read


def check(parsed: Parsed) -> None:
    """What `parsed.py` promises."""
    at = 0
    for block in parsed.blocks:
        assert at <= block.start < block.end, block
        assert not parsed.text[at : block.start].strip()
        assert block.kind in KINDS and (block.level in range(1, 7) if block.kind == "heading" else block.level == 0)
        assert block.page is None or 1 <= block.page <= parsed.n_pages
        at = block.end
    assert not parsed.text[at:].strip() and parsed.blocks
    assert not set(parsed.text) & {"\0", "\r"}
    parsed.text.encode()


def shown(parsed: Parsed) -> list[tuple]:
    """Each block as (kind, text), a heading with its level, and with its page where it has one."""
    return [
        (b.kind, *([b.level] if b.level else []), parsed.text[b.start : b.end], *([b.page] if b.page else []))
        for b in parsed.blocks
    ]
