"""The table of settings: how a person spells each one, what is allowed, and what it is for.

Knows nothing of files, flags or the environment (`config.py` reads those) and holds no defaults: they stand in the
sections of `sections.py`. What a value may be says `kinds.py`.
"""

from dataclasses import dataclass

from offgrid.kinds import (
    ALIASES,
    CONTEXT,
    FILE,
    FLASH_ATTENTION,
    FOLDER,
    FOLDERS,
    HOST,
    HOST_NAMES,
    KEEP_ALIVE,
    KEY,
    KV_TYPE,
    LOAD_MODE,
    NAMES,
    ORIGINS,
    PORTS,
    SECONDS,
    SERVERS,
    SERVICES,
    SPECULATION,
    SWITCH,
    TEXT,
    TEXTS,
    Kind,
    choice,
    number,
    whole,
)
from offgrid.types import ROLES


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: `name` is its place in offgrid.yaml; `env` and `flag` are "" where only the yaml can hold it."""

    name: str
    kind: Kind
    env: str
    flag: str
    help: str
    unit: str = ""
    is_secret: bool = False  # never shown in an error

    @property
    def place(self) -> tuple[str, str]:
        """Section and field of `Config`. `aliases` stands at the top of the file and belongs to the engine."""
        section, _, key = self.name.rpartition(".")
        return section or "engine", key


# Two lines a row, for people who look for a name: the formatter would make eight of each.
# fmt: off
SETTINGS = (
    Setting("server.host", HOST, "OFFGRID_HOST", "--host",
            "Address to listen on; 0.0.0.0 or :: is every network of this machine."),
    Setting("server.port", whole(0, 65535), "OFFGRID_PORT", "--port",
            "Port to listen on; 0 takes any free one."),
    Setting("server.extra_ports", PORTS, "OFFGRID_EXTRA_PORTS", "--extra-ports",
            "Further ports to listen on: 11434 for Ollama's clients, 9642 for LoLLMs'."),
    Setting("server.api_key", KEY, "OFFGRID_API_KEY", "--api-key",
            "One shared key every client must send; empty asks for none.", is_secret=True),
    Setting("server.tls_cert", FILE, "OFFGRID_TLS_CERT", "--tls-cert",
            "Certificate file (PEM); together with the key it makes the server speak https."),
    Setting("server.tls_key", FILE, "OFFGRID_TLS_KEY", "--tls-key",
            "Private key file (PEM) of the certificate."),
    Setting("server.allowed_hosts", HOST_NAMES, "OFFGRID_ALLOWED_HOSTS", "--allowed-hosts",
            "Host names clients may use in the URL, besides IP addresses, localhost and this machine's own name."),
    Setting("server.cors_origins", ORIGINS, "OFFGRID_CORS_ORIGINS", "--cors-origins",
            "Web pages of other origins whose scripts may call this server; * is all of them."),
    Setting("server.max_body_bytes", whole(1024, 2**31), "OFFGRID_MAX_BODY_BYTES", "--max-body-bytes",
            "Largest request body.", "bytes"),
    Setting("server.max_connections", whole(1, 65535), "OFFGRID_MAX_CONNECTIONS", "--max-connections",
            "Open connections at once; more are answered 503."),
    Setting("server.idle_timeout_s", SECONDS, "OFFGRID_IDLE_TIMEOUT_S", "--idle-timeout-s",
            "A kept-alive connection without a request is closed after this.", "s"),
    Setting("server.read_timeout_s", SECONDS, "OFFGRID_READ_TIMEOUT_S", "--read-timeout-s",
            "A client that is this slow with its request is given up.", "s"),
    Setting("server.shutdown_grace_s", number(0, 3600), "OFFGRID_SHUTDOWN_GRACE_S", "--shutdown-grace-s",
            "Running answers may take this long to end when the server stops.", "s"),
    Setting("server.keep_alive_interval_s", SECONDS, "OFFGRID_KEEP_ALIVE_INTERVAL_S", "--keep-alive-interval-s",
            "A waiting stream gets a comment this often, so that proxies keep it open.", "s"),
    Setting("access.multi_user", SWITCH, "OFFGRID_MULTI_USER", "--multi-user",
            "Everybody has an account with a role of their own; without it there are no accounts."),
    Setting("access.require_auth", SWITCH, "OFFGRID_REQUIRE_AUTH", "--require-auth",
            "Nobody may do anything without credentials; needs accounts or an API key."),
    Setting("access.guest_access", SWITCH, "OFFGRID_GUEST_ACCESS", "--guest-access",
            "With accounts: who sends no credentials may chat as a guest."),
    Setting("access.lan_role", choice(*ROLES), "OFFGRID_LAN_ROLE", "--lan-role",
            "Without accounts: what people at other machines may do; who sits at this one may do everything."),
    Setting("access.login_hours", whole(1, 8760), "OFFGRID_LOGIN_HOURS", "--login-hours",
            "A login is good for so long.", "hours"),
    Setting("access.admin_password", TEXT, "OFFGRID_ADMIN_PASSWORD", "",
            "Password of the first admin, used once; empty makes one up and shows it.", is_secret=True),
    Setting("services.openai", SWITCH, "OFFGRID_SERVICE_OPENAI", "--service-openai",
            "Answer clients of OpenAI's API."),
    Setting("services.ollama", SWITCH, "OFFGRID_SERVICE_OLLAMA", "--service-ollama",
            "Answer clients of Ollama's API."),
    Setting("services.lollms", SWITCH, "OFFGRID_SERVICE_LOLLMS", "--service-lollms",
            "Answer clients of LoLLMs' API."),
    Setting("services.anthropic", SWITCH, "OFFGRID_SERVICE_ANTHROPIC", "--service-anthropic",
            "Answer clients of Anthropic's API."),
    Setting("services.require_key", SERVICES, "OFFGRID_SERVICES_REQUIRE_KEY", "--services-require-key",
            "Which of these have no guests; each asks everybody for a key or a login."),
    Setting("engine.default_model", TEXT, "OFFGRID_DEFAULT_MODEL", "--default-model",
            "Model for a request that names none; empty is the first chat model."),
    Setting("engine.default_embedding_model", TEXT, "OFFGRID_DEFAULT_EMBEDDING_MODEL", "--default-embedding-model",
            "The same for embeddings; empty is the first embedding model."),
    Setting("engine.preload", SWITCH, "OFFGRID_PREWARM_MODELS", "--preload",
            "Load the default chat model at the start, not with the first request."),
    Setting("engine.ram_budget_mb", whole(0, 2**24), "OFFGRID_MAX_MEMORY_MB", "--ram-budget-mb",
            "Memory for all loaded models together; 0 is what the machine can give.", "MB"),
    Setting("engine.keep_alive_s", KEEP_ALIVE, "OFFGRID_KEEP_ALIVE_S", "--keep-alive-s",
            "A model without requests is unloaded after this; -1 keeps it until its room is needed.", "s"),
    Setting("engine.parallel", whole(1, 128), "OFFGRID_PARALLEL", "--parallel",
            "Answers a model writes at the same time; further requests wait."),
    Setting("engine.max_queue", whole(0, 100_000), "OFFGRID_MAX_QUEUE", "--max-queue",
            "Requests that may wait for a model; more are answered 503."),
    Setting("engine.ctx_size", CONTEXT, "OFFGRID_MAX_CONTEXT", "--ctx-size",
            "Context shared by all running answers of a model; 0 chooses by model and free RAM.", "tokens"),
    Setting("engine.threads", whole(0, 1024), "OFFGRID_NUM_THREADS", "--threads",
            "CPU threads for all models together; 0 is one for each core."),
    Setting("engine.batch_size", whole(32, 8192), "OFFGRID_BATCH_SIZE", "--batch-size",
            "Most tokens computed in one step.", "tokens"),
    Setting("engine.step_target_ms", number(1, 60_000), "OFFGRID_STEP_TARGET_MS", "--step-target-ms",
            "Length of a step that only reads prompts, if 64 tokens are not longer.", "ms"),
    Setting("engine.cache_hot_tokens", whole(0, 2**24), "OFFGRID_CACHE_HOT_TOKENS", "--cache-hot-tokens",
            "Finished text that stays inside the context, at the cost of slower answers.", "tokens"),
    Setting("engine.cache_ram_mb", whole(0, 2**20), "OFFGRID_CACHE_RAM_MB", "--cache-ram-mb",
            "Memory for saved prompts and answers of a model, at most an eighth of the free RAM; 0 saves none.", "MB"),
    Setting("engine.cache_disk_mb", whole(0, 2**24), "OFFGRID_CACHE_DISK_MB", "--cache-disk-mb",
            "Disk space for prompts that survive a restart, at most a twentieth of what is free; 0 keeps none.", "MB"),
    Setting("engine.kv_cache_type", KV_TYPE, "OFFGRID_KV_CACHE_TYPE", "--kv-cache-type",
            "Precision of the context's memory; q8_0 halves it, q4_0 quarters it."),
    Setting("engine.flash_attention", FLASH_ATTENTION, "OFFGRID_FLASH_ATTENTION", "--flash-attention",
            "Faster attention; auto asks the model."),
    Setting("engine.speculation", SPECULATION, "OFFGRID_SPECULATION", "--speculation",
            "Write text that repeats earlier text faster; auto does so where it was measured to pay."),
    Setting("engine.load_mode", LOAD_MODE, "OFFGRID_LOAD_MODE", "--load-mode",
            "How a model file is read: mmap shares memory, none copies, mlock never swaps, direct skips the cache."),
    Setting("engine.gpu_layers", whole(0, 1000), "OFFGRID_GPU_LAYERS", "--gpu-layers",
            "Layers computed by a GPU or by RPC servers, if llama-cpp-python was built for them."),
    Setting("engine.rpc_servers", SERVERS, "OFFGRID_RPC_SERVERS", "--rpc-servers",
            "Machines running llama.cpp's rpc-server that take layers of every model."),
    Setting("engine.load_timeout_s", SECONDS, "OFFGRID_MODEL_LOAD_TIMEOUT", "--load-timeout-s",
            "A model that takes longer to load is given up.", "s"),
    Setting("aliases", ALIASES, "", "", "Other names for models: `other-name: model-id`."),
    Setting("rag.enabled", SWITCH, "OFFGRID_RAG", "--rag",
            "The knowledge base: keep documents and search them."),
    Setting("rag.chunk_tokens", whole(16, 8192), "OFFGRID_RAG_CHUNK_TOKENS", "--rag-chunk-tokens",
            "Length of the passages that documents are cut into, at most.", "tokens"),
    Setting("rag.overlap_tokens", whole(0, 4096), "OFFGRID_RAG_OVERLAP_TOKENS", "--rag-overlap-tokens",
            "How much of a passage the next one repeats.", "tokens"),
    Setting("rag.max_file_bytes", whole(1024, 2**31), "OFFGRID_RAG_MAX_FILE_BYTES", "--rag-max-file-bytes",
            "Largest document.", "bytes"),
    Setting("rag.roots", FOLDERS, "OFFGRID_RAG_ROOTS", "--rag-roots",
            "Folders of this machine from which an administrator may take in documents by their path."),
    Setting("rag.fetch_urls", SWITCH, "OFFGRID_RAG_FETCH_URLS", "--rag-fetch-urls",
            "Documents may be fetched from web addresses, of public networks only."),
    Setting("paths.models_dir", FOLDER, "OFFGRID_MODELS_DIR", "--models-dir",
            "Folder of the model files; downloads go here."),
    Setting("paths.models_dirs", FOLDERS, "OFFGRID_MODELS_DIRS", "--models-dirs",
            "Further folders with model files, read in place."),
    Setting("paths.data_dir", FOLDER, "OFFGRID_DATA_DIR", "--data-dir",
            "Folder for what the server writes: database, logs, cache."),
    Setting("log.level", choice("debug", "info", "warning", "error"), "OFFGRID_LOG_LEVEL", "--log-level",
            "What is worth a line in the log."),
    Setting("log.access_log", SWITCH, "OFFGRID_ACCESS_LOG", "--access-log",
            "One line for each request."),
    Setting("log.max_bytes", whole(4096, 2**31), "OFFGRID_LOG_MAX_BYTES", "--log-max-bytes",
            "A log file of this size is put away and a new one begun.", "bytes"),
    Setting("log.n_files", whole(1, 1000), "OFFGRID_LOG_N_FILES", "--log-n-files",
            "Log files kept of each kind; the oldest is deleted."),
    Setting("log.audit", SWITCH, "OFFGRID_AUDIT_LOG", "--audit",
            "Who changed what and when, and who was refused, in rows that cannot be altered unseen."),
    Setting("log.audit_days", whole(1, 36500), "OFFGRID_AUDIT_DAYS", "--audit-days",
            "Older rows of the audit log are removed.", "days"),
    Setting("log.prompts", SWITCH, "OFFGRID_LOG_PROMPTS", "--log-prompts",
            "Write what is asked of models into the audit log."),
)

# Below `models.<id>` of the yaml; the fields of ModelSettings.
MODEL_SETTINGS = (
    Setting("ctx_size", whole(256, 2**24), "", "", "Context shared by all running answers of this model.", "tokens"),
    Setting("parallel", whole(1, 128), "", "", "Answers this model writes at the same time."),
    Setting("threads", whole(1, 1024), "", "", "CPU threads for this model, at most."),
    Setting("batch_size", whole(32, 8192), "", "", "Most tokens computed in one step.", "tokens"),
    Setting("kv_cache_type", KV_TYPE, "", "", "Precision of the context's memory."),
    Setting("flash_attention", FLASH_ATTENTION, "", "", "Faster attention; auto asks the model."),
    Setting("load_mode", LOAD_MODE, "", "", "How the file is read."),
    Setting("gpu_layers", whole(0, 1000), "", "", "Layers computed by a GPU or by RPC servers."),
    Setting("rpc_servers", SERVERS, "", "", "Machines running llama.cpp's rpc-server that take layers of this model."),
    Setting("keep_alive_s", KEEP_ALIVE, "", "", "Unloaded after so long without requests; -1 stays.", "s"),
    Setting("pinned", SWITCH, "", "", "Loaded at the start, and never unloaded for another model."),
    Setting("speculation", SPECULATION, "", "", "Whether this model writes text that repeats earlier text faster."),
    Setting("chat_template", TEXT, "", "", "Jinja text, or the path of a file with it; replaces the model's own."),
    Setting("system_prompt", TEXT, "", "", "Put first when a chat brings no system message of its own."),
    Setting("temperature", number(0, 2), "", "", "For requests that do not say; 0 always takes the likeliest token."),
    Setting("top_p", number(0, 1), "", "", "The likeliest tokens that together reach this probability."),
    Setting("top_k", whole(0, 2**20), "", "", "The so many likeliest tokens; 0 is off."),
    Setting("min_p", number(0, 1), "", "", "Tokens at least this likely, measured against the likeliest."),
    Setting("typical_p", number(0, 1), "", "", "Tokens that surprise about as much as is usual; 1 is off."),
    Setting("repeat_penalty", number(0.01, 10), "", "", "Above 1 makes repetition rarer."),
    Setting("repeat_last_n", whole(-1, 2**31 - 1), "", "", "How many tokens that looks at; -1 all.", "tokens"),
    Setting("presence_penalty", number(-2, 2), "", "", "Above 0: against tokens that were generated before."),
    Setting("frequency_penalty", number(-2, 2), "", "", "Above 0: the more, the more often they were generated."),
    Setting("mirostat", whole(0, 2), "", "", "1 and 2 are its versions; with it the other limits do not apply."),
    Setting("mirostat_tau", number(0, 100), "", "", "The surprise that it aims at."),
    Setting("mirostat_eta", number(0, 1), "", "", "How fast it learns."),
    Setting("seed", whole(0, 2**63 - 1), "", "", "For the same text again, as far as that goes."),
    Setting("stop", TEXTS, "", "", "Texts at which an answer ends, for requests that bring none."),
    Setting("max_tokens", whole(1, 2**24), "", "", "Longest answer for requests that do not say.", "tokens"),
    Setting("query_prefix", TEXT, "", "", "What an embedding model wants before a question; else by its name."),
    Setting("document_prefix", TEXT, "", "", "The same before a passage; changing it means embedding anew."),
    Setting("aliases", NAMES, "", "", "Other names of this model."),
)

# Below `personalities.<id>` of the yaml; the fields of Personality.
PERSONALITY_SETTINGS = (
    Setting("system_prompt", TEXT, "", "", "What the model is told first; every personality has one."),
    Setting("name", TEXT, "", "", "For people; without it, the id."),
    Setting("category", TEXT, "", "", "For lists of many."),
    Setting("author", TEXT, "", "", "Who wrote it."),
    Setting("description", TEXT, "", "", "What it is for."),
)
# fmt: on

# What the original OffGrid read or documented and this server has no setting for: OFFGRID_… -> what to do.
_NOT_YET = "This version of OffGrid does not have that feature yet: remove the variable."
_ALWAYS = "This version of OffGrid always does that: remove the variable."
_BY_ITSELF = "This version of OffGrid decides that by itself: remove the variable."
FOREIGN_VARIABLES = {
    "AUDIT_LOG_DIR": "The audit log is in the database, in the folder OFFGRID_DATA_DIR names.",
    "ENABLE_P2P": _NOT_YET,
    "P2P_PORT": _NOT_YET,
    "DISCOVERY_PORT": _NOT_YET,
    "ENABLE_GPU": "Use OFFGRID_GPU_LAYERS instead.",
    "MAX_MODELS": "As many as fit into the memory are loaded: use OFFGRID_MAX_MEMORY_MB instead.",
    "CONT_BATCHING": _ALWAYS,
    "REQUEST_ID": _ALWAYS,
    "ADAPTIVE_CONTEXT": _BY_ITSELF,
    "LOW_MEMORY": _BY_ITSELF,
    "SMART_MLOCK": _BY_ITSELF,
    "PROTECT_DEFAULT": _BY_ITSELF,
    "FAST_SWITCH": _BY_ITSELF,
    "USE_MMAP": "Use OFFGRID_LOAD_MODE instead.",
    "USE_MLOCK": "Use OFFGRID_LOAD_MODE instead.",
    "LOG_FILE": "Logs go to the folder OFFGRID_DATA_DIR names.",
    "CACHE_DIR": "The cache goes to the folder OFFGRID_DATA_DIR names.",
    "CONFIG_DIR": "Use OFFGRID_CONFIG instead: the path of offgrid.yaml.",
    "CONTEXT_SIZE": "Use OFFGRID_MAX_CONTEXT instead.",
    "THREADS": "Use OFFGRID_NUM_THREADS instead.",
    "MODEL": "Use OFFGRID_DEFAULT_MODEL instead.",
    "LLAMA_SERVER_PATH": "OffGrid brings its own engine: remove the variable.",
    "MOCK_ENGINE": "OffGrid has no pretended engine: remove the variable.",
}
