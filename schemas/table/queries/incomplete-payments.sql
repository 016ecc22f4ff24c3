-- question: Which payments break the completeness identity?
--
-- Where to look when `completeness` does not hold. Empty is right.
--
-- parameters:
--   limit UInt32 = 100 -- rows at most
--
-- columns:
--   payment_key      -- see `settlewatch payment KEY`
--   currency         -- ISO 4217
--   rest_minor       -- captured - settled - open - excluded, from the payments
--   alerted_minor    -- from the open alerts
--   difference_minor -- what the two differ by
SELECT payment_key, currency, rest_minor, alerted_minor, difference_minor
FROM settlewatch.incomplete_payments
ORDER BY abs(difference_minor) DESC, payment_key
LIMIT {limit:UInt32}
