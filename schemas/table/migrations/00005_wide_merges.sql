-- +goose NO TRANSACTION
-- +goose Up

-- A merge takes 16 parts or more. By itself the server merges as soon as two are of a
-- size, the sooner the more parts there are, and under steady inserts each row is written
-- again and again: seven tenths of the server's work were merges (docs/performance.md).
-- A month keeps up to some dozens of parts for that, which a question opens all.
--
-- No statistics of columns, which the server would make of each part, inserted or merged:
-- none of the shipped questions is faster with them.
ALTER TABLE settlewatch.events MODIFY SETTING min_parts_to_merge_at_once = 16, auto_statistics_types = '';
ALTER TABLE settlewatch.payments MODIFY SETTING min_parts_to_merge_at_once = 16, auto_statistics_types = '';
ALTER TABLE settlewatch.alert_revisions MODIFY SETTING min_parts_to_merge_at_once = 16, auto_statistics_types = '';

-- +goose Down
ALTER TABLE settlewatch.alert_revisions RESET SETTING min_parts_to_merge_at_once, auto_statistics_types;
ALTER TABLE settlewatch.payments RESET SETTING min_parts_to_merge_at_once, auto_statistics_types;
ALTER TABLE settlewatch.events RESET SETTING min_parts_to_merge_at_once, auto_statistics_types;
