"""Chats with one's own documents: the fields that ask for it, and what they do to a prompt and to its answer.

The user's last message is the question; the passages that answer it are put before it, as many as fit by the model's
own count of tokens. Knows no family's wire format: what an answer says of it are members that the encoders add. Must
stay true: nobody's documents but those that the caller may read; a prompt without passages is as it came.
"""

from offgrid.api.fields import Asked, Field
from offgrid.api.generate import ask_once
from offgrid.api.shapes import Flag, Number, Text, Whole
from offgrid.engine.catalog import ModelFile
from offgrid.errors import BadRequest, ContextLengthExceeded, InsufficientMemory
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
    Field("datastore_id", Text(1, 64), "Which data store, and that it is to be used; else one's own knowledge base."),
    Field("kb_top_k", Whole(1, MAX_PASSAGES), "How many passages at most.", 5),
    Field("kb_min_score", Number(-1, 1), "How well a passage must fit the question at least.", 0.2),
)


def ground(
    request: Request, app, asked: Asked, model: ModelFile, conversation: dict, max_tokens: int | None = None
) -> tuple[dict, dict]:
    """(the conversation with the passages in it, the members that its answer has beside its own).

    `conversation`: the fields of a GenerateRequest, or of a CountRequest, that say what is in the prompt; as it came,
    and no members, where no knowledge base is asked for. Raises BadRequest, NotFound, ApiError of a model, ClientGone.
    """
    if not _is_wanted(asked):
        return conversation, {}
    store = _store(request, app, asked)
    place, question = context.question_in(conversation["messages"])
    if not question.strip():
        message = "The last message of the user is what is looked up, and here is none that holds text."
        raise BadRequest(message, param="messages")
    found = _search(app, store, asked, question)
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
    is_wanted = said.pop() if said else "datastore_id" in asked
    for name in DETAILS:
        if name in asked and not is_wanted and not any(switch in asked for switch in SWITCHES):
            raise BadRequest(f"{name} goes with use_knowledge_base: true.", param=name)
    return is_wanted


def _store(request: Request, app, asked: Asked) -> DataStore:
    """Raises BadRequest, NotFound."""
    if not app.config.rag.enabled:
        message = "This server keeps no documents: rag.enabled is false (offgrid.yaml, OFFGRID_RAG, --rag)."
        raise BadRequest(message, code="knowledge_base_disabled", param=_named(asked))
    stores, who = app.knowledge.stores, request.who
    id = asked["datastore_id"]
    store = stores.get(who.owner, who.user_id or "", id) if id else stores.default(who.owner)
    if not store.is_on:
        message = f"The data store {store.name!r} is switched off. POST /v1/rag/enable switches it on."
        raise BadRequest(message, code="knowledge_base_disabled", param=_named(asked))
    return store


def _named(asked: Asked) -> str:
    return next(name for name in (*SWITCHES, "datastore_id") if name in asked)


def _search(app, store: DataStore, asked: Asked, question: str):
    """By words alone where the embedding model cannot take the question in, or has no room beside the chat model."""
    from offgrid.rag.search import Found, Question  # numpy: not for the server's start

    wanted = {"top_k": asked["kb_top_k"], "min_score": asked["kb_min_score"]}
    try:
        return app.knowledge.search(store, Question(question, **wanted))
    except ContextLengthExceeded as error:
        why = f"The question has {error.n_prompt_tokens} tokens, and the embedding model takes {error.n_ctx} in"
    except InsufficientMemory:
        why = "The embedding model has no room in memory now"
    found = app.knowledge.search(store, Question(question, mode="keyword", **wanted))
    return Found(found.hits, found.mode, f"{why}, so only words were looked for.")


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
