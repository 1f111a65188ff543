"""What embedding models were trained to find before a question and before a passage, by the names of their files.

From the models' own cards. A model that is not here takes both as they are; `query_prefix` and `document_prefix` of its
section in offgrid.yaml say otherwise.
"""

_SEARCHING = "Represent this sentence for searching relevant passages: "
# (part of the file's name, before a question, before a passage); the first that fits counts.
_KNOWN = (
    ("nomic-embed", "search_query: ", "search_document: "),
    ("modernbert-embed", "search_query: ", "search_document: "),
    ("e5-mistral", "Instruct: Given a question, retrieve passages that answer it\nQuery: ", ""),
    ("e5", "query: ", "passage: "),
    ("bge-m3", "", ""),
    ("bge-", _SEARCHING, ""),
    ("mxbai-embed", _SEARCHING, ""),
    ("arctic-embed-m-v2", "query: ", ""),
    ("arctic-embed-l-v2", "query: ", ""),
    ("arctic-embed", _SEARCHING, ""),
    ("embeddinggemma", "task: search result | query: ", "title: none | text: "),
    (
        "qwen3-embedding",
        "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
        "",
    ),
)


def prefixes_for(model_id: str) -> tuple[str, str]:
    """(before a question, before a passage)"""
    name = model_id.casefold()
    return next(((query, document) for part, query, document in _KNOWN if part in name), ("", ""))
