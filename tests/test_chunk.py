"""Documents are cut into chunks that keep to their text, to its structure and to their size."""

import random
from itertools import pairwise

import pytest

from offgrid.rag.chunk import chunk, estimate
from offgrid.rag.parsed import KINDS, Block, Parsed

WORDS = [
    "tide",
    "harbour",
    "the",
    "of",
    "engine,",
    "pump.",
    "Valve!",
    "map?",
    "Größe",
    "東京",
    "着いた。",
    "भारत",
    "12.5",
]


def words(texts):
    """A count by words: it adds up, so sizes can be checked exactly."""
    return [len(text.split()) for text in texts]


def characters(texts):
    return [sum(not c.isspace() for c in text) for text in texts]


def parsed(*blocks):
    """A document of (kind, text) or (kind, text, level), with an empty line between any two."""
    text, made = "", []
    for kind, content, *level in blocks:
        text += "\n\n" * bool(text)
        made.append(Block(len(text), len(text) + len(content), kind, *level))
        text += content
    return Parsed(text, tuple(made), "text/plain", {})


def sentences(random, n):
    return " ".join(" ".join(random.choices(WORDS, k=random.randint(1, 14))) + random.choice(".?!…") for _ in range(n))


def any_document(seed):
    """Blocks of every kind and length, headings of every level, words without end."""
    chance = random.Random(seed)
    blocks = []
    for _ in range(chance.randint(0, 30)):
        kind = chance.choice(KINDS)
        if kind == "heading":
            blocks.append((kind, "#" * (level := chance.randint(1, 6)) + " " + sentences(chance, 1), level))
        elif kind == "paragraph":
            blocks.append((kind, sentences(chance, chance.choice((1, 2, 10, 60)))))
        else:
            lines = [sentences(chance, 1) for _ in range(chance.choice((1, 3, 40)))]
            blocks.append((kind, "\n".join(lines)))
        if chance.random() < 0.05:
            blocks.append(("paragraph", "x" * chance.choice((50, 3000))))
    return parsed(*blocks)


SEEDS = range(30)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_chunk_is_the_text_between_its_places(seed):
    document = any_document(seed)
    for one in chunk(document, words, 30, 8):
        assert one.text == document.text[one.start : one.end]
        assert one.text.strip() == one.text != ""


@pytest.mark.parametrize("seed", SEEDS)
def test_all_text_but_white_space_and_headings_is_in_some_chunk(seed):
    document = any_document(seed)
    covered = bytearray(len(document.text))
    for one in chunk(document, words, 30, 8):
        covered[one.start : one.end] = b"\1" * (one.end - one.start)
    for block in document.blocks:
        if block.kind != "heading":
            missing = [document.text[i] for i in range(block.start, block.end) if not covered[i]]
            assert not "".join(missing).strip()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("count", "most", "overlap"), [(words, 30, 8), (characters, 100, 20), (estimate, 50, 49), (words, 8, 0)]
)
def test_no_chunk_is_longer_than_asked_for(seed, count, most, overlap):
    for one in chunk(any_document(seed), count, most, overlap):
        assert count([one.text])[0] <= most


@pytest.mark.parametrize("seed", SEEDS)
def test_chunks_stand_in_order_and_overlap_by_no_more_than_asked_for(seed):
    document = any_document(seed)
    chunks = chunk(document, words, 30, 8)
    for one, after in pairwise(chunks):
        assert one.start < after.start and one.end < after.end
        shared = document.text[after.start : one.end] if after.start < one.end else ""
        assert words([shared])[0] <= 8


@pytest.mark.parametrize("seed", SEEDS)
def test_no_overlap_reaches_beyond_a_heading(seed):
    document = any_document(seed)
    chunks = chunk(document, words, 30, 8)
    headings = [block for block in document.blocks if block.kind == "heading"]
    for one, after in pairwise(chunks):
        assert not any(after.start <= heading.start and heading.end <= one.end for heading in headings)


def test_neighbours_of_one_section_share_whole_sentences():
    text = " ".join(f"Sentence number {i} is here." for i in range(20))
    chunks = chunk(parsed(("paragraph", text)), words, 20, 6)
    assert len(chunks) > 3
    for one, after in pairwise(chunks):
        shared = text[after.start : one.end]
        assert shared.startswith("Sentence number") and shared.endswith("is here.")


def test_chunks_of_a_section_are_about_as_long_as_each_other():
    chunks = chunk(parsed(("paragraph", "One two three four. " * 11)), words, 40, 0)
    assert [len(one.text.split()) for one in chunks] == [24, 20]


def test_headings_are_context_and_not_text():
    document = parsed(("heading", "# Ships", 1), ("heading", "## Crew", 2), ("paragraph", "The captain is Ines. " * 4))
    [one] = chunk(document, words, 50, 5)
    assert one.heading == "Ships > Crew"
    assert one.text.startswith("The captain")


def test_a_heading_ends_those_of_its_level_and_below():
    document = parsed(
        *(("heading", "# A", 1), ("heading", "## B", 2), ("paragraph", "one " * 20)),
        *(("heading", "# C", 1), ("paragraph", "two " * 20)),
    )
    assert [one.heading for one in chunk(document, words, 20, 0)] == ["A > B", "C"]


def test_a_heading_with_nothing_below_is_found_nevertheless():
    assert [one.text for one in chunk(parsed(("heading", "Lighthouse", 1)), words, 20, 0)] == ["Lighthouse"]


def test_small_sections_stand_together_and_larger_ones_alone():
    small = [part for i in range(3) for part in (("heading", f"## S{i}", 2), ("paragraph", f"Only this {i}."))]
    together = chunk(parsed(*small), words, 100, 0)
    assert len(together) == 1 and "Only this 0." in together[0].text and "## S2" in together[0].text
    large = [part for i in range(3) for part in (("heading", f"## L{i}", 2), ("paragraph", "word " * 60))]
    assert [one.heading for one in chunk(parsed(*large), words, 100, 0)] == ["L0", "L1", "L2"]


def test_rows_of_a_table_are_whole_and_know_its_header():
    rows = [f"| ship {i} | {i} tons |" for i in range(30)]
    chunks = chunk(parsed(("table", "\n".join(["| name | weight |", *rows]))), words, 40, 0)
    assert len(chunks) > 3
    assert all(one.heading == "| name | weight |" for one in chunks)
    assert [line for one in chunks for line in one.text.split("\n")][1:] == rows


def test_lines_of_code_are_whole():
    lines = [f"    value_{i} = call(argument, {i})  # a. b. c" for i in range(30)]
    chunks = chunk(parsed(("code", "\n".join(lines))), words, 40, 0)
    assert [line.strip() for one in chunks for line in one.text.split("\n")] == [line.strip() for line in lines]


def test_text_without_gaps_is_cut_at_the_ends_of_its_sentences():
    text = "灯台は毎晩光る。船は安全に港に入る。" * 20
    chunks = chunk(parsed(("paragraph", text)), characters, 50, 0)
    assert "".join(one.text for one in chunks) == text
    assert all(one.text.endswith("。") for one in chunks)
    assert all(one.words and "灯 台" in " ".join(one.words.split()) for one in chunks)


def test_one_giant_word_is_cut_anywhere():
    text = "x" * 100_000
    chunks = chunk(parsed(("paragraph", text)), characters, 200, 40)
    assert len(chunks) >= 500
    assert {i for one in chunks for i in (one.start, one.end)} >= {0, len(text)}


def test_pages_are_those_that_chunks_begin_on():
    blocks = tuple(Block(start, start + 100, "paragraph", page=page) for page, start in enumerate((0, 100, 200), 1))
    document = Parsed(("word " * 20) * 3, blocks, "application/pdf", {}, 3)
    assert [one.page for one in chunk(document, words, 20, 0)] == [1, 2, 3]


@pytest.mark.parametrize("text", ["", " ", "\n\n\t\n"])
def test_a_document_without_text_has_no_chunks(text):
    assert chunk(Parsed(text, (), "text/plain", {}), words, 20, 5) == []
    assert chunk(Parsed(text, (Block(0, len(text), "paragraph"),), "text/plain", {}), words, 20, 5) == []


def test_texts_are_counted_many_at_once():
    calls = []

    def count(texts):
        calls.append(len(texts))
        return words(texts)

    chunk(parsed(("paragraph", "Short one. " * 2000)), count, 30, 5)
    assert sum(calls) == 2000 and len(calls) == 4
