package bench

import (
	"iter"
	"strconv"
	"time"

	"settlewatch/schemas/alert"
)

// Workload is a number of payments whose events, and whose alerts, follow from
// their number alone. Everybody who is measured reads the same bytes and must
// raise the same alerts.
type Workload struct {
	// Payments is how many there are. Of each thousand, one is captured and never
	// settled, one is settled twice, twenty are never captured.
	Payments int64
	// Partitions of each input topic.
	Partitions int
	// OpenAll puts the first settlement behind the last capture, so that all
	// payments are open at once; else about 160,000 are.
	OpenAll bool
	// Unsettled leaves the settlements out: what is open stays open.
	Unsettled bool
	// StepMs between two payments, in event time.
	StepMs int64
	// First is the number of the first payment, a multiple of a thousand: a workload
	// that goes on where another one ended.
	First int64
	// Stays leaves the end out: no deadline passes.
	Stays bool
}

// The times of the workload, Unix milliseconds and milliseconds.
const (
	defaultStepMs = 10
	captureLagMs  = 2_000
	settleLagMs   = 1_000_000
	secondLagMs   = 50_000
	// markEveryMs of event time each partition says how far it is. The peers see
	// the same record, and it moves their event time.
	markEveryMs = 5_000
	dayMs       = 86_400_000
	// endLagMs after the last payment every deadline has passed.
	endLagMs = 3 * dayMs
)

var startMs = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).UnixMilli()

// Step of a payment; each is one event.
type Step int

// The steps. Both settlements are records of the settlement feed.
const (
	Authorization Step = iota
	Capture
	Settlement
	SecondSettlement
	stepCount
)

var stepNames = [stepCount]string{"authorization", "capture", "settlement", "settlement"}

// acquirer of every payment.
const acquirer = "acq1"

func captured(i int64) bool  { return i%50 != 3 }
func unsettled(i int64) bool { return captured(i) && i%1000 == 7 }
func twice(i int64) bool     { return captured(i) && i%1000 == 13 }

// happens tells whether payment i has this step.
func (w Workload) happens(s Step, i int64) bool {
	switch s {
	case Authorization:
		return true
	case Capture:
		return captured(i)
	case Settlement:
		return captured(i) && !unsettled(i) && !w.Unsettled
	default:
		return twice(i) && !w.Unsettled
	}
}

// EventCount is how many events the workload has, without marks.
func (w Workload) EventCount() int64 {
	// The pattern repeats every thousand payments.
	full, rest := w.Payments/1000, w.Payments%1000
	var cycle, tail int64
	for i := range int64(1000) {
		var n int64
		for s := range stepCount {
			if w.happens(s, i) {
				n++
			}
		}
		cycle += n
		if i < rest {
			tail += n
		}
	}
	return full*cycle + tail
}

// Expected is one alert that must come.
type Expected struct {
	Kind    alert.Kind
	Payment int64
}

// Truth lists the alerts that must come, and no others may.
func (w Workload) Truth() map[Expected]bool {
	truth := make(map[Expected]bool)
	for i := w.First; i < w.First+w.Payments; i++ {
		if w.happens(Capture, i) && !w.happens(Settlement, i) && !w.Stays {
			truth[Expected{alert.PaidUnsettled, i}] = true
		}
		if w.happens(SecondSettlement, i) {
			truth[Expected{alert.SettledTwice, i}] = true
		}
	}
	return truth
}

// Event is one event of the workload.
type Event struct {
	Step    Step
	Payment int64
	AtMs    int64
}

func (w Workload) step() int64 {
	if w.StepMs == 0 {
		return defaultStepMs
	}
	return w.StepMs
}

// lags of the steps behind the authorization, in payments.
func (w Workload) lags() [stepCount]int64 {
	settle := settleLagMs / w.step()
	if w.OpenAll {
		settle += w.Payments
	}
	capture := captureLagMs / w.step()
	return [stepCount]int64{0, capture, capture + settle, capture + settle + secondLagMs/w.step()}
}

// EndMs is a moment behind every deadline.
func (w Workload) EndMs() int64 { return startMs + (w.First+w.Payments)*w.step() + endLagMs }

// lastMs is behind the time of the last event.
func (w Workload) lastMs() int64 {
	return w.firstMs() + (w.Payments+w.lags()[SecondSettlement])*w.step()
}

// firstMs is the time of the first event. What goes on begins when all of what was
// before has happened.
func (w Workload) firstMs() int64 {
	if w.First == 0 {
		return startMs
	}
	return startMs + w.First*w.step() + 2*settleLagMs
}

// Events in the order of event time.
func (w Workload) Events() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		lags := w.lags()
		last := w.Payments + lags[SecondSettlement]
		for slot := range last {
			at := w.firstMs() + slot*w.step()
			for s := range stepCount {
				n := slot - lags[s]
				if i := w.First + n; n >= 0 && n < w.Payments && w.happens(s, i) && !yield(Event{s, i, at}) {
					return
				}
			}
		}
	}
}

const paymentDigits = 12

// appendPaymentID appends the payment's id: acquirer, bar, twelve digits.
func appendPaymentID(b []byte, acquirer string, i int64) []byte {
	b = append(b, acquirer...)
	b = append(b, '|')
	return appendOrder(b, i)
}

func appendOrder(b []byte, i int64) []byte {
	b = append(b, "000000000000"...)
	for at := len(b) - 1; i > 0; at-- {
		b[at] = byte('0' + i%10)
		i /= 10
	}
	return b
}

// paymentOf is the payment whose order number is written so.
func paymentOf(order string) (int64, bool) {
	if len(order) != paymentDigits {
		return 0, false
	}
	i, err := strconv.ParseInt(order, 10, 64)
	return i, err == nil && i >= 0
}

// AppendJSON appends the event as its feed writes it.
func (e Event) AppendJSON(b []byte) []byte { return e.appendJSON(b, acquirer) }

func (e Event) appendJSON(b []byte, acquirer string) []byte {
	i := e.Payment
	b = appendHex(append(b, `{"event_id":"`...), uint64(i*4+int64(e.Step)))
	b = appendPaymentID(append(b, `","payment_id":"`...), acquirer, i)
	b = strconv.AppendInt(append(b, `","merchant_id":"m`...), 1_000+i%5_000, 10)
	b = strconv.AppendInt(append(b, `","terminal_id":"t`...), 10_000+i%20_000, 10)
	b = strconv.AppendInt(append(b, `","amount_minor":`...), amountMinor(i), 10)
	b = appendHex(append(b, `,"currency":"CNY","response_code":"00","card_token":"`...), uint64(i+1<<40))
	b = b[:len(b)-4] // the token is shorter than an id
	b = time.UnixMilli(e.AtMs).UTC().AppendFormat(append(b, `","event_time":"`...), "2006-01-02T15:04:05.000Z")
	b = append(append(b, `","type":"`...), stepNames[e.Step]...)
	return append(b, `"}`...)
}

// amountMinor of a payment, in minor units of CNY.
func amountMinor(i int64) int64 { return int64(100 + (mix(uint64(i))>>1)%1_000_000) }

func appendHex(b []byte, seed uint64) []byte {
	const digits = "0123456789abcdef"
	v := mix(seed)
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[v>>shift&15])
	}
	return b
}

// mix is SplitMix64's finalizer, a bijection: ids made with it are distinct.
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
