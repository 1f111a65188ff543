"""What generated text looks like in an answer, whole and as events of a stream; `wire.py` writes it."""

USAGE = {
    "prompt_tokens": int,
    "completion_tokens": int,
    "total_tokens": int,
    "prompt_tokens_details": {"cached_tokens": int},
    "completion_tokens_details?": {"reasoning_tokens": int},
}
TIMINGS = {
    "cache_n": int,
    "prompt_n": int,
    "prompt_ms": float,
    "prompt_per_token_ms": float,
    "prompt_per_second": float,
    "predicted_n": int,
    "predicted_ms": float,
    "predicted_per_token_ms": float,
    "predicted_per_second": float,
    "queued_ms": float,
    "draft_n?": int,
    "draft_n_accepted?": int,
}
TOKEN = {"token": str, "bytes": [int], "logprob": float}
CHAT_LOGPROBS = {"content": [{**TOKEN, "top_logprobs": [TOKEN]}], "refusal": None}
TEXT_LOGPROBS = {
    "tokens": [str],
    "token_logprobs": [float],
    "top_logprobs": ([{str: float}], None),
    "text_offset": [int],
}
REASON = ("stop", "length")
CALL = {"id": str, "type": "function", "function": {"name": str, "arguments": str}}
CALL_PIECE = {"index": int, "id?": str, "type?": "function", "function": {"name?": str, "arguments": str}}

ABOUT = {"id": str, "created": int, "model": str}
CITATION = {
    "document_id": str,
    "document_name": str,
    "page": (int, None),
    "start": int,
    "end": int,
    "score": float,
    "text": str,
}
SEARCHED = {"datastore_id": str, "mode": ("hybrid", "vector", "keyword"), "note?": str}
CITED = {"citations?": [CITATION], "knowledge_base?": SEARCHED}
ENDS = {"usage": USAGE, "timings?": TIMINGS}
CHAT_CHOICE = {
    "index": int,
    "message": {"role": "assistant", "content": (str, None), "reasoning_content?": str, "tool_calls?": [CALL]},
    "logprobs": (CHAT_LOGPROBS, None),
    "finish_reason": (*REASON, "tool_calls"),
}
TEXT_CHOICE = {"index": int, "text": str, "logprobs": (TEXT_LOGPROBS, None), "finish_reason": REASON}
CHAT_ANSWER = {**ABOUT, "object": "chat.completion", "choices": [CHAT_CHOICE], **ENDS, **CITED}
TEXT_ANSWER = {**ABOUT, "object": "text_completion", "choices": [TEXT_CHOICE], **ENDS}

PARTS = {"usage?": USAGE, "timings?": TIMINGS}
CHAT_PIECE = {
    "index": int,
    "delta": {
        "role?": "assistant",
        "content?": (str, None),
        "reasoning_content?": str,
        "tool_calls?": [CALL_PIECE],
    },
    "logprobs?": (CHAT_LOGPROBS, None),
    "finish_reason": (*REASON, "tool_calls", None),
}
TEXT_PIECE = {**TEXT_CHOICE, "finish_reason": (*REASON, None)}
CHAT_EVENT = {**ABOUT, "object": "chat.completion.chunk", "choices": [CHAT_PIECE], **PARTS, **CITED}
TEXT_EVENT = {**ABOUT, "object": "text_completion", "choices": [TEXT_PIECE], **PARTS}
