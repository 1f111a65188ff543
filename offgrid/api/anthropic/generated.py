"""What Anthropic's messages look like, whole and as events of a stream; `wire.py` writes them."""

from offgrid.api.generated import CITED

USAGE = {
    "input_tokens": int,
    "cache_creation_input_tokens": int,
    "cache_read_input_tokens": int,
    "output_tokens": int,
    "output_tokens_details?": {"thinking_tokens": int},
}
TEXT = {"type": "text", "text": str}
THINKING = {"type": "thinking", "thinking": str, "signature": str}
CALL = {"type": "tool_use", "id": str, "name": str, "input": {str: object}}
BLOCK = (TEXT, THINKING, CALL)
REASON = ("end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded")
ABOUT = {"id": str, "type": "message", "role": "assistant", "model": str}
WHOLE = {**ABOUT, "content": [BLOCK], "stop_reason": REASON, "stop_sequence": (str, None), "usage": USAGE}
MESSAGE = {**WHOLE, **CITED}

STARTED = {**WHOLE, "stop_reason": None, "stop_sequence": None}
DELTA = (
    {"type": "text_delta", "text": str},
    {"type": "thinking_delta", "thinking": str},
    {"type": "signature_delta", "signature": str},
    {"type": "input_json_delta", "partial_json": str},
)
ENDED = {"stop_reason": REASON, "stop_sequence": (str, None)}
EVENT = (
    {"type": "message_start", "message": STARTED},
    {"type": "content_block_start", "index": int, "content_block": BLOCK},
    {"type": "content_block_delta", "index": int, "delta": DELTA},
    {"type": "content_block_stop", "index": int},
    {"type": "message_delta", "delta": ENDED, "usage": USAGE, **CITED},
    {"type": "message_stop"},
    {"type": "ping"},
)
