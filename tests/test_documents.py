"""What is read out of texts, pages, tables, data and PDF; and how their formats are known."""

import re

import pytest
from document_files import docx, paragraph, pdf, pdf_pages, reading, shown, stream
from running import REPO

from offgrid.errors import UnsupportedMediaType
from offgrid.rag.reader import Reader
from offgrid.rag.readers.child import READERS
from offgrid.rag.readers.formats import BY_EXTENSION, BY_MEDIA_TYPE, FORMATS


@pytest.fixture(scope="module")
def reader():
    with Reader() as reader:
        yield reader


@pytest.fixture
def read(reader, tmp_path):
    return reading(reader, tmp_path)


def test_each_format_has_a_reader_and_no_two_claim_one_name():
    assert {form.reader for form in FORMATS} == set(READERS)
    assert len(BY_EXTENSION) == sum(len(form.extensions) for form in FORMATS)
    assert len(BY_MEDIA_TYPE) == sum(len(form.media_types) for form in FORMATS)


def test_the_documentation_lists_the_formats():
    section = (REPO / "docs" / "knowledge.md").read_text().partition("## What can be read")[2]
    table = section.partition("|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [re.split(r"(?<!\\)\|", line) for line in table.split("\n")]
    assert [(row[1].strip(), row[2].strip()) for row in rows] == [
        (form.name, ", ".join(form.extensions)) for form in FORMATS
    ]


def test_a_text_stays_as_it_stands(read):
    text = "  First\r\nline\r\rSecond \n\n\n - a\n - b\n\n"
    parsed = read(text, "a.txt")
    assert parsed.text == "  First\nline\n\nSecond \n\n\n - a\n - b\n\n"
    assert shown(parsed) == [("paragraph", "First\nline"), ("paragraph", "Second"), ("list", "- a\n - b")]


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        ("häß €".encode(), ""),
        ("häß €".encode("utf-8-sig"), ""),
        ("häß €".encode("utf-16"), ""),
        (b"\xfe\xff" + "häß €".encode("utf-16-be"), ""),
        ("häß €".encode("utf-32"), ""),
        ("häß €".encode("cp1252"), ""),
        ("häß €".encode("cp1252"), "text/plain; charset=ISO-8859-1"),
        ("häß €".encode(), "text/plain; charset=latin1"),
        ("häß €".encode("iso-8859-15"), 'text/plain; format=flowed; charset="iso-8859-15"'),
        ("häß €".encode(), "text/plain; charset=no-such"),
    ],
)
def test_encodings_are_known_by_mark_by_word_or_by_trying(read, data, content_type):
    assert read(data, "a.txt", content_type).text == "häß €"


def test_a_few_broken_characters_do_not_make_utf_8_something_else(read):
    assert read("äöüäöüäöüäöü".encode() + b"\xff!", "a.txt").text == "äöüäöüäöüäöü\ufffd!"
    assert read(b"caf\xe9 \x81", "a.txt").text == "café \x81"  # a hole of Windows-1252
    assert read("ab".encode("utf-16") + b"c", "a.txt").text == "ab\ufffd"  # cut in a character


def test_markdown_has_headings_code_lists_and_tables(read):
    text = """---
title: "From above"
Author: Ann
---
# One #
text
## Two
- a
- b

```py
# no heading

x
```
Under
=====
| a | b |
|---|---|
| 1 | 2 |

    indented
"""
    parsed = read(text, "a.md")
    assert [(b[0], b[1]) for b in shown(parsed)] == [
        ("code", '---\ntitle: "From above"\nAuthor: Ann\n---'),
        ("heading", 1),
        ("paragraph", "text"),
        ("heading", 2),
        ("list", "- a\n- b"),
        ("code", "```py\n# no heading\n\nx\n```"),
        ("heading", 1),
        ("table", "| a | b |\n|---|---|\n| 1 | 2 |"),
        ("code", "indented"),
    ]
    assert parsed.metadata == {"title": "From above", "author": "Ann"}
    assert read("text\n\n```\nnever closed\n\n# x", "a.md").blocks[-1].kind == "code"


def test_restructured_text_has_levels_by_the_order_of_adornments(read):
    text = "====\nMain\n====\n\nIntro::\n\n  code\n\n  more\n\nPart\n----\n\n* a\n\nSub\n~~~\n\nx\n\nPart 2\n------\n"
    parsed = read(text, "a.rst")
    assert shown(parsed) == [
        ("heading", 1, "====\nMain\n===="),
        ("paragraph", "Intro::"),
        ("code", "code\n\n  more"),
        ("heading", 2, "Part\n----"),
        ("list", "* a"),
        ("heading", 3, "Sub\n~~~"),
        ("paragraph", "x"),
        ("heading", 2, "Part 2\n------"),
    ]
    assert parsed.metadata == {"title": "Main"}


def test_code_is_cut_between_definitions_and_settings_at_sections(read):
    code = "import a\n\n\ndef f():\n    x\n\n    y\n\nclass B {\n  int c;\n\n}\n\nend\n"
    assert [text for _, text in shown(read(code, "a.py"))] == [
        "import a",
        "def f():\n    x\n\n    y",
        "class B {\n  int c;\n\n}",
        "end",
    ]
    assert [text for _, text in shown(read("[a]\nx=1\n[b]\ny=2\n", "a.ini"))] == ["[a]\nx=1", "[b]\ny=2"]
    assert read("# -*- coding: koi8-r -*-\ns = 'да'".encode("koi8-r"), "a.py").text.endswith("'да'")
    assert read("all: x\n\tcc\n", "Makefile").blocks[0].kind == "code"


def test_html_is_read_as_people_see_it(read):
    page = """<!DOCTYPE html><html><head><TITLE>A &amp; b</TITLE><meta name=Author content="Ann"><style>p{}</style>
    <SCRIPT>if (a < b) "</p>"</SCRIPT></head><body><nav>menu <ul><li>x</ul></nav><h2>Head <i>line</i></h2>
    <p>One&nbsp;two<br>three &eacute;&#x20ac;<p>unclosed <img alt=picture><ol><li>a<ul><li>in</ul><li>b</ol>
    <table><caption>C</caption><tr><th>x<th>y<tr><td>1<td><p>2</p> more</table><pre>
  a
    b</pre><template>t</template><![if x]>shown<![endif]><![weird stuff]>end<script>never closed"""
    parsed = read(page, "a.html")
    assert shown(parsed) == [
        ("heading", 2, "Head line"),
        ("paragraph", "One two\nthree é€"),
        ("paragraph", "unclosed picture"),
        ("list", "1. a\n  - in\n2. b"),
        ("table", "C\nx | y\n1 | 2 more"),
        ("code", "a\n    b"),
        ("paragraph", "shownend"),
    ]
    assert parsed.metadata == {"title": "A & b", "author": "Ann"}


@pytest.mark.parametrize(
    "page",
    [
        '<html><meta charset="koi8-r"><p>да'.encode("koi8-r"),
        '<html><meta http-equiv=Content-Type content="text/html; charset=koi8-r"><p>да'.encode("koi8-r"),
        '<?xml version="1.0" encoding="koi8-r"?><html><p>да'.encode("koi8-r"),
        "<html><meta charset=utf-16><p>да".encode(),
        "<html><meta charset=iso-8859-1><p>да".encode(),
    ],
)
def test_a_page_says_its_encoding(read, page):
    assert read(page, "a.htm").text == "да"


def test_a_menu_that_nobody_closes_does_not_take_the_page(read):
    assert read("<html><nav><p>menu<h1>Head</h1>text", "a.html").text == "menu\n\nHead\n\ntext"


def test_csv_is_a_row_a_line_whatever_separates_it(read):
    for delimiter, name in ((",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv"), ("|", "a.csv")):
        text = delimiter.join(("name", '"a, b; c | d"', "x\n")) + delimiter.join(("1", '"two\nlines"', "\n"))
        assert shown(read(text, name)) == [("table", "name | a, b; c | d | x\n1 | two lines")]
    assert shown(read("sep=:\na:b\n\nc:d", "a.csv")) == [("table", "a | b"), ("table", "c | d")]


def test_json_is_laid_out_and_broken_json_read_as_it_stands(read):
    parsed = read('{"a":{"b":"\\u00e4 \\ud800"},"l":[1,2.5]}', "a.json")
    assert shown(parsed) == [("code", '"a": {\n  "b": "ä \ufffd"\n}'), ("code", '"l": [\n  1,\n  2.5\n]')]
    assert shown(read("[1, // one\n 2", "a.json")) == [("code", "[1, // one\n 2")]
    assert shown(read('{"a":1}\n\nbad\n["\\u00e4"]', "a.jsonl")) == [
        ("code", '{"a": 1}'),
        ("code", "bad"),
        ("code", '["ä"]'),
    ]


def test_xml_is_a_record_a_block(read):
    data = (
        "<r><item id='5'><name>Tea</name><text>This is <b>bold</b> text.</text></item><item><name>M</name></item></r>"
    )
    assert shown(read(data, "a.xml")) == [
        ("paragraph", "item (id: 5)\nname: Tea\ntext: This is bold text."),
        ("paragraph", "name: M"),
    ]
    latin = '<?xml version="1.0" encoding="iso-8859-1"?><a>é</a>'.encode("latin-1")
    assert read(latin, "a.xml").text == "a: é"


def test_rtf_has_paragraphs_tables_and_characters_of_all_kinds(read):
    data = (
        rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Times;}}{\info{\title My \'e9}{\author Zo\'eb}}{\*\generator x;}"
        rb"{\header top}\pard\outlinelevel1 Head\par\pard Caf\'e9 \u8364?5 {\uc2\u228 xxy}\u-10179?\u-8704?\par"
        b"\n"
        rb"\trowd\cellx1 a\cell b\cell\row c\cell d\cell\row"
        rb"\pard Af\{ter\}\line{\field{\*\fldinst LINK}{\fldrslt shown}}\par}"
    )
    parsed = read(data, "a.rtf")
    assert shown(parsed) == [
        ("heading", 2, "Head"),
        ("paragraph", "Café €5 äy😀"),
        ("table", "a | b\nc | d"),
        ("paragraph", "Af{ter}\nshown"),
    ]
    assert parsed.metadata == {"title": "My é", "author": "Zoë"}
    assert read(rb"{\rtf1\ansicpg932 \'93\'fa\'96\'7b}", "a.rtf").text == "日本"


def test_pdf_is_read_page_by_page(read):
    parsed = read(pdf_pages("One", "", "Grüße"), "a.pdf")
    assert (shown(parsed), parsed.n_pages) == ([("paragraph", "One", 1), ("paragraph", "Grüße", 3)], 3)


def test_gaps_between_words_are_spaces_where_codes_are_numbers_of_glyphs(read):
    words = stream(b"BT /F1 10 Tf 50 700 Td [<0001>-250<0002>30<0001>]TJ ET")
    letters = stream(b"begincmap\n2 beginbfchar\n<0001> <FB01>\n<0002> <0062>\nendbfchar\nendcmap")
    data = pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
            words,
            b"<< /Type /Font /Subtype /Type0 /BaseFont /A /Encoding /Identity-H /ToUnicode 6 0 R "
            b"/DescendantFonts [<< /Type /Font /Subtype /CIDFontType2 /BaseFont /A /W [1 [500 500] 32 [900]] >>] >>",
            letters,
        ]
    )
    assert read(data, "a.pdf").text == "fi bfi"


def test_a_pdf_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "pypdf.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "a.pdf").write_bytes(pdf_pages("One"))
    with Reader() as reader, pytest.raises(UnsupportedMediaType, match="pip install pypdf"):
        reader.read(tmp_path / "a.pdf", "a.pdf")


def test_content_that_is_certain_counts_more_than_the_name(read):
    assert read(docx(paragraph("x")), "a.pdf").content_type.endswith("wordprocessingml.document")
    assert read(pdf_pages("x"), "a.txt").content_type == "application/pdf"
    assert read(rb"{\rtf1 x}", "a.doc").content_type == "application/rtf"
    assert read("<!doctype html><p>Not found", "a.pdf").content_type == "text/html"


def test_what_has_no_known_name_is_read_as_what_it_is_declared_or_looks_like(read):
    assert read("a,b", "upload", "text/csv; header=present").content_type == "text/csv"
    assert read("# a", "b.md", "text/plain").content_type == "text/markdown"
    assert read("<html>a", "upload").content_type == "text/html"
    assert read("<?xml version='1.0'?><a>b</a>", "upload").content_type == "application/xml"
    assert read("plain ä", "README").content_type == "text/plain"
    assert read("plain ä", "notes.unheard-of").content_type == "text/plain"
    with pytest.raises(UnsupportedMediaType, match=r"\(\.unheard-of\) that cannot be read; what can be read: txt, md"):
        read(b"caf\xe9", "notes.unheard-of")
