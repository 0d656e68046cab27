-- Batches: questions that were handed over together, to an endpoint that answers them within a day at half the price, or
-- as a file to a runner of one's own. A row is written before anything leaves this machine.
CREATE TABLE batches (
    id         INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: people name batches by it
    intent     TEXT    NOT NULL UNIQUE, -- a chance name; it is in the batch's metadata and in its file's name, so that both are found again
    slot       INTEGER NOT NULL REFERENCES slots (id),
    digest     BLOB    NOT NULL, -- SHA-256 of the lens's text
    lens       TEXT    NOT NULL, -- JSON: the lens's files by name, by which replies are read however late they come
    asked      TEXT    NOT NULL, -- the model's name as it is sent
    url        BLOB,             -- digest of the base URL; NULL: a file for a runner of one's own
    place      TEXT,             -- the base URL without secrets, for people; NULL: a file
    form       INTEGER NOT NULL, -- of this row and of the file
    program    TEXT    NOT NULL, -- version of the program that made it
    dialect    TEXT    NOT NULL, -- JSON: in which dialect it was asked
    stage      TEXT    NOT NULL, -- spooling, spooled, uploaded, creating, created, collected, written
    status     TEXT,             -- the server's word when it was last asked
    file       TEXT,             -- the server's id of the input file
    remote     TEXT,             -- the server's id of the batch
    requests   INTEGER NOT NULL DEFAULT 0,
    bytes      INTEGER NOT NULL DEFAULT 0,
    tokens     INTEGER NOT NULL DEFAULT 0, -- of all prompts, by our own count
    price      TEXT,             -- JSON: US dollars per million tokens at the standard tier, when it was handed over; NULL: not known
    bound      REAL,             -- what it can cost at most; NULL: not known
    cost       REAL,             -- what its replies cost; NULL: not known
    answered   INTEGER NOT NULL DEFAULT 0,
    failed     INTEGER NOT NULL DEFAULT 0,
    again      INTEGER NOT NULL DEFAULT 0, -- to be asked again
    made_at    INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
);

-- The questions of batches, as long as no run has told what came of them.
CREATE TABLE batch_questions (
    slot          INTEGER NOT NULL REFERENCES slots (id),
    input         BLOB    NOT NULL, -- SHA-256 of the question's canonical JSON; in hexadecimal digits its custom_id
    batch         INTEGER NOT NULL REFERENCES batches (id), -- the last one that it was in
    state         TEXT    NOT NULL, -- waiting, again, failed, answered
    tries         INTEGER NOT NULL DEFAULT 0, -- replies that were no answer
    reason        TEXT,             -- why the last of them was none
    detail        TEXT,
    tokens_in     INTEGER NOT NULL DEFAULT 0, -- of all replies so far
    tokens_cached INTEGER NOT NULL DEFAULT 0,
    tokens_out    INTEGER NOT NULL DEFAULT 0,
    cost          REAL    DEFAULT 0, -- NULL: not known
    lost          INTEGER NOT NULL DEFAULT 0, -- replies that never came and may be billed, of which no run has told
    lost_at_most  REAL    DEFAULT 0, -- what those can cost; NULL: not known
    told_at       INTEGER,          -- when a run told of it
    UNIQUE (slot, input)
);

CREATE INDEX batch_questions_of_batch ON batch_questions (batch, state);

-- What batches have taught about an endpoint and a model.
CREATE TABLE batch_lessons (
    url        BLOB    NOT NULL,
    model      TEXT    NOT NULL,
    tokens     INTEGER, -- the most input tokens that may be enqueued at once
    dialect    TEXT,    -- JSON
    learned_at INTEGER NOT NULL,
    PRIMARY KEY (url, model)
) WITHOUT ROWID;
