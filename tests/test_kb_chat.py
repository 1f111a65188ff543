"""Chats with documents on a whole server with a tiny model: the fields, all families' answers, whose documents.

There is no embedding model, so documents are searched by words. `/apply-template` shows what the model reads.
"""

import json

import jsonschema
import pytest
import tiny_models
from faults import running_app
from kb_bench import AURORA, CLINIC, add_text, ask, events

import offgrid
from offgrid.api.answers import schema_of
from offgrid.api.anthropic.generated import EVENT as ANTHROPIC_EVENT
from offgrid.api.anthropic.generated import MESSAGE
from offgrid.api.generated import CHAT_ANSWER, CHAT_EVENT
from offgrid.api.grounding import USE_KNOWLEDGE_BASE
from offgrid.api.openapi import document
from offgrid.api.responses.shown import RESPONSE
from offgrid.api.routes import ROUTES
from offgrid.rag.context import HEAD
from offgrid.sections import AccessSettings, EngineSettings, RagSettings
from offgrid.store.datastores import EVERYBODY

QUESTION = "Who is the captain of the Aurora?"
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
FAMILIES = {
    CHAT: {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 8},
    MESSAGES: {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 8},
    RESPONSES: {"input": QUESTION, "max_output_tokens": 8},
}
SHAPES = {CHAT: CHAT_ANSWER, MESSAGES: MESSAGE, RESPONSES: RESPONSE}
KB = {"use_knowledge_base": True}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_models.scripted_model(folder / "tiny.gguf", ["Ines ", "Okafor", "."])
    return folder


@pytest.fixture(scope="module")
def app(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kb")
    with running_app(models, folder / "data") as app:
        add_text(app, app.knowledge.stores.default("local"), folder, "ship.md", AURORA)
        add_text(app, app.knowledge.stores.default("local"), folder, "clinic.md", CLINIC)
        yield app


def prompt_of(app, messages: list[dict], **fields) -> str:
    status, answer = ask(app, "/apply-template", {"messages": messages, **fields})
    assert status == 200, answer
    return answer["prompt"]


def chat_body(text: str = QUESTION, **fields) -> dict:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 8, **fields}


def check_refusal(app, path: str, body: dict, status: int, *words: str) -> dict:
    found, answer = ask(app, path, body)
    assert found == status, answer
    for word in words:
        assert word in answer["error"]["message"]
    return answer["error"]


# --- what the model reads ---


def test_the_model_reads_the_passages_before_the_question_and_all_before_that_is_as_it_was(app):
    history = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": QUESTION},
    ]
    plain, grounded = prompt_of(app, history), prompt_of(app, history, **KB)
    before, question = plain.split(QUESTION)
    assert grounded.startswith(before + HEAD + "\n<passage>[1] ship.md, ")
    assert "\nThe captain of the Aurora is Ines Okafor." in grounded
    assert "Insulin" not in grounded
    assert grounded.endswith("\n</passage>\n\n" + QUESTION + question)


def test_the_answer_is_made_of_the_prompt_that_is_shown(app):
    plain = ask(app, CHAT, chat_body())[1]["usage"]["prompt_tokens"]
    grounded = ask(app, CHAT, chat_body(**KB))[1]["usage"]["prompt_tokens"]
    shown = ask(app, "/tokenize", {"content": prompt_of(app, chat_body()["messages"], **KB)})[1]["tokens"]
    assert grounded == len(shown) > plain


def test_where_nothing_is_found_the_prompt_is_as_it_was(app):
    body = chat_body("Zebra quagga okapi?")
    assert prompt_of(app, body["messages"], **KB) == prompt_of(app, body["messages"])
    status, answer = ask(app, CHAT, {**body, **KB})
    assert (status, answer["citations"], answer["knowledge_base"]["mode"]) == (200, [], "keyword")


def test_how_many_passages_and_how_well_they_must_fit_can_be_said(app):
    text = "The captain of the Aurora, the insulin of the pharmacy"
    names = [one["document_name"] for one in ask(app, CHAT, chat_body(text, **KB))[1]["citations"]]
    assert sorted(names) == ["clinic.md", "ship.md"]
    assert len(ask(app, CHAT, chat_body(text, **KB, kb_top_k=1))[1]["citations"]) == 1
    assert ask(app, CHAT, chat_body(text, **KB, kb_min_score=0.9))[1]["citations"] == []


# --- what is answered ---


@pytest.mark.parametrize("path", FAMILIES)
def test_an_answer_cites_what_the_model_was_given(path, app):
    status, answer = ask(app, path, {**FAMILIES[path], **KB})
    assert status == 200, answer
    jsonschema.validate(answer, schema_of(SHAPES[path]))
    check_cited(app, answer)
    status, plain = ask(app, path, FAMILIES[path])
    assert status == 200
    assert not plain.keys() & {"citations", "knowledge_base"}


def check_cited(app, answer: dict) -> None:
    store = app.knowledge.stores.default("local")
    [cited] = answer["citations"]
    document = app.knowledge.documents.get(store, cited["document_id"])
    assert cited["document_name"] == document.name == "ship.md"
    assert cited["text"] == AURORA[cited["start"] : cited["end"]]
    assert "Ines Okafor" in cited["text"]
    assert answer["knowledge_base"]["datastore_id"] == store.id
    assert answer["knowledge_base"]["mode"] == "keyword"
    assert "no embedding model" in answer["knowledge_base"]["note"]


@pytest.mark.parametrize("fields", [{"use_kb": True}, {"datastore_id": "own"}, {"use_kb": True, "n": 2}])
def test_a_stream_of_openai_cites_in_its_last_event_with_a_choice(fields, app):
    own = app.knowledge.stores.default("local").id
    fields = {name: own if value == "own" else value for name, value in fields.items()}
    found = events(app, CHAT, {**FAMILIES[CHAT], **fields, "stream_options": {"include_usage": True}})
    for event in found:
        jsonschema.validate(event, schema_of(CHAT_EVENT))
    *_, last, usage = found
    assert usage["choices"] == []
    assert last["choices"][0]["finish_reason"]
    check_cited(app, last)
    assert [event for event in found if "citations" in event] == [last]


def test_a_stream_of_anthropic_cites_in_its_message_delta(app):
    found = events(app, MESSAGES, {**FAMILIES[MESSAGES], **KB})
    for event in found:
        jsonschema.validate(event, schema_of(ANTHROPIC_EVENT))
    [citing] = [event for event in found if "citations" in event]
    assert citing["type"] == "message_delta"
    check_cited(app, citing)


def test_a_stream_of_responses_cites_in_its_completed_response_and_keeps_it(app):
    *others, last = events(app, RESPONSES, {**FAMILIES[RESPONSES], **KB})
    assert last["type"] == "response.completed"
    check_cited(app, last["response"])
    assert not any("citations" in json.dumps(event) for event in others)
    kept = app.responses.get("local", last["response"]["id"])
    assert kept["citations"] == last["response"]["citations"]
    items = app.responses.items_before("local", kept["id"])
    assert HEAD not in json.dumps(items)


def test_a_later_response_goes_on_from_what_was_said_and_not_from_the_passages(app):
    _, first = ask(app, RESPONSES, {**FAMILIES[RESPONSES], **KB})
    _, plain = ask(app, RESPONSES, FAMILIES[RESPONSES])
    counted = [
        ask(app, "/v1/responses/input_tokens", {"input": "And now?", "previous_response_id": one["id"]})[1]
        for one in (first, plain)
    ]
    assert counted[0] == counted[1]


# --- what fits ---


@pytest.fixture(scope="module")
def small(models, tmp_path_factory):
    """A context of 512 tokens, and passages that fill it several times over."""
    folder = tmp_path_factory.mktemp("small")
    settings = EngineSettings(ctx_size=512, parallel=1)
    with running_app(
        models, folder / "data", engine=settings, rag=RagSettings(chunk_tokens=16, overlap_tokens=0)
    ) as app:
        store = app.knowledge.stores.default("local")
        lines = "".join(f"The zebra {i} sleeps in stable {i}.\n\n" for i in range(40))
        add_text(app, store, folder, "zoo.md", lines)
        yield app


def test_what_does_not_fit_is_left_out_whole_and_told(small):
    status, answer = ask(small, CHAT, chat_body("Where does the zebra sleep?", **KB, kb_top_k=20))
    assert status == 200, answer
    n = len(answer["citations"])
    assert 1 <= n < 20
    note = answer["knowledge_base"]["note"]
    assert f"{20 - n} of 20 passages were left out" in note
    assert "512 tokens" in note
    prompt = answer["usage"]["prompt_tokens"]
    assert prompt + 8 <= 512
    shortest = min(len(cited["text"]) for cited in answer["citations"])
    assert prompt + 8 + shortest > 512 - 200  # the room is used


def test_an_answer_that_asks_for_more_than_there_is_leaves_room_for_passages(small):
    question = "Where does the zebra sleep?"
    modest, greedy = (ask(small, MESSAGES, {**chat_body(question, **KB), "max_tokens": n})[1] for n in (8, 100_000))
    assert 1 <= len(greedy["citations"]) < len(modest["citations"])


def test_a_prompt_that_fills_the_context_gets_no_passages_and_its_answer(small):
    question = "Where does the zebra sleep? " + "Say it. " * 50
    status, answer = ask(small, CHAT, chat_body(question, **KB, kb_min_score=0))
    assert (status, answer["citations"]) == (200, [])
    assert "5 of 5 passages were left out" in answer["knowledge_base"]["note"]


def test_a_prompt_that_does_not_fit_by_itself_is_refused_as_ever(small):
    error = check_refusal(small, CHAT, chat_body("The zebra sleeps. " * 40, **KB), 400, "context")
    assert error["code"] == "context_length_exceeded"
    error = check_refusal(small, RESPONSES, {"input": "The zebra sleeps. " * 40, **KB}, 400, "context")
    assert error["param"] == "input"


def test_a_question_may_be_longer_than_the_embedding_model_takes_in(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    tiny_models.scripted_model(folder / "tiny.gguf", ["Ines ", "Okafor", "."])
    tiny_models.embedding_model(folder / "vectors.gguf")
    with running_app(folder, tmp_path / "data") as app:
        add_text(app, app.knowledge.stores.default("local"), tmp_path, "ship.md", AURORA)
        _, answer = ask(app, CHAT, chat_body(QUESTION * 80, **KB, kb_min_score=-1))
        assert answer["knowledge_base"]["mode"] == "hybrid"
        assert "note" not in answer["knowledge_base"]
        assert "Ines Okafor" in answer["citations"][0]["text"]


# --- what is refused ---


def test_a_store_that_is_not_there_and_one_of_others_are_the_same(app):
    theirs = app.knowledge.stores.create("somebody-else", "Theirs")
    for path, body in FAMILIES.items():
        for id in ("no-such-store", theirs.id):
            check_refusal(app, path, {**body, "datastore_id": id}, 404, id)


def test_a_shared_store_can_be_asked_by_those_with_whom_it_is_shared(app, tmp_path):
    theirs = app.knowledge.stores.create("somebody-else", "Shared")
    app.knowledge.stores.share(theirs, EVERYBODY, "read_query")
    add_text(app, theirs, tmp_path, "their.md", "The captain of the Borealis is Bo Nilsson.\n")
    _, answer = ask(app, CHAT, chat_body("Who is the captain of the Borealis?", datastore_id=theirs.id))
    assert [one["document_name"] for one in answer["citations"]] == ["their.md"]


def test_everybody_with_an_account_asks_their_own_documents(models, tmp_path):
    access = AccessSettings(multi_user=True, admin_password="open-sesame")
    with running_app(models, tmp_path / "data", access=access) as app:
        _, login = ask(app, "/v1/auth/login", {"username": "admin", "password": "open-sesame"})
        made = [
            ask(app, "/v1/users", {"username": name, "password": "secret of one", "role": "user"}, login["token"])[1]
            for name in ("ann", "bob")
        ]
        ann, bob = (one["api_key"] for one in made)
        store = app.knowledge.stores.default(made[0]["user"]["id"])
        add_text(app, store, tmp_path, "ship.md", AURORA)
        status, answer = ask(app, CHAT, chat_body(**KB), ann)
        assert (status, len(answer["citations"])) == (200, 1)
        assert ask(app, CHAT, chat_body(**KB), bob)[1]["citations"] == []
        assert ask(app, CHAT, chat_body(datastore_id=store.id), bob)[0] == 404
        app.knowledge.stores.share(store, made[1]["user"]["id"], "read_query")
        assert len(ask(app, CHAT, chat_body(datastore_id=store.id), bob)[1]["citations"]) == 1


def test_fields_that_contradict_each_other_or_mean_nothing_are_named(app):
    own = app.knowledge.stores.default("local").id
    error = check_refusal(app, CHAT, chat_body(use_knowledge_base=True, use_kb=False), 400, "different things")
    assert error["param"] == "use_knowledge_base"
    error = check_refusal(app, CHAT, chat_body(kb_top_k=3), 400, "use_knowledge_base")
    assert error["param"] == "kb_top_k"
    for fields in ({"kb_top_k": 0}, {"kb_top_k": 51}, {"kb_min_score": 2}, {"use_kb": "yes"}, {"datastore_id": ""}):
        error = check_refusal(app, CHAT, chat_body(**{"use_knowledge_base": True, **fields}), 400)
        assert error["param"] == next(iter(fields))
    assert "citations" not in ask(app, CHAT, chat_body(use_kb=False, datastore_id=own))[1]


def test_without_a_message_of_the_user_there_is_nothing_to_look_up(app):
    body = {"messages": [{"role": "system", "content": "Be kind."}], **KB}
    error = check_refusal(app, CHAT, body, 400, "last message of the user")
    assert error["param"] == "messages"
    check_refusal(app, MESSAGES, {"messages": [{"role": "user", "content": []}], "max_tokens": 1, **KB}, 400, "user")
    items = [{"role": "developer", "content": "Be kind."}]
    assert check_refusal(app, RESPONSES, {"input": items, **KB}, 400)["param"] == "input"


def test_a_server_or_a_store_that_is_switched_off_says_by_what(models, tmp_path):
    with running_app(models, tmp_path / "data", rag=RagSettings(enabled=False)) as app:
        error = check_refusal(app, CHAT, chat_body(**KB), 400, "rag.enabled")
        assert (error["code"], error["param"]) == ("rag_disabled", "use_knowledge_base")
        assert ask(app, CHAT, chat_body(use_kb=False))[0] == 200
    with running_app(models, tmp_path / "data") as app:
        store = app.knowledge.stores.default("local")
        app.knowledge.stores.change(store, is_on=False)
        check_refusal(app, CHAT, chat_body(use_kb=True), 409, "/v1/rag/enable")


@pytest.mark.parametrize("path", [*FAMILIES, "/apply-template"])
def test_the_document_of_the_api_knows_the_fields_and_their_refusals(path):
    operation = document(ROUTES)["paths"][path]["post"]
    assert operation["responses"].keys() >= {"404", "409"}
    [body] = operation["requestBody"]["content"].values()
    assert body["schema"]["properties"].keys() >= {field.name for field in USE_KNOWLEDGE_BASE}


# --- the Python library ---


def test_the_python_library_has_the_citations_beside_the_text(app):
    client = offgrid.Client(f"http://127.0.0.1:{app.server.server_port}")
    answer = client.chat(QUESTION, use_kb=True)
    assert answer == "Ines Okafor."
    assert "Ines Okafor" in answer.citations[0]["text"]
    assert client.chat(QUESTION).citations == []
    own = app.knowledge.stores.default("local").id
    with client.chat(QUESTION, datastore_id=own, stream=True) as pieces:
        assert "".join(pieces) == answer
        assert pieces.citations == answer.citations
    with pytest.raises(offgrid.NotFound):
        client.chat(QUESTION, datastore_id="no-such-store")


def test_a_session_keeps_what_was_said_without_the_passages(app):
    client = offgrid.Client(f"http://127.0.0.1:{app.server.server_port}")
    client.sessions.create("ship")
    answer = client.sessions.chat_with_session("ship", QUESTION, use_kb=True)
    assert answer.citations[0]["document_name"] == "ship.md"
    kept = [message["content"] for message in client.sessions.get("ship")["messages"]]
    assert kept == [QUESTION, "Ines Okafor."]
