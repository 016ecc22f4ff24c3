package join

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"settlewatch/pipelines/calendar"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// The three feeds of the tests, as sources.
const (
	authorizationFeed = "authorization/raw.authorization.v1/0/json@1"
	captureFeed       = "capture/raw.capture.v1/0/json@1"
	settlementFeed    = "settlement/raw.settlement.v1/0/json@1"
	configFeed        = "config/config.v1/0/config@1"
)

var feeds = []string{authorizationFeed, captureFeed, settlementFeed}

const (
	minute = int64(time.Minute / time.Millisecond)
	day    = 24 * 60 * minute
)

// The tests play on Monday 2026-03-02, 10:00 in Shanghai: money is due on the
// 3rd, evidence at 12:00 (published at 10:00, 2 hours of grace).
var (
	monday10  = time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC).UnixMilli()
	tuesday12 = time.Date(2026, 3, 3, 4, 0, 0, 0, time.UTC).UnixMilli()
)

func testConfig(change func(*event.Terms)) *event.Config {
	cutoff := int64(23 * 60 * minute)
	terms := &event.Terms{
		Cycle: "T+1", Calendar: "cn-mainland", Zone: "Asia/Shanghai", Counting: event.Counting_COUNTING_FROM_CLEARING,
		CutoffMs: &cutoff, PublishMs: 10 * 60 * minute, GraceMs: 2 * 60 * minute,
		Refunds: event.RefundMode_REFUND_MODE_NETTED, Stage: int32(event.Stage_STAGE_PAID_OUT),
		FeeBps: 0, MaxFeeBps: 1000, AllowanceBps: 11500, LifeDays: 60, HoldCapDays: 30,
	}
	if change != nil {
		change(terms)
	}
	versions, err := calendar.Versions()
	if err != nil {
		panic(err)
	}
	c := &event.Config{
		Rules: "test", JoinVersion: Version, AlertVersion: alert.Version, TzdataVersion: calendar.TZDataVersion,
		Calendars: versions,
	}
	g := &event.Group{Name: "all", Terms: terms}
	for _, f := range feeds {
		g.Sources = append(g.Sources, &event.ExpectedSource{Name: f, Clock: event.Clock_CLOCK_PLAYED})
	}
	c.Groups = []*event.Group{g}
	return c
}

// A script is a history in the notation of the cases: tokens in the order of
// their arrival, a minute apart, for one payment. Digits are minor units.
//
//	A100 A?100 A!100   approved, unanswered, declined single-message sale
//	a100               approved authorization of a dual-message payment
//	C60(1) C!60(1)     capture 1 accepted, rejected; O60(1) an offline advice
//	S60 S60(1)         line that names no capture, capture 1
//	N99+1 N99          line with only the net amount, with and without a fee
//	R V R12 R~40       accepted reversal, void, reversal answered 12, partial (40 stays)
//	F30 T115 T+15      refund, adjustment to, adjustment by
//	P100<x L100<x      returned payout, line reversal, of line x
//	K20 D100 H U       credit adjustment, dispute, hold, release; H2 holds until due + 2 days
//	cancel<x           cancellation of event x
//	fix<x:S100         correction of event x
//	due due+2d now     marks: past evidence due, past due + 2 days, past what arrived
//
// A token that ends in @due arrives exactly at evidence due.
//
// #x gives an event the identity x, where it must be named or repeated.
type script string

var token = regexp.MustCompile(`^(?:fix<(\w+):)?([A-Za-z]+)([?!~+]?)(\d*)(?:\+(\d+))?(?:\((\w+)\))?(?:<(\w+))?(?:#(\w+))?$`)

// failer is what the helpers need of *testing.T and *rapid.T.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

const testKey = "acq1|o|1"

// records turns the script into the feeds' records and marks, in order of
// arrival.
func (s script) records(t failer, key string) []*event.LogRecord {
	t.Helper()
	var out []*event.LogRecord
	now := monday10
	for i, word := range strings.Fields(string(s)) {
		now += minute
		if bare, atDue := strings.CutSuffix(word, "@due"); atDue {
			word, now = bare, tuesday12
		}
		var mark int64
		switch {
		case word == "now":
			mark = now
		case word == "due":
			mark = tuesday12 + 1
		case strings.HasPrefix(word, "due+"):
			days, err := strconv.Atoi(strings.TrimSuffix(word[4:], "d"))
			if err != nil {
				t.Fatalf("token %q: %v", word, err)
			}
			mark = tuesday12 + int64(days)*day + 1
		default:
			feed, e := parseToken(t, word, key, i)
			if e.Time.BusinessMs == nil && feed != settlementFeed {
				e.Time.BusinessMs = ptr(now)
			}
			out = append(out, &event.LogRecord{
				Origin: &event.Origin{Source: feed, Offset: int64(i)}, ArrivalMs: now, Body: &event.LogRecord_Event{Event: e},
			})
			continue
		}
		now = max(now, mark)
		for _, f := range feeds {
			out = append(out, markOf(f, mark))
		}
	}
	return out
}

func markOf(feed string, t int64) *event.LogRecord {
	return &event.LogRecord{Origin: &event.Origin{Source: feed}, Body: &event.LogRecord_Mark{Mark: &event.Mark{TMs: t}}}
}

func ptr[T any](v T) *T { return &v }

func testID(key, name string) []byte {
	id := event.NewID(key, name)
	return id[:]
}

func parseToken(t failer, word, key string, i int) (string, *event.Event) {
	t.Helper()
	m := token.FindStringSubmatch(word)
	if m == nil {
		t.Fatalf("token %q is not in the notation", word)
	}
	fix, letter, sign, digits, fee, capture, names, id := m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8]
	if id == "" {
		id = fmt.Sprintf("%s/%d", word, i)
	}
	amount, _ := strconv.ParseInt(digits, 10, 64)
	e := &event.Event{
		Id: testID(key, id), PaymentKey: key, Operation: event.Operation_OPERATION_NEW, Outcome: event.Outcome_OUTCOME_ACCEPTED,
		Amounts: &event.Amounts{Currency: "CNY", TransactionMinor: &amount}, Time: &event.Time{}, Line: &event.Line{},
		Parties: &event.Parties{Merchant: "898310158120004"},
	}
	if capture != "" {
		e.Capture = &event.CaptureRef{Id: capture}
	}
	if fix != "" {
		e.Operation, e.Replaces = event.Operation_OPERATION_CORRECTION, testID(key, fix)
	}
	switch sign {
	case "?":
		e.Outcome = event.Outcome_OUTCOME_UNKNOWN
	case "!":
		e.Outcome = event.Outcome_OUTCOME_REJECTED
	}
	return fillToken(t, e, tokenParts{word, letter, sign, digits, fee, names, key, amount}), e
}

type tokenParts struct {
	word, letter, sign, digits, fee, names, key string
	amount                                      int64
}

// fillToken completes the event by its letter and returns its feed.
func fillToken(t failer, e *event.Event, p tokenParts) string {
	t.Helper()
	if p.names != "" {
		e.Line.TakesBack = testID(p.key, p.names)
	}
	switch p.letter {
	case "A", "a":
		e.Kind, e.Mode = event.Kind_KIND_AUTHORIZATION, event.Mode_MODE_SINGLE
		if p.letter == "a" {
			e.Mode = event.Mode_MODE_DUAL
		}
		return authorizationFeed
	case "R", "V":
		e.Kind = event.Kind_KIND_REVERSAL
		if p.letter == "V" {
			e.Kind = event.Kind_KIND_VOID
		}
		e.Amounts = nil
		if p.sign == "~" {
			e.Amounts = &event.Amounts{Currency: "CNY", ReplacementMinor: &p.amount}
		} else if p.digits == "12" {
			e.Outcome = event.Outcome_OUTCOME_UNKNOWN
		}
		return authorizationFeed
	case "C", "O":
		e.Kind = event.Kind_KIND_CAPTURE
		if p.letter == "O" {
			e.Mode = event.Mode_MODE_OFFLINE
			e.Time.BusinessMs = ptr(monday10 - 3*day)
		}
		return captureFeed
	case "F":
		e.Kind = event.Kind_KIND_REFUND
		return captureFeed
	case "T":
		e.Kind, e.AdjustmentTarget = event.Kind_KIND_ADJUSTMENT, event.AdjustmentTarget_ADJUSTMENT_TARGET_OBLIGATION
		e.Amounts.Delta = p.sign == "+"
		return captureFeed
	case "cancel":
		e.Kind, e.Operation, e.Replaces = event.Kind_KIND_CAPTURE, event.Operation_OPERATION_CANCELLATION, testID(p.key, p.names)
		return captureFeed
	}
	fillSettlement(t, e, p)
	return settlementFeed
}

func fillSettlement(t failer, e *event.Event, p tokenParts) {
	t.Helper()
	switch p.letter {
	case "S":
		e.Kind, e.Stage = event.Kind_KIND_SETTLEMENT, event.Stage_STAGE_PAID_OUT
		e.Amounts.GrossMinor = &p.amount
	case "N":
		e.Kind, e.Stage = event.Kind_KIND_SETTLEMENT, event.Stage_STAGE_PAID_OUT
		e.Amounts.NetMinor = &p.amount
		if fee, err := strconv.ParseInt(p.fee, 10, 64); err == nil {
			e.Amounts.Fees = []*event.Fee{{Type: "mdr", AmountMinor: fee}}
		}
	case "P":
		e.Kind = event.Kind_KIND_PAYOUT_RETURN
	case "L":
		e.Kind = event.Kind_KIND_LINE_REVERSAL
	case "K":
		e.Kind, e.AdjustmentTarget = event.Kind_KIND_ADJUSTMENT, event.AdjustmentTarget_ADJUSTMENT_TARGET_CREDIT
	case "D":
		e.Kind = event.Kind_KIND_DISPUTE
	case "H":
		e.Kind, e.Amounts = event.Kind_KIND_HOLD, nil
		e.Due = &event.Due{HoldReason: "risk"}
		if p.digits != "" {
			e.Due.HoldUntilMs = ptr(tuesday12 + p.amount*day)
		}
	case "U":
		e.Kind, e.Amounts = event.Kind_KIND_RELEASE, nil
	default:
		t.Fatalf("token %q is not in the notation", p.word)
	}
}

func configRecord(c *event.Config, number int64) *event.LogRecord {
	return &event.LogRecord{Origin: &event.Origin{Source: configFeed, Offset: number}, Body: &event.LogRecord_Config{Config: c}}
}

// fold steps a fresh state through CONFIG and records.
func fold(t failer, c *event.Config, records []*event.LogRecord) (*State, *Output) {
	t.Helper()
	s, out := New(), new(Output)
	for _, r := range append([]*event.LogRecord{configRecord(c, 0)}, records...) {
		if err := s.Step(r, out); err != nil {
			t.Fatal(err)
		}
	}
	return s, out
}

// brief is an alert revision in one line: kind/capture revision status amount
// [reason] [late N].
func brief(a *alert.Alert) string {
	kind := map[alert.Kind]string{alert.PaidUnsettled: "PU", alert.SettledTwice: "ST"}[a.Kind]
	if a.Capture != "" && a.Capture != saleCapture {
		kind += "/" + a.Capture
	}
	line := fmt.Sprintf("%s r%d %s %d", kind, a.Revision, a.Status, a.AmountMinor)
	if a.Closing != nil {
		line += " " + a.Closing.Reason
		if a.Closing.DaysLate > 0 {
			line += fmt.Sprintf(" late %d", a.Closing.DaysLate)
		}
	}
	return line
}

func briefs(out *Output) []string {
	lines := []string{}
	for _, a := range out.Alerts {
		lines = append(lines, brief(a))
	}
	return lines
}
