-- question: Which amounts are settled twice, how often and for how much?
--
-- Alerts in bands of their excess. A band's bounds are powers of ten of minor units,
-- so they hold for currencies of any exponent.
--
-- parameters:
--   since Date = 1970-01-01 -- the first UTC day of a first revision
--   until Date = 2149-06-06 -- the last one
--
-- columns:
--   currency     -- ISO 4217
--   from_minor   -- the band begins with this excess, minor units
--   below_minor  -- and ends before this one
--   alerts       -- in the band
--   open_alerts  -- of those, still open
--   amount_minor -- their excess together
SELECT
    currency,
    toInt64(exp10(floor(log10(greatest(excess, 1))))) AS from_minor,
    from_minor * 10 AS below_minor,
    count() AS alerts,
    countIf(status = 'OPEN') AS open_alerts,
    sum(toInt128(excess)) AS amount_minor
FROM
(
    SELECT id, currency, status, amount_minor AS excess
    FROM settlewatch.alerts
    WHERE kind = 'settled_twice'
)
WHERE id IN
(
    SELECT id
    FROM settlewatch.alert_revisions
    WHERE kind = 'settled_twice'
    GROUP BY id
    HAVING toDate(min(moment_judged), 'UTC') BETWEEN {since:Date} AND {until:Date}
)
GROUP BY currency, from_minor
ORDER BY currency, from_minor
