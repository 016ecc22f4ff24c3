-- question: Which open alerts are about the most money?
--
-- parameters:
--   kind String = '' -- paid_unsettled or settled_twice; empty: both
--   acquirer String = '' -- only this acquirer; empty: all
--   merchant String = '' -- only this merchant; empty: all
--   limit UInt32 = 50 -- rows at most
--
-- columns:
--   kind          -- paid_unsettled or settled_twice
--   amount_minor  -- missing or too much, minor units
--   currency      -- ISO 4217
--   acquirer      -- the acquirer, as in the payment key
--   merchant      -- the merchant's number
--   payment_key   -- see `settlewatch payment KEY`
--   capture       -- the capture that is missing its money
--   moment_judged -- since when this amount is certain, UTC
--   money_due     -- the day on which the money was due
--   revision      -- of the alert
--   id            -- of the alert
SELECT kind, amount_minor, currency, acquirer, merchant, payment_key, capture, moment_judged, money_due, revision, id
FROM settlewatch.alerts
WHERE status = 'OPEN'
  AND ({kind:String} = '' OR kind = {kind:String})
  AND ({acquirer:String} = '' OR acquirer = {acquirer:String})
  AND ({merchant:String} = '' OR merchant = {merchant:String})
ORDER BY amount_minor DESC, id
LIMIT {limit:UInt32}
