// Package fold is how a subscriber takes repeats and late revisions out of an
// alert topic.
//
// What enters are the ids, revisions and bodies of the records of a topic's
// partition, in order or not, as often as they come. What leaves is a verdict on
// each. Guaranteed: of one id, Fresh revisions rise, and the same (id, revision)
// is never Fresh twice; two bodies under one (id, revision) are an error, because
// the same alert is always the same bytes.
package fold

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// Verdict on one record.
type Verdict uint8

// The verdicts.
const (
	// Fresh is a higher revision than any before of its id: act on it.
	Fresh Verdict = iota + 1
	// Repeat is a revision that came before, byte for byte. Ignore it.
	Repeat
	// Late is a revision that never came before and is below one that did: a part
	// of the log was judged again. What it says is superseded; ignore it.
	Late
)

// String is the verdict's name.
func (v Verdict) String() string {
	switch v {
	case Fresh:
		return "fresh"
	case Repeat:
		return "repeat"
	case Late:
		return "late"
	default:
		return fmt.Sprintf("verdict %d", uint8(v))
	}
}

// DifferenceError is a body that is not the one that came before under the same
// id and revision: the topic has two writers, or a broken one.
type DifferenceError struct {
	ID       string
	Revision uint32
}

func (e *DifferenceError) Error() string {
	return fmt.Sprintf("alert %s revision %d came with two different bodies", e.ID, e.Revision)
}

// Fold remembers, per id, the highest revision and a digest of every body that
// came: about 100 bytes for an alert of two revisions. It is not safe for
// concurrent use. The zero value is empty and ready.
//
// All revisions of an id lie in one partition, so a fold per partition suffices.
type Fold struct{ seen map[string]history }

// history is what came of one id.
type history struct {
	highest uint32
	digests []digest // in no order; few
}

type digest struct {
	revision uint32
	body     uint64
}

// Add judges one record. Revisions count from 1; another one is an error, and
// nothing is remembered of a record that gives an error.
func (f *Fold) Add(id string, revision uint32, body []byte) (Verdict, error) {
	if id == "" || revision == 0 {
		return 0, fmt.Errorf("alert %q revision %d: an alert has an id, and its revisions count from 1", id, revision)
	}
	sum := sha256.Sum256(body)
	this := digest{revision: revision, body: binary.BigEndian.Uint64(sum[:8])}
	h := f.seen[id]
	for _, d := range h.digests {
		switch {
		case d.revision != revision:
		case d.body != this.body:
			return 0, &DifferenceError{ID: id, Revision: revision}
		default:
			return Repeat, nil
		}
	}
	verdict := Late
	if revision > h.highest {
		verdict, h.highest = Fresh, revision
	}
	h.digests = append(h.digests, this)
	if f.seen == nil {
		f.seen = map[string]history{}
	}
	f.seen[id] = h
	return verdict, nil
}

// Highest is the highest revision of an id that came, 0 if none did.
func (f *Fold) Highest(id string) uint32 { return f.seen[id].highest }

// IDs that came, sorted.
func (f *Fold) IDs() []string { return slices.Sorted(maps.Keys(f.seen)) }
