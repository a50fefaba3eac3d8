"""The first schema, as SQL. It was released: never edit it (see ``engine.store.schema``)."""

from __future__ import annotations

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE plan (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  rounds INTEGER NOT NULL, until_round INTEGER, until_stage TEXT,
  auto INTEGER NOT NULL DEFAULT 0, want TEXT NOT NULL DEFAULT 'run'
);

CREATE TABLE import (
  id INTEGER PRIMARY KEY, file TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, format TEXT NOT NULL,
  rows INTEGER NOT NULL, rejected INTEGER NOT NULL, duplicates INTEGER NOT NULL, at REAL NOT NULL
);

CREATE TABLE quarantine (id INTEGER PRIMARY KEY, file TEXT NOT NULL, row INTEGER, reason TEXT NOT NULL, raw TEXT);

CREATE TABLE sample (
  id INTEGER PRIMARY KEY, messages TEXT NOT NULL, seq INTEGER NOT NULL UNIQUE,
  parent_id INTEGER REFERENCES sample(id), axis TEXT,
  born_round INTEGER NOT NULL, retired_round INTEGER,
  source TEXT NOT NULL DEFAULT '', input_chars INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX sample_by_parent ON sample(parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX sample_by_birth ON sample(born_round, retired_round);

CREATE TABLE heldout (
  item INTEGER PRIMARY KEY, messages TEXT NOT NULL, input_chars INTEGER NOT NULL DEFAULT 0, source TEXT,
  seq INTEGER -- the place in the dataset that it was held out of, NULL when it came from a file of its own
);

CREATE TABLE round (
  round INTEGER PRIMARY KEY, config TEXT NOT NULL, closing INTEGER NOT NULL DEFAULT 0,
  started_at REAL NOT NULL, finished_at REAL, stopped TEXT
);

CREATE TABLE job (
  round INTEGER NOT NULL, stage TEXT NOT NULL, state TEXT NOT NULL,
  done INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0, resumed_at INTEGER NOT NULL DEFAULT 0,
  started_at REAL, finished_at REAL, input_key TEXT, error TEXT,
  PRIMARY KEY (round, stage)
) WITHOUT ROWID;

CREATE TABLE signal (
  round INTEGER NOT NULL, sample_id INTEGER NOT NULL,
  loss_before REAL, loss_after REAL, prompt_tokens INTEGER, response_tokens INTEGER, score_error TEXT,
  similarity REAL, neighbours TEXT,
  prompt_clarity REAL, prompt_completeness REAL, prompt_factuality REAL,
  response_clarity REAL, response_completeness REAL, response_factuality REAL,
  quality REAL, digit_mass REAL, judge_error TEXT,
  PRIMARY KEY (round, sample_id)
) WITHOUT ROWID;
CREATE INDEX signal_by_loss_before ON signal(round, loss_before);
CREATE INDEX signal_by_loss_after ON signal(round, loss_after);
CREATE INDEX signal_by_similarity ON signal(round, similarity);
CREATE INDEX signal_by_quality ON signal(round, quality);

CREATE TABLE loss_cache (model TEXT NOT NULL, sample_id INTEGER NOT NULL, loss REAL NOT NULL, PRIMARY KEY (model,
sample_id)) WITHOUT ROWID;

CREATE TABLE threshold (
  round INTEGER NOT NULL, signal TEXT NOT NULL, axis TEXT NOT NULL,
  mean REAL NOT NULL, sigma REAL NOT NULL, m REAL NOT NULL, cut REAL NOT NULL, floor REAL,
  PRIMARY KEY (round, signal)
) WITHOUT ROWID;

CREATE TABLE selection (
  round INTEGER NOT NULL, sample_id INTEGER NOT NULL, axis TEXT NOT NULL, value REAL NOT NULL, threshold REAL NOT NULL,
  PRIMARY KEY (round, sample_id, axis)
) WITHOUT ROWID;

CREATE TABLE rewrite (
  round INTEGER NOT NULL, sample_id INTEGER NOT NULL, axis TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'owed', attempts INTEGER NOT NULL DEFAULT 0, answer_attempts INTEGER NOT NULL DEFAULT 0,
  prompt TEXT, response TEXT, messages TEXT, raw TEXT, reason TEXT,
  tokens_in INTEGER NOT NULL DEFAULT 0, tokens_out INTEGER NOT NULL DEFAULT 0, cost REAL NOT NULL DEFAULT 0,
  new_loss_before REAL, new_loss_after REAL, new_similarity REAL, new_quality REAL, new_ratings TEXT,
  improved INTEGER, verdict TEXT,
  PRIMARY KEY (round, sample_id, axis)
) WITHOUT ROWID;
CREATE INDEX rewrite_by_state ON rewrite(round, state);
CREATE INDEX rewrite_by_sample ON rewrite(sample_id);

CREATE TABLE decision (
  id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, at REAL NOT NULL, source TEXT NOT NULL,
  round INTEGER NOT NULL, sample_id INTEGER NOT NULL, axis TEXT NOT NULL,
  before TEXT NOT NULL, after TEXT NOT NULL, before_reason TEXT, reason TEXT, undone INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX decision_by_batch ON decision(batch);

CREATE TABLE score (
  round INTEGER NOT NULL, task TEXT NOT NULL, value REAL NOT NULL, stderr REAL, n INTEGER NOT NULL, PRIMARY KEY
  (round, task)
) WITHOUT ROWID;

CREATE TABLE eval_item (
  round INTEGER NOT NULL, item INTEGER NOT NULL, loss REAL, tokens INTEGER NOT NULL DEFAULT 0, reply TEXT, correct
  INTEGER,
  PRIMARY KEY (round, item)
) WITHOUT ROWID;

CREATE TABLE metric (
  round INTEGER NOT NULL, step INTEGER NOT NULL, at REAL NOT NULL, epoch REAL NOT NULL,
  loss REAL, learning_rate REAL, grad_norm REAL, tokens_per_s REAL, PRIMARY KEY (round, step)
) WITHOUT ROWID;

CREATE TABLE artifact (
  round INTEGER NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL, meta TEXT NOT NULL DEFAULT '{}', PRIMARY KEY
  (round, name)
) WITHOUT ROWID;

CREATE TABLE event (
  id INTEGER PRIMARY KEY, at REAL NOT NULL, level TEXT NOT NULL, round INTEGER, stage TEXT, text TEXT NOT NULL
);

CREATE TABLE gauge (
  id INTEGER PRIMARY KEY, at REAL NOT NULL, device TEXT NOT NULL, util REAL NOT NULL,
  memory_used INTEGER NOT NULL, memory_total INTEGER NOT NULL, power REAL, temperature REAL
);

CREATE TABLE worker (
  id INTEGER PRIMARY KEY CHECK (id = 1), pid INTEGER NOT NULL, started REAL NOT NULL, boot TEXT NOT NULL,
  heartbeat REAL NOT NULL, child_pid INTEGER
)
"""
