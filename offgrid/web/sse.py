"""Server-sent events: how one is spelled (WHATWG HTML, "Server-sent events"). Bytes in, bytes out."""

CONTENT_TYPE = "text/event-stream"
DONE = b"data: [DONE]\n\n"  # the end of an OpenAI stream; a stream that failed does not carry it


def event(data: bytes) -> bytes:
    """One event. A line break in `data` starts another `data:` line; the reader joins the lines with LF."""
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return b"data: " + data + b"\n\n"


def comment() -> bytes:
    """A keep-alive that every reader drops; proxies see bytes and leave the connection open."""
    return b":\n\n"
