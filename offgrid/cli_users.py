"""`offgrid.py users`: accounts by hand, for whoever may write the data folder. Works while the server runs, too.

The server looks at the database for every request, so what is changed here holds at once.
"""

import sqlite3
import sys

from offgrid.errors import ApiError, SetupError
from offgrid.types import ROLES

_WANTS = {
    "list": "list",
    "add": "add NAME [ROLE]",
    "passwd": "passwd NAME",
    "role": "role NAME ROLE",
    "remove": "remove NAME",
}


def add_arguments(parser) -> None:
    """Adds what comes after `users` to an `argparse.ArgumentParser`."""
    parser.epilog = (
        "add NAME [ROLE] and passwd NAME ask for a password, or read it from stdin when that is no terminal; "
        f"role NAME ROLE; remove NAME. Roles: {', '.join(ROLES)}."
    )
    parser.add_argument("action", nargs="?", choices=tuple(_WANTS), default="list")
    parser.add_argument("name", nargs="?", help="the user")
    parser.add_argument("role", nargs="?", help="for add (default user) and role")


def run(options, settings) -> int:
    """Do what the words say. Raises SetupError."""
    from offgrid.agents.tools.workspace import WORKSPACES, Workspaces
    from offgrid.store.accounts import Accounts
    from offgrid.store.audit import AuditLog
    from offgrid.store.backup import DATABASE_NAME
    from offgrid.store.db import Database

    _check_words(options)
    path = settings.paths.data_dir / DATABASE_NAME
    if options.action != "add" and not path.exists():  # a mistyped folder is not to be made
        raise SetupError(f"There is no database in {path.parent}, so there are no accounts. --data-dir names another.")
    db = Database(path)
    try:
        workspaces = Workspaces(settings.paths.data_dir / WORKSPACES, max_bytes=0)
        _do(options, Accounts(db, settings.access.login_hours * 3600).users, workspaces)
        if settings.log.audit and options.action != "list":
            detail = {"role": options.role} if options.role else {}
            AuditLog(db, settings.paths.data_dir).record_cli(f"users {options.action}", options.name, detail)
    except ApiError as error:
        raise SetupError(error.message) from None
    except sqlite3.Error as error:
        raise SetupError(f"The database {path} cannot be used: {error}.") from error
    finally:
        db.close()
    return 0


def _check_words(options) -> None:
    has_name, has_role = options.name is not None, options.role is not None
    is_right = has_name == (options.action != "list")
    if options.action == "role":
        is_right = is_right and has_role
    elif options.action != "add":
        is_right = is_right and not has_role
    if not is_right:
        raise SetupError(f"Wanted is: offgrid.py users {_WANTS[options.action]}.")


def _do(options, users, workspaces) -> None:
    if options.action == "list":
        for user in users.all():
            print(f"{user.username}\t{user.role}\t{user.id}")
        return
    if options.action == "add":
        user = users.create(options.name, _ask_for_password(), options.role or "user")
        print(f"{user.username} is there, in the role {user.role}.")
        return
    user = users.named(options.name)
    if user is None:
        raise SetupError(f"There is no user {options.name!r}. `offgrid.py users` lists them.")
    if options.action == "passwd":
        users.set_password(user.id, _ask_for_password())
        print(f"The password of {user.username} is changed; all their logins have ended.")
    elif options.action == "role":
        users.set_role(user.id, options.role)
        print(f"{user.username} has the role {options.role}.")
    else:
        users.delete(user.id)
        workspaces.delete(user.id)
        print(f"{user.username} is removed.")


def _ask_for_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    from getpass import getpass

    password = getpass("Password: ")
    if getpass("Again: ") != password:
        raise SetupError("The two are not the same; nothing was changed.")
    return password
