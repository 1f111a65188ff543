"""Speculation through the whole server: what the client is told, and that the text does not change."""

import string

import pytest
import tiny_models
from running import CHAT, REPO

from offgrid.api.wire import timings_body
from offgrid.types import Drafted, Finish, Usage
from offgrid.worker.channel import Channel

PIECES = [*string.ascii_letters, *string.digits]  # a token each, in the prompt too
PEOPLE = (
    ("Ada", "Oslo", 31),
    ("Ben", "Lima", 12),
    ("Cleo", "Cairo", 54),
    ("Dan", "Quito", 7),
    ("Eva", "Rome", 88),
    ("Finn", "Bern", 23),
    ("Gita", "Pune", 65),
    ("Hugo", "Lyon", 41),
    ("Iris", "Riga", 19),
    ("Jon", "Kyiv", 72),
)
ROWS = [
    f'  {{"id": {i}, "name": "{name}", "city": "{city}", "points": {points}}},'
    for i, (name, city, points) in enumerate(PEOPLE, 1)
]
# What the starter model copies to the letter, instead of changing a word.
COPY = "Repeat the following table exactly, but change Oslo to Bergen:\n[\n" + "\n".join(ROWS) + "\n]"


def test_a_text_that_stands_in_the_prompt_is_written_with_drafts_and_the_same_without(start_server, tmp_path):
    tiny_models.scripted_model(tmp_path / "scripted.gguf", PIECES)
    texts = []
    for mode in ("auto", "off"):
        server = start_server("--models-dir", str(tmp_path), "--speculation", mode)
        answer = server.chat("".join(PIECES), max_tokens=90)
        texts.append(answer["choices"][0]["message"]["content"])
        timings = answer["timings"]
        assert answer["usage"]["completion_tokens"] == timings["predicted_n"] == len(PIECES) + 1
        if mode == "auto":
            assert timings["draft_n"] >= timings["draft_n_accepted"] >= 3
        else:
            assert "draft_n" not in timings
    assert texts == ["".join(PIECES)] * 2


@pytest.mark.model
def test_the_starter_model_copies_with_drafts_and_says_the_same_without(start_server):
    answers = [
        start_server("--models-dir", str(REPO / "models"), "--speculation", mode).chat(COPY, max_tokens=100, model=CHAT)
        for mode in ("auto", "off")
    ]
    assert answers[0]["choices"] == answers[1]["choices"]
    assert answers[0]["usage"]["completion_tokens"] == answers[1]["usage"]["completion_tokens"]
    assert answers[0]["timings"]["draft_n_accepted"] > 0


def test_timings_name_drafts_only_where_there_were_any():
    plain = Finish("stop", Usage(3, 5))
    assert "draft_n" not in timings_body(plain)
    drafted = timings_body(Finish("stop", Usage(3, 5), drafted=Drafted(8, 2)))
    assert (drafted["draft_n"], drafted["draft_n_accepted"]) == (8, 2)


def test_several_tokens_of_a_sequence_in_one_step_are_one_piece_of_text(monkeypatch):
    channel, sent = Channel(pipe=None), []
    monkeypatch.setattr(channel, "send", sent.append)
    for id, text in ((1, "a"), (1, "b"), (2, "x"), (1, "c")):
        channel.delta(id, text)
    channel.flush()
    assert [message["d"] for message in sent] == [[(1, "ab"), (2, "x"), (1, "c")]]
