"""What the code gets to see of the settings: frozen sections with types and defaults.

`config.py` fills them, `settings.py` holds how a person spells each setting and what is allowed. Each room is given
only its own section.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class ServerSettings:
    host: str = "127.0.0.1"
    port: int = 11611
    extra_ports: tuple[int, ...] = ()
    api_key: str = ""  # "" asks for none
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    max_body_bytes: int = 32 * 1024 * 1024
    max_connections: int = 1024
    idle_timeout_s: float = 75
    read_timeout_s: float = 30
    shutdown_grace_s: float = 10
    keep_alive_interval_s: float = 15


@dataclass(frozen=True, slots=True)
class AccessSettings:
    multi_user: bool = False
    require_auth: bool = False
    guest_access: bool = True
    lan_role: str = "user"
    login_hours: int = 24
    admin_password: str = ""  # "" makes one up

    @property
    def lets_guests_in(self) -> bool:
        return self.guest_access and not self.require_auth


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The families of clients; a route's `service` is one of the fields, or "" where it is none of these."""

    openai: bool = True
    ollama: bool = True
    lollms: bool = True
    anthropic: bool = True
    require_key: tuple[str, ...] = ()
    keep_responses: bool = True  # those of /v1/responses

    def is_on(self, service: str) -> bool:
        return not service or getattr(self, service)


@dataclass(frozen=True, slots=True)
class Personality:
    """Whom a model is to play, in a chat that names it."""

    system_prompt: str
    name: str = ""
    category: str = ""
    author: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What one model does differently. None: as for every other model, or as the model file says."""

    ctx_size: int | None = None
    parallel: int | None = None
    threads: int | None = None
    batch_size: int | None = None
    kv_cache_type: str | None = None
    flash_attention: str | None = None
    load_mode: str | None = None
    gpu_layers: int | None = None
    rpc_servers: tuple[str, ...] | None = None
    keep_alive_s: float | None = None
    pinned: bool = False
    speculation: str | None = None
    chat_template: str | None = None  # the Jinja text itself, also when the yaml named a file
    system_prompt: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    mirostat: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None
    max_tokens: int | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """`aliases` holds the aliases of every per-model section too."""

    ram_budget_mb: int = 0  # for all models together; 0 is what the machine can give
    keep_alive_s: float = -1  # of an idle model; below 0 it stays until its room is needed
    parallel: int = 16
    ctx_size: int = 0  # cells of the unified KV cache; 0 is automatic
    threads: int = 0  # 0 is automatic
    max_queue: int = 256
    batch_size: int = 512
    kv_cache_type: str = "f16"
    flash_attention: str = "auto"
    speculation: str = "auto"
    load_mode: str = "mmap"
    gpu_layers: int = 0
    rpc_servers: tuple[str, ...] = ()  # host:port
    load_timeout_s: float = 300
    step_target_ms: float = 120
    cache_hot_tokens: int = 0
    cache_ram_mb: int = 256
    cache_disk_mb: int = 1024
    default_model: str = ""  # "" is the first chat model
    default_embedding_model: str = ""
    preload: bool = True
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # other name -> model id
    models: Mapping[str, ModelSettings] = field(default_factory=lambda: MappingProxyType({}))  # model id -> its own

    def for_model(self, model_id: str) -> "EngineSettings":
        """These settings, with what a model's own section says in their place."""
        own = self.models.get(model_id, ModelSettings())
        return replace(self, **{name: value for name in EACH_ITS_OWN if (value := getattr(own, name)) is not None})


# The settings that stand both in `engine` and, for one model, in `models.<id>`.
EACH_ITS_OWN = (ModelSettings.__dataclass_fields__.keys() & EngineSettings.__dataclass_fields__.keys()) - {"aliases"}


@dataclass(frozen=True, slots=True)
class RagSettings:
    enabled: bool = True
    chunk_tokens: int = 200
    overlap_tokens: int = 40
    max_file_bytes: int = 100 * 1024 * 1024
    roots: tuple[Path, ...] = ()
    fetch_urls: bool = False


@dataclass(frozen=True, slots=True)
class PathSettings:
    """Absolute when they come from `load`."""

    models_dir: Path = Path("models")
    models_dirs: tuple[Path, ...] = ()
    data_dir: Path = Path("data")


@dataclass(frozen=True, slots=True)
class LogSettings:
    level: str = "info"
    access_log: bool = True
    max_bytes: int = 5 * 1024 * 1024
    n_files: int = 3
    audit: bool = True
    audit_days: int = 365
    prompts: bool = False  # in the audit log


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Limits of agents, of their tools and of MCP servers; which tools are on is in the database."""

    max_steps: int = 30  # of one run
    max_tokens: int = 20_000  # that a model writes in one run
    run_timeout_s: float = 600
    approve: tuple[str, ...] = ("http_get", "shell")  # tools, * for any text
    approve_timeout_s: float = 300
    workspace_mb: int = 100  # of each owner's files
    tool_timeout_s: float = 30  # of http_get and of a program
    http_networks: tuple[IPv4Network | IPv6Network, ...] = ()  # besides the public internet
    http_ports: tuple[int, ...] = ()  # besides 80 and 443
    shell_programs: tuple[str, ...] = ()  # () is all
    mcp_allow_http: bool = False
    mcp_commands: tuple[str, ...] = ("*",)
    mcp_timeout_s: float = 60
    mcp_idle_s: float = 900


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of one server; each room is given only its own section."""

    server: ServerSettings = field(default_factory=ServerSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    services: ServiceSettings = field(default_factory=ServiceSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    rag: RagSettings = field(default_factory=RagSettings)
    agents: AgentSettings = field(default_factory=AgentSettings)
    paths: PathSettings = field(default_factory=PathSettings)
    log: LogSettings = field(default_factory=LogSettings)
    personalities: Mapping[str, Personality] = field(default_factory=lambda: MappingProxyType({}))  # by their ids
    file: Path | None = None  # the offgrid.yaml that was read
