"""A small MCP server on the standard library, and many bad ones: `python mcp_program.py [MODE]`.

Each mode is the good server with one thing wrong; see MODES. Its tools are what the tests need.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

MODE = sys.argv[1] if len(sys.argv) > 1 else "good"
ANY = {"type": "object"}
NAMES = ["echo", "slow", "grow", "environment", "pid", "die", "ask", "big", "fail", "cancelled", "written", "leave"]
write_lock = threading.Lock()
cancelled: dict[int, threading.Event] = {}
answers: dict[str, dict] = {}  # to what was asked of the client
answered = threading.Event()
n_written = 0
urgent: set[object] = set()  # answers that wait behind the flood
flooding = threading.Event()


def write(text: str, *, is_flood: bool = False) -> None:
    global n_written
    me = object()
    if not is_flood:
        urgent.add(me)
    while is_flood and urgent:
        time.sleep(0.001)
    with write_lock:
        urgent.discard(me)
        sys.stdout.buffer.write(text.encode() + b"\n")
        sys.stdout.buffer.flush()
        n_written += 1


def send(**message) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}))


def text(value: object, **more) -> dict:
    return {"content": [{"type": "text", "text": value if isinstance(value, str) else json.dumps(value)}], **more}


def slow(id: int, params: dict) -> dict | None:
    """Steps of a tenth of a second, each told; None when it was cancelled."""
    token = params.get("_meta", {}).get("progressToken")
    for n in range(params["arguments"]["steps"]):
        if token is not None:
            progress = {
                "progressToken": token,
                "progress": n + 1,
                "total": params["arguments"]["steps"],
                "message": "!",
            }
            send(method="notifications/progress", params=progress)
        if cancelled[id].wait(0.1):
            return None
    return text("done")


def ask(params: dict) -> dict:
    """Ask the client three things at once and tell what it answered."""
    for method in ("ping", "roots/list", "sampling/createMessage"):
        send(id=method, method=method)
    answered.wait(5)
    return text(answers)


def call(id: int, params: dict) -> dict | None:
    name, arguments = params["name"], params["arguments"]
    if name == "echo":
        return text(arguments["text"])
    if name == "slow":
        return slow(id, params)
    if name == "grow":
        NAMES.append(arguments["name"])
        send(method="notifications/tools/list_changed")
        return text("grown")
    if name == "die":
        os._exit(3)
    if name == "ask":
        return ask(params)
    if name == "leave":  # a process that keeps all three pipes, and outlives the server
        sleeper = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
        return text(subprocess.Popen(sleeper, start_new_session=arguments["is_escaped"]).pid)
    if name == "big":
        return text("x" * arguments["n"])
    if name == "fail":
        return text("it went wrong", isError=True)
    values = {"environment": dict(os.environ), "pid": os.getpid(), "written": n_written}
    values["cancelled"] = [id for id, event in cancelled.items() if event.is_set()]
    return text(values[name])


def list_tools(params: dict) -> dict:
    """Two a page."""
    at = int(params.get("cursor", "0"))
    tools = [{"name": name, "description": f"It is {name}.", "inputSchema": ANY} for name in NAMES[at : at + 2]]
    page = {"tools": tools}
    if MODE == "same-page":
        return page | {"nextCursor": "1"}
    if MODE == "endless-pages":
        return page | {"nextCursor": str(at + 1)}
    if MODE == "changing":
        send(method="notifications/tools/list_changed")
    if MODE == "odd-tools":
        odd = [{"name": "a b/ü"}, {"name": "no schema"}, {"name": 5}, {"name": "n" * 100}, {"name": "echo"}, "text"]
        odd = [
            {**tool, "inputSchema": ANY} if isinstance(tool, dict) and tool["name"] != "no schema" else tool
            for tool in odd
        ]
        return {"tools": odd}
    return page | ({"nextCursor": str(at + 2)} if at + 2 < len(NAMES) else {})


def handle(message: dict) -> None:
    method, id, params = message.get("method"), message.get("id"), message.get("params", {})
    if method == "initialize":
        version = "1999-01-01" if MODE == "old" else params["protocolVersion"]
        result = {
            "protocolVersion": version,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "small", "version": "1"},
        }
    elif method == "tools/list":
        result = list_tools(params)
    elif method == "tools/call":
        result = call(id, params)
    else:
        send(id=id, error={"code": -32601, "message": "no such method"})
        return
    if result is not None:
        send(id=id, result=result)


def bad_handle(message: dict) -> None:
    """What a mode does in the place of an answer; the good server's answer where it does nothing."""
    method, id = message.get("method"), message.get("id")
    is_call = method == "tools/call"
    if is_call:
        flooding.set()
    if MODE == "silent" or (MODE == "silent-later" and is_call):
        return
    if MODE == "garbage":
        write("\x00\xff not JSON {[")
        write('{"jsonrpc": "2.0", "id": {}, "result": 5}')
        write("[1, null, [], {}]")
        write("null")
    elif MODE == "wrong-ids":
        for wrong in (id + 1000, str(id), True, None, float(id) + 0.5, [id]):
            send(id=wrong, result=text("wrong"))
        if is_call and message["params"]["name"] == "slow":
            return
    elif MODE == "no-result" and is_call:
        send(id=id)
        return
    elif MODE == "long-line" and is_call:
        out = sys.stdout.buffer
        out.write(b'{"jsonrpc": "2.0", "id": %d, "result": {"content": [{"type": "text", "text": "' % id)
        for _ in range(100):
            out.write(b"x" * 1_000_000)
        out.write(b'"}]}}\n')
        out.flush()
        return
    elif MODE == "endless-line" and is_call:
        while True:
            sys.stdout.buffer.write(b"x" * 1_000_000)
    elif MODE == "deep" and is_call:
        write('{"jsonrpc": "2.0", "id": ' + str(id) + ', "result": ' + "[" * 100_000)
        write("[" * 3_000_000)
    elif MODE == "dies":
        print("the reason why", file=sys.stderr, flush=True)
        os._exit(7)
    elif MODE == "modern":
        if method == "server/discover":
            send(id=id, result={"supportedVersions": ["2026-07-28"], "capabilities": {}})
        else:
            send(id=id, error={"code": -32601, "message": "no such method"})
        return
    elif MODE == "modern-says-so":
        data = {"supported": ["2026-07-28"], "requested": "2025-11-25"}
        send(id=id, error={"code": -32022, "message": "unsupported", "data": data})
        return
    elif MODE == "closes-output" and is_call:
        os.close(1)
        time.sleep(600)
    elif MODE == "deaf" and is_call:
        time.sleep(600)
    handle(message)


def flood() -> None:
    """Whatever the pipe takes."""
    flooding.wait()
    while True:
        if MODE == "stderr-flood":
            print("x" * 200, file=sys.stderr)
        elif MODE == "ping-flood":
            write('{"jsonrpc": "2.0", "id": "again", "method": "ping"}', is_flood=True)
        else:
            write('{"jsonrpc": "2.0", "method": "notifications/message"}', is_flood=True)


def main() -> None:
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE.endswith("flood"):
        threading.Thread(target=flood, daemon=True).start()
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if message.get("method") == "notifications/cancelled":
            cancelled.setdefault(message["params"]["requestId"], threading.Event()).set()
        elif "method" not in message:
            answers[message["id"]] = {key: message[key] for key in ("result", "error") if key in message}
            if len(answers) == 3:
                answered.set()
        elif "id" in message:
            cancelled[message["id"]] = threading.Event()
            target = handle if MODE == "good" else bad_handle
            threading.Thread(target=target, args=(message,), daemon=True).start()
    while MODE == "stubborn":
        time.sleep(600)


main()
