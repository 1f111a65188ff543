"""Where messages go: the terminal for people, bounded rotating files under data/logs for later.

`offgrid.log` has what the router says, `access.log` a line for each request, `worker.log` what the models' processes
print. Nothing of a prompt or an answer is written to any of them.
"""

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from offgrid.errors import SetupError
from offgrid.sections import LogSettings
from offgrid.web.message import Request

LINE = "%(asctime)s %(levelname)-7s %(message)s"


class Logs:
    def __init__(self, settings: LogSettings, folder: Path):
        """Open the files and set up the root logger. Raises SetupError when the folder cannot be written."""
        self._handlers: list[logging.Handler] = []
        self._settings = settings
        try:
            folder.mkdir(parents=True, exist_ok=True)
            main = self._file(folder / "offgrid.log", LINE)
            access = self._file(folder / "access.log", "%(asctime)s %(message)s") if settings.access_log else None
            worker = self._file(folder / "worker.log", "%(asctime)s %(message)s")
        except OSError as error:
            raise SetupError(
                f"Cannot write logs to {folder}: {error}. Choose another folder with --data-dir."
            ) from error
        terminal = logging.StreamHandler(sys.stderr)
        terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        terminal.setLevel(logging.WARNING)
        self._handlers.append(terminal)
        logger = logging.getLogger("offgrid")
        logger.setLevel(settings.level.upper())
        logger.propagate = False
        logger.handlers = [main, terminal]
        self._access = _logger("offgrid.access", access)
        self._worker = _logger("offgrid.worker", worker)

    def access(self, request: Request, status: int, seconds: float) -> None:
        """One line for a request; status 499 is a client that left."""
        self._access.info(
            "%s %s %s %d %.1fms %s", request.peer, request.method, request.raw_target, status, 1e3 * seconds, request.id
        )

    def worker_line(self, model_id: str, line: str) -> None:
        self._worker.info("%s: %s", model_id, line)

    def close(self) -> None:
        """Close the files, and leave the loggers as they were found: another server may start in this process."""
        for name in ("offgrid", "offgrid.access", "offgrid.worker"):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate, logger.disabled = [], True, False
            logger.setLevel(logging.NOTSET)
        for handler in self._handlers:
            handler.close()

    def _file(self, path: Path, line: str) -> logging.Handler:
        settings = self._settings
        handler = RotatingFileHandler(path, maxBytes=settings.max_bytes, backupCount=settings.n_files, encoding="utf-8")
        handler.setFormatter(logging.Formatter(line))
        self._handlers.append(handler)
        return handler


def _logger(name: str, handler: logging.Handler | None) -> logging.Logger:
    """A logger that writes to one file and nowhere else."""
    logger = logging.getLogger(name)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.handlers = [handler] if handler else []
    if handler is None:
        logger.disabled = True
    return logger
