package join

import (
	"errors"
	"fmt"
)

// A Tally is what a commit says of all payments together. It does not depend on their order.
type Tally struct {
	Payments int `json:"payments"`
	// Checksum is the sum of the payments' own.
	Checksum uint64 `json:"checksum"`
}

// ErrInconsistent is a loaded state that is not the committed one.
var ErrInconsistent = errors.New("loaded state does not match its checksum")

// Add counts a packed payment.
func (t *Tally) Add(packed []byte) {
	t.Payments++
	t.Checksum += checksum(packed)
}

// Match holds what was loaded to what is stored: ErrInconsistent where they differ.
func (t Tally) Match(stored Tally) error {
	if t != stored {
		return fmt.Errorf("%d payments with checksum %x, stored are %d with %x: %w",
			t.Payments, t.Checksum, stored.Payments, stored.Checksum, ErrInconsistent)
	}
	return nil
}

func (t *table) tally() Tally { return Tally{Payments: t.count, Checksum: t.checksum} }
