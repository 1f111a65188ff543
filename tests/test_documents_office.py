"""What is read out of the files of office programs, and of e-books."""

import pytest
from document_files import XML, W, docx, epub, odf, paragraph, pptx, reading, shape, shown, xlsx

from offgrid.rag.reader import Reader


@pytest.fixture(scope="module")
def reader():
    with Reader() as reader:
        yield reader


@pytest.fixture
def read(reader, tmp_path):
    return reading(reader, tmp_path)


STYLES = f"""{XML}<w:styles {W}><w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>
<w:style w:styleId="Own"><w:basedOn w:val="berschrift1"/></w:style>
<w:style w:styleId="Loop"><w:basedOn w:val="Loop"/></w:style>
<w:style w:styleId="Outline"><w:pPr><w:outlineLvl w:val="2"/></w:pPr></w:style></w:styles>"""
NOTES = f"""{XML}<w:footnotes {W}><w:footnote w:id="-1"><w:p/></w:footnote>
<w:footnote w:id="2">{paragraph("the note")}</w:footnote></w:footnotes>"""


def test_word_has_headings_by_style_lists_tables_and_notes(read):
    item = '<w:numPr><w:ilvl w:val="{}"/><w:numId w:val="1"/></w:numPr>'
    cell = "<w:tc>{}</w:tc>"
    nested = f"<w:tbl><w:tr>{cell.format(paragraph('in'))}</w:tr></w:tbl>"
    body = (
        paragraph("One", "berschrift1")
        + paragraph("Two", "Own")
        + paragraph("Three", "Outline")
        + paragraph("text", "Loop")
        + paragraph("a", extra=item.format(0))
        + paragraph("b", extra=item.format(1))
        + f"<w:tbl><w:tr>{cell.format(paragraph('1') + paragraph('2'))}{cell.format('')}</w:tr>"
        + f"<w:tr>{cell.format(paragraph('3'))}{cell.format(nested)}</w:tr></w:tbl>"
        + '<w:p><w:r><w:t>see</w:t><w:footnoteReference w:id="2"/><w:tab/><w:delText>gone</w:delText></w:r>'
        + "<w:del><w:r><w:t>no</w:t></w:r></w:del><w:ins><w:r><w:t>new</w:t></w:r></w:ins></w:p>"
    )
    parsed = read(docx(body, styles=STYLES, footnotes=NOTES), "a.docx")
    assert shown(parsed) == [
        ("heading", 1, "One"),
        ("heading", 1, "Two"),
        ("heading", 3, "Three"),
        ("paragraph", "text"),
        ("list", "- a\n  - b"),
        ("table", "1 2\n3 | in"),
        ("paragraph", "see[2]\tnew"),
        ("paragraph", "[2] the note"),
    ]
    assert parsed.n_pages is None


def test_word_has_the_pages_that_it_noted_itself_or_that_were_made_by_hand(read):
    by_hand = '<w:p><w:r><w:t>a</w:t><w:br w:type="page"/></w:r></w:p>'
    parsed = read(docx(by_hand + paragraph("b")), "a.docx")
    assert (shown(parsed), parsed.n_pages) == ([("paragraph", "a", 1), ("paragraph", "b", 2)], 2)
    noted = "<w:p><w:r><w:lastRenderedPageBreak/><w:t>b</w:t></w:r></w:p>"
    parsed = read(docx(by_hand + noted), "a.docx")
    assert (shown(parsed), parsed.n_pages) == ([("paragraph", "a", 1), ("paragraph", "b", 2)], 2)


def test_slides_come_in_their_order_with_titles_tables_and_notes(read):
    cell = "<a:tc><a:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></a:txBody></a:tc>"
    rows = "".join(f"<a:tr>{''.join(map(cell.format, row))}</a:tr>" for row in ("ab", "cd"))
    first = shape("title", "First") + shape("body", "x", "y") + shape("sldNum", "1")
    second = shape("ctrTitle", "Second") + f"<p:graphicFrame><a:tbl>{rows}</a:tbl></p:graphicFrame>"
    parsed = read(pptx(first, second, notes={1: shape("body", "say") + shape("sldNum", "2")}), "a.pptx")
    assert shown(parsed) == [
        ("heading", 1, "First", 1),
        ("list", "x\ny", 1),
        ("heading", 1, "Second", 2),
        ("table", "a | b\nc | d", 2),
        ("paragraph", "Notes: say", 2),
    ]
    assert parsed.n_pages == 2


def test_excel_shows_values_as_people_know_them(read):
    styles = (
        '<numFmts><numFmt numFmtId="164" formatCode="[Red]yyyy&quot;d&quot;"/>'
        '<numFmt numFmtId="165" formatCode="0.00 &quot;days&quot;"/></numFmts>'
        '<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>'
        '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/></cellXfs>'
    )
    rows = (
        '<row r="2"><c r="B2" t="s"><v>1</v></c><c r="D2" t="inlineStr"><is><t>in</t></is></c></row>'
        '<row r="3"><c r="B3" s="1"><v>45413</v></c><c r="C3" s="2"><v>45413.5</v></c>'
        '<c r="D3" s="3"><v>2</v></c></row>'
        '<row r="4"><c><v>0.10000000000000001</v></c><c t="b"><v>1</v></c><c><f>A1</f><v>7</v></c>'
        '<c t="e"><v>#N/A</v></c></row>'
        '<row r="6"><c r="A6" s="1"><v>0.25</v></c><c r="B6" s="1"><v>1</v></c><c r="C6" s="1"><v>60</v></c>'
        '<c r="D6" s="1"><v>61</v></c><c r="E6" s="1"><v>1e300</v></c><c r="F6" t="s"><v>9</v></c></row>'
    )
    strings = "<si><t>no</t></si><si><r><t>ye</t></r><r><t>s</t></r><rPh><t>x</t></rPh></si>"
    parsed = read(xlsx({"Prices": rows, "Empty": ""}, strings=strings, styles=styles), "a.xlsx")
    assert shown(parsed) == [
        ("heading", 1, "Prices", 1),
        ("table", "| yes |  | in\n | 2024-05-01 | 2024-05-01 12:00:00 | 2\n0.1 | TRUE | 7 | #N/A", 1),
        ("table", "06:00:00 | 1900-01-01 | 1900-02-28 | 1900-03-01 | 1e300", 1),
        ("heading", 1, "Empty", 2),
    ]
    old = xlsx({"s": '<row><c s="1"><v>0</v></c></row>'}, styles=styles, book='<workbookPr date1904="1"/>')
    assert shown(read(old, "a.xlsx"))[1] == ("table", "1904-01-01", 1)


def test_opendocument_texts_sheets_and_slides(read):
    meta = f"{XML}<meta><title>T</title><creator>Ann</creator></meta>"
    text = (
        '<text:tracked-changes><text:p>gone</text:p></text:tracked-changes><text:h text:outline-level="2">Head</text:h>'
        '<text:p>a<text:s text:c="2"/>b<text:note><text:note-body><text:p>why</text:p></text:note-body></text:note>'
        "</text:p>"
        "<text:list><text:list-item><text:p>x</text:p><text:p>y</text:p><text:list><text:list-item><text:p>z</text:p>"
        "</text:list-item></text:list></text:list-item></text:list><text:soft-page-break/><text:p>next</text:p>"
    )
    parsed = read(odf("text", text, meta=meta), "a.odt")
    assert shown(parsed) == [
        ("heading", 2, "Head", 1),
        ("paragraph", "a  b [why]", 1),
        ("list", "- x\n  y\n  - z", 1),
        ("paragraph", "next", 2),
    ]
    assert (parsed.metadata, parsed.n_pages) == ({"title": "T", "author": "Ann"}, 2)
    cells = (
        '<table:table-cell table:number-columns-repeated="2"><text:p>r</text:p></table:table-cell>'
        '<table:table-cell office:date-value="2024-05-01T00:00:00"><text:p>1. Mai</text:p></table:table-cell>'
    )
    sheet = (
        f'<table:table table:name="S"><table:table-row>{cells}</table:table-row>'
        '<table:table-row table:number-rows-repeated="1048000">'
        '<table:table-cell table:number-columns-repeated="16384"/></table:table-row></table:table>'
    )
    assert shown(read(odf("spreadsheet", sheet), "a.ods")) == [
        ("heading", 1, "S", 1),
        ("table", "r | r | 2024-05-01", 1),
    ]
    slides = "".join(
        f'<draw:page><draw:frame presentation:class="title"><text:p>T{n}</text:p></draw:frame>'
        "<draw:frame><text:p>b</text:p></draw:frame>"
        "<presentation:notes><text:p>n</text:p></presentation:notes></draw:page>"
        for n in (1, 2)
    )
    parsed = read(odf("presentation", slides), "a.odp")
    assert shown(parsed)[:4] == [
        ("heading", 1, "T1", 1),
        ("paragraph", "b", 1),
        ("paragraph", "Notes: n", 1),
        ("heading", 1, "T2", 2),
    ]
    assert parsed.n_pages == 2


def test_a_book_comes_in_reading_order(read):
    chapters = [f"<html><head><title>x</title></head><h1>Chapter {n}</h1><p>a&nbsp;b" for n in (1, 2)]
    parsed = read(epub(*chapters, metadata="<dc:title xmlns:dc='d'>Book</dc:title><creator>Ann</creator>"), "a.epub")
    assert shown(parsed) == [
        ("heading", 1, "Chapter 1"),
        ("paragraph", "a b"),
        ("heading", 1, "Chapter 2"),
        ("paragraph", "a b"),
    ]
    assert parsed.metadata == {"title": "Book", "author": "Ann"}
