"""What a person sees in the terminal when the server has started: where it is, what it has, what to try."""

import socket
from typing import TextIO

import offgrid

ANYWHERE = ("0.0.0.0", "::")


def show_banner(app, out: TextIO) -> None:
    """Print address, models and one command to try, or what to do when there is no model yet."""
    scheme = "https" if app.config.server.tls_cert else "http"
    host, port = app.config.server.host, app.server.server_port
    addresses = [f"{scheme}://{_in_url(h)}:{port}" for h in _reachable_as(host)]
    lines = [f"OffGrid {offgrid.__version__} answers at {'  and  '.join(addresses)}"]
    if host != "localhost" and not host.startswith("127.") and host != "::1":
        lines.append(_who_may_come_in(app.config.server.api_key))
    lines += [*_models(app, addresses[0]), ""]
    print("\n".join(lines), file=out, flush=True)


def _models(app, address: str) -> list[str]:
    files = app.catalog.scan()
    lines = [f"  {file.kind:<10} {file.id}  ({file.size_bytes / 1e6:.0f} MB)" for file in files if not file.broken]
    lines += [f"  broken     {file.id}: {file.broken}" for file in files if file.broken]
    chat = next((file for file in files if file.kind == "chat"), None)
    if chat is None:
        folder = app.config.paths.models_dir
        hint = f"There is no chat model in {folder} yet. Put a .gguf file there (no restart is needed), or run:"
        return [*lines, hint, "  python offgrid.py models starter"]
    key = " -H 'Authorization: Bearer YOUR_KEY'" if app.config.server.api_key else ""
    message = '{"messages":[{"role":"user","content":"Hello!"}]}'
    url = f"{address}/v1/chat/completions"
    return ["Models:", *lines, "Try:", f"  curl {url}{key} -H 'Content-Type: application/json' -d '{message}'"]


def _who_may_come_in(api_key: str) -> str:
    if api_key:
        return "Other machines can reach it with the API key."
    return "Other machines can use its models without a key. To ask them for one: --api-key SOMETHING-LONG"


def _reachable_as(host: str) -> list[str]:
    if host not in ANYWHERE:
        return [host]
    address = _lan_address()
    return ["localhost", *([address] if address else [])]


def _lan_address() -> str | None:
    """The address other machines see. Connecting a UDP socket sends nothing; it only asks the routing table."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1: never a real host
            return probe.getsockname()[0]
        except OSError:  # no network at all
            return None


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
