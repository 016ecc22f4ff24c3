-- +goose NO TRANSACTION
-- +goose Up

-- What few events have goes into one map. A row costs the server about as much for a
-- column that is empty as for one that is not, and a merge takes the rows one by one: of
-- 123 columns most events filled 31 (docs/performance.md). The view events_distinct has
-- every name and type as before.
--
-- What is stored is moved first. Until 00008 the map is made of the columns, so that what
-- an older service inserts meanwhile is not lost.
ALTER TABLE settlewatch.events ADD COLUMN IF NOT EXISTS details Map(String, String) DEFAULT mapFilter((name, value) -> value != '', map(
    'replaces', replaces,
    'mti', mti,
    'processing_code', processing_code,
    'condition_code', condition_code,
    'pos_type', pos_type,
    'requested_minor', ifNull(toString(requested_minor), ''),
    'authorized_total_minor', ifNull(toString(authorized_total_minor), ''),
    'tip_minor', ifNull(toString(tip_minor), ''),
    'surcharge_minor', ifNull(toString(surcharge_minor), ''),
    'cashback_minor', ifNull(toString(cashback_minor), ''),
    'discount_minor', ifNull(toString(discount_minor), ''),
    'replacement_minor', ifNull(toString(replacement_minor), ''),
    'amount_is_delta', if(amount_is_delta, 'true', ''),
    'fees', fees,
    'settlement_minor', ifNull(toString(settlement_minor), ''),
    'settlement_currency', settlement_currency,
    'settlement_rate', settlement_rate,
    'settlement_rate_date', ifNull(toString(settlement_rate_date), ''),
    'response_namespace', response_namespace,
    'reason_code', reason_code,
    'reason_namespace', reason_namespace,
    'shown', shown,
    'capture_sequence', if(capture_sequence = 0, '', toString(capture_sequence)),
    'capture_final', if(capture_final, 'true', ''),
    'line_occurrence', if(line_occurrence = 0, '', toString(line_occurrence)),
    'file_total_minor', ifNull(toString(file_total_minor), ''),
    'file_total_count', ifNull(toString(file_total_count), ''),
    'trailer_seen', if(trailer_seen, 'true', ''),
    'takes_back', takes_back,
    'year_inferred', if(year_inferred, 'true', ''),
    'local_time', ifNull(toString(local_time), ''),
    'transmission_time', ifNull(toString(transmission_time), ''),
    'value_date', ifNull(toString(value_date), ''),
    'cycle', cycle,
    'day_type', day_type,
    'calendar', calendar,
    'expected_pay_date', ifNull(toString(expected_pay_date), ''),
    'hold_reason', hold_reason,
    'hold_until', ifNull(toString(hold_until), ''),
    'reserve_minor', ifNull(toString(reserve_minor), ''),
    'forwarder', forwarder,
    'product', product,
    'sub_merchant', sub_merchant,
    'store', store,
    'terminal_serial', terminal_serial,
    'terminal_model', terminal_model,
    'terminal_software', terminal_software,
    'operator', operator,
    'card_key_id', card_key_id,
    'card_device_pan', if(card_device_pan, 'true', ''),
    'card_par', card_par,
    'payee_token', payee_token,
    'payee_last4', payee_last4,
    'payee_role', payee_role,
    'region', region,
    'entry_mode', entry_mode,
    'entry_offline', if(entry_offline, 'true', ''),
    'entry_fallback', if(entry_fallback, 'true', ''),
    'entry_verification', entry_verification,
    'instalment', if(instalment = 0, '', toString(instalment)),
    'instalments', if(instalments = 0, '', toString(instalments)),
    'split_group', split_group,
    'refund_status', refund_status,
    'refund_reason', refund_reason,
    'dispute_stage', dispute_stage,
    'dispute_reason', dispute_reason,
    'dispute_deadline', ifNull(toString(dispute_deadline), ''),
    'merchant_order_minor', ifNull(toString(merchant_order_minor), ''),
    'incremental', if(incremental, 'true', ''),
    'trace_id', trace_id
)) AFTER merchant_order;
ALTER TABLE settlewatch.events MATERIALIZE COLUMN details SETTINGS mutations_sync = 2;

-- +goose Down
ALTER TABLE settlewatch.events DROP COLUMN IF EXISTS details SETTINGS mutations_sync = 2;
