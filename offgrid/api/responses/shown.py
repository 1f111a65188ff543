"""What answers of this family look like, for the document of the API."""

from offgrid.api.generated import CITED, TOKEN

LOGPROB = {**TOKEN, "top_logprobs": [TOKEN]}
STATUS = ("completed", "incomplete", "in_progress")
TEXT = {"type": "output_text", "text": str, "annotations": [object], "logprobs": [LOGPROB]}
OUTPUT_ITEM = (
    {"type": "message", "id": str, "status": STATUS, "role": "assistant", "content": [TEXT]},
    {
        "type": "reasoning",
        "id": str,
        "status": STATUS,
        "summary": [object],
        "content": [{"type": "reasoning_text", "text": str}],
    },
    {"type": "function_call", "id": str, "status": STATUS, "call_id": str, "name": str, "arguments": str},
)
USAGE = {
    "input_tokens": int,
    "input_tokens_details": {"cached_tokens": int},
    "output_tokens": int,
    "output_tokens_details": {"reasoning_tokens": int},
    "total_tokens": int,
}
RESPONSE = {
    "id": str,
    "object": "response",
    "created_at": int,
    "completed_at": (int, None),
    "status": ("completed", "incomplete", "in_progress", "failed"),
    "error": ({"code": str, "message": str, "type": str, "param": (str, None)}, None),
    "incomplete_details": ({"reason": "max_output_tokens"}, None),
    "model": str,
    "output": [OUTPUT_ITEM],
    "usage": (USAGE, None),
    "instructions": (str, None),
    "previous_response_id": (str, None),
    "max_output_tokens": (int, None),
    "temperature": float,
    "top_p": float,
    "top_logprobs": int,
    "tools": [object],
    "tool_choice": object,
    "parallel_tool_calls": bool,
    "text": {"format": {"type": str}},
    "reasoning": {"effort": (str, None), "summary": None},
    "truncation": "disabled",
    "background": False,
    "store": bool,
    "metadata": {str: str},
    **CITED,
}
EVENT = {"type": str, "sequence_number": int}
ITEMS = {"object": "list", "data": [{"id": str, "type": str}], "first_id": (str, None), "last_id": (str, None),
         "has_more": bool}  # fmt: skip
