-- question: What do merchants still wait for, and for how long?
--
-- One row per acquirer, merchant, currency and age. "Overdue" counts from the moment
-- at which the evidence of settlement was due, "not due" and "held" are what is open
-- and no alert. The clock is the latest arrival in the data, not the server's, so a
-- replayed year looks as it was.
--
-- parameters:
--   acquirer String = '' -- only this acquirer; empty: all
--   merchant String = '' -- only this merchant; empty: all
--   overdue Bool = false -- true: leave out what is not due and what is held
--
-- columns:
--   acquirer     -- the acquirer, as in the payment key
--   merchant     -- the merchant's number
--   currency     -- ISO 4217
--   age          -- not due, held, or how long overdue
--   items        -- captures (overdue) or payments (not due, held)
--   amount_minor -- what is missing or still open, minor units
--   as_of        -- the latest arrival in the data, UTC
SELECT acquirer, merchant, currency, age, items, amount_minor, as_of
FROM settlewatch.open_unsettled_by_merchant_and_age
WHERE ({acquirer:String} = '' OR acquirer = {acquirer:String})
  AND ({merchant:String} = '' OR merchant = {merchant:String})
  AND (NOT {overdue:Bool} OR age_rank >= 3)
ORDER BY acquirer, merchant, currency, age_rank
