-- Short excerpts of rated rows, at most 40 a run, for reports. The only place where text of rows is kept; `--no-excerpts`
-- keeps none, and pruning a run's ratings takes its excerpts along.
CREATE TABLE excerpts (
    run     INTEGER NOT NULL REFERENCES runs (id),
    place   INTEGER NOT NULL, -- their order: the best, the worst, the most uncertain
    excerpt TEXT    NOT NULL, -- JSON: id, text, scores, verdict, rationale
    PRIMARY KEY (run, place)
) WITHOUT ROWID;
