// Package oracle is a second, naive implementation of the alert rules, to hold
// the join against. What enters is the payment log of a partition, all of it;
// what leaves are the alert revisions that it asks for, byte for byte.
//
// It shares no code with the join beyond the event types, the calendar and money:
// where the two agree they agree by the rules, and a mistake would have to be
// made twice. Nothing here is fast, and nothing is kept between two judgements:
// a payment's verdict is computed anew at every moment, from its whole history.
package oracle

import (
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// Alerts are the revisions that one partition's log, from its first record on,
// asks for, in the order in which they become certain. The error is a CONFIG
// that this binary cannot run under; what was certain before it comes with it.
func Alerts(log []*event.LogRecord) ([]*alert.Alert, error) {
	p := newPartition()
	for _, r := range log {
		if err := p.read(r); err != nil {
			return p.alerts, err
		}
	}
	return p.alerts, nil
}
