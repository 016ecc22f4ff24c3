-- +goose NO TRANSACTION
-- +goose Up

-- A merge takes column by column, reading its parts once for each, as soon as they hold
-- 131,072 rows, and that suits parts of one file a column. What inserts make is one file
-- a part, with all hundred columns in it: read so, a merge of them costs twice what it
-- does row by row (docs/performance.md). Beyond a million rows the parts are one file a
-- column, and all columns at once would take too much memory.
ALTER TABLE settlewatch.events MODIFY SETTING vertical_merge_algorithm_min_rows_to_activate = 1000000;
ALTER TABLE settlewatch.payments MODIFY SETTING vertical_merge_algorithm_min_rows_to_activate = 1000000;
ALTER TABLE settlewatch.alert_revisions MODIFY SETTING vertical_merge_algorithm_min_rows_to_activate = 1000000;

-- +goose Down
ALTER TABLE settlewatch.alert_revisions RESET SETTING vertical_merge_algorithm_min_rows_to_activate;
ALTER TABLE settlewatch.payments RESET SETTING vertical_merge_algorithm_min_rows_to_activate;
ALTER TABLE settlewatch.events RESET SETTING vertical_merge_algorithm_min_rows_to_activate;
