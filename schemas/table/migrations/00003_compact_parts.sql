-- +goose NO TRANSACTION
-- +goose Up

-- An insert of some ten thousand rows becomes a part of one file, not of two a column:
-- with a hundred columns the files of a part, each synced to the disk, cost the server
-- ten times what the rows did. Merged parts are larger than this, and one file a column
-- again, so that a question reads only what it asks about.
ALTER TABLE settlewatch.events MODIFY SETTING min_bytes_for_wide_part = 134217728;
ALTER TABLE settlewatch.payments MODIFY SETTING min_bytes_for_wide_part = 134217728;
ALTER TABLE settlewatch.alert_revisions MODIFY SETTING min_bytes_for_wide_part = 134217728;

-- +goose Down
ALTER TABLE settlewatch.alert_revisions RESET SETTING min_bytes_for_wide_part;
ALTER TABLE settlewatch.payments RESET SETTING min_bytes_for_wide_part;
ALTER TABLE settlewatch.events RESET SETTING min_bytes_for_wide_part;
