-- +goose NO TRANSACTION
-- +goose Up

-- Sums are taken in 128 bits: an Int64 sum would wrap without a word.

CREATE OR REPLACE VIEW settlewatch.events_distinct AS
SELECT * FROM settlewatch.events FINAL;

CREATE OR REPLACE VIEW settlewatch.payments_current AS
SELECT * FROM settlewatch.payments FINAL;

-- The latest revision of every alert.
CREATE OR REPLACE VIEW settlewatch.alerts AS
SELECT *
FROM settlewatch.alert_revisions
ORDER BY kind, payment_key, id, revision DESC
LIMIT 1 BY kind, payment_key, id;

-- What merchants still wait for: overdue (the open paid-unsettled alerts, by the
-- time since their evidence was due), not due yet, and held. The clock is the latest
-- arrival in the data, never the server's, so that a replayed year looks as it was.
CREATE OR REPLACE VIEW settlewatch.open_unsettled_by_merchant_and_age AS
WITH (SELECT max(arrival_time) FROM settlewatch.events) AS latest_arrival
SELECT
    acquirer,
    merchant,
    currency,
    age,
    any(age_order) AS age_rank,
    count() AS items,
    sum(toInt128(item_minor)) AS amount_minor,
    latest_arrival AS as_of
FROM
(
    SELECT
        acquirer,
        merchant,
        currency,
        greatest(dateDiff('millisecond', ifNull(evidence_due, moment_judged), latest_arrival), 0) / 86400000 AS overdue_days,
        multiIf(overdue_days < 1, 3, overdue_days < 3, 4, overdue_days < 7, 5, overdue_days < 30, 6, 7) AS age_order,
        multiIf(overdue_days < 1, 'overdue under 1 day', overdue_days < 3, 'overdue 1 to 3 days',
                overdue_days < 7, 'overdue 3 to 7 days', overdue_days < 30, 'overdue 7 to 30 days',
                'overdue 30 days and more') AS age,
        amount_minor AS item_minor
    FROM settlewatch.alerts
    WHERE kind = 'paid_unsettled' AND status = 'OPEN'
    UNION ALL
    SELECT
        acquirer,
        merchant,
        currency,
        0 AS overdue_days,
        if(status = 'held', 2, 1) AS age_order,
        if(status = 'held', 'held', 'not due') AS age,
        open_minor AS item_minor
    FROM settlewatch.payments_current
    WHERE open_minor != 0
)
GROUP BY acquirer, merchant, currency, age
ORDER BY acquirer, merchant, currency, age_rank;

-- Settled-twice alerts by the UTC day of their first revision, as they stand now.
CREATE OR REPLACE VIEW settlewatch.settled_twice_by_day AS
SELECT
    toDate(opened.opened_time, 'UTC') AS day_utc,
    latest.currency AS currency,
    count() AS alerts,
    countIf(latest.status = 'OPEN') AS open_alerts,
    countIf(latest.status = 'RESOLVED') AS resolved_alerts,
    countIf(latest.status = 'RETRACTED') AS retracted_alerts,
    sum(toInt128(latest.amount_minor)) AS amount_minor,
    sumIf(toInt128(latest.amount_minor), latest.status = 'OPEN') AS open_minor
FROM
(
    SELECT id, currency, status, amount_minor FROM settlewatch.alerts WHERE kind = 'settled_twice'
) AS latest
INNER JOIN
(
    SELECT id, min(moment_judged) AS opened_time
    FROM settlewatch.alert_revisions
    WHERE kind = 'settled_twice'
    GROUP BY id
) AS opened ON latest.id = opened.id
GROUP BY day_utc, currency
ORDER BY day_utc, currency;

-- The completeness identity: captured = settled + open + alerted + excluded.
-- `alerted` comes from the alerts and the rest from the payments: two roads from the
-- joiner, so a loss on either shows here. Both are read behind the live stream, so a
-- difference that lasts is a fault and one that passes is not.
CREATE OR REPLACE VIEW settlewatch.completeness AS
SELECT
    currency,
    captured_minor,
    settled_minor,
    open_minor,
    alerted_minor,
    excluded_minor,
    captured_minor - settled_minor - open_minor - alerted_minor - excluded_minor AS difference_minor,
    difference_minor = 0 AS holds
FROM
(
    SELECT
        currency,
        sum(captured) AS captured_minor,
        sum(settled) AS settled_minor,
        sum(open) AS open_minor,
        sum(alerted) AS alerted_minor,
        sum(excluded) AS excluded_minor
    FROM
    (
        SELECT
            currency,
            toInt128(captured_minor) AS captured,
            toInt128(settled_minor) AS settled,
            toInt128(open_minor) AS open,
            toInt128(0) AS alerted,
            toInt128(excluded_minor) AS excluded
        FROM settlewatch.payments_current
        WHERE currency != '' OR captured_minor != 0
        UNION ALL
        SELECT
            currency,
            toInt128(0),
            toInt128(0),
            toInt128(0),
            toInt128(amount_minor),
            toInt128(0)
        FROM settlewatch.alerts
        WHERE kind = 'paid_unsettled' AND status = 'OPEN'
    )
    GROUP BY currency
)
ORDER BY currency;

-- Where to look when completeness does not hold: the payments whose own identity
-- does not. Differences of two payments cannot cancel out here.
CREATE OR REPLACE VIEW settlewatch.incomplete_payments AS
SELECT
    payment_key,
    currency,
    sum(rest) AS rest_minor,
    sum(alerted) AS alerted_minor,
    rest_minor - alerted_minor AS difference_minor
FROM
(
    SELECT
        payment_key,
        currency,
        toInt128(captured_minor) - settled_minor - open_minor - excluded_minor AS rest,
        toInt128(0) AS alerted
    FROM settlewatch.payments_current
    UNION ALL
    SELECT payment_key, currency, toInt128(0), toInt128(amount_minor)
    FROM settlewatch.alerts
    WHERE kind = 'paid_unsettled' AND status = 'OPEN'
)
GROUP BY payment_key, currency
HAVING difference_minor != 0;

-- +goose Down
DROP VIEW IF EXISTS settlewatch.incomplete_payments;
DROP VIEW IF EXISTS settlewatch.completeness;
DROP VIEW IF EXISTS settlewatch.settled_twice_by_day;
DROP VIEW IF EXISTS settlewatch.open_unsettled_by_merchant_and_age;
DROP VIEW IF EXISTS settlewatch.alerts;
DROP VIEW IF EXISTS settlewatch.payments_current;
DROP VIEW IF EXISTS settlewatch.events_distinct;
