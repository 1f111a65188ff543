"""The shape of the database, as the steps that lead to it.

Append only: a step that has been released is never changed, because it has already been taken somewhere. Each is taken
in one transaction together with its record. Steps add tables, columns and rows; SQLite can do little else in place.
"""

_ACCOUNTS = """
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    username TEXT NOT NULL,
    folded TEXT NOT NULL UNIQUE,           -- the name as it is compared
    role TEXT NOT NULL,
    email TEXT,
    created_at REAL NOT NULL,
    last_login_at REAL,
    must_change_password INTEGER NOT NULL,
    password_hash TEXT NOT NULL
) STRICT;
CREATE TABLE keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice: usage is counted by it
    user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL UNIQUE,
    hash BLOB NOT NULL,
    created_at REAL NOT NULL,
    last_used_at REAL,
    expires_at REAL
) STRICT;
CREATE INDEX keys_by_user ON keys (user_id);
CREATE TABLE logins (
    hash BLOB PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE,
    expires_s REAL NOT NULL                -- of the session clock
) STRICT, WITHOUT ROWID;
CREATE INDEX logins_by_user ON logins (user_id);
CREATE TABLE session_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at_s REAL NOT NULL,
    wall_s REAL NOT NULL                   -- what the machine's clock said then
) STRICT;
"""

_LIMITS_AND_USAGE = """
CREATE TABLE limits (
    scope TEXT NOT NULL, id TEXT NOT NULL,
    requests_per_minute INTEGER, tokens_per_minute INTEGER, tokens_per_day INTEGER, concurrent INTEGER,
    PRIMARY KEY (scope, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE usage (
    day TEXT NOT NULL, account TEXT NOT NULL, key_id INTEGER NOT NULL, -- key_id 0: no key
    model TEXT NOT NULL, service TEXT NOT NULL,
    requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    PRIMARY KEY (day, account, key_id, model, service)
) STRICT, WITHOUT ROWID;
"""

# `changed` counts an owner's changes: newest first by it holds even where the clock jumps.
_SESSIONS = """
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY, owner TEXT NOT NULL, name TEXT NOT NULL, model_id TEXT NOT NULL,
    created_at REAL NOT NULL, updated_at REAL NOT NULL, changed INTEGER NOT NULL,
    n_messages INTEGER NOT NULL, n_bytes INTEGER NOT NULL,
    UNIQUE (owner, name)
) STRICT;
CREATE INDEX sessions_by_change ON sessions (owner, changed);
CREATE TABLE session_messages (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    role TEXT NOT NULL, content TEXT NOT NULL, at REAL NOT NULL
) STRICT;
CREATE INDEX session_messages_by_session ON session_messages (session, id);
"""

# AUTOINCREMENT: a number is never given twice, so `number` is the order of their making.
_TASKS = """
CREATE TABLE tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
    name TEXT NOT NULL, description TEXT NOT NULL, status TEXT NOT NULL, progress REAL NOT NULL,
    logs TEXT NOT NULL, result TEXT, error TEXT,
    created_at REAL NOT NULL, started_at REAL, updated_at REAL NOT NULL, completed_at REAL
) STRICT;
CREATE INDEX tasks_by_owner ON tasks (owner, number);
CREATE INDEX tasks_unfinished ON tasks (status) WHERE status IN ('pending', 'running');
"""

_AUDIT = """
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY, action TEXT NOT NULL, at_ms INTEGER NOT NULL, request_id TEXT NOT NULL, user_id TEXT,
    name TEXT NOT NULL, role TEXT NOT NULL, key_id INTEGER, address TEXT NOT NULL, target TEXT NOT NULL,
    status INTEGER NOT NULL, code TEXT NOT NULL, took_ms INTEGER NOT NULL, detail TEXT NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE TABLE audit_marks (
    kind TEXT PRIMARY KEY, seq INTEGER NOT NULL, hash BLOB NOT NULL, signature BLOB NOT NULL
) STRICT;
"""

# The columns that are counted stand before the texts, and in an index of their own: no text is read for them.
_RESPONSES = """
CREATE TABLE responses (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
    previous INTEGER,                      -- the one that it goes on from
    is_hidden INTEGER NOT NULL,            -- deleted, and there for later ones only
    n_bytes INTEGER NOT NULL, input TEXT NOT NULL, output TEXT NOT NULL, about TEXT NOT NULL
) STRICT;
CREATE INDEX responses_by_owner ON responses (owner, is_hidden, number, n_bytes);
CREATE INDEX responses_by_previous ON responses (previous);
"""

_VARIANTS = """
CREATE TABLE variants (
    name TEXT PRIMARY KEY COLLATE NOCASE, base TEXT NOT NULL, settings TEXT NOT NULL, -- JSON
    license TEXT NOT NULL, created_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
"""

# What is deleted is first marked, and then cleared away in small steps: a large document must not hold up other writes.
# `words` is what is indexed where that is not the heading and the text themselves; `store` stands in each chunk, and in
# the index as s1, s2 …, so that a search reads the entries of one store only.
_KNOWLEDGE = """
CREATE TABLE datastores (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
    name TEXT NOT NULL, description TEXT NOT NULL, is_on INTEGER NOT NULL,
    chunk_tokens INTEGER NOT NULL, overlap_tokens INTEGER NOT NULL,
    space INTEGER,                         -- the vectors that are searched; NULL: there are none, only words
    is_gone INTEGER NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX datastores_by_name ON datastores (owner, name) WHERE NOT is_gone;
CREATE TABLE datastore_shares (
    store INTEGER NOT NULL REFERENCES datastores (number) ON DELETE CASCADE,
    grantee TEXT NOT NULL,                 -- an account, or * for everybody
    level TEXT NOT NULL, PRIMARY KEY (store, grantee)
) STRICT, WITHOUT ROWID;
CREATE INDEX datastore_shares_by_grantee ON datastore_shares (grantee);
CREATE TABLE vector_spaces (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    store INTEGER NOT NULL REFERENCES datastores (number) ON DELETE CASCADE,
    model TEXT NOT NULL, file TEXT NOT NULL, n_dim INTEGER NOT NULL -- file: what tells it from another of that name
) STRICT;
CREATE INDEX vector_spaces_by_store ON vector_spaces (store);
CREATE TABLE documents (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    store INTEGER NOT NULL REFERENCES datastores (number) ON DELETE CASCADE,
    state TEXT NOT NULL,                   -- incoming, ready, gone
    name TEXT NOT NULL, content_type TEXT NOT NULL, n_bytes INTEGER NOT NULL, hash BLOB NOT NULL,
    metadata TEXT NOT NULL, n_pages INTEGER, n_chunks INTEGER NOT NULL,
    created_at REAL NOT NULL, updated_at REAL NOT NULL
) STRICT;
CREATE UNIQUE INDEX documents_by_hash ON documents (store, hash) WHERE state = 'ready';
CREATE UNIQUE INDEX documents_by_name ON documents (store, name) WHERE state = 'ready';
CREATE INDEX documents_by_state ON documents (state) WHERE state <> 'ready';
CREATE TABLE document_texts (
    document INTEGER PRIMARY KEY REFERENCES documents (number) ON DELETE CASCADE, data BLOB NOT NULL -- zlib
) STRICT;
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, store INTEGER NOT NULL,
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    position INTEGER NOT NULL, start_char INTEGER NOT NULL, end_char INTEGER NOT NULL, page INTEGER,
    heading TEXT NOT NULL, text TEXT NOT NULL, words TEXT
) STRICT;
CREATE UNIQUE INDEX chunks_by_document ON chunks (document, position);
CREATE VIEW chunk_contents AS
SELECT number, 's' || store AS store, coalesce(words, heading || char(10) || text) AS words FROM chunks;
CREATE VIRTUAL TABLE chunk_words USING fts5 (
    store, words, content = 'chunk_contents', content_rowid = 'number',
    tokenize = 'porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER chunk_added AFTER INSERT ON chunks BEGIN
    INSERT INTO chunk_words (rowid, store, words)
    VALUES (new.number, 's' || new.store, coalesce(new.words, new.heading || char(10) || new.text));
END;
CREATE TRIGGER chunk_deleted AFTER DELETE ON chunks BEGIN
    INSERT INTO chunk_words (chunk_words, rowid, store, words)
    VALUES ('delete', old.number, 's' || old.store, coalesce(old.words, old.heading || char(10) || old.text));
END;
CREATE TABLE document_vectors (
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    space INTEGER NOT NULL REFERENCES vector_spaces (number) ON DELETE CASCADE,
    data BLOB NOT NULL,                    -- float32, little-endian, (n_chunks, n_dim), rows of unit length
    PRIMARY KEY (document, space)
) STRICT;
CREATE INDEX document_vectors_by_space ON document_vectors (space);
CREATE TABLE vector_parts (                -- of a document that is not ready in that space
    document INTEGER NOT NULL REFERENCES documents (number) ON DELETE CASCADE,
    space INTEGER NOT NULL REFERENCES vector_spaces (number) ON DELETE CASCADE,
    first INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (document, space, first)
) STRICT;
CREATE INDEX vector_parts_by_space ON vector_parts (space);
CREATE TABLE intake (                      -- files that were accepted and are not yet documents
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    store INTEGER NOT NULL REFERENCES datastores (number) ON DELETE CASCADE,
    task TEXT NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL, is_upload INTEGER NOT NULL, content_type TEXT NOT NULL,
    metadata TEXT NOT NULL, does_replace INTEGER NOT NULL,
    document INTEGER REFERENCES documents (number) ON DELETE SET NULL -- as far as it has come
) STRICT;
CREATE INDEX intake_by_task ON intake (task, number);
CREATE INDEX intake_by_document ON intake (document);
CREATE INDEX intake_by_store ON intake (store);
"""

_MCP_SERVERS = """
CREATE TABLE mcp_servers (
    name TEXT PRIMARY KEY COLLATE NOCASE, spec TEXT NOT NULL, -- JSON
    is_enabled INTEGER NOT NULL, tools TEXT NOT NULL, -- JSON, as it listed them last
    created_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
"""

_TOOL_SWITCHES = """
CREATE TABLE tool_switches (name TEXT PRIMARY KEY, is_on INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""

# (name, statements)
MIGRATIONS: tuple[tuple[str, str], ...] = (
    ("accounts", _ACCOUNTS),
    ("limits and usage", _LIMITS_AND_USAGE),
    ("sessions", _SESSIONS),
    ("tasks", _TASKS),
    ("audit", _AUDIT),
    ("responses", _RESPONSES),
    ("variants", _VARIANTS),
    ("knowledge", _KNOWLEDGE),
    ("mcp servers", _MCP_SERVERS),
    ("tool switches", _TOOL_SWITCHES),
)
