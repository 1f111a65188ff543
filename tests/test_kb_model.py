"""Chats with documents on the starter models: what a document says is answered, and cited where it stands."""

import pytest
from faults import running_app
from kb_bench import AURORA, CLINIC, add_text, ask
from running import REPO

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kb")
    with running_app(REPO / "models", folder / "data") as app:
        store = app.knowledge.stores.default("local")
        for name, text in (("ship.md", AURORA), ("clinic.md", CLINIC)):
            add_text(app, store, folder, name, text)
        yield app


@pytest.mark.parametrize(
    "question, fact, name, text",
    [
        ("Who is the captain of the Aurora?", "Ines Okafor", "ship.md", AURORA),
        ("Where is the insulin kept?", "room 12", "clinic.md", CLINIC),
    ],
)
def test_what_a_document_says_is_answered_and_cited_where_it_stands(question, fact, name, text, app):
    messages = [{"role": "user", "content": question}]
    body = {"messages": messages, "temperature": 0, "max_tokens": 24}
    status, answer = ask(app, "/v1/chat/completions", {**body, "use_kb": True})
    assert status == 200, answer
    assert fact in answer["choices"][0]["message"]["content"]
    best = answer["citations"][0]
    assert best["document_name"] == name
    assert fact in text[best["start"] : best["end"]] == best["text"]
    assert answer["knowledge_base"]["mode"] == "hybrid"
    assert 0.2 <= best["score"] <= 1
    without = ask(app, "/v1/chat/completions", body)[1]
    assert fact not in without["choices"][0]["message"]["content"]


def test_a_question_that_no_document_answers_is_asked_as_it_is(app):
    messages = [{"role": "user", "content": "Translate to French: good morning"}]
    body = {"messages": messages, "temperature": 0, "max_tokens": 4, "use_kb": True, "kb_min_score": 0.6}
    plain = ask(app, "/apply-template", {"messages": messages})[1]
    assert ask(app, "/v1/chat/completions", body)[1]["citations"] == []
    grounded = ask(app, "/apply-template", {"messages": messages, "use_kb": True, "kb_min_score": 0.6})[1]
    assert grounded == plain
