"""Chats with one's own documents: the fields that ask for it, and what they do to a prompt and to its answer.

The user's last message is the question; the passages that answer it are put before it, as many as fit by the model's
own count of tokens. Knows no family's wire format: what an answer says of it are members that the encoders add. Must
stay true: nobody's documents but those that the caller may read; a prompt without passages is as it came.
"""

from offgrid.api.fields import Asked, Field
from offgrid.api.generate import ask_once
from offgrid.api.knowledge import store_for
from offgrid.api.shapes import Flag, Number, Text, Whole
from offgrid.engine.catalog import ModelFile
from offgrid.errors import BadRequest
from offgrid.rag import context
from offgrid.store.datastores import DataStore
from offgrid.types import CountRequest, LengthsRequest
from offgrid.web.message import Request

MAX_PASSAGES = 50
SWITCHES = ("use_knowledge_base", "use_kb")
DETAILS = ("kb_top_k", "kb_min_score")
USE_KNOWLEDGE_BASE = (
    Field(SWITCHES[0], Flag(), "Look the last message of the user up in a data store, and cite what was found."),
    Field(SWITCHES[1], Flag(), "The same, shorter."),
    Field(
        "datastore_id",
        Text(1, 100, is_unicode=True),
        "Which data store, and that it is to be used; else one's own knowledge base.",
    ),
    Field("kb_top_k", Whole(1, MAX_PASSAGES), "How many passages at most.", 5),
    Field("kb_min_score", Number(-1, 1), "The least likeness of a passage to the question; usually 0.2."),
)


def ground(
    request: Request, app, asked: Asked, model: ModelFile, conversation: dict, max_tokens: int | None = None
) -> tuple[dict, dict]:
    """(the conversation with the passages in it, the members that its answer has beside its own).

    `conversation`: the fields of a GenerateRequest, or of a CountRequest, that say what is in the prompt; as it came,
    and no members, where no knowledge base is asked for. Raises BadRequest, NotFound, Conflict for a
    store that is switched off, ApiError of a model, ClientGone.
    """
    if not _is_wanted(asked):
        return conversation, {}
    from offgrid.rag.search import Question  # numpy: only for those who ask for it

    store = _store(request, app, asked)
    place, question = context.question_in(conversation["messages"])
    if not question.strip():
        message = "The last message of the user is what is looked up, and here is none that holds text."
        raise BadRequest(message, param="messages")
    found = app.knowledge.search(store, Question(question, asked["kb_top_k"], asked["kb_min_score"]))
    hits, note = _fit(request, app, model, conversation, found.hits, max_tokens)
    about = {"datastore_id": store.id, "mode": found.mode}
    if notes := " ".join(filter(None, (found.note, note))):
        about["note"] = notes
    if hits:
        messages = context.with_passages(conversation["messages"], place, hits)
        conversation = {**conversation, "messages": messages}
    return conversation, {"citations": context.citations(hits), "knowledge_base": about}


def _is_wanted(asked: Asked) -> bool:
    """A data store alone is a wish as well, unless a switch says no. Raises BadRequest."""
    said = {asked[name] for name in SWITCHES if name in asked}
    if len(said) > 1:
        raise BadRequest(f"{' and '.join(SWITCHES)} say different things; send one of them.", param=SWITCHES[0])
    if said:
        return said.pop()
    is_wanted = "datastore_id" in asked
    for name in DETAILS:
        if name in asked and not is_wanted:
            raise BadRequest(f"{name} goes with use_knowledge_base: true.", param=name)
    return is_wanted


def _store(request: Request, app, asked: Asked) -> DataStore:
    """Raises BadRequest, NotFound."""
    if not app.config.rag.enabled:
        field = next(name for name in (*SWITCHES, "datastore_id") if name in asked)
        message = f"{field}: the knowledge base is switched off here (rag.enabled). Leave it out."
        raise BadRequest(message, code="rag_disabled", param=field)
    return store_for(request, app, asked)


def _fit(
    request: Request, app, model: ModelFile, conversation: dict, hits: list, max_tokens: int | None
) -> tuple[list, str]:
    """The hits that the context has room for, and what is to be said of the others.

    How long the model stays afterwards, the request for its answer says: a keep_alive of 0 would unload it before.
    """
    if not hits:
        return [], ""
    prompt = ask_once(request, app, model, CountRequest(**conversation), None)
    texts = [context.frame(), *(context.entry(number, hit) for number, hit in enumerate(hits, 1))]
    lengths = ask_once(request, app, model, LengthsRequest(texts), None)
    n_frame, *n_tokens = lengths.n_tokens
    n_room = context.room(lengths.n_limit, prompt.n_tokens + n_frame, max_tokens)
    chosen = context.fitting(n_tokens, n_room)
    n_left_out = len(hits) - len(chosen)
    note = (
        f"{n_left_out} of {len(hits)} passages were left out: with them the prompt and its answer would not fit "
        f"into the model's context of {lengths.n_limit} tokens."
    )
    return [hits[place] for place in chosen], note if n_left_out else ""
