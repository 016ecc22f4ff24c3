-- question: Which sources are fresh, and which have gone quiet?
--
-- Each raw partition as read by its service, the quietest first. A quiet source is
-- not always a fault: some feeds come once a day. `settlewatch status` shows which
-- source holds the alerts back.
--
-- parameters: none
--
-- columns:
--   source         -- service/topic/partition/profile@version
--   events         -- distinct events that came from it
--   first_arrival  -- of its first event, UTC
--   last_arrival   -- of its last event, UTC
--   behind_seconds -- how long before the latest arrival of any source that was
--   unknown_fields -- fields in its records that the profile does not know
SELECT
    source,
    count() AS events,
    min(arrival_time) AS first_arrival,
    max(arrival_time) AS last_arrival,
    intDiv(dateDiff('millisecond', last_arrival, (SELECT max(arrival_time) FROM settlewatch.events)), 1000) AS behind_seconds,
    sum(unknown_count) AS unknown_fields
FROM settlewatch.events_distinct
GROUP BY source
ORDER BY behind_seconds DESC, source
