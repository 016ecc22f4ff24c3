-- question: Is all captured money accounted for?
--
-- The completeness identity per currency: captured = settled + open + alerted +
-- excluded. `alerted` comes from the alerts and the rest from the payments, so a loss
-- on either way shows. A difference that passes is the stream being read; one that
-- lasts is a fault: see `incomplete-payments`.
--
-- parameters: none
--
-- columns:
--   currency         -- ISO 4217
--   captured_minor   -- accepted captures and sales, minor units
--   settled_minor    -- of that, settled
--   open_minor       -- not due yet, or held
--   alerted_minor    -- in open paid-unsettled alerts
--   excluded_minor   -- reversed, refunded, explained by fees, within tolerance
--   difference_minor -- captured and nowhere else; not 0 is a fault
--   holds            -- whether the difference is 0
SELECT currency, captured_minor, settled_minor, open_minor, alerted_minor, excluded_minor, difference_minor, toBool(difference_minor = 0) AS holds
FROM settlewatch.completeness
ORDER BY currency
