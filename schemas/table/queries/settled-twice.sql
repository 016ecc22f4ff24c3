-- question: How much was settled twice, day by day?
--
-- Alerts by the UTC day on which they were first raised, as they stand now: what was
-- credited back since then counts as resolved.
--
-- parameters:
--   since Date = 1970-01-01 -- the first day
--   until Date = 2149-06-06 -- the last day
--   currency String = '' -- only this currency; empty: all
--
-- columns:
--   day_utc          -- the day of the first revision
--   currency         -- ISO 4217
--   alerts           -- raised on that day
--   open_alerts      -- of those, still open
--   resolved_alerts  -- the money was returned, credited or explained
--   retracted_alerts -- what was reported was corrected
--   amount_minor     -- settled too much, minor units, whether returned or not
--   open_minor       -- of that, still with the merchants
SELECT day_utc, currency, alerts, open_alerts, resolved_alerts, retracted_alerts, amount_minor, open_minor
FROM settlewatch.settled_twice_by_day
WHERE day_utc BETWEEN {since:Date} AND {until:Date}
  AND ({currency:String} = '' OR currency = {currency:String})
ORDER BY day_utc, currency
