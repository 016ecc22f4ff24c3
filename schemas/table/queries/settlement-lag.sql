-- question: How many days after clearing does the money come?
--
-- Calendar days from a payment's clearing date to the local day on which its first
-- settlement line arrived. Payments without a line or without a clearing date are left
-- out; a payment that has several lives counts with its last.
--
-- parameters:
--   acquirer String = '' -- only this acquirer; empty: all
--   stage String = '' -- only lines at this stage (cleared, funded, paid_out); empty: all
--   zone String = Asia/Shanghai -- the time zone of the local day
--
-- columns:
--   acquirer           -- the acquirer, as in the payment key
--   lag_days           -- days; negative: the line came before the clearing date
--   payments           -- how many
--   share_percent      -- of the acquirer's payments
--   cumulative_percent -- settled after this many days or fewer
--   late_payments      -- of those, how many arrived after the evidence was due
SELECT
    acquirer,
    lag_days,
    count() AS payments,
    round(100 * payments / sum(payments) OVER (PARTITION BY acquirer), 2) AS share_percent,
    round(100 * sum(payments) OVER (PARTITION BY acquirer ORDER BY lag_days) / sum(payments) OVER (PARTITION BY acquirer), 2) AS cumulative_percent,
    countIf(late) AS late_payments
FROM
(
    SELECT
        p.acquirer AS acquirer,
        dateDiff('day', assumeNotNull(p.clearing_date), toDate32(toTimeZone(l.first_line, {zone:String}))) AS lag_days,
        l.first_line > p.evidence_due AS late
    FROM
    (
        SELECT payment_key, acquirer, clearing_date, evidence_due
        FROM settlewatch.payments_current
        WHERE clearing_date IS NOT NULL AND ({acquirer:String} = '' OR acquirer = {acquirer:String})
        ORDER BY payment_key, judged_time DESC
        LIMIT 1 BY payment_key
    ) AS p
    INNER JOIN
    (
        SELECT payment_key, min(arrival_time) AS first_line
        FROM settlewatch.events
        WHERE kind = 'settlement' AND ({stage:String} = '' OR stage = {stage:String})
        GROUP BY payment_key
    ) AS l ON p.payment_key = l.payment_key
)
GROUP BY acquirer, lag_days
ORDER BY acquirer, lag_days
