"""Documents that are broken, lie, or want to take the machine: each is a clear error or read as far as it is there."""

import gzip
import io
import random
import struct
import zipfile

import pytest
from document_files import (
    XML,
    docx,
    docx_parts,
    epub,
    odf,
    office,
    paragraph,
    pdf,
    pdf_pages,
    pptx,
    reading,
    relations,
    shape,
    stream,
    xlsx,
    zipped,
)

from offgrid.errors import ApiError, BadRequest, TooLarge, UnsupportedMediaType
from offgrid.rag.reader import Reader
from offgrid.rag.readers import zipped as zipped_reader
from offgrid.rag.readers.limits import Limits

DOCUMENT = "word/document.xml"
LAUGHS = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><l>&b;</l>'
EXTERNAL = '<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><l>&x;</l>'
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
MANIFEST = f"{XML}<manifest><file-entry><encryption-data/></file-entry></manifest>"
CIPHER = f'{XML}<encryption><CipherReference URI="OPS/text/c%200.xhtml"/></encryption>'


@pytest.fixture(scope="module")
def reader():
    with Reader(Limits(max_memory_bytes=400_000_000, max_blocks=20_000)) as reader:
        yield reader


@pytest.fixture
def read(reader, tmp_path):
    return reading(reader, tmp_path)


def patched(data: bytes, member: str, at: int, value: bytes) -> bytes:
    """A zip file whose directory says something else of a member, at this place of its entry."""
    start = data.rindex(b"PK\1\2", 0, data.rindex(member.encode()))
    return data[: start + at] + value + data[start + at + len(value) :]


def encrypted_docx() -> bytes:
    return patched(docx(paragraph("x")), DOCUMENT, 8, b"\x01\0")


def encrypted_pdf() -> bytes:
    """By the standard handler, with a password that is not the empty one."""
    import pypdf

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf_pages("secret")))
    writer.encrypt("password", algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def bomb_page(content: bytes) -> bytes:
    """A PDF with one page of this content and a font."""
    plain = pdf_pages("x")
    small = stream(b"BT /F1 12 Tf 50 700 Td (x) Tj ET")
    assert small in plain
    return plain.replace(small, stream(content))


def cells(n_rows: int, cell: str) -> str:
    return f"<row>{cell}</row>" * n_rows


REFUSED = {
    # what: (content, name, error, words of it)
    "nothing": (b"", "a.txt", BadRequest, "is empty"),
    "white space": (b" \n\t\r\n ", "a.txt", BadRequest, "holds no text"),
    "only markup": (b"<html><body><p> </p>", "a.html", BadRequest, "holds no text"),
    "NULs": (b"ab\0cd", "a.txt", UnsupportedMediaType, "NUL"),
    "noise": (bytes(b for b in random.Random(1).randbytes(9999) if b), "a.md", UnsupportedMediaType, "control"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "a.txt", UnsupportedMediaType, "picture"),
    "a program": (b"\x7fELF" + b"\0" * 99, "a", UnsupportedMediaType, "a program"),
    "a gzip bomb": (gzip.compress(b"0" * 1_000_000), "a.csv", UnsupportedMediaType, "gzip"),
    "an old doc": (OLE + b"\0" * 600, "a.doc", UnsupportedMediaType, "docx"),
    "a docx with a password": (OLE + "EncryptedPackage".encode("utf-16-le"), "a.docx", BadRequest, "password"),
    "a text named docx": (b"hello", "a.docx", BadRequest, "Word document"),
    "a text named pdf": (b"hello", "a.pdf", BadRequest, "PDF"),
    "a zip file": (zipped({"a.txt": "x"}), "a.zip", UnsupportedMediaType, "zip archive"),
    "zips in a zip": (zipped({"b.zip": zipped({"a": b"0" * 10**6})}), "a.docx", UnsupportedMediaType, "zip archive"),
    "an empty zip": (zipped({}), "a.docx", UnsupportedMediaType, "zip archive"),
    "only a zip's end": (b"PK\5\6" + b"\xff" * 18, "a.docx", BadRequest, "zip directory"),
    "many members": (lambda: zipped({f"{n}": "" for n in range(20_001)}), "a.docx", TooLarge, "20,001 files"),
    "an encrypted member": (encrypted_docx(), "a.docx", BadRequest, "password"),
    "an unusual packing": (zipped(docx_parts(paragraph("x")), zipfile.ZIP_LZMA), "a.docx", BadRequest, "method 14"),
    "a flat bomb": (lambda: zipped({**docx_parts(""), DOCUMENT: b" " * 30_000_000}), "a.docx", TooLarge, "300 times"),
    "a part that claims much": (
        patched(docx(paragraph("x")), DOCUMENT, 24, struct.pack("<I", 0xFFFFFFF0)),
        "a.docx",
        TooLarge,
        "limit is 200,000,000",
    ),
    "a part that claims little": (
        patched(docx(paragraph("x")), DOCUMENT, 24, struct.pack("<I", 9)),
        "a.docx",
        BadRequest,
        "cannot be unpacked",
    ),
    "no such part": (zipped(office("../../etc/passwd", {"word/x": ""})), "a.docx", BadRequest, "no part '../../etc/p"),
    "no main part": (zipped({"[Content_Types].xml": "", "word/x": ""}), "a.docx", BadRequest, "which of its parts"),
    "laughs": (LAUGHS.encode(), "a.xml", BadRequest, "entities"),
    "laughs in a document": (zipped({**docx_parts(""), DOCUMENT: LAUGHS}), "a.docx", BadRequest, "entities"),
    "an outer entity": (EXTERNAL.encode(), "a.xml", BadRequest, "entities"),
    "an outer entity in a book": (epub("x", extra={"META-INF/container.xml": EXTERNAL}), "a.epub", BadRequest, "ent"),
    "an outer parameter": (b"<!DOCTYPE a [<!ENTITY % x SYSTEM '/x'> %x;]><a>y</a>", "a.xml", BadRequest, "entities"),
    "attributes that a DTD makes long": (
        b'<!DOCTYPE a [<!ATTLIST b c CDATA "' + b"x" * 10_000 + b'">]><a>' + b"<b/>" * 10_000 + b"</a>",
        "a.xml",
        TooLarge,
        "limit",
    ),
    "deep XML": (b"<a>" * 100_000, "a.xml", BadRequest, "deeper than 1000"),
    "a deep document": (docx("<w:p>" * 100_000), "a.docx", BadRequest, "deeper than 1000"),
    "no XML": (zipped({**docx_parts(""), DOCUMENT: "\xff<"}), "a.docx", BadRequest, "line 1"),
    "XML that ends": (b"<a>text", "a.xml", BadRequest, "no element found"),
    "deep JSON": (b"[" * 100_000, "a.json", BadRequest, "nested too deeply"),
    "a deep RTF": (b"{\\rtf1 " + b"{" * 100_000, "a.rtf", BadRequest, "deeper than 1000"),
    "a huge cell": (b'a,"' + b"x" * 2_000_000, "a.csv", BadRequest, "field limit"),
    "many headings": (b"# a\n" * 50_000, "a.md", TooLarge, "headings"),
    "a long text many times": (
        xlsx({"s": cells(10, '<c t="s"><v>0</v></c>' * 30)}, strings=f"<si><t>{'x' * 99_999}</t></si>"),
        "a.xlsx",
        TooLarge,
        "20,000,000 characters",
    ),
    "a cell a thousand times": (
        odf(
            "spreadsheet",
            '<table:table><table:table-row table:number-rows-repeated="1000000"><table:table-cell>'
            f"<text:p>{'x' * 30_000}</text:p></table:table-cell></table:table-row></table:table>",
        ),
        "a.ods",
        TooLarge,
        "20,000,000 characters",
    ),
    "a cell in a thousand columns and rows": (
        odf(
            "spreadsheet",
            '<table:table><table:table-row table:number-rows-repeated="9999"><table:table-cell '
            f'table:number-columns-repeated="9999"><text:p>{"x" * 9_999}</text:p></table:table-cell></table:table-row>'
            "</table:table>",
        ),
        "a.ods",
        TooLarge,
        "20,000,000 characters",
    ),
    "an encrypted ODF": (odf("text", "", **{"META-INF/manifest": MANIFEST}), "a.odt", BadRequest, "password"),
    "a locked book": (epub("<p>x", extra={"META-INF/encryption.xml": CIPHER}), "a.epub", BadRequest, "DRM"),
    "a PDF with a password": (encrypted_pdf, "a.pdf", BadRequest, "password"),
    "a PDF of pictures": (pdf_pages("", ""), "a.pdf", BadRequest, "pictures"),
    "a PDF whose pages hold themselves": (
        pdf([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"]),
        "a.pdf",
        BadRequest,
        "damaged",
    ),
    "a PDF of a billion pages": (
        pdf([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 1000000000 >>"]),
        "a.pdf",
        BadRequest,
        "pages",
    ),
    "a PDF whose catalogue is itself": (pdf([b"1 0 R"]), "a.pdf", BadRequest, "damaged"),
    "a PDF that unpacks to much": (lambda: bomb_page(b" " * 100_000_000), "a.pdf", BadRequest, "none of its pages"),
    "the begin of a PDF": (b"%PDF-1.7\n", "a.pdf", BadRequest, "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_refused_in_words(read, what):
    data, name, error, words = REFUSED[what]
    data = data() if callable(data) else data  # only now: it is large, or slow to make
    with pytest.raises(error) as caught:
        read(data, name)
    assert caught.value.message.startswith(f"'{name}' ") and words in caught.value.message


def test_part_names_lead_nowhere_outside_of_the_archive(read):
    outside = {
        "_rels/.rels": relations(("r", "officeDocument", "../../../word/document.xml")),
        "../x": "y",
        "/etc/z": "",
    }
    parts = docx_parts(paragraph("inside"))
    assert read(zipped({**parts, **{f"../../{n}": "x" for n in range(3)}}), "a.docx").text == "inside"
    with pytest.raises(BadRequest, match="no part"):
        read(zipped({**parts, **outside}), "a.docx")


def test_all_that_is_unpacked_counts_towards_the_limit_also_what_is_unpacked_again(monkeypatch):
    monkeypatch.setattr(zipped_reader, "MAX_TOTAL_BYTES", 25)
    archive = zipped_reader.Archive(io.BytesIO(zipped({"a": b"x" * 10, "b": b"x" * 6})))
    assert (archive.read("a"), archive.read("a")) == (b"x" * 10, b"x" * 10)
    with pytest.raises(TooLarge, match="more than 25 bytes"):
        archive.read("b")


def test_claims_of_rows_and_columns_cost_nothing(read):
    far = (
        '<row r="1000000000"><c r="XFD1000000000"><v>1</v></c></row><row r="99999999999"><c r="ZZZ1"><v>2</v></c></row>'
    )
    assert read(xlsx({"s": far}), "a.xlsx").text == "s\n\n1"
    wide = f"<row>{'<c><v>1</v></c>' * 16_384}</row>" + cells(20_000, "<c><v>1</v></c>")
    assert len(read(xlsx({"s": wide}), "a.xlsx").text) < 200_000
    parsed = read(odf("text", "<text:p>a" + '<text:s text:c="1000000000"/>' * 100 + "b</text:p>"), "a.odt")
    assert len(parsed.text) == 102


@pytest.mark.parametrize(
    ("data", "name", "length"),
    [
        (b"<div>" * 100_000 + b"x", "a.html", 1),
        (b"<table><tr><td>x" * 50_000, "a.html", 99_999),
        (b"<p>a" + b"<!--" * 100_000, "a.html", 1),
        (b"<p>a" + b"<a " * 100_000, "a.html", 1),
        (b"<" * 50_000, "a.html", 50_000),
        (b"<nav>" + b"<p>a" * 3, "a.html", 7),
        (b"word " * 1_000_000, "a.txt", 5_000_000),
        (b"a\n\n" * 100_000, "a.txt", 300_000),
        (b"9" * 100_000, "a.json", 100_000),
        (b"{\\rtf1 a\\bin9999999999 b}", "a.rtf", 1),
        (b"{\\rtf1 \\u-999999999 a\\u55357 b}}}}c", "a.rtf", 2),
        (b'a,"b\nc,d\n', "a.csv", 9),
        (b"text" + b"\0" * 10 + b"\r\r", "a.txt", None),
        (b"x" * 70_000 + b"\0\0" + b"y", "a.txt", 70_001),
        (b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a>x&y;</a>", "a.xml", 4),
        (b"<!DOCTYPE a [<!ELEMENT a (#PCDATA)>]><a>x</a>", "a.xml", 4),
    ],
)
def test_odd_but_read(read, data, name, length):
    if length is None:
        with pytest.raises(UnsupportedMediaType):
            read(data, name)
    else:
        assert len(read(data, name).text) == length


GOOD = {
    "a.docx": docx(paragraph("Hello") + "<w:tbl><w:tr><w:tc>" + paragraph("cell") + "</w:tc></w:tr></w:tbl>"),
    "a.xlsx": xlsx({"s": '<row r="1"><c r="A1" t="s"><v>0</v></c></row>'}, strings="<si><t>x</t></si>"),
    "a.pptx": pptx(shape("title", "T"), notes={0: shape("body", "n")}),
    "a.odt": odf("text", "<text:h>Head</text:h><text:p>x</text:p>"),
    "a.epub": epub("<h1>x</h1><p>y"),
    "a.pdf": pdf_pages("One", "Two"),
    "a.rtf": rb"{\rtf1\ansi{\fonttbl{\f0 A;}}\trowd a\cell\row\pard b\'e9\u228?\par}",
    "a.html": b"<!doctype html><table><tr><td>a<ul><li>b</table><pre>x</pre>&amp;<!-- x -->",
    "a.xml": b"<?xml version='1.0'?><a b='c'><d>e<f/>g</d></a>",
    "a.json": b'{"a": [1, 2, {"b": "\\u00e4"}]}',
}


@pytest.mark.parametrize("name", GOOD)
def test_a_file_that_is_cut_or_altered_anywhere_is_read_or_refused_by_the_same_child(read, reader, name):
    read(b"text", "a.txt")
    child, whole, chance = reader._child.pid, GOOD[name], random.Random(name)
    broken = [whole[: len(whole) * n // 25] for n in range(25)]
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3, 20))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        broken.append(bytes(data))
    for data in broken:
        try:
            read(data, name)
        except (BadRequest, TooLarge, UnsupportedMediaType) as error:
            assert error.message.startswith(f"'{name}' ")
    assert reader._child.pid == child


def test_every_error_is_one_that_a_client_is_told():
    assert all(issubclass(error, ApiError) and error.status < 500 for _, _, error, _ in REFUSED.values())
