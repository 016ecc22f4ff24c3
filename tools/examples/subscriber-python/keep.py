"""What a downstream service keeps of the alerts, and how: the rules, without Kafka."""

import json

SCHEMA = """
CREATE TABLE IF NOT EXISTS alerts (
    id TEXT PRIMARY KEY, revision INTEGER NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL,
    payment_key TEXT NOT NULL, amount_minor INTEGER NOT NULL, currency TEXT NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS positions (
    topic TEXT NOT NULL, part INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (topic, part)
);
"""


class Different(Exception):
    """One id and revision came with two bodies: do not trust either, and look."""


def keep(database, body):
    """Takes one record's value in; returns the alert if it is news, else None."""
    alert = json.loads(body)
    row = database.execute("SELECT revision, body FROM alerts WHERE id = ?", (alert["id"],)).fetchone()
    if row is not None and alert["revision"] <= row[0]:
        if alert["revision"] == row[0] and body != row[1]:
            raise Different(f"alert {alert['id']} revision {row[0]} came with two different bodies")
        return None
    database.execute(
        "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (alert["id"], alert["revision"], alert["kind"], alert["status"],
         alert["payment_key"], alert["amount_minor"], alert["currency"], body),
    )
    return alert
