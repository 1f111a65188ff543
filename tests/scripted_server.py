"""A small real HTTP server that speaks the documented wire format and answers what a test has put down.

An answer is a function of the request's handler; those that the tests need are made here. The fixture is `scripted`.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAIT_S = 5


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self):
        n_bytes = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(n_bytes)) if n_bytes else None
        self.server.requests.append((self.command, self.path, body, self.headers))
        self.server.answers[min(len(self.server.requests), len(self.server.answers)) - 1](self)

    do_GET = do_POST = handle_any

    def log_message(self, *_):
        pass


class ScriptedServer(ThreadingHTTPServer):
    """Its nth request gets the nth of `answers`, and every later one the last. `requests` is what it was asked."""

    request_queue_size = 64  # with the stdlib's 5, a burst of connections waits a second for its second try

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.requests = [], []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


def reply(content, status=200, **headers):
    """An answer; `content` is sent as JSON, bytes as they are."""

    def send(handler):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return send


def chat_reply(text):
    return reply({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]})


def error_reply(status, message="no", **fields):
    headers = {name: fields.pop(name) for name in list(fields) if name[0].isupper() or name.startswith("x_")}
    return reply({"error": {"message": message, **fields}}, status, **headers)


def chunk(handler, data: bytes):
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def event(delta, finish_reason=None) -> bytes:
    return b"data: %s\n\n" % json.dumps({"choices": [{"delta": delta, "finish_reason": finish_reason}]}).encode()


def stream_reply(*pieces: bytes, is_whole=True):
    """Each piece is one HTTP chunk; without `is_whole` the connection is cut after the last one."""

    def send(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in pieces:
            chunk(handler, piece)
        if is_whole:
            chunk(handler, b"")
        else:
            handler.close_connection = True

    return send


WORDS = (event({"role": "assistant"}), event({"content": "Once "}), event({"content": "upon"}), event({}, "stop"))
