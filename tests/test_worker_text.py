"""Text assembly: whole characters, and no part of a stop string."""

import pytest

from offgrid.worker.text import TextAssembler


def pushed(assembler: TextAssembler, data: bytes, n: int) -> list[str]:
    """What comes out when `data` arrives `n` bytes at a time."""
    return [assembler.push(data[i : i + n]) for i in range(0, len(data), n)]


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_characters_split_over_tokens_come_out_whole(n):
    text = "naïve 日本語 👩‍👩‍👧 ok"
    assembler = TextAssembler()
    parts = pushed(assembler, text.encode(), n)
    assert "".join(parts) + assembler.flush() == text
    assert "\ufffd" not in "".join(parts)


def test_bytes_that_are_no_character_become_replacement_marks_and_do_not_stop_the_text():
    assembler = TextAssembler()
    assert assembler.push(b"a\xff") + assembler.push(b"b") + assembler.flush() == "a\ufffdb"


def test_half_a_character_at_the_end_is_not_lost_in_silence():
    assembler = TextAssembler()
    assert assembler.push("é".encode()[:1]) == ""
    assert assembler.flush() == "\ufffd"


@pytest.mark.parametrize("n", range(1, 9))
def test_a_stop_string_split_anywhere_never_leaks(n):
    assembler = TextAssembler(("<end>",))
    parts = pushed(assembler, b"hello <en <end> secret", n)
    assert "".join(parts) + assembler.flush() == "hello <en "
    assert assembler.is_stopped


def test_what_only_looked_like_a_stop_string_is_given_out_in_the_end():
    assembler = TextAssembler(("STOP",))
    assert assembler.push(b"no STO") == "no "
    assert assembler.flush() == "STO"


def test_the_earliest_of_several_stop_strings_counts():
    assembler = TextAssembler(("world", "lo w"))
    assert "".join(pushed(assembler, b"hello world", 1)) == "hel"


def test_a_stop_string_of_one_character_holds_nothing_back():
    assembler = TextAssembler(("\n",))
    assert assembler.push(b"line") == "line"
    assert assembler.push(b"\nmore") == ""
    assert assembler.is_stopped


def test_text_that_overlaps_itself_is_held_back_only_as_far_as_needed():
    assembler = TextAssembler(("aab",))
    assert assembler.push(b"aaaa") == "aa"
    assert assembler.push(b"b") == ""
    assert assembler.is_stopped


@pytest.mark.parametrize("n", range(1, 9))
def test_of_several_stop_strings_the_first_in_the_text_is_named(n):
    assembler = TextAssembler(("<end>", "stop", "en"))
    pushed(assembler, b"do not stop before <end>", n)
    assert assembler.stopped_by == "stop"
