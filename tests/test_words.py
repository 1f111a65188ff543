"""Words of texts and questions, asked of SQLite's full-text index itself."""

import random
import sqlite3

import pytest

from offgrid.rag.words import MAX_QUERY_WORDS, index_words, match_query, words_of


@pytest.fixture
def index():
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE texts USING fts5 (words, tokenize = 'porter unicode61 remove_diacritics 2')")
    yield db
    db.close()


def found(index, question, *texts):
    """Which of the texts an index of them gives for a question, the best first."""
    index.execute("DELETE FROM texts")
    rows = [(i, index_words("", text) or text) for i, text in enumerate(texts)]
    index.executemany("INSERT INTO texts (rowid, words) VALUES (?, ?)", rows)
    matches = index.execute("SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rank", (match_query(question),))
    return [texts[row] for (row,) in matches]


def test_any_of_the_words_is_enough_and_more_are_better(index):
    texts = ("the harbour at night", "a lamp", "the lamp of the harbour", "nothing of it")
    assert found(index, "Which lamp is at the harbour?", *texts)[0] == "the lamp of the harbour"
    assert set(found(index, "Which lamp is at the harbour?", *texts)) == set(texts[:3])


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("repairing generators", "The generator was repaired."),
        ("cafe", "Das Café ist offen."),
        ("größe", "Die Größe des Schiffes"),
        ("ΑΘΉΝΑ", "η Αθήνα"),
        ("हिन्दी", "यह हिन्दी है"),
        ("pg_stat_activity", "see pg_stat_activity, too"),
        ("--no-verify", "with --no-verify it is not checked"),
        ("C3PO", "the robot c3po"),
    ],
)
def test_forms_of_a_word_are_the_word(question, text, index):
    assert found(index, question, text, "another text") == [text]


@pytest.mark.parametrize(
    ("question", "text", "other"),
    [
        ("灯台", "毎晩、灯台が光る。", "台所の灯り"),
        ("東京駅", "私は東京駅に着いた", "京都の駅"),
        ("โรงเรียน", "เด็กไปโรงเรียนทุกวัน", "สวัสดี"),
        ("保险箱 key", "the 保险箱 in room 12", "危险"),
    ],
)
def test_scripts_without_gaps_are_found_by_pairs_of_characters(question, text, other, index):
    assert found(index, question, text, other) == [text]


def test_one_character_of_such_a_script_is_a_word(index):
    assert found(index, "駅", "東京駅", "東京") == ["東京駅"]


def test_text_of_other_scripts_is_indexed_as_it_is():
    assert index_words("A heading", "and text: über, е́то, हिन्दी") is None
    assert index_words("見出し", "text").split() == ["見", "出", "し", "text"]


def test_words_that_are_everywhere_are_left_out_unless_there_are_no_others():
    assert words_of("What is the name of the ship?") == ["name", "ship"]
    assert words_of("Wie ist die Größe von dem Schiff?") == ["größe", "schiff"]
    assert words_of("to be or not to be") == ["to", "be", "or", "not"]


def test_each_word_is_asked_for_once_and_no_more_than_the_most():
    assert words_of("Ship ship SHIP sails") == ["ship", "sails"]
    assert len(words_of(" ".join(f"word{i}" for i in range(1000)))) == MAX_QUERY_WORDS


@pytest.mark.parametrize("question", ["", "   ", "?!", "\N{COMBINING ACUTE ACCENT}", '"', "()", "'; --"])
def test_a_question_without_words_asks_nothing(question):
    assert match_query(question) == ""


@pytest.mark.parametrize(
    "question",
    [
        '" OR words MATCH "',
        "words : secret",
        "NEAR(a b, 2)",
        "a AND NOT b",
        "^first",
        "pre*",
        "{a b} : c",
        "a + b",
    ],
)
def test_nothing_that_a_question_says_is_syntax(question, index):
    text = "not and near words secret first pre match a b c"
    assert found(index, question, text, "zzz") == [text]


def test_whatever_a_question_holds_the_index_understands_it(index):
    chance = random.Random(7)
    signs = "ab1 \"*^:(){}[]+-_~'\\\0\n\té😀東京โ\N{ZERO WIDTH JOINER}\N{COMBINING ACUTE ACCENT}½²ǅß"
    for _ in range(2000):
        question = "".join(chance.choices(signs, k=chance.randint(0, 30)))
        if match := match_query(question):
            index.execute("SELECT rowid FROM texts WHERE texts MATCH ?", (match,)).fetchall()
        else:
            assert not any(character.isalnum() for character in question)
