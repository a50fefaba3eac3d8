"""The statements of migrations since m006, but for those that rebuild the samples (``engine.store.m034_by_place``)."""

from __future__ import annotations

from engine.injection import RULES_VERSION

EVALUATION_TASKS = (
    "ALTER TABLE score ADD COLUMN metric TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE score ADD COLUMN higher INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE score ADD COLUMN source TEXT NOT NULL DEFAULT ''",
    "UPDATE score SET higher=0 WHERE task='heldout_loss'",
    "CREATE TABLE task_item (round INTEGER NOT NULL, task TEXT NOT NULL, item INTEGER NOT NULL, value REAL NOT NULL,"
    " PRIMARY KEY (round, task, item)) WITHOUT ROWID",
)

# Before, only a rewrite's sums were kept: they stand with its first call, its others take nothing.
CALLS_OF_REWRITES = (
    "INSERT INTO call (round, sample_id, axis, step, at, model, seconds, tokens_in, tokens_out, cost)"
    " WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n"
    " WHERE i + 1 < (SELECT max(attempts + answer_attempts) FROM rewrite))"
    " SELECT r.round, r.sample_id, r.axis, iif(n.i < r.attempts, 'prompt', 'answer'), 0, '', 0,"
    " iif(n.i = 0, r.tokens_in, 0), iif(n.i = 0, r.tokens_out, 0), iif(n.i = 0, r.cost, 0)"
    " FROM rewrite r JOIN n ON n.i < r.attempts + r.answer_attempts"
)

COUNT_CALLS = (
    "CREATE TABLE call (id INTEGER PRIMARY KEY, round INTEGER NOT NULL, sample_id INTEGER NOT NULL, axis TEXT NOT NULL,"
    " step TEXT NOT NULL, at REAL NOT NULL, model TEXT NOT NULL, seconds REAL NOT NULL, tokens_in INTEGER NOT NULL,"
    " tokens_out INTEGER NOT NULL, cost REAL NOT NULL, error TEXT)",
    # covers the sums of a round, which are read after every save
    "CREATE INDEX call_by_round ON call(round, tokens_in, tokens_out, cost, seconds, error)",
    "CREATE TABLE projection (round INTEGER PRIMARY KEY, rewrites INTEGER NOT NULL, calls INTEGER NOT NULL,"
    " tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, cost REAL NOT NULL, cap_tokens INTEGER NOT NULL,"
    " cap_cost REAL NOT NULL, sent_to TEXT NOT NULL)",
    CALLS_OF_REWRITES,
)

PROVIDER_BATCHES = (
    "CREATE TABLE batch (token TEXT PRIMARY KEY, round INTEGER NOT NULL, url TEXT NOT NULL, model TEXT NOT NULL,"
    " state TEXT NOT NULL, calls INTEGER NOT NULL, planned_at REAL NOT NULL, options TEXT NOT NULL, id TEXT, file TEXT,"
    " status TEXT NOT NULL, completed INTEGER NOT NULL, failed INTEGER NOT NULL, created_at REAL, expires_at REAL,"
    " ended_at REAL, error TEXT) WITHOUT ROWID",
    "CREATE TABLE batch_call (token TEXT NOT NULL, name TEXT NOT NULL, round INTEGER NOT NULL,"
    " sample_id INTEGER NOT NULL, axis TEXT NOT NULL, step TEXT NOT NULL, tokens_in INTEGER NOT NULL,"
    " tokens_out INTEGER NOT NULL, done INTEGER NOT NULL, PRIMARY KEY (token, name)) WITHOUT ROWID",
    "CREATE INDEX batch_call_by_round ON batch_call(round)",
)

KEEP_COLUMNS = (
    "ALTER TABLE sample ADD COLUMN extra TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE heldout ADD COLUMN extra TEXT NOT NULL DEFAULT ''",
)

HELD_OUT = "SELECT item, messages FROM heldout ORDER BY item DESC"

BOTH_SIDES = ("CREATE TABLE overlap (sample_id INTEGER PRIMARY KEY, item INTEGER NOT NULL)",)

LAST_EXCHANGE = (
    "ALTER TABLE signal ADD COLUMN conversation_before REAL",
    "ALTER TABLE signal ADD COLUMN conversation_after REAL",
    "ALTER TABLE loss_cache ADD COLUMN conversation REAL",
)

SEVERAL_ASSISTANTS = 'SELECT id, messages FROM sample WHERE messages LIKE \'%["assistant",%["assistant",%\''

OF_SEVERAL = (
    "UPDATE signal SET conversation_before=loss_before, conversation_after=loss_after"
    " WHERE sample_id IN (SELECT id FROM several)",
    "DELETE FROM loss_cache WHERE sample_id IN (SELECT id FROM several)",
    "DROP TABLE several",
)

SEE_PROGRESS = (
    # wall times of its start and its last steps, a JSON list, oldest first
    "ALTER TABLE job ADD COLUMN moved TEXT NOT NULL DEFAULT '[]'",
)

UNDER_WAY = (
    "CREATE TABLE underway (round INTEGER PRIMARY KEY, step TEXT NOT NULL, attempt INTEGER NOT NULL,"
    " done INTEGER NOT NULL, total INTEGER NOT NULL, tokens INTEGER NOT NULL, seconds REAL NOT NULL, at REAL NOT NULL,"
    " per_s REAL, left_s REAL, text TEXT NOT NULL)",
)

BEAT_CHANCE = (
    "ALTER TABLE rewrite ADD COLUMN on_topic REAL",
    "ALTER TABLE rewrite ADD COLUMN usual_similarity REAL",
)

HOLD_AFTER_MERGE = (
    "ALTER TABLE plan ADD COLUMN hold_s REAL NOT NULL DEFAULT 0",
    "ALTER TABLE worker ADD COLUMN holds_until REAL",
)

WHY_RETIRED = (
    "CREATE TABLE retirement (sample_id INTEGER PRIMARY KEY, round INTEGER NOT NULL, reason TEXT NOT NULL,"
    " kept INTEGER NOT NULL)",
)

UNWRITABLE = (
    "ALTER TABLE sample ADD COLUMN unwritable TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX sample_unwritable ON sample(id) WHERE unwritable<>''",
)

EVERY_OVERLAP = (
    "ALTER TABLE overlap RENAME TO overlap_before",
    "CREATE TABLE overlap (sample_id INTEGER NOT NULL, item INTEGER NOT NULL, PRIMARY KEY (sample_id, item))"
    " WITHOUT ROWID",
    "INSERT INTO overlap SELECT sample_id, item FROM overlap_before",
    "DROP TABLE overlap_before",
)

LOST_TRIES = (
    "ALTER TABLE call ADD COLUMN lost INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE sent_call (round INTEGER NOT NULL, sample_id INTEGER NOT NULL, axis TEXT NOT NULL,"
    " step TEXT NOT NULL, at REAL NOT NULL, model TEXT NOT NULL, tokens_in INTEGER NOT NULL,"
    " tokens_out INTEGER NOT NULL, cost REAL NOT NULL, open INTEGER NOT NULL,"
    " PRIMARY KEY (round, sample_id, axis)) WITHOUT ROWID",
    "CREATE TABLE question (round INTEGER PRIMARY KEY, text TEXT NOT NULL)",
)

_LENSES = (
    ("end_of_turn", "REAL"),
    ("without_prompt", "REAL"),
    ("ifd", "REAL"),
    ("worst_window", "REAL"),
    ("window_begin", "INTEGER"),
    ("window_end", "INTEGER"),
)
_FLAW = (("flaw", "REAL"), ("flaw_lens", "TEXT"))
LENSES = (
    *(f"ALTER TABLE signal ADD COLUMN {name} {kind}" for name, kind in (*_LENSES, *_FLAW)),
    *(f"ALTER TABLE loss_cache ADD COLUMN {name} {kind}" for name, kind in _LENSES),
    *(f"ALTER TABLE rewrite ADD COLUMN new_{name} {kind}" for name, kind in (*_LENSES, *_FLAW)),
    # Samples sorts and filters by each of these.
    *(
        f"CREATE INDEX signal_by_{name} ON signal(round, {name})"
        for name in ("end_of_turn", "ifd", "worst_window", "flaw")
    ),
)

# Before, a new row had an entry in each of these, under NULL, and every figure that came later took one out and put one
# in: ten pages a row. Now an entry comes with its figure.
MEASURED_ONLY = tuple(
    statement
    for name in (
        *("loss_before", "loss_after", "similarity", "quality", "cluster", "outlier"),
        *("end_of_turn", "ifd", "worst_window", "flaw"),
    )
    for statement in (
        f"DROP INDEX signal_by_{name}",
        f"CREATE INDEX signal_by_{name} ON signal(round, {name}) WHERE {name} IS NOT NULL",
    )
)

JUDGE_CHECK = (
    "CREATE TABLE judge_check (round INTEGER PRIMARY KEY, judge TEXT NOT NULL, begun TEXT NOT NULL, plain_mass REAL,"
    " begun_mass REAL, done INTEGER NOT NULL, pairs INTEGER NOT NULL, auc REAL,"
    " rated INTEGER NOT NULL, errors INTEGER NOT NULL, digit_mass REAL)",
)

PROBES = (
    # The teacher's answer to a sample's own prompt; a random sample; what was added while the rewrites were made; how
    # alike the answer is to the sample's.
    "ALTER TABLE rewrite ADD COLUMN probe INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE rewrite ADD COLUMN control INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE rewrite ADD COLUMN batch INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE rewrite ADD COLUMN agreement REAL",
)

LABELS = (
    "CREATE TABLE label (sample_id INTEGER PRIMARY KEY, round INTEGER NOT NULL, place INTEGER NOT NULL,"
    " stratum INTEGER NOT NULL, share REAL NOT NULL, label TEXT, kind TEXT NOT NULL DEFAULT '', at REAL)",
)

CONTROLS = (
    # In a control's own store: what it is the control of, and what its select stage does.
    "CREATE TABLE control_arm (round INTEGER PRIMARY KEY, kind TEXT NOT NULL, origin TEXT NOT NULL,"
    " plan TEXT NOT NULL)",
    # In the project's store: what came of its controls.
    "CREATE TABLE control (round INTEGER NOT NULL, kind TEXT NOT NULL, task TEXT NOT NULL, value REAL NOT NULL,"
    " ours REAL NOT NULL, stderr REAL, paired INTEGER NOT NULL, higher INTEGER NOT NULL, n INTEGER NOT NULL,"
    " calls INTEGER NOT NULL, ours_calls INTEGER NOT NULL, PRIMARY KEY (round, kind, task)) WITHOUT ROWID",
)

OVERRIDES = (
    "CREATE TABLE override (sample_id INTEGER PRIMARY KEY, action TEXT NOT NULL, axis TEXT, at REAL NOT NULL)",
)

INJECTION = (
    "ALTER TABLE sample ADD COLUMN injection TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX sample_injection ON sample(id) WHERE injection<>''",
    # samples of an older version are looked at when a stage runs next (engine.store.flagging)
    "INSERT INTO meta (key, value) SELECT 'injection_unread', n FROM (SELECT max(seq) + 1 AS n FROM sample)"
    " WHERE n IS NOT NULL",
)

UNFLAGGED = (
    # A person's word that what the rules find in a sample is no injection.
    "CREATE TABLE unflagged (sample_id INTEGER PRIMARY KEY, source TEXT NOT NULL, at REAL NOT NULL)",
    # A store without samples has none that older rules searched.
    f"INSERT INTO meta (key, value) SELECT 'injection_rules', '{RULES_VERSION}'"  # noqa: S608 - a number
    " WHERE NOT EXISTS (SELECT 1 FROM sample)",
)

STAGE_COST = (
    "ALTER TABLE job ADD COLUMN seconds REAL NOT NULL DEFAULT 0",
    "ALTER TABLE job ADD COLUMN cpu_seconds REAL NOT NULL DEFAULT 0",
    "ALTER TABLE job ADD COLUMN peak_bytes INTEGER",
)
