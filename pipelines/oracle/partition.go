package oracle

import (
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

// partition is one log partition as far as it was read.
type partition struct {
	alerts []*alert.Alert
}

func newPartition() *partition { return &partition{} }

func (p *partition) read(*event.LogRecord) error { return nil }
