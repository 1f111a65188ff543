"""search_documents and list_models: what this server knows, and which models it has."""

from typing import Any

from offgrid.agents.tools.tool import Context, Tool, ToolError, cut, parameters, quoted

DEFAULT_TOP_K, MAX_TOP_K = 4, 20
MAX_PASSAGE_CHARS = 2000


def _search(arguments: dict[str, Any], context: Context) -> str:
    if context.search is None:
        raise ToolError("There is no knowledge base here.")
    found = context.search(arguments["query"], int(arguments.get("top_k", DEFAULT_TOP_K)))
    if not found:
        return "Nothing was found."
    passages = (f"[{i}] {_place(one)}\n{cut(one['text'], MAX_PASSAGE_CHARS)}" for i, one in enumerate(found, 1))
    return quoted("These passages were found, best first.", "\n\n".join(passages))


def _place(found: dict[str, Any]) -> str:
    page = f", page {found['page']}" if found.get("page") is not None else ""
    return f"{found['document_name']}{page} (score {found['score']:.2f})"


def _list_models(_arguments: dict[str, Any], context: Context) -> str:
    return "\n".join(context.list_models()) or "(no models)"


SEARCH_DOCUMENTS = Tool(
    name="search_documents",
    description="Search the documents of the knowledge base.",
    parameters=parameters(
        "query",
        query={"type": "string", "minLength": 1, "description": "What to look for."},
        top_k={"type": "integer", "minimum": 1, "maximum": MAX_TOP_K, "description": "How many passages."},
    ),
    run=_search,
)
LIST_MODELS = Tool(
    name="list_models", description="List the models of this server.", parameters=parameters(), run=_list_models
)
