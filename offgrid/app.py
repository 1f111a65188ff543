"""The server as a whole: builds its rooms, and answers each request. The flow of a request is `App.handle`."""

import logging
import time
from dataclasses import replace

import offgrid
from offgrid.agents.mcp.servers import Servers
from offgrid.agents.mcp.tools import mcp_tools
from offgrid.agents.runs import Agents
from offgrid.agents.tools.toolbox import Toolbox
from offgrid.agents.tools.workspace import WORKSPACES, Workspaces
from offgrid.api import access, audit
from offgrid.api.error_body import error_body
from offgrid.api.login_throttle import LoginThrottle
from offgrid.api.routes import ROUTES
from offgrid.api.throttle import Throttle
from offgrid.api.traffic import Traffic
from offgrid.engine.blobs import Blobs
from offgrid.engine.catalog import Catalog, ModelFile
from offgrid.engine.model_files import ModelFolder
from offgrid.engine.pool import Pool
from offgrid.engine.variants import OwnSettings
from offgrid.errors import ApiError, ClientGone, InternalError, UnsupportedMediaType
from offgrid.logs import Logs
from offgrid.procs.budget import Budget
from offgrid.procs.usage import Usage
from offgrid.rag.knowledge import Knowledge
from offgrid.sections import Config
from offgrid.store.accounts import Accounts
from offgrid.store.audit import AuditLog, system_entry
from offgrid.store.audit_writer import AuditWriter
from offgrid.store.backup import DATABASE_NAME
from offgrid.store.db import Database
from offgrid.store.folder import FolderLock
from offgrid.store.limits import LimitStore
from offgrid.store.mcp_servers import McpServerRows
from offgrid.store.responses import Responses
from offgrid.store.sessions import Sessions
from offgrid.store.tasks import Tasks
from offgrid.store.tool_switches import ToolSwitches
from offgrid.store.usage import UsageBook
from offgrid.store.variants import Variants
from offgrid.types import LOCAL_OWNER, Event
from offgrid.web.guard import Guard
from offgrid.web.message import Request, Response
from offgrid.web.router import Route, Router
from offgrid.web.server import Server

log = logging.getLogger(__name__)

BLOBS_KEPT_S = 86_400  # what no model was made of; looked at when the server starts
# What `curl -d` says when nobody told it otherwise. A browser can send it too, but not past `Guard`.
CURL_DEFAULT = "application/x-www-form-urlencoded"


class App:
    def __init__(self, config: Config, logs: Logs):
        """Builds everything and binds the port; answers from `start` on. Raises SetupError."""
        self.started = time.monotonic()
        self._access_log = logs.access
        self._lock = FolderLock(config.paths.data_dir)
        self.db = Database(config.paths.data_dir / DATABASE_NAME)
        self.audit = AuditLog(self.db, config.paths.data_dir)
        self.auditor = AuditWriter(self.audit, config.log.audit_days) if config.log.audit else None
        self.accounts = Accounts(self.db, config.access.login_hours * 3600)
        self.login_throttle = LoginThrottle()
        self.usage = UsageBook(self.db)
        self.limits = LimitStore(self.db)
        self.throttle = Throttle(self.limits, self.usage)
        self.sessions = Sessions(self.db)
        self.responses = Responses(self.db)
        self.tasks = Tasks(self.db)
        self.variants = Variants(self.db)
        self.mcp = Servers(McpServerRows(self.db), config.agents, config.paths.data_dir, logs.worker_line)
        self.workspaces = Workspaces(config.paths.data_dir / WORKSPACES, config.agents.workspace_mb * 1_000_000)
        self.toolbox = Toolbox(ToolSwitches(self.db), lambda: mcp_tools(self.mcp))
        own = OwnSettings(config.engine.models, self.variants.all)
        self.config = config = replace(config, engine=replace(config.engine, models=own))
        folders = [config.paths.models_dir, *config.paths.models_dirs]
        self.model_folder = ModelFolder(config.paths.models_dir)
        self.model_folder.sweep()
        self.blobs = Blobs(config.paths.data_dir / "blobs")
        self.blobs.sweep(BLOBS_KEPT_S, time.time())
        self.catalog = Catalog(folders, dict(config.engine.aliases), self.variants.all)
        budget = Budget(config.engine.ram_budget_mb * 1_000_000)
        self.pool = Pool(config.engine, budget, logs.worker_line, config.paths.data_dir / "cache")
        self.agents = Agents(self.tasks, self.pool, self.toolbox)
        self.knowledge = Knowledge(
            *(self.db, self.tasks, self.pool, self.catalog, config.engine, config.rag),
            config.paths.data_dir / "uploads",
        )
        self.machine = Usage(lambda: {worker.model_id: worker.pid for worker in self.pool.workers if worker.pid})
        self.traffic = Traffic()
        self.guard = Guard(config.server.allowed_hosts, config.server.cors_origins)
        self.router = Router(ROUTES)
        self.server = self._make_server()
        # Last: whoever's start fails would never get to see the password.
        self.first_password = ""
        if config.access.multi_user:
            self.first_password = self.accounts.make_first_admin(config.access.admin_password)
            self.workspaces.adopt(LOCAL_OWNER, self.accounts.users.first_admin().id)

    def _make_server(self) -> Server:
        settings = self.config.server
        return Server(
            (settings.host, settings.port),
            self,
            extra_ports=settings.extra_ports,
            tls=(settings.tls_cert, settings.tls_key) if settings.tls_cert else None,
            max_connections=settings.max_connections,
            max_body_bytes=settings.max_body_bytes,
            idle_timeout_s=settings.idle_timeout_s,
            head_timeout_s=settings.read_timeout_s,
            body_timeout_s=settings.read_timeout_s,
        )

    def start(self) -> None:
        if self.auditor:
            self.auditor.start()
            self.auditor.record(system_entry("server start", {"version": offgrid.__version__}))
        if self.config.rag.enabled:
            self.knowledge.start()
        self.server.start()

    def preload(self) -> None:
        """Begin to load the default chat model and the pinned ones, so that the first person does not wait."""
        names = [id for id, own in self.config.engine.models.items() if own.pinned]
        if self.config.engine.preload:
            names.append("")
        for name in names:
            try:
                model = self.catalog.resolve(name) if name else self.default_model("chat")
                self.pool.submit(model, None, _warn_if_not_loaded)
            except ApiError as error:  # none there yet, or a name that does not exist: the first request will say so
                log.warning("nothing is loaded in advance: %s", error.message)

    def stop(self) -> None:
        """Stop accepting, let running answers end within the grace period, and leave no child behind."""
        for end in (
            lambda: self.pool.stop(self.config.server.shutdown_grace_s),
            self.server.stop,
            self.tasks.stop,
            self.mcp.stop,
            self.knowledge.stop,
            self.accounts.close,
            self.usage.close,
            self._end_audit,
            self.db.close,
            self._lock.release,
        ):
            try:
                end()
            except Exception:  # a broken disk, say: what comes after it must end all the same
                log.exception("a part of the server did not stop as it should")

    def _end_audit(self) -> None:
        if self.auditor:
            self.auditor.record(system_entry("server stop", {}))
            self.auditor.stop()

    def default_model(self, kind: str) -> ModelFile:
        """The model for a request that names none. Raises ModelNotFound."""
        engine = self.config.engine
        preferred = engine.default_model if kind == "chat" else engine.default_embedding_model
        return self.catalog.default(kind, preferred or None)

    # --- requests ---

    def handle(self, request: Request) -> Response | None:
        """Answer one request; None when its handler has answered by a stream. Raises ClientGone only."""
        began = time.perf_counter()
        self.traffic.begin()
        status = 499
        try:
            response = self._answer(request)
            status = response.status if response is not None else 200
            return response
        finally:
            self._note(request, status, time.perf_counter() - began)

    def refuse(self, error: ApiError, peer: str, request: Request | None) -> Response:
        """The answer to what never became a whole request."""
        log.info("%s: %d %s", peer, error.status, error.message)
        self.traffic.count_error(error)
        family = self.router.family(request.path) if request else "openai"
        body = error_body(error, family, request.id if request else "")
        return Response.json(body, error.status, error.headers)

    def streams_body(self, request: Request) -> bool:
        try:
            return self.router.match(request.method, request.path)[0].streams_body
        except ApiError:  # `handle` says so
            return False

    def _note(self, request: Request, status: int, seconds: float) -> None:
        """What a request came to, for everybody who keeps it; none of them costs the client the answer."""
        try:
            self._access_log(request, status, seconds)
            self.usage.add(request.who, request.tally)
            audit.note(request, self, status, seconds)
        except Exception:
            log.exception("request %s is not noted everywhere", request.id)
        finally:
            self.traffic.end(request, status, seconds)

    def _answer(self, request: Request) -> Response | None:
        try:
            self.guard.check(request)
            response = self._dispatch(request)
        except ClientGone:
            raise
        except ApiError as error:
            response = self._error(request, error)
        except Exception:
            log.exception("%s %s (request %s)", request.method, request.path, request.id)
            error = InternalError(f"Something went wrong here. The log says more, under request {request.id}.")
            response = self._error(request, error)
        if response is not None:
            response.headers.update(request.answer_headers | self.guard.cors_headers(request))
        return response

    def _error(self, request: Request, error: ApiError) -> Response:
        request.error = error
        family = request.family if request.route else self.router.family(request.path)
        return Response.json(error_body(error, family, request.id), error.status, error.headers)

    def _dispatch(self, request: Request) -> Response | None:
        if request.method == "OPTIONS":
            return self.guard.preflight(request, self.router.methods(request.path))
        route, params = self.router.match(request.method, request.path)
        request.route, request.family, request.params = route.path, route.family, params
        access.require_service(route, self.config.services)
        request.who = access.identify(request, self, route)
        access.require(request.who, route, self.config.access)
        _check_content_type(request, route)
        with self.throttle.admit(request, route.permission):
            return route.handler(request, self, **params)


def _warn_if_not_loaded(event: Event) -> None:
    if isinstance(event, ApiError):
        log.warning("not loaded in advance: %s", event.message)


def _check_content_type(request: Request, route: Route) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if "*/*" in route.accepts and "origin" not in request.headers:
        return
    if request.body and given and given not in route.accepts and given != CURL_DEFAULT and not given.endswith("+json"):
        wanted = " or ".join(route.accepts)
        raise UnsupportedMediaType(f"{request.path} takes {wanted}; Content-Type says {given}.")
