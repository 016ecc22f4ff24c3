-- question: What becomes of alerts, and how soon?
--
-- Every alert by what it stands at now. The share that closes within a day says how
-- much of the stream was only late.
--
-- parameters:
--   since Date = 1970-01-01 -- the first UTC day of a first revision
--   until Date = 2149-06-06 -- the last one
--
-- columns:
--   kind           -- paid_unsettled or settled_twice
--   outcome        -- open, or why it was closed
--   alerts         -- how many
--   within_day     -- of those, closed within 24 hours of the first revision
--   median_hours   -- from the first revision to the latest one
--   max_days_late  -- of the money, where it came; empty where that means nothing
SELECT
    kind,
    if(status = 'OPEN', 'open', if(status = 'RETRACTED', concat('retracted: ', closing_reason), closing_reason)) AS outcome,
    count() AS alerts,
    countIf(status != 'OPEN' AND hours <= 24) AS within_day,
    round(quantileExact(0.5)(hours), 1) AS median_hours,
    max(days_late) AS max_days_late
FROM
(
    SELECT
        kind,
        id,
        min(moment_judged) AS opened,
        dateDiff('millisecond', opened, max(moment_judged)) / 3600000 AS hours,
        argMax(status, revision) AS status,
        argMax(closing_reason, revision) AS closing_reason,
        -- A closed alert has its days in its last revision; an open one has none.
        if(status = 'OPEN', NULL, max(days_late)) AS days_late
    FROM settlewatch.alert_revisions
    GROUP BY kind, id
    HAVING toDate(opened, 'UTC') BETWEEN {since:Date} AND {until:Date}
)
GROUP BY kind, outcome
ORDER BY kind, alerts DESC, outcome
