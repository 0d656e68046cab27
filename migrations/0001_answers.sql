-- Answers, keyed by lens, model, version, sample and the question as first meant.
-- Times are milliseconds since 1970; money is US dollars.

-- What all questions of a run's lens share. Few, so that an answer and its key carry one small number for four columns.
CREATE TABLE slots (
    id      INTEGER PRIMARY KEY,
    lens    TEXT    NOT NULL,
    model   TEXT    NOT NULL, -- who really answers
    version INTEGER NOT NULL,
    sample  INTEGER NOT NULL,
    UNIQUE (lens, model, version, sample)
);

-- The texts of lenses that answers were asked with: tells which answers belong to an older text of a lens.
CREATE TABLE texts (
    id     INTEGER PRIMARY KEY,
    slot   INTEGER NOT NULL REFERENCES slots (id),
    digest BLOB    NOT NULL, -- SHA-256 of the lens's text
    UNIQUE (slot, digest)
);

-- A table with rows in the order of their coming and an index of its own for the key: a digest is random, so a table
-- that is stored by its key would write a page for each answer.
CREATE TABLE answers (
    slot           INTEGER NOT NULL REFERENCES slots (id),
    input          BLOB    NOT NULL, -- SHA-256 of the question's canonical JSON
    text           INTEGER NOT NULL REFERENCES texts (id),
    scores         TEXT    NOT NULL, -- JSON list of numbers, in the order of the lens's score fields
    rationales     TEXT    NOT NULL, -- JSON list of strings, in the order of the lens's rationale fields
    model_reported TEXT,
    finish_reason  TEXT,
    tokens_in      INTEGER NOT NULL,
    tokens_cached  INTEGER NOT NULL,
    tokens_out     INTEGER NOT NULL,
    cost           REAL,             -- NULL: not known
    latency_ms     INTEGER NOT NULL,
    attempts       INTEGER NOT NULL,
    answered_at    INTEGER NOT NULL,
    UNIQUE (slot, input)
);

-- Attempts that gave no answer, kept as history: what they were, never what they said.
CREATE TABLE attempts (
    slot         INTEGER NOT NULL REFERENCES slots (id),
    input        BLOB    NOT NULL,
    reason       TEXT    NOT NULL,
    tokens_in    INTEGER NOT NULL,
    tokens_out   INTEGER NOT NULL,
    cost         REAL,
    attempted_at INTEGER NOT NULL
);

-- One execution of a command over one dataset and one lens: what it meant, and what came of it.
CREATE TABLE runs (
    id          INTEGER PRIMARY KEY,
    digest      BLOB    NOT NULL,
    meaning     TEXT    NOT NULL, -- JSON, without paths or secrets
    started_at  INTEGER NOT NULL,
    finished_at INTEGER,
    outcome     TEXT              -- JSON: the ledger and the money
);

-- Who answered last under a name at a base URL (by its digest), for runs that cannot reach the endpoint.
CREATE TABLE resolutions (
    name        TEXT    NOT NULL,
    url         BLOB    NOT NULL,
    model       TEXT    NOT NULL,
    resolved_at INTEGER NOT NULL,
    PRIMARY KEY (name, url)
) WITHOUT ROWID;
