"""The schema, as numbered steps. A step is never edited once released; a change is a new step at the end."""

from __future__ import annotations

_FIRST = (
    # `text` is the converted text, untouched; `pages` are JSON offsets.
    """CREATE TABLE documents (
        id TEXT PRIMARY KEY, title TEXT NOT NULL, kind TEXT NOT NULL, source TEXT NOT NULL, text TEXT NOT NULL,
        pages TEXT NOT NULL, notes TEXT NOT NULL, created REAL NOT NULL, used REAL NOT NULL)""",
    # Who holds a document: a source in a collection. A document without a holder is purged. The collection '' is the
    # bounded cache of what was asked about by path. An unchanged file (same hash and converter) is not converted again.
    """CREATE TABLE sources (
        collection TEXT NOT NULL, source TEXT NOT NULL,
        document_id TEXT NOT NULL REFERENCES documents(id) ON DELETE CASCADE,
        file_hash TEXT NOT NULL, converter TEXT NOT NULL, PRIMARY KEY (collection, source))""",
    "CREATE INDEX sources_by_document ON sources(document_id)",
    "CREATE INDEX sources_by_file ON sources(file_hash)",
    """CREATE TABLE segments (
        document_id TEXT NOT NULL REFERENCES documents(id) ON DELETE CASCADE, ordinal INTEGER NOT NULL,
        start INTEGER NOT NULL, "end" INTEGER NOT NULL, hash TEXT NOT NULL, tokens_estimate INTEGER NOT NULL,
        PRIMARY KEY (document_id, ordinal))""",
    "CREATE INDEX segments_by_hash ON segments(hash)",
    # Vectors belong to segment texts, not to documents: an edited document re-uses those of its unchanged segments.
    # Ids are never used twice, so the FAISS file can be brought up to date by comparing ids alone.
    """CREATE TABLE vectors (
        id INTEGER PRIMARY KEY AUTOINCREMENT, hash TEXT NOT NULL, fingerprint TEXT NOT NULL, vector BLOB NOT NULL,
        UNIQUE (hash, fingerprint))""",
    """CREATE TABLE token_counts (
        document_id TEXT NOT NULL REFERENCES documents(id) ON DELETE CASCADE, fingerprint TEXT NOT NULL,
        tokens INTEGER NOT NULL, PRIMARY KEY (document_id, fingerprint))""",
    """CREATE TABLE profiles (
        key TEXT PRIMARY KEY, value TEXT NOT NULL, created REAL NOT NULL)""",
    # The ledger. `record` is the decision and what was measured; `content` holds text and is NULL below log=full.
    """CREATE TABLE answers (
        id TEXT PRIMARY KEY, created REAL NOT NULL, model TEXT NOT NULL, chosen TEXT NOT NULL,
        question TEXT, record TEXT NOT NULL, content TEXT)""",
    "CREATE INDEX answers_by_time ON answers(created)",
    """CREATE TABLE answer_documents (
        answer_id TEXT NOT NULL REFERENCES answers(id) ON DELETE CASCADE, document_id TEXT NOT NULL,
        source TEXT NOT NULL, PRIMARY KEY (answer_id, document_id))""",
    "CREATE INDEX answers_by_document ON answer_documents(document_id)",
    "CREATE INDEX answers_by_source ON answer_documents(source)",
)

_FEEDBACK = (
    # What the user says of an answer: 1 good, 0 bad.
    """CREATE TABLE feedback (
        answer_id TEXT PRIMARY KEY REFERENCES answers(id) ON DELETE CASCADE, good INTEGER NOT NULL,
        created REAL NOT NULL)""",
)

_METADATA = (
    # What the caller gave with a text, as JSON; '' for nothing.
    "ALTER TABLE sources ADD COLUMN metadata TEXT NOT NULL DEFAULT ''",
)

_TITLES = (
    # What a source calls its document; '' for the document's own title. Equal texts are one document with many names.
    "ALTER TABLE sources ADD COLUMN title TEXT NOT NULL DEFAULT ''",
)

_COUNTERFACTUALS = (
    # What strategies that were not chosen took and answered. `seconds` and `cost` are all that was spent on a row, runs
    # that were given up included; `record` is what the last one took, `content` its text, NULL below log=full; `good`
    # is what the user says of it.
    """CREATE TABLE counterfactuals (
        answer_id TEXT NOT NULL REFERENCES answers(id) ON DELETE CASCADE, strategy TEXT NOT NULL,
        created REAL NOT NULL, seconds REAL NOT NULL, cost REAL, record TEXT NOT NULL, content TEXT, good INTEGER,
        PRIMARY KEY (answer_id, strategy))""",
    "CREATE INDEX counterfactuals_by_time ON counterfactuals(created)",
)

_COLLECTIONS = (
    # A collection with a salt is kept apart: its documents and segments have identities of their own. '' is for those
    # that share; so do all that were there before.
    """CREATE TABLE collections (
        name TEXT PRIMARY KEY, salt TEXT NOT NULL, created REAL NOT NULL)""",
    "INSERT INTO collections (name, salt, created)"
    " SELECT DISTINCT collection, '', 0 FROM sources WHERE collection <> ''",
    # The collection whose salt a document has; '' for none.
    "ALTER TABLE documents ADD COLUMN realm TEXT NOT NULL DEFAULT ''",
    # The collection that was asked; '' for none.
    "ALTER TABLE answers ADD COLUMN collection TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX answers_by_collection ON answers(collection, created)",
)

_TOKENS = (
    # Who may ask the server for what. `digest` is the SHA-256 of the token, which is nowhere else; `collections` and
    # `rights` are JSON lists. A limit that is NULL is none.
    """CREATE TABLE tokens (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, digest TEXT NOT NULL UNIQUE, collections TEXT NOT NULL,
        rights TEXT NOT NULL, per_minute INTEGER, at_once INTEGER, created REAL NOT NULL)""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    *(_FIRST, _FEEDBACK, _METADATA, _TITLES),
    *(_COUNTERFACTUALS, _COLLECTIONS, _TOKENS),
)
