package table

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"settlewatch/schemas/event"
)

// eventRow is one event of the payment log and its place there. Absent groups
// are empty ones, so that columns need not look.
type eventRow struct {
	partition int32
	offset    int64
	arrivalMs int64
	origin    *event.Origin
	event     *event.Event

	amounts  *event.Amounts
	response *event.Response
	capture  *event.CaptureRef
	line     *event.Line
	time     *event.Time
	due      *event.Due
	parties  *event.Parties
	card     *event.Card
	payee    *event.Payee
	entry    *event.Entry
	special  *event.Special
	leftover *event.Leftover
	proven   *event.Provenance
	raw      *event.RawType

	feesMinor *int64
	fees      string
}

// decodeEvent reads a record of the payment log. Marks and configuration make no row.
func decodeEvent(partition int32, offset int64, value []byte) (eventRow, bool, error) {
	rec := new(event.LogRecord)
	if err := rec.UnmarshalVT(value); err != nil {
		return eventRow{}, false, fmt.Errorf("decode log record: %w", err)
	}
	switch rec.GetBody().(type) {
	case *event.LogRecord_Mark, *event.LogRecord_Config:
		return eventRow{}, false, nil
	}
	e := rec.GetEvent()
	if e == nil {
		return eventRow{}, false, refuse(Events.Name, "kind", "a log record without a body")
	}
	switch {
	case rec.GetOrigin().GetSource() == "":
		return eventRow{}, false, refuse(Events.Name, "source", "missing")
	case rec.GetOrigin().GetOffset() < 0:
		return eventRow{}, false, refuse(Events.Name, "offset", "negative")
	}
	row := eventRow{
		partition: partition, offset: offset, arrivalMs: rec.GetArrivalMs(),
		origin: rec.GetOrigin(), event: e,
		amounts: orNew(e.GetAmounts()), response: orNew(e.GetResponse()),
		capture: orNew(e.GetCapture()), line: orNew(e.GetLine()), time: orNew(e.GetTime()),
		due: orNew(e.GetDue()), parties: orNew(e.GetParties()), card: orNew(e.GetCard()),
		payee: orNew(e.GetPayee()), entry: orNew(e.GetEntry()), special: orNew(e.GetSpecial()),
		leftover: orNew(e.GetLeftover()), proven: orNew(e.GetProvenance()), raw: orNew(e.GetRawType()),
	}
	var err error
	row.feesMinor, row.fees, err = feesOf(row.amounts.GetFees())
	return row, err == nil, err
}

func orNew[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	return p
}

// feesOf is the fees' sum and their list as JSON; both absent without fees.
func feesOf(fees []*event.Fee) (sumMinor *int64, list string, err error) {
	if len(fees) == 0 {
		return nil, "", nil
	}
	type feeJSON struct {
		Type        string `json:"type"`
		AmountMinor int64  `json:"amount_minor"`
		Payer       string `json:"payer"`
	}
	var sum int64
	out := make([]feeJSON, 0, len(fees))
	for _, f := range fees {
		amount := f.GetAmountMinor()
		if (amount > 0 && sum > math.MaxInt64-amount) || (amount < 0 && sum < math.MinInt64-amount) {
			return nil, "", refuse(Events.Name, "fees_minor", "the sum of the fees overflows")
		}
		sum += amount
		out = append(out, feeJSON{f.GetType(), amount, f.GetPayer()})
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, "", fmt.Errorf("encode fees: %w", err)
	}
	return &sum, string(b), nil
}

// refsOf names each reference type[@scope], with "original:" before it where it
// names the original of a reversal or refund and "#2" … behind it where the same
// name comes again.
func refsOf(refs []*event.Reference, to []string) []string {
	for _, r := range refs {
		to = appendReference(to, r.GetType(), r.GetValue(), r.GetScope(), r.GetOriginal())
	}
	return to
}

func appendReference(to []string, kind, value, scope string, original bool) []string {
	name := kind
	if scope != "" {
		name += "@" + scope
	}
	if original {
		name = "original:" + name
	}
	unique := name
	for n := 2; named(to, unique) >= 0; n++ {
		unique = fmt.Sprintf("%s#%d", name, n)
	}
	return append(to, unique, value)
}

// named is where a name stands in pairs of names and values; -1 where it does not.
func named(pairs []string, name string) int {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] == name {
			return i
		}
	}
	return -1
}

// enum is a protobuf enum's name without its prefix, in lower case; a number that
// this version does not know stays a number.
func enum(prefix string, v fmt.Stringer) string {
	return strings.ToLower(strings.TrimPrefix(v.String(), prefix))
}

// eventFields are the columns and behind them the details, as a row has them.
var eventFields = slices.Concat(eventColumns, eventDetails)

// eventColumns are what most events have, or questions select and group by. A column costs
// ClickHouse about as much when it is empty as when it is not.
var eventColumns = []column[eventRow]{
	text("payment_key", func(r *eventRow) string { return r.event.GetPaymentKey() }),
	label("source", func(r *eventRow) string { return r.origin.GetSource() }),
	small("generation", func(r *eventRow) uint32 { return r.origin.GetGeneration() }),
	signed("offset", func(r *eventRow) int64 { return r.origin.GetOffset() }),
	small("idx", func(r *eventRow) uint32 { return r.origin.GetIndex() }),
	instant("arrival_time", func(r *eventRow) int64 { return r.arrivalMs }),
	narrow("log_partition", func(r *eventRow) int32 { return r.partition }),
	signed("log_offset", func(r *eventRow) int64 { return r.offset }),
	hexed("event_id", func(r *eventRow) []byte { return r.event.GetId() }),
	label("kind", func(r *eventRow) string { return enum("KIND_", r.event.GetKind()) }),
	label("operation", func(r *eventRow) string { return enum("OPERATION_", r.event.GetOperation()) }),
	label("outcome", func(r *eventRow) string { return enum("OUTCOME_", r.event.GetOutcome()) }),
	label("mode", func(r *eventRow) string { return enum("MODE_", r.event.GetMode()) }),
	label("side", func(r *eventRow) string { return enum("SIDE_", r.event.GetSide()) }),
	label("stage", func(r *eventRow) string { return enum("STAGE_", r.event.GetStage()) }),
	label("adjustment_target", func(r *eventRow) string {
		return enum("ADJUSTMENT_TARGET_", r.event.GetAdjustmentTarget())
	}),
	label("currency", func(r *eventRow) string { return r.amounts.GetCurrency() }),
	maybe("transaction_minor", func(r *eventRow) *int64 { return r.amounts.TransactionMinor }),
	maybe("approved_minor", func(r *eventRow) *int64 { return r.amounts.ApprovedMinor }),
	maybe("gross_minor", func(r *eventRow) *int64 { return r.amounts.GrossMinor }),
	maybe("net_minor", func(r *eventRow) *int64 { return r.amounts.NetMinor }),
	maybe("fees_minor", func(r *eventRow) *int64 { return r.feesMinor }),
	label("response_code", func(r *eventRow) string { return r.response.GetCode() }),
	label("response_class", func(r *eventRow) string { return r.response.GetClass() }),
	pairs("refs", func(r *eventRow, to []string) []string { return refsOf(r.event.GetReferences(), to) }),
	text("capture_id", func(r *eventRow) string { return r.capture.GetId() }),
	text("settlement_id", func(r *eventRow) string { return r.line.GetSettlementId() }),
	text("batch_id", func(r *eventRow) string { return r.line.GetBatchId() }),
	text("line_id", func(r *eventRow) string { return r.line.GetLineId() }),
	text("file_id", func(r *eventRow) string { return r.line.GetFileId() }),
	maybeDate("business_date", func(r *eventRow) *int32 { return r.line.BusinessDate }),
	maybeInstant("business_time", func(r *eventRow) *int64 { return r.time.BusinessMs }),
	label("zone", func(r *eventRow) string { return r.time.GetZone() }),
	label("zone_from", func(r *eventRow) string { return r.time.GetZoneFrom() }),
	maybeDate("settlement_date", func(r *eventRow) *int32 { return r.time.SettlementDate }),
	label("acquirer", func(r *eventRow) string { return r.parties.GetAcquirer() }),
	label("issuer", func(r *eventRow) string { return r.parties.GetIssuer() }),
	label("scheme", func(r *eventRow) string { return r.parties.GetScheme() }),
	label("channel", func(r *eventRow) string { return r.parties.GetChannel() }),
	text("merchant", func(r *eventRow) string { return r.parties.GetMerchant() }),
	label("category", func(r *eventRow) string { return r.parties.GetCategory() }),
	text("terminal", func(r *eventRow) string { return r.parties.GetTerminal() }),
	text("agent", func(r *eventRow) string { return r.parties.GetAgent() }),
	text("card_bin", func(r *eventRow) string { return r.card.GetBin() }),
	text("card_last4", func(r *eventRow) string { return r.card.GetLast4() }),
	hexed("card_token", func(r *eventRow) []byte { return r.card.GetToken() }),
	text("merchant_order", func(r *eventRow) string { return r.special.GetMerchantOrder() }),
	pairs(detailsColumn, func(_ *eventRow, to []string) []string { return to }), // of the eventDetails, by the builder
	pairs("unknown_fields", func(r *eventRow, to []string) []string { return unknownFields(r.leftover, to) }),
	small("unknown_count", func(r *eventRow) uint32 { return r.leftover.GetUnknownCount() }),
	list("masked_fields", func(r *eventRow, to []string) []string { return append(to, r.leftover.GetMasked()...) }),
	label("profile", func(r *eventRow) string { return r.proven.GetProfile() }),
	small("profile_version", func(r *eventRow) uint32 { return r.proven.GetProfileVersion() }),
	hexed("raw_hash", func(r *eventRow) []byte { return r.proven.GetRawHash() }),
}

// eventDetails are all else that an event may say. They have no columns: the map `details`
// has those that are there, as text, and the view events_distinct shows each under its
// name and with this type.
var eventDetails = []column[eventRow]{
	hexed("replaces", func(r *eventRow) []byte { return r.event.GetReplaces() }),
	label("mti", func(r *eventRow) string { return r.raw.GetMti() }),
	label("processing_code", func(r *eventRow) string { return r.raw.GetProcessingCode() }),
	label("condition_code", func(r *eventRow) string { return r.raw.GetConditionCode() }),
	label("pos_type", func(r *eventRow) string { return r.raw.GetPosType() }),
	maybe("requested_minor", func(r *eventRow) *int64 { return r.amounts.RequestedMinor }),
	maybe("authorized_total_minor", func(r *eventRow) *int64 { return r.amounts.AuthorizedTotalMinor }),
	maybe("tip_minor", func(r *eventRow) *int64 { return r.amounts.TipMinor }),
	maybe("surcharge_minor", func(r *eventRow) *int64 { return r.amounts.SurchargeMinor }),
	maybe("cashback_minor", func(r *eventRow) *int64 { return r.amounts.CashbackMinor }),
	maybe("discount_minor", func(r *eventRow) *int64 { return r.amounts.DiscountMinor }),
	maybe("replacement_minor", func(r *eventRow) *int64 { return r.amounts.ReplacementMinor }),
	flag("amount_is_delta", func(r *eventRow) bool { return r.amounts.GetDelta() }),
	text("fees", func(r *eventRow) string { return r.fees }),
	maybe("settlement_minor", func(r *eventRow) *int64 { return r.amounts.SettlementMinor }),
	label("settlement_currency", func(r *eventRow) string { return r.amounts.GetSettlementCurrency() }),
	text("settlement_rate", func(r *eventRow) string { return r.amounts.GetSettlementRate() }),
	maybeDate("settlement_rate_date", func(r *eventRow) *int32 { return r.amounts.SettlementRateDate }),
	label("response_namespace", func(r *eventRow) string { return r.response.GetNamespace() }),
	label("reason_code", func(r *eventRow) string { return r.response.GetReasonCode() }),
	label("reason_namespace", func(r *eventRow) string { return r.response.GetReasonNamespace() }),
	label("shown", func(r *eventRow) string { return r.response.GetShown() }),
	small("capture_sequence", func(r *eventRow) uint32 { return r.capture.GetSequence() }),
	flag("capture_final", func(r *eventRow) bool { return r.capture.GetFinal() }),
	small("line_occurrence", func(r *eventRow) uint32 { return r.line.GetOccurrence() }),
	maybe("file_total_minor", func(r *eventRow) *int64 { return r.line.TotalMinor }),
	maybe("file_total_count", func(r *eventRow) *int64 { return r.line.TotalCount }),
	flag("trailer_seen", func(r *eventRow) bool { return r.line.GetTrailerSeen() }),
	hexed("takes_back", func(r *eventRow) []byte { return r.line.GetTakesBack() }),
	flag("year_inferred", func(r *eventRow) bool { return r.time.GetYearInferred() }),
	maybeInstant("local_time", func(r *eventRow) *int64 { return r.time.LocalMs }),
	maybeInstant("transmission_time", func(r *eventRow) *int64 { return r.time.TransmissionMs }),
	maybeDate("value_date", func(r *eventRow) *int32 { return r.time.ValueDate }),
	label("cycle", func(r *eventRow) string { return r.due.GetCycle() }),
	label("day_type", func(r *eventRow) string { return r.due.GetDayType() }),
	label("calendar", func(r *eventRow) string { return r.due.GetCalendar() }),
	maybeDate("expected_pay_date", func(r *eventRow) *int32 { return r.due.ExpectedPayDate }),
	label("hold_reason", func(r *eventRow) string { return r.due.GetHoldReason() }),
	maybeInstant("hold_until", func(r *eventRow) *int64 { return r.due.HoldUntilMs }),
	maybe("reserve_minor", func(r *eventRow) *int64 { return r.due.ReserveMinor }),
	label("forwarder", func(r *eventRow) string { return r.parties.GetForwarder() }),
	label("product", func(r *eventRow) string { return r.parties.GetProduct() }),
	text("sub_merchant", func(r *eventRow) string { return r.parties.GetSubMerchant() }),
	text("store", func(r *eventRow) string { return r.parties.GetStore() }),
	text("terminal_serial", func(r *eventRow) string { return r.parties.GetTerminalSerial() }),
	label("terminal_model", func(r *eventRow) string { return r.parties.GetTerminalModel() }),
	label("terminal_software", func(r *eventRow) string { return r.parties.GetTerminalSoftware() }),
	text("operator", func(r *eventRow) string { return r.parties.GetOperator() }),
	label("card_key_id", func(r *eventRow) string { return r.card.GetKeyId() }),
	flag("card_device_pan", func(r *eventRow) bool { return r.card.GetDevicePan() }),
	text("card_par", func(r *eventRow) string { return r.card.GetPar() }),
	hexed("payee_token", func(r *eventRow) []byte { return r.payee.GetAccountToken() }),
	text("payee_last4", func(r *eventRow) string { return r.payee.GetLast4() }),
	label("payee_role", func(r *eventRow) string { return r.payee.GetRole() }),
	label("region", func(r *eventRow) string { return r.entry.GetRegion() }),
	label("entry_mode", func(r *eventRow) string { return r.entry.GetMode() }),
	flag("entry_offline", func(r *eventRow) bool { return r.entry.GetOffline() }),
	flag("entry_fallback", func(r *eventRow) bool { return r.entry.GetFallback() }),
	label("entry_verification", func(r *eventRow) string { return r.entry.GetVerification() }),
	small("instalment", func(r *eventRow) uint32 { return r.special.GetInstalment() }),
	small("instalments", func(r *eventRow) uint32 { return r.special.GetInstalments() }),
	text("split_group", func(r *eventRow) string { return r.special.GetSplitGroup() }),
	label("refund_status", func(r *eventRow) string { return r.special.GetRefundStatus() }),
	label("refund_reason", func(r *eventRow) string { return r.special.GetRefundReason() }),
	label("dispute_stage", func(r *eventRow) string { return r.special.GetDisputeStage() }),
	label("dispute_reason", func(r *eventRow) string { return r.special.GetDisputeReason() }),
	maybeInstant("dispute_deadline", func(r *eventRow) *int64 { return r.special.DisputeDeadlineMs }),
	maybe("merchant_order_minor", func(r *eventRow) *int64 { return r.special.MerchantOrderMinor }),
	flag("incremental", func(r *eventRow) bool { return r.special.GetIncremental() }),
	text("trace_id", func(r *eventRow) string { return r.proven.GetTraceId() }),
}

// unknownFields by name; of a name that came twice the last stands.
func unknownFields(l *event.Leftover, to []string) []string {
	for _, f := range l.GetUnknown() {
		if i := named(to, f.GetName()); i >= 0 {
			to[i+1] = f.GetValue()
			continue
		}
		to = append(to, f.GetName(), f.GetValue())
	}
	return to
}
