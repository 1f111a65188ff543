"""POST /v1/agents/run: a model that uses tools until a task is done; whole, as a stream, or in the background."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from offgrid.agents.prompt import WHO
from offgrid.agents.runs import AgentRun, Order
from offgrid.agents.steps import STATUSES, STEP_TYPES, Budget
from offgrid.agents.styles import STYLES
from offgrid.agents.templates import TEMPLATES, Template
from offgrid.agents.tools.tool import Context
from offgrid.api import agent_tasks
from offgrid.api.answers import EVENTS, JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field
from offgrid.api.models import MODEL, model_for
from offgrid.api.sampling import SEED_LIMIT, Seed, usual_sampling
from offgrid.api.sessions import Name
from offgrid.api.shapes import Choice, Flag, ListOf, Number, Text, Whole
from offgrid.engine.catalog import ModelFile
from offgrid.errors import BadRequest
from offgrid.sections import ModelSettings
from offgrid.store.datastores import DataStore
from offgrid.store.sessions import Message
from offgrid.web import sse
from offgrid.web.message import Request, Response
from offgrid.web.stream import StreamWriter, Wakeup

MAX_TOOLS, MAX_PROMPT_CHARS = 256, 1_000_000
USUAL = Template(WHO, "react", 10, 1024, 0.2, ())
END_S = 5.0  # for a run whose client has gone, or that has told its end
TASK = Text(1, MAX_PROMPT_CHARS, is_unicode=True)
STEPS = Whole(1, 1000)
STREAMED, IN_BACKGROUND = "stream", "background"
BODY = (
    MODEL,
    Field("prompt", TASK, "What is to be done.", example="Calculate the factorial of 10"),
    Field("task", TASK, "The same, under its other name."),
    Field(
        "style", Choice(tuple(STYLES)), "react: thought, action, observation; cot: thoughts only; tools: native calls."
    ),
    Field("template", Choice(tuple(TEMPLATES)), "A ready-made agent; the other fields go before what it says."),
    Field("max_steps", STEPS, "How often the model is asked at most; 10, or as the template has it."),
    Field("max_iterations", STEPS, "The same, under its other name; it goes before."),
    Field("max_tokens", Whole(16, 2**24), "What the model may write in one step; 1024, or as the template has it."),
    Field("max_total_tokens", Whole(16, 2**24), "What it may write in the whole run; agents.max_tokens at most."),
    Field("max_seconds", Number(1, 86_400), "How long the run may take; agents.run_timeout_s at most."),
    Field(
        "tools",
        ListOf(Text(1, 200), MAX_TOOLS),
        "The names of the tools that it may call; all that are on if left out.",
    ),
    Field("system_prompt", Text(max_chars=100_000, is_unicode=True), "Who the model is told to be."),
    Field(
        "temperature", Number(0, 2), "How evenly the next token is drawn; 0.2, or as the template or the model has it."
    ),
    Field("seed", Seed(-SEED_LIMIT, SEED_LIMIT - 1), "For the same text again, as far as that goes; -1 is random."),
    Field("datastore_id", Text(1, 64), "Which data store search_documents searches; else one's own knowledge base."),
    Field("session", Name(), "The session that the task goes on from, and that is told the task and its answer."),
    Field(STREAMED, Flag(), "Send what happens as it happens, as server-sent events.", False),
    Field(IN_BACKGROUND, Flag(), "Answer at once with the task, and go on without the client.", False),
)
TOOL_CALL = {"tool": str, "args": {str: object}, "result": str}
ANSWER = {
    "output": str,
    "result": str,
    "steps": [agent_tasks.STEP],
    "task_id": str,
    "tool_calls": [TOOL_CALL],
    "tokens_used": int,
    "model": str,
    "status": STATUSES,
    "error": (str, None),
}
ENDED = {"task_id": str, "steps": int, "status": STATUSES, "tokens_used": int}
TOOL_OF_STEP = {"tool_name": str, "tool_args": str, "tool_result": str}
EVENT = (
    {"type": "status", "status": "thinking", "task_id": str},
    {"type": "token", "token": str},
    {"type": "step", "step_type": STEP_TYPES, "step_id": int, "content": str, **TOOL_OF_STEP},
    {"type": "approval", "task_id": str, "call": str, "tool": str, "args": {str: object}},
    {"type": "done", "output": str, **ENDED, "reason?": str},
    {"type": "error", "error": str, **ENDED},
)


@endpoint(body=BODY, answers={200: {JSON: ANSWER, EVENTS: EVENT}, 202: {JSON: agent_tasks.TASK}}, errors=(404, 409))
def run_agent(request: Request, app, asked: Asked) -> Response | None:
    """Have a model do a task with tools, step by step."""
    if asked[STREAMED] and asked[IN_BACKGROUND]:
        raise BadRequest("stream and background exclude each other; a task's steps are in its answer.", param="stream")
    order = _order(request, app, asked)
    request.tally.service = "agents"
    request.remarks |= {"style": order.style, "tools": len(order.tools)}
    on_end = _session_keeper(request, app, asked)
    if asked[IN_BACKGROUND]:
        run = app.agents.start(order, lambda event: None, on_end, lambda run: _charged(request, app, run))
        request.remarks["task"] = run.id
        task = app.tasks.get(request.who.owner, run.id)
        return Response.json(agent_tasks.as_json(app, task), status=202)
    if asked[STREAMED]:
        return _stream(request, app, order, on_end)
    with Wakeup() as wakeup:
        run = _wait(request, app, order, on_end, lambda event: _wake_at_end(event, wakeup), wakeup, lambda: None)
    if run.error is not None and not run.steps:
        raise run.error
    return Response.json(_answer(run))


def _stream(request: Request, app, order: Order, on_end: Callable[[AgentRun], None]) -> None:
    writer = request.open_stream(sse.CONTENT_TYPE, app.guard.cors_headers(request))
    with Wakeup() as wakeup:

        def emit(event: dict) -> None:
            # An error before anything was sent is a status.
            if writer.started or event["type"] != "error":
                writer.write(sse.event(json.dumps(event, ensure_ascii=False).encode("utf-8", "replace")))
            _wake_at_end(event, wakeup)

        run = _wait(request, app, order, on_end, emit, wakeup, lambda: _sign_of_life(writer))
    request.error = run.error
    if not writer.started:
        raise run.error
    writer.close()


def _wait(
    request: Request,
    app,
    order: Order,
    on_end: Callable[[AgentRun], None],
    emit: Callable[[dict], None],
    wakeup: Wakeup,
    on_silence: Callable[[], None],
) -> AgentRun:
    """Start a run and wait for its end, which a hang-up is too. Raises ClientGone."""
    run = app.agents.start(order, emit, on_end)
    request.tally = run.tally
    request.remarks["task"] = run.id
    try:
        while not request.wait_for(wakeup, app.config.server.keep_alive_interval_s):
            on_silence()
    finally:
        app.agents.cancel(run)
        run.ended.wait(END_S)
    return run


def _wake_at_end(event: dict, wakeup: Wakeup) -> None:
    if event["type"] in ("done", "error"):
        wakeup.set()


def _sign_of_life(writer: StreamWriter) -> None:
    if writer.started:  # before, an error is still a status
        writer.write(sse.comment())


def _order(request: Request, app, asked: Asked) -> Order:
    """What a run is to do, from what the request says. Raises BadRequest, NotFound."""
    if "prompt" in asked and "task" in asked and asked["prompt"] != asked["task"]:
        raise BadRequest("prompt and task say different things; send one of them.", param="task")
    prompt = asked["prompt"] or asked["task"]
    if prompt is None:
        raise BadRequest("prompt must be a string that is not empty: what is to be done.", param="prompt")
    model, own = model_for(app, asked, "chat")
    template = TEMPLATES.get(asked["template"], USUAL)
    style = asked["style"] or template.style
    who = asked["system_prompt"] or (template.who if asked["template"] else own.system_prompt or template.who)
    told = {"template": asked["template"]}
    budget = _budget(app, asked, template)
    sampling = _sampling(asked, own, template)
    conversation = ()
    if asked["session"]:
        kept = app.sessions.get(request.who.owner, asked["session"]).messages
        conversation = tuple({"role": m.role, "content": m.content} for m in kept if m.role in ("user", "assistant"))
        told["session"] = asked["session"]
    tools = () if style == "cot" else _tools(request, app, asked)
    told |= {
        "max_steps": budget.max_steps,
        "max_tokens": budget.max_tokens,
        "max_total_tokens": budget.max_total_tokens,
        "max_seconds": budget.max_s,
        "temperature": sampling.temperature,
        "tools": [tool.name for tool in tools],
    }
    context = _context(request, app, asked)
    return Order(prompt, model, sampling, style, who, tools, budget, context, conversation, told)


def _budget(app, asked: Asked, template: Template) -> Budget:
    limits = app.config.agents
    n_steps = asked["max_iterations"] or asked["max_steps"]
    if n_steps is not None and n_steps > limits.max_steps:
        name = "max_iterations" if asked["max_iterations"] else "max_steps"
        message = f"{name} is {n_steps}, and this server allows {limits.max_steps} (the setting agents.max_steps)."
        raise BadRequest(message, param=name)
    for name, most, setting in (
        ("max_total_tokens", limits.max_tokens, "max_tokens"),
        ("max_seconds", limits.run_timeout_s, "run_timeout_s"),
    ):
        if name in asked and asked[name] > most:
            message = f"{name} is {asked[name]:g}, and this server allows {most:g} (the setting agents.{setting})."
            raise BadRequest(message, param=name)
    n_total = asked["max_total_tokens"] or limits.max_tokens
    return Budget(
        max_steps=n_steps or min(template.max_steps, limits.max_steps),
        max_tokens=min(asked["max_tokens"] or template.max_tokens, n_total),
        max_total_tokens=n_total,
        max_s=asked["max_seconds"] or limits.run_timeout_s,
    )


def _sampling(asked: Asked, own: ModelSettings, template: Template):
    temperature = asked.get("temperature")
    if temperature is None:
        is_own = not asked["template"] and own.temperature is not None
        temperature = own.temperature if is_own else template.temperature
    return replace(usual_sampling(own), temperature=temperature, seed=asked["seed"])


def _tools(request: Request, app, asked: Asked) -> tuple:
    if "tools" in asked:
        return app.agents.choose_tools(request.who, asked["tools"])
    tools = app.agents.choose_tools(request.who, None)
    if asked["template"]:
        wanted = TEMPLATES[asked["template"]].tools
        tools = tuple(tool for tool in tools if tool.name in wanted)
    return tools


def _context(request: Request, app, asked: Asked) -> Context:
    store = _store(request, app, asked)
    return Context(
        who=request.who,
        settings=app.config.agents,
        workspaces=app.workspaces,
        is_cancelled=lambda: False,  # the run puts its own
        list_models=lambda: [_model_line(file) for file in app.catalog.scan() if file.kind in ("chat", "embedding")],
        search=None if store is None else lambda query, top_k: _search(app, store(), query, top_k),
    )


def _store(request: Request, app, asked: Asked) -> Callable[[], DataStore] | None:
    """The data store that is searched, found when it is first needed; one that is named is looked up at once."""
    id, who, stores = asked["datastore_id"], request.who, app.knowledge.stores
    if not app.config.rag.enabled:
        if id:
            message = "This server keeps no documents: rag.enabled is false (offgrid.yaml, OFFGRID_RAG, --rag)."
            raise BadRequest(message, param="datastore_id", code="knowledge_base_disabled")
        return None
    if id:
        named = stores.get(who.owner, who.user_id or "", id)
        return lambda: named
    return lambda: stores.default(who.owner)


def _search(app, store: DataStore, query: str, top_k: int) -> list[dict]:
    from offgrid.rag.search import Question  # numpy: not for the server's start

    hits = app.knowledge.search(store, Question(query, top_k)).hits
    return [
        {"document_name": h.passage.document_name, "text": h.passage.text, "score": h.score, "page": h.passage.page}
        for h in hits
    ]


def _model_line(file: ModelFile) -> str:
    return f"{file.id} ({file.kind})"


def _session_keeper(request: Request, app, asked: Asked) -> Callable[[AgentRun], None]:
    """What puts a task and its answer at the end of the session that was named."""
    name, owner = asked["session"], request.who.owner

    def keep(run: AgentRun) -> None:
        if name and run.outcome.is_answered:
            said = [Message("user", run.order.task), Message("assistant", run.outcome.output)]
            app.sessions.append(owner, name, said)

    return keep


@contextmanager
def _charged(request: Request, app, run: AgentRun) -> Iterator[None]:
    """A run that goes on after its request was answered holds a place of its own, and is charged at its end."""
    later = replace(request, tally=run.tally, answer_headers={})
    with app.throttle.admit(later, "agents:run", is_new=False):
        try:
            yield
        finally:
            app.usage.add(request.who, run.tally)
            app.traffic.count_model(run.tally, run.took_s)


def _answer(run: AgentRun) -> dict:
    kept = run.snapshot()
    return {
        "output": kept["output"],
        "result": kept["output"],
        "steps": [agent_tasks.step_json(step) for step in kept["steps"]],
        "task_id": run.id,
        "tool_calls": agent_tasks.tool_calls(kept["steps"]),
        "tokens_used": kept["tokens_used"],
        "model": run.order.model.id,
        "status": run.outcome.status,
        "error": kept["error"],
    }
