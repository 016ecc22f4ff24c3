// Package event is the canonical event and the payment log's record: what every
// ingest service makes of raw bytes and what the joiner reads. Everything ending
// in .pb.go is generated from schemas/proto by `make generate`.
package event

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// ID is 128 bits of a business record's identity: the same record always has
// the same ID, wherever and however often it is reported.
type ID [16]byte

// NewID hashes the parts of an identity. Every part is length-prefixed, so that
// ("ab", "c") and ("a", "bc") differ. 128 bits of SHA-256: with 10^12 records
// the chance of any two colliding is below 10^-14.
func NewID(parts ...string) ID {
	var memory [512]byte // most identities fit
	text := memory[:0]
	for _, p := range parts {
		text = binary.BigEndian.AppendUint64(text, uint64(len(p)))
		text = append(text, p...)
	}
	sum := sha256.Sum256(text)
	return ID(sum[:len(ID{})])
}

// IDFromBytes reads an ID from its 16 bytes; anything else is an error.
func IDFromBytes(b []byte) (ID, error) {
	var id ID
	if len(b) != len(id) {
		return ID{}, idSizeError(len(b))
	}
	copy(id[:], b)
	return id, nil
}

// idSizeError is how long the bytes were. It is made for every absent id, whose
// reader does not look at it, and therefore not of text.
type idSizeError int

func (e idSizeError) Error() string {
	return fmt.Sprintf("event id of %d bytes, want %d", int(e), len(ID{}))
}

// String is the ID in 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero tells whether the ID is absent.
func (id ID) IsZero() bool { return id == ID{} }

// PaymentKey names one payment across all feeds: the acquirer, '|', and the
// reference that both sides carry.
type PaymentKey string

// Acquirer is the part of the key before the first '|'. A payment's group, and
// so the frontier that its deadlines wait for, follows from it alone.
func (k PaymentKey) Acquirer() string {
	acquirer, _, _ := strings.Cut(string(k), "|")
	return acquirer
}
