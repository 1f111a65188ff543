"""What a person sees in the terminal when the server has started: where it is, what it has, what to try."""

import socket
from typing import TextIO

import offgrid
from offgrid.store.accounts import FIRST_ADMIN

ANYWHERE = ("0.0.0.0", "::")


def show_banner(app, out: TextIO) -> None:
    """Print address, who may come in, models and one command to try, or what to do when there is no model yet."""
    scheme = "https" if app.config.server.tls_cert else "http"
    host, port = app.config.server.host, app.server.ports[0]
    addresses = _addresses(scheme, host, port)
    lines = [f"OffGrid {offgrid.__version__} answers at {'  and  '.join(addresses)}"]
    lines += [f"  and at {'  and  '.join(_addresses(scheme, host, extra))}" for extra in app.server.ports[1:]]
    is_for_others = host != "localhost" and not host.startswith("127.") and host != "::1"
    lines += [*_who_may_come_in(app.config, is_for_others=is_for_others), *_first_admin(app.first_password)]
    if app.config.log.audit and app.config.log.prompts:
        lines.append("What people ask of the models is written into the audit log (log.prompts). Tell them.")
    lines += [*_models(app, addresses[0]), ""]
    print("\n".join(lines), file=out, flush=True)


def _addresses(scheme: str, host: str, port: int) -> list[str]:
    return [f"{scheme}://{_in_url(name)}:{port}" for name in _reachable_as(host)]


def _models(app, address: str) -> list[str]:
    files = app.catalog.scan()
    lines = [f"  {file.kind:<10} {file.id}  ({file.size_bytes / 1e6:.0f} MB)" for file in files if not file.broken]
    lines += [f"  broken     {file.id}: {file.broken}" for file in files if file.broken]
    chat = next((file for file in files if file.kind == "chat"), None)
    if chat is None:
        folder = app.config.paths.models_dir
        hint = f"There is no chat model in {folder} yet. Put a .gguf file there (no restart is needed), or run:"
        return [*lines, hint, "  python offgrid.py models starter"]
    access, services = app.config.access, app.config.services
    if not services.openai:  # what there is to try depends on whose client one has
        return ["Models:", *lines]
    has_guests = access.lets_guests_in and "openai" not in services.require_key
    needs_key = app.config.server.api_key or (access.multi_user and not has_guests)
    key = " -H 'Authorization: Bearer YOUR_KEY'" if needs_key else ""
    message = '{"messages":[{"role":"user","content":"Hello!"}]}'
    url = f"{address}/v1/chat/completions"
    return ["Models:", *lines, "Try:", f"  curl {url}{key} -H 'Content-Type: application/json' -d '{message}'"]


def _who_may_come_in(config, *, is_for_others: bool) -> list[str]:
    if config.access.multi_user:
        guests = "who sends neither may chat as a guest" if config.access.lets_guests_in else "nobody else is let in"
        return [f"Everybody has an account: a login or an API key says who it is; {guests}."]
    if not is_for_others:
        return []
    if config.server.api_key:
        return [f"Other machines can reach it with the API key, in the role {config.access.lan_role} (lan_role)."]
    return [
        f"Other machines can use it without a key, in the role {config.access.lan_role} (lan_role). "
        "To ask them for one: --api-key SOMETHING-LONG; for accounts: --multi-user true"
    ]


def _first_admin(password: str) -> list[str]:
    """The password that was made up, which is shown this once and written nowhere."""
    if not password:
        return []
    return [
        f"The first account:  user {FIRST_ADMIN}, password {password}",
        "  It is not shown again, and must be changed at the first login.",
    ]


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
