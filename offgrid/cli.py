"""The command line: `serve` (also without the word) and the other COMMANDS. Every failure is one sentence, never a
traceback.
"""

import os
import sys
from pathlib import Path

from offgrid.errors import SetupError

# import name → package name
REQUIRED = {"yaml": "pyyaml", "llama_cpp": "llama-cpp-python", "numpy": "numpy", "bcrypt": "bcrypt"}
# command → what --help says
COMMANDS = {
    "serve": "Serve the models in the models folder to every client that speaks the OpenAI API.",
    "models": "List the models, or fetch the two small ones to start with.",
    "users": "Accounts of the multi-user mode: list them, add one, change a password or a role, remove one.",
    "audit": "Read the audit log: show it, find out whether it was altered, write it to a file.",
    "mcp": "Be an MCP server on stdin and stdout, with the models of a running OffGrid as tools.",
    "backup": "Copy the database into a file; the server may run meanwhile.",
    "restore": "Put a backup in the place of the database; the server must not run. The replaced one is kept.",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["_worker"]:
        from offgrid.worker.main import main as run_worker

        return run_worker(int(argv[1]))
    if argv[:1] == ["_measure"]:
        from offgrid.worker.measure import main as run_measure

        return run_measure(int(argv[1]))
    if argv[:1] == ["_read"]:
        from offgrid.rag.readers.child import main as run_reader

        return run_reader(int(argv[1]))
    if argv[:1] == ["_confine"]:
        from offgrid.procs.warden import main as run_warden

        return run_warden(argv[1:])
    try:
        return _run(argv)
    except SetupError as error:
        print(f"offgrid: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130


def _run(argv: list[str]) -> int:
    from offgrid import config

    command, rest = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else ("serve", argv)
    if command not in COMMANDS:
        raise SetupError(f"There is no command {command!r}; the commands are {', '.join(COMMANDS)}. --help says more.")
    if command == "mcp":  # a client of a server: the settings are not its own
        from offgrid import cli_mcp

        return cli_mcp.run(rest)
    parser = _parser(command)
    options, unknown = parser.parse_known_args(rest)
    if unknown:
        raise config.unknown_flag(unknown[0])
    if command == "serve":
        _check_packages()  # before the settings, whose reader would miss only its own
    beside_us = Path(__file__).resolve().parent.parent / "offgrid.yaml"
    settings = config.load(vars(options), os.environ, beside_us)
    if command == "audit":
        from offgrid import cli_audit

        return cli_audit.run(options, settings.paths.data_dir)
    if command == "models":
        return _models(options.action, settings)
    if command == "users":
        from offgrid import cli_users

        _check_packages("bcrypt")
        return cli_users.run(options, settings)
    if command in ("backup", "restore"):
        if options.file is None:
            raise SetupError(f"Which file? `offgrid.py {command} FILE`, for example offgrid-backup.db.")
        return _copy(command, Path(options.file), settings)
    return _serve(settings)


def _parser(command: str):
    import argparse

    import offgrid
    from offgrid import config

    parser = argparse.ArgumentParser(prog=f"offgrid.py {command}", description=COMMANDS[command], allow_abbrev=False)
    if command == "serve":
        others = "`models [list|starter]`, `users`, `audit`, `mcp`, `backup FILE`, `restore FILE`"
        parser.epilog = f"Other commands: {others}. All settings: docs/configuration.md."
    elif command == "users":
        from offgrid import cli_users

        cli_users.add_arguments(parser)
    elif command == "audit":
        from offgrid import cli_audit

        cli_audit.add_arguments(parser)
    elif command == "models":
        parser.add_argument("action", nargs="?", choices=("list", "starter"), default="list")
    else:
        parser.add_argument("file", metavar="FILE", nargs="?", help="the backup")
    parser.add_argument("--version", action="version", version=f"offgrid {offgrid.__version__}")
    config.add_flags(parser)
    return parser


def _models(action: str, settings) -> int:
    if action == "starter":
        from offgrid.carry.starter import fetch_starter_models

        _check_packages("numpy")
        fetch_starter_models(settings.paths.models_dir)
        return 0
    from offgrid.engine.catalog import Catalog

    files = Catalog([settings.paths.models_dir, *settings.paths.models_dirs]).scan()
    for file in files:
        about = f"broken: {file.broken}" if file.broken else file.kind + _need(file, settings.engine)
        print(f"{file.id}\t{file.size_bytes / 1e6:.0f} MB\t{about}")
    if not files:
        print(f"No models in {settings.paths.models_dir}. To fetch two small ones: python offgrid.py models starter")
    return 0


def _copy(command: str, file: Path, settings) -> int:
    from offgrid.store import backup

    data_dir = settings.paths.data_dir
    if command == "backup":
        n_bytes = backup.back_up(data_dir, file)
        print(f"{file} holds the database of {data_dir} now ({n_bytes / 1e6:.1f} MB).")
        return 0
    replaced = backup.restore(data_dir, file)
    if settings.log.audit:
        _note_restore(data_dir, file)
    print(f"{file} is the database of {data_dir} now.{f' The replaced one is kept as {replaced}.' if replaced else ''}")
    return 0


def _note_restore(data_dir: Path, file: Path) -> None:
    """The rows since the backup are missing in the audit log from now on: here is why."""
    from offgrid.store.audit import AuditLog
    from offgrid.store.backup import DATABASE_NAME
    from offgrid.store.db import Database

    db = Database(data_dir / DATABASE_NAME)
    AuditLog(db, data_dir).record_cli("restore", str(file))
    db.close()


def _need(file, engine) -> str:
    """What a model would take on this machine as it is now, with a space before; "" for kinds that are not loaded."""
    from offgrid.engine.load_plan import plan_load
    from offgrid.errors import InsufficientMemory
    from offgrid.procs.budget import Budget

    if file.kind not in ("chat", "embedding"):
        return ""
    try:
        plan = plan_load(file, engine, Budget(engine.ram_budget_mb * 1_000_000).look().capacity, 1)
    except InsufficientMemory as error:
        return f"\t{error.message}"
    return f"\tneeds {plan.need_bytes / 1e6:.0f} MB with a context of {plan.n_ctx} tokens"


def _check_packages(*names: str) -> None:
    """Raises SetupError naming what is missing; nothing is imported, so it costs no start-up time."""
    from importlib.util import find_spec

    missing = [REQUIRED[name] for name in names or REQUIRED if find_spec(name) is None]
    if missing:
        raise SetupError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed in this Python. "
            f"Run `make setup` once and start with `make run`, or: {sys.executable} -m pip install -r requirements.txt"
        )


def _serve(settings) -> int:
    import signal
    import socket

    from offgrid.app import App
    from offgrid.banner import show_banner
    from offgrid.logs import Logs

    logs = Logs(settings.log, settings.paths.data_dir / "logs")
    app = App(settings, logs)
    signals, wakes_signals = socket.socketpair()
    wakes_signals.setblocking(False)
    signal.set_wakeup_fd(wakes_signals.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    app.start()
    show_banner(app, sys.stdout)
    app.preload()
    # Not an Event: the kernel may interrupt another thread, which would leave this one asleep in its lock.
    signals.recv(1)
    # A second Ctrl-C while answers are ending means: now.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    app.stop()
    logs.close()
    return 0
