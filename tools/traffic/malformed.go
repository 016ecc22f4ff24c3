package traffic

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/intake"
)

// malformed is one kind of record that must become a dead letter. Path is the
// JSON pointer of the field, empty for the record as a whole.
type malformed struct {
	Name   string
	Feed   Feed
	Path   string
	Reason intake.Reason
	// From and To edit the feed's sound record; with From empty, To is the record.
	// Several edits are joined by '¦' on both sides.
	From, To string
	// PadTo fills a field that no schema knows until the record has that many bytes.
	PadTo int
	// Most bounds how many are planted; 0 does not.
	Most int
}

// malformedAt is a planted malformed record.
type malformedAt struct {
	kind int
	day  int
	atMs int64
}

// soundRecords are valid; '#' stands for the record's number.
var soundRecords = [feedCount]string{
	`{"type":"authorization","event_id":"bad-#","acquirer":"acq-east","merchant_id":"898301053110001","order_id":"BAD#",` +
		`"terminal_id":"30000001","channel":"pos","operator":"op01","card_number":"6222020200112233446",` +
		`"amount_minor":12300,"currency":"CNY","mode":"single","response_code":"00",` +
		`"settlement_date":"2025-09-24","business_time":"2025-09-23T10:11:12+08:00"}`,
	`{"type":"capture","event_id":"bad-#","acquirer":"acq-east","merchant_id":"898301053110001","order_id":"BAD#",` +
		`"capture_id":"bad-c#","amount_minor":12300,"currency":"CNY","status":"accepted","operation":"new",` +
		`"sequence":1,"business_time":"2025-09-23T10:11:12+08:00"}`,
	`{"type":"line","batch_id":"acq-east-20250924-99","line_id":"bad.#","acquirer":"acq-east","rrn":"99#",` +
		`"terminal_id":"30000001","payment_date":"2025-09-23","stage":"paid_out","gross_minor":12300,` +
		`"currency":"CNY","file_id":"bad.json","business_time":"2025-09-24T06:00:00+08:00"}`,
}

const (
	auth     = FeedAuthorization
	capt     = FeedCapture
	settle   = FeedSettlement
	panText  = "6222020200112233446"
	trackTwo = ";6222020200112233446=29121010000012345678?"
)

// malformedKinds are what real feeds send now and then, all that the bad input
// of the raw contract names.
var malformedKinds = []malformed{
	{Name: "empty message", Feed: capt, Reason: intake.ReasonEmpty, To: ""},
	{Name: "white space", Feed: auth, Reason: intake.ReasonEmpty, To: " \n\t "},
	{Name: "not JSON", Feed: settle, Reason: intake.ReasonNotJSON, To: "20250923|acq-east|12300|00"},
	{Name: "cut off", Feed: auth, Path: "/amount_minor", Reason: intake.ReasonNotJSON, To: `{"type":"authorization","amount_minor":`},
	{Name: "two objects", Feed: capt, Reason: intake.ReasonNotJSON, From: `+08:00"}`, To: `+08:00"} {}`},
	{Name: "an array", Feed: settle, Reason: intake.ReasonWrongType, To: `[{"type":"line"}]`},
	{Name: "a name twice", Feed: auth, Path: "/amount_minor", Reason: intake.ReasonDuplicateName, From: `"currency"`, To: `"amount_minor":1,"currency"`},
	{Name: "not UTF-8", Feed: auth, Path: "/operator", Reason: intake.ReasonNotUTF8, From: `"op01"`, To: "\"op\xff\""},
	{Name: "NUL byte", Feed: capt, Path: "/capture_id", Reason: intake.ReasonNULByte, From: `"bad-c#"`, To: "\"bad\x00\""},
	{Name: "escaped NUL", Feed: auth, Path: "/operator", Reason: intake.ReasonNULByte, From: `"op01"`, To: `"op\u0000"`},
	{Name: "300 KiB", Feed: settle, Reason: intake.ReasonTooLarge, PadTo: 300 << 10, Most: 3},
	{Name: "1 MB", Feed: auth, Reason: intake.ReasonTooLarge, PadTo: 1_000_000, Most: 2},
	{Name: "amount as text", Feed: auth, Path: "/amount_minor", Reason: intake.ReasonWrongType, From: `12300`, To: `"12300"`},
	{Name: "text as a number", Feed: settle, Path: "/line_id", Reason: intake.ReasonWrongType, From: `"bad.#"`, To: `#`},
	{Name: "null amount", Feed: capt, Path: "/amount_minor", Reason: intake.ReasonWrongType, From: `12300`, To: `null`},
	{Name: "negative amount", Feed: auth, Path: "/amount_minor", Reason: intake.ReasonOutOfRange, From: `12300`, To: `-12300`},
	{Name: "overflowing amount", Feed: settle, Path: "/gross_minor", Reason: intake.ReasonOutOfRange, From: `12300`, To: `9223372036854775808`},
	{Name: "amount of 2^53", Feed: capt, Path: "/amount_minor", Reason: intake.ReasonOutOfRange, From: `12300`, To: `9007199254740992`},
	{Name: "amount with a point", Feed: auth, Path: "/amount_minor", Reason: intake.ReasonNotInteger, From: `12300`, To: `123.00`},
	{Name: "amount with an exponent", Feed: settle, Path: "/gross_minor", Reason: intake.ReasonNotInteger, From: `12300`, To: `1e4`},
	{Name: "unknown currency", Feed: auth, Path: "/currency", Reason: intake.ReasonUnknownCurrency, From: `"CNY"`, To: `"ZZQ"`},
	{Name: "no currency", Feed: capt, Path: "/currency", Reason: intake.ReasonMissingField, From: `"currency":"CNY",`, To: ``},
	{Name: "no type", Feed: settle, Path: "/type", Reason: intake.ReasonMissingField, From: `"type":"line",`, To: ``},
	{Name: "type of another feed", Feed: auth, Path: "/type", Reason: intake.ReasonUnknownType, From: `"type":"authorization"`, To: `"type":"line"`},
	{Name: "no acquirer", Feed: capt, Path: "/acquirer", Reason: intake.ReasonMissingField, From: `"acquirer":"acq-east",`, To: ``},
	{Name: "acquirer with a bar", Feed: auth, Path: "/acquirer", Reason: intake.ReasonBadText, From: `"acq-east"`, To: `"acq|east"`},
	{Name: "no event id", Feed: auth, Path: "/event_id", Reason: intake.ReasonMissingField, From: `"event_id":"bad-#",`, To: ``},
	{Name: "no merchant", Feed: capt, Path: "/merchant_id", Reason: intake.ReasonMissingField, From: `"merchant_id":"898301053110001",`, To: ``},
	{Name: "no batch", Feed: settle, Path: "/batch_id", Reason: intake.ReasonMissingField, From: `"batch_id":"acq-east-20250924-99",`, To: ``},
	{Name: "no stage", Feed: settle, Path: "/stage", Reason: intake.ReasonMissingField, From: `"stage":"paid_out",`, To: ``},
	{Name: "no mode", Feed: auth, Path: "/mode", Reason: intake.ReasonMissingField, From: `"mode":"single",`, To: ``},
	{Name: "no business time", Feed: capt, Path: "/business_time", Reason: intake.ReasonMissingField, From: `,"business_time":"2025-09-23T10:11:12+08:00"`, To: ``},
	{Name: "unknown stage", Feed: settle, Path: "/stage", Reason: intake.ReasonUnknownValue, From: `"paid_out"`, To: `"paidout"`},
	{Name: "correction of nothing", Feed: capt, Path: "/replaces", Reason: intake.ReasonMissingField, From: `"operation":"new"`, To: `"operation":"correction"`},
	{Name: "impossible date", Feed: settle, Path: "/payment_date", Reason: intake.ReasonBadDate, From: `"2025-09-23"`, To: `"2025-02-30"`},
	{Name: "impossible time", Feed: auth, Path: "/business_time", Reason: intake.ReasonBadDate, From: `10:11:12`, To: `25:11:12`},
	{Name: "time without an offset", Feed: capt, Path: "/business_time", Reason: intake.ReasonBadDate, From: `+08:00`, To: ``},
	{Name: "year 9999", Feed: auth, Path: "/business_time", Reason: intake.ReasonBadDate, From: `2025-09-23T`, To: `9999-12-31T`},
	{Name: "settlement year 9999", Feed: auth, Path: "/settlement_date", Reason: intake.ReasonBadDate, From: `2025-09-24`, To: `9999-12-31`},
	{Name: "long text", Feed: auth, Path: "/operator", Reason: intake.ReasonTooLong, From: `op01`, To: strings.Repeat("x", 129)},
	{Name: "card number that is none", Feed: auth, Path: "/card_number", Reason: intake.ReasonBadText, From: `6222020200112233446`, To: `6222-XX`},
	{Name: "card number in the operator", Feed: auth, Path: "/operator", Reason: intake.ReasonCardNumber, From: `op01`, To: `op 6222 0202 0011 2233 446`},
	{Name: "card number in an unknown field", Feed: settle, Path: "/memo", Reason: intake.ReasonCardNumber, From: `"stage"`, To: `"memo":"card ` + panText + `","stage"`},
	{Name: "card number as a number", Feed: capt, Path: "/extra/account", Reason: intake.ReasonCardNumber, From: `"sequence":1`, To: `"sequence":1,"extra":{"account":` + panText + `}`},
	{Name: "track data field", Feed: auth, Path: "/track2", Reason: intake.ReasonForbiddenField, From: `"mode"`, To: `"track2":"` + trackTwo + `","mode"`},
	{Name: "track data in text", Feed: capt, Path: "/note", Reason: intake.ReasonTrackData, From: `"sequence"`, To: `"note":"` + trackTwo + `","sequence"`},
	{Name: "CVV", Feed: auth, Path: "/cvv", Reason: intake.ReasonForbiddenField, From: `"mode"`, To: `"cvv":"123","mode"`},
	{Name: "PIN block", Feed: auth, Path: "/pin_block", Reason: intake.ReasonForbiddenField, From: `"mode"`, To: `"pin_block":"0412AC89ABCDEF67","mode"`},
	{Name: "EMV track data", Feed: auth, Path: "/emv_57", Reason: intake.ReasonForbiddenField, From: `"mode"`, To: `"emv_57":"6222020200112233446D2912","mode"`},
	{Name: "expiry", Feed: capt, Path: "/expiry", Reason: intake.ReasonForbiddenField, From: `"sequence"`, To: `"expiry":"2912","sequence"`},
}

// build appends the n-th malformed record.
func (m *malformed) build(b []byte, n int) []byte {
	if m.From == "" && m.PadTo == 0 {
		return append(b, m.To...)
	}
	record := soundRecords[m.Feed]
	if m.From != "" {
		record = strings.Replace(record, m.From, m.To, 1)
	}
	record = strings.ReplaceAll(record, "#", digitsText(n))
	if m.PadTo > 0 {
		head, pad, tail := record[:len(record)-1]+`,"padding":"`, m.PadTo, `"}`
		b = append(b, head...)
		b = append(b, bytes.Repeat([]byte{'x'}, pad-len(head)-len(tail))...)
		return append(b, tail...)
	}
	return append(b, record...)
}

// digitsText is a record's number in a width that keeps it from looking like a card.
func digitsText(n int) string { return strconv.Itoa(1_000_000 + n) }

// layMalformed spreads the malformed records over the period: each kind at least
// once, and one in twenty thousand payments.
func (g *Generator) layMalformed() {
	dice := rand.New(rand.NewPCG(g.opt.Seed, 1<<63))
	for kind := range malformedKinds {
		count := max(1, g.opt.Payments/20_000)
		if most := malformedKinds[kind].Most; most > 0 {
			count = min(count, most)
		}
		for range count {
			day := dice.IntN(g.opt.Days)
			at := localMs(g.opt.Start+calendar.Date(day), dice.Int64N(dayMs))
			g.malform = append(g.malform, malformedAt{kind: kind, day: day, atMs: at})
		}
	}
}
