-- +goose NO TRANSACTION
-- +goose Up

-- Every table keeps a window of insert tokens, so that the same block sent again
-- is dropped, and writes through to the disk before it answers: the next range is
-- recorded only after that, so no lost page can hide behind a later record.
-- ReplacingMergeTree is the backstop for repeats that come under another token.

-- One row per origin: the place of the raw record that the event was made from.
-- An event repeated in the log has the same origin and arrival, so the repeat lands
-- in the same partition and is merged away; the first place in the log stands.
CREATE TABLE IF NOT EXISTS settlewatch.events
(
    payment_key            String,
    source                 LowCardinality(String),
    generation             UInt32,
    offset                 Int64,
    idx                    UInt32,
    arrival_time           DateTime64(3, 'UTC'),
    log_partition          Int32,
    log_offset             Int64,
    event_id               String,
    replaces               String,
    kind                   LowCardinality(String),
    operation              LowCardinality(String),
    outcome                LowCardinality(String),
    mode                   LowCardinality(String),
    side                   LowCardinality(String),
    stage                  LowCardinality(String),
    adjustment_target      LowCardinality(String),
    mti                    LowCardinality(String),
    processing_code        LowCardinality(String),
    condition_code         LowCardinality(String),
    pos_type               LowCardinality(String),
    currency               LowCardinality(String),
    transaction_minor      Nullable(Int64),
    requested_minor        Nullable(Int64),
    approved_minor         Nullable(Int64),
    authorized_total_minor Nullable(Int64),
    tip_minor              Nullable(Int64),
    surcharge_minor        Nullable(Int64),
    cashback_minor         Nullable(Int64),
    discount_minor         Nullable(Int64),
    replacement_minor      Nullable(Int64),
    amount_is_delta        Bool,
    gross_minor            Nullable(Int64),
    net_minor              Nullable(Int64),
    fees_minor             Nullable(Int64),
    fees                   String,
    settlement_minor       Nullable(Int64),
    settlement_currency    LowCardinality(String),
    settlement_rate        String,
    settlement_rate_date   Nullable(Date32),
    response_code          LowCardinality(String),
    response_namespace     LowCardinality(String),
    response_class         LowCardinality(String),
    reason_code            LowCardinality(String),
    reason_namespace       LowCardinality(String),
    shown                  LowCardinality(String),
    refs                   Map(String, String),
    capture_id             String,
    capture_sequence       UInt32,
    capture_final          Bool,
    settlement_id          String,
    batch_id               String,
    line_id                String,
    line_occurrence        UInt32,
    file_id                String,
    business_date          Nullable(Date32),
    file_total_minor       Nullable(Int64),
    file_total_count       Nullable(Int64),
    trailer_seen           Bool,
    takes_back             String,
    business_time          Nullable(DateTime64(3, 'UTC')),
    zone                   LowCardinality(String),
    zone_from              LowCardinality(String),
    year_inferred          Bool,
    local_time             Nullable(DateTime64(3, 'UTC')),
    transmission_time      Nullable(DateTime64(3, 'UTC')),
    settlement_date        Nullable(Date32),
    value_date             Nullable(Date32),
    cycle                  LowCardinality(String),
    day_type               LowCardinality(String),
    calendar               LowCardinality(String),
    expected_pay_date      Nullable(Date32),
    hold_reason            LowCardinality(String),
    hold_until             Nullable(DateTime64(3, 'UTC')),
    reserve_minor          Nullable(Int64),
    acquirer               LowCardinality(String),
    forwarder              LowCardinality(String),
    issuer                 LowCardinality(String),
    scheme                 LowCardinality(String),
    channel                LowCardinality(String),
    product                LowCardinality(String),
    merchant               String,
    sub_merchant           String,
    store                  String,
    category               LowCardinality(String),
    terminal               String,
    terminal_serial        String,
    terminal_model         LowCardinality(String),
    terminal_software      LowCardinality(String),
    agent                  String,
    operator               String,
    card_bin               String,
    card_last4             String,
    card_token             String,
    card_key_id            LowCardinality(String),
    card_device_pan        Bool,
    card_par               String,
    payee_token            String,
    payee_last4            String,
    payee_role             LowCardinality(String),
    region                 LowCardinality(String),
    entry_mode             LowCardinality(String),
    entry_offline          Bool,
    entry_fallback         Bool,
    entry_verification     LowCardinality(String),
    instalment             UInt32,
    instalments            UInt32,
    split_group            String,
    refund_status          LowCardinality(String),
    refund_reason          LowCardinality(String),
    dispute_stage          LowCardinality(String),
    dispute_reason         LowCardinality(String),
    dispute_deadline       Nullable(DateTime64(3, 'UTC')),
    merchant_order         String,
    merchant_order_minor   Nullable(Int64),
    incremental            Bool,
    unknown_fields         Map(String, String),
    unknown_count          UInt32,
    masked_fields          Array(String),
    profile                LowCardinality(String),
    profile_version        UInt32,
    raw_hash               String,
    trace_id               String,
    log_rank               UInt64 MATERIALIZED 18446744073709551615 - toUInt64(log_offset)
)
ENGINE = ReplacingMergeTree(log_rank)
PARTITION BY toYYYYMM(arrival_time)
ORDER BY (payment_key, source, generation, offset, idx)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- One current row per life of a payment: the highest version stands. Not
-- partitioned, because nothing but the identity itself is the same in every version.
CREATE TABLE IF NOT EXISTS settlewatch.payments
(
    payment_key      String,
    life             String,
    version          UInt64,
    judged_time      DateTime64(3, 'UTC'),
    status           LowCardinality(String),
    acquirer         LowCardinality(String),
    merchant         String,
    terminal         String,
    channel          LowCardinality(String),
    currency         LowCardinality(String),
    authorized_minor Int64,
    captured_minor   Int64,
    settled_minor    Int64,
    open_minor       Int64,
    alerted_minor    Int64,
    excluded_minor   Int64,
    received_minor   Int64,
    refunded_minor   Int64,
    excess_minor     Int64,
    clearing_date    Nullable(Date32),
    money_due        Nullable(DateTime64(3, 'UTC')),
    evidence_due     Nullable(DateTime64(3, 'UTC')),
    held_reason      LowCardinality(String),
    events           UInt32,
    repeats          UInt32,
    conflicts        UInt32,
    mismatches       UInt32,
    unmatched        UInt32
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (payment_key, life)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Every revision of every alert. A repeat is the same in every byte, so it does
-- not matter which of two stands.
CREATE TABLE IF NOT EXISTS settlewatch.alert_revisions
(
    kind             LowCardinality(String),
    payment_key      String,
    id               String,
    revision         UInt32,
    status           LowCardinality(String),
    capture          String,
    acquirer         LowCardinality(String),
    merchant         String,
    terminal         String,
    channel          LowCardinality(String),
    amount_minor     Int64,
    currency         LowCardinality(String),
    obligation_minor Int64,
    settled_minor    Int64,
    refunded_minor   Int64,
    moment_judged    DateTime64(3, 'UTC'),
    cycle            LowCardinality(String),
    clearing_date    Nullable(Date32),
    money_due        Nullable(Date32),
    evidence_due     Nullable(DateTime64(3, 'UTC')),
    zone             LowCardinality(String),
    calendar         LowCardinality(String),
    arithmetic       String,
    stage            LowCardinality(String),
    closing_reason   LowCardinality(String),
    closing_event_id String,
    days_late        Nullable(Int32),
    rules            LowCardinality(String),
    config           Int64,
    join_version     UInt32,
    evidence         String,
    evidence_total   UInt32
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(moment_judged)
ORDER BY (kind, payment_key, id, revision)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- The warehouse service's position: the last range of each partition, recorded
-- before its rows are inserted. All rows before `first` are in the tables.
CREATE TABLE IF NOT EXISTS settlewatch.warehouse_ranges
(
    topic     LowCardinality(String),
    partition Int32,
    first     UInt64,
    last      UInt64,
    checksum  UInt64
)
ENGINE = ReplacingMergeTree(last)
ORDER BY (topic, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- +goose Down
DROP TABLE IF EXISTS settlewatch.warehouse_ranges;
DROP TABLE IF EXISTS settlewatch.alert_revisions;
DROP TABLE IF EXISTS settlewatch.payments;
DROP TABLE IF EXISTS settlewatch.events;
