-- +goose NO TRANSACTION
-- +goose Up

-- A merge takes 32 parts or more: with 16, a month of live traffic writes each row once
-- more. It takes 64 at most, for each part that it reads costs it about 10 MiB.
--
-- A part of an insert may hold 100,000 rows, so that many are more than a million rows.
-- They still go row by row, by 4 million: column by column, which reads a part of one
-- file once for each of its hundred columns, is half as much again (docs/performance.md).
--
-- By itself the server takes fewer parts to a merge, the nearer their number comes to the
-- 3,000 at which it refuses inserts. That ends below the least number it may take: then
-- nothing is merged any more, and inserts are refused for ever.
ALTER TABLE settlewatch.events MODIFY SETTING min_parts_to_merge_at_once = 32, max_parts_to_merge_at_once = 64,
    vertical_merge_algorithm_min_rows_to_activate = 4000000, merge_selector_enable_heuristic_to_lower_max_parts_to_merge_at_once = 0;
ALTER TABLE settlewatch.payments MODIFY SETTING min_parts_to_merge_at_once = 32, max_parts_to_merge_at_once = 64,
    vertical_merge_algorithm_min_rows_to_activate = 4000000, merge_selector_enable_heuristic_to_lower_max_parts_to_merge_at_once = 0;
ALTER TABLE settlewatch.alert_revisions MODIFY SETTING min_parts_to_merge_at_once = 32, max_parts_to_merge_at_once = 64,
    vertical_merge_algorithm_min_rows_to_activate = 4000000, merge_selector_enable_heuristic_to_lower_max_parts_to_merge_at_once = 0;

-- +goose Down
ALTER TABLE settlewatch.alert_revisions MODIFY SETTING min_parts_to_merge_at_once = 16, vertical_merge_algorithm_min_rows_to_activate = 1000000;
ALTER TABLE settlewatch.payments MODIFY SETTING min_parts_to_merge_at_once = 16, vertical_merge_algorithm_min_rows_to_activate = 1000000;
ALTER TABLE settlewatch.events MODIFY SETTING min_parts_to_merge_at_once = 16, vertical_merge_algorithm_min_rows_to_activate = 1000000;
ALTER TABLE settlewatch.alert_revisions RESET SETTING max_parts_to_merge_at_once, merge_selector_enable_heuristic_to_lower_max_parts_to_merge_at_once;
ALTER TABLE settlewatch.payments RESET SETTING max_parts_to_merge_at_once, merge_selector_enable_heuristic_to_lower_max_parts_to_merge_at_once;
ALTER TABLE settlewatch.events RESET SETTING max_parts_to_merge_at_once, merge_selector_enable_heuristic_to_lower_max_parts_to_merge_at_once;
