-- +goose NO TRANSACTION
-- +goose Up

-- An insert of some ten thousand rows becomes a part of one file, not of two a column:
-- with a hundred columns the files of a part, each synced to the disk, cost the server
-- ten times what the rows did. Merged parts are larger than this, and one file a column
-- again, so that a question reads only what it asks about.
--
-- ZSTD(1) halves what LZ4 leaves of ids and hashes, which are hex, for about half a
-- microsecond a row (docs/performance.md has the alternatives). Parts that are there
-- already change when they are merged.
ALTER TABLE settlewatch.events MODIFY SETTING min_bytes_for_wide_part = 134217728, default_compression_codec = 'ZSTD(1)';
ALTER TABLE settlewatch.payments MODIFY SETTING min_bytes_for_wide_part = 134217728, default_compression_codec = 'ZSTD(1)';
ALTER TABLE settlewatch.alert_revisions MODIFY SETTING min_bytes_for_wide_part = 134217728, default_compression_codec = 'ZSTD(1)';

-- +goose Down
ALTER TABLE settlewatch.alert_revisions RESET SETTING min_bytes_for_wide_part, default_compression_codec;
ALTER TABLE settlewatch.payments RESET SETTING min_bytes_for_wide_part, default_compression_codec;
ALTER TABLE settlewatch.events RESET SETTING min_bytes_for_wide_part, default_compression_codec;
