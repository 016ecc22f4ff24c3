#!/usr/bin/env python3
"""A downstream service in Python: the alert topics as plain JSON, no library of ours.

It keeps, in one SQLite file, the latest revision of every alert and how far it has
read. Both change in one transaction, so that however often it is killed, every alert
counts once. The rules that it follows are all there are:

* of each alert id the highest revision stands; one that is not higher is ignored;
* the same id and revision are always the same bytes;
* fields may be added, so unknown ones are ignored.

    pip install -r requirements.txt
    python subscriber.py --brokers 127.0.0.1:9092 --database alerts.db
"""

import argparse
import signal
import sqlite3
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from keep import SCHEMA, keep

TOPICS = ["alerts.paid-unsettled.v1", "alerts.settled-twice.v1"]


def assignment(consumer, database):
    """Every partition of the alert topics, from where we stopped."""
    places = []
    for topic in TOPICS:
        metadata = consumer.list_topics(topic, timeout=30).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        for partition in sorted(metadata.partitions):
            row = database.execute(
                "SELECT next FROM positions WHERE topic = ? AND part = ?", (topic, partition)).fetchone()
            places.append(TopicPartition(topic, partition, row[0] if row else OFFSET_BEGINNING))
    return places


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", default="127.0.0.1:9092", help="host:port,…")
    parser.add_argument("--database", default="alerts.db", help="SQLite file with the alerts and the positions")
    parser.add_argument("--once", action="store_true", help="end when everything that is there is handled")
    arguments = parser.parse_args()

    database = sqlite3.connect(arguments.database)
    database.executescript(SCHEMA)
    consumer = Consumer({
        "bootstrap.servers": arguments.brokers,
        "group.id": "example-subscriber-python",  # the client wants one; positions are ours
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        # A position that the log no longer has is an error, not a jump to somewhere.
        "auto.offset.reset": "error",
        "enable.metrics.push": False,  # or the client reports its telemetry on standard error
    })
    stopped = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopped.append(True))

    places = assignment(consumer, database)
    consumer.assign(places)
    unread = {(p.topic, p.partition) for p in places}
    while not stopped and (unread or not arguments.once):
        message = consumer.poll(0.5)
        if message is None:
            continue
        place = (message.topic(), message.partition())
        if message.error() is not None:
            if message.error().code() == KafkaError._PARTITION_EOF:
                unread.discard(place)
                continue
            if message.error().retriable():
                continue
            raise KafkaException(message.error())
        with database:  # one transaction: the alert and the position, or neither
            alert = keep(database, message.value())
            database.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", (*place, message.offset() + 1))
        if alert is not None:
            print(f"{alert['id']}:{alert['revision']} {alert['kind']} {alert['status']} {alert['payment_key']} "
                  f"{alert['amount_minor']} {alert['currency']}", flush=True)
    consumer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
