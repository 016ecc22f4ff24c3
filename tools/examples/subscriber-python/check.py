#!/usr/bin/env python3
"""The example's rules under `settlewatch subscriber-check`, without Kafka.

    settlewatch subscriber-check -- python3 check.py

Records come as lines of JSON; what is news is written as lines of JSON, after it is
stored. Write the same few lines around your own service's handler.
"""

import json
import os
import sqlite3
import sys

from keep import SCHEMA, keep


def main():
    database = sqlite3.connect(os.path.join(os.environ["SETTLEWATCH_CHECK_DIR"], "alerts.db"))
    database.executescript(SCHEMA)
    for line in sys.stdin:
        record = json.loads(line)
        with database:
            alert = keep(database, record["value"].encode())
        if alert is not None:
            print(json.dumps({name: alert[name] for name in ("id", "revision", "status", "amount_minor")}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
