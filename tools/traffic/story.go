package traffic

import (
	"time"

	"settlewatch/schemas/alert"
)

// Case is one kind of story that a payment can have: what is reported about it,
// when, and what must come of it.
type Case struct {
	// Name is short and unique; the numbered cases begin with their number.
	Name string
	// Words tell the story: A an approved single-message sale, a the
	// authorization of a dual-message payment, C a capture, S a settlement line,
	// R a reversal, V a void, F a refund; "due" is the evidence due.
	Words string
	Steps []Step
	// Want are the alerts at the end of the story; none if empty.
	Want []Want
	// Gross stories belong to the acquirer that pays refunds gross, Netted ones
	// to the others; both false: to any.
	Gross, Netted bool
	// PerMille is the share of a planted case; 0 means 1.
	PerMille int
	// Weight is the share of an ordinary case among the ordinary ones.
	Weight int
}

// Want is one alert that a case must end with.
type Want struct {
	Kind alert.Kind
	// Capture that the alert is about; 0 is the single-message sale, and what
	// settled twice has.
	Capture   uint8
	Amount    float64
	Status    alert.Status
	Revisions int
}

func (c *Case) perMille() int { return max(1, c.PerMille) }

// unsettled is a paid-unsettled alert that is open in its first revision.
func unsettled(amount float64) Want {
	return Want{Kind: alert.PaidUnsettled, Amount: amount, Status: alert.Open, Revisions: 1}
}

// twice is a settled-twice alert that is open in its first revision.
func twice(amount float64) Want {
	return Want{Kind: alert.SettledTwice, Amount: amount, Status: alert.Open, Revisions: 1}
}

// of says which capture the alert is about.
func (w Want) of(capture uint8) Want { w.Capture = capture; return w }

// revised is open in a later revision.
func (w Want) revised(revisions int) Want { w.Revisions = revisions; return w }

// resolved is closed, normally by the second revision.
func (w Want) resolved(revisions int) Want {
	w.Status, w.Revisions = alert.Resolved, revisions
	return w
}

// retracted is taken back.
func (w Want) retracted(revisions int) Want {
	w.Status, w.Revisions = alert.Retracted, revisions
	return w
}

// when is a moment of a story.
type when struct {
	base whenBase
	// shift moves the story's day: for the second capture of a payment that is
	// made some days later.
	shift int
	n     int
	off   time.Duration
}

type whenBase uint8

const (
	fromPayment whenBase = iota // the payment's moment + off, and the feed's latency
	fromFile                    // the morning file of the n-th working day after the money is due
	fromDue                     // exactly off after the evidence is due
	fromDay                     // n calendar days after the payment at the local time off
)

// after is the payment's moment and d more, and the feed's own latency.
func after(d time.Duration) when { return when{base: fromPayment, off: d} }

// file is in the morning file: 0 of the day on which the money is due, 1 of the
// next working day …, which is after the evidence was due.
func file(n int) when { return when{base: fromFile, n: n} }

// due is d after the evidence is due, to the millisecond.
func due(d time.Duration) when { return when{base: fromDue, off: d} }

// day is n calendar days after the payment at a local time of day.
func day(n int, clock time.Duration) when { return when{base: fromDay, n: n, off: clock} }

// later counts the due date from a capture that is made so many days later.
func (w when) later(days int) when { w.shift = days; return w }

// Step is one raw record of a story. Amounts are in the notation of the case:
// 100 is the payment's own amount.
type Step struct {
	typ  string
	feed Feed
	at   when // arrival
	biz  when // business time
	has  has

	amount, gross, net, fee, approved, replacement float64

	mode, code, status, stage, operation, holdReason string

	capture    uint8 // the capture's number; 0: names none
	row        uint8 // the line id's number; 0: the step's own
	ref        uint8 // the step that is replaced or taken back
	repeats    uint8 // the step that is sent again
	occurrence uint8
	batch      uint8 // a file of its own instead of the merchant's
	until      when
}

type has uint32

const (
	hasAmount has = 1 << iota
	hasGross
	hasNet
	hasFee
	hasApproved
	hasReplacement
	hasUntil
	hasBiz
	hasSettlementDate
	isIncremental
	isDelta
	isFinal
	isRowless
	isRenamed // a repeat in a file of another name
	isSecond  // about another payment of the same story
	isVaried  // has unknown fields
	isNextDay // DE15 says the day after
)

// sale is an approved single-message sale.
func sale(amount float64) Step {
	return Step{typ: "authorization", mode: "single", code: "00", has: hasAmount | hasBiz, amount: amount}
}

// authorized is the approved authorization of a dual-message payment.
func authorized(amount float64) Step {
	s := sale(amount)
	s.mode = "dual"
	return s
}

// answered changes the response code; empty is no reply.
func (s Step) answered(code string) Step { s.code = code; return s }

func captured(capture uint8, amount float64) Step {
	return Step{
		typ: "capture", feed: FeedCapture, has: hasAmount | hasBiz,
		amount: amount, capture: capture, at: after(2 * time.Minute), biz: after(2 * time.Minute),
	}
}

func completed(capture uint8, amount float64) Step {
	s := captured(capture, amount)
	s.typ = "completion"
	return s
}

// uploaded is an offline advice of the payment's day that comes days later.
func uploaded(capture uint8, amount float64, days int) Step {
	s := captured(capture, amount)
	s.typ, s.biz, s.at = "offline_advice", after(0), day(days, 10*time.Hour)
	return s
}

func refunded(amount float64) Step {
	return Step{
		typ: "refund", feed: FeedCapture, has: hasAmount | hasBiz, amount: amount,
		status: "accepted", at: after(20 * time.Minute), biz: after(20 * time.Minute),
	}
}

// adjusted replaces the amount of a capture, as a tip does.
func adjusted(capture uint8, amount float64) Step {
	return Step{
		typ: "adjustment", feed: FeedCapture, has: hasAmount | hasBiz, amount: amount, capture: capture,
		status: "accepted", at: after(30 * time.Minute), biz: after(30 * time.Minute),
	}
}

// by makes an adjustment a difference.
func (s Step) by() Step { s.has |= isDelta; return s }

// line is a credit at the stage that counts, in the file of the due date.
func line(amount float64) Step {
	return Step{typ: "line", feed: FeedSettlement, stage: "paid_out", has: hasGross, gross: amount, at: file(0)}
}

// less says the line's fee and what was paid.
func (s Step) less(fee float64) Step {
	s.has |= hasNet | hasFee
	s.net, s.fee = s.gross-fee, fee
	return s
}

// netOnly is a line that shows only what was paid.
func netOnly(net float64) Step {
	s := line(0)
	s.has, s.net = hasNet, net
	return s
}

// reversed is a reversal of the authorization; voided the cashier's void.
func reversed(code string) Step {
	return Step{typ: "reversal", code: code, has: hasBiz, at: after(time.Minute), biz: after(time.Minute)}
}

func voided(code string) Step {
	return Step{typ: "void", code: code, has: hasBiz, at: after(15 * time.Minute), biz: after(15 * time.Minute)}
}

// toReplacement makes a reversal partial: what stays.
func (s Step) toReplacement(amount float64) Step {
	s.has |= hasReplacement
	s.replacement = amount
	return s
}

// lineReversed takes back the line of an earlier step.
func lineReversed(step uint8, amount float64) Step {
	return Step{typ: "line_reversal", feed: FeedSettlement, has: hasAmount, amount: amount, ref: step}
}

// payoutReturned is a payout of an earlier step that the bank sent back.
func payoutReturned(step uint8, amount float64) Step {
	s := lineReversed(step, amount)
	s.typ = "payout_return"
	return s
}

// beside is a record of the settlement feed that carries an amount:
// credit_adjustment, chargeback, representment, fee.
func beside(typ string, amount float64) Step {
	return Step{typ: typ, feed: FeedSettlement, has: hasAmount, amount: amount}
}

func held(reason string, until when) Step {
	return Step{
		typ: "hold", feed: FeedSettlement, has: hasUntil, holdReason: reason,
		at: after(10 * time.Minute), until: until,
	}
}

func released() Step { return Step{typ: "release", feed: FeedSettlement} }

// again sends an earlier step's record once more, byte for byte.
func again(step uint8) Step { return Step{repeats: step} }

// arrives sets the arrival; business time stays.
func (s Step) arrives(w when) Step { s.at = w; return s }

// happens sets arrival and business time.
func (s Step) happens(w when) Step { s.at, s.biz = w, w; return s }

func (s Step) names(capture uint8) Step { s.capture = capture; return s }
func (s Step) is(status string) Step    { s.status = status; return s }
func (s Step) staged(stage string) Step { s.stage = stage; return s }
func (s Step) inFile(batch uint8) Step  { s.batch = batch; return s }
func (s Step) withRow(row uint8) Step   { s.row = row; return s }
func (s Step) with(h has) Step          { s.has |= h; return s }

// rowless is a line without a line id: its content and occurrence identify it.
func (s Step) rowless(occurrence uint8) Step {
	s.has |= isRowless
	s.occurrence = occurrence
	return s
}

// replaces makes the record a correction or cancellation of an earlier step.
func (s Step) replaces(step uint8, operation string) Step {
	s.ref, s.operation = step, operation
	return s
}
