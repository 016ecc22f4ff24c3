package join

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"testing"

	"settlewatch/schemas/event"
)

// Whatever the state store gives, loading ends with a state or an error. Damage
// to the payments is noticed by the checksum; mend makes the checksum fit, so that
// what lies behind it is reached too.
func FuzzLoad(f *testing.F) {
	for _, s := range fuzzScripts {
		state := New()
		recorder := NewRecorder(state)
		var deltas [][]byte
		var oldest []byte
		records := append([]*event.LogRecord{configRecord(testConfig(nil), 0)}, fuzzRecords(f, s)...)
		for i, r := range records {
			if err := state.Step(r, new(Output)); err != nil {
				f.Fatal(err)
			}
			c, err := recorder.Commit(uint64(i+1), Position{Offset: int64(i + 1)})
			if err != nil {
				f.Fatal(err)
			}
			deltas = append(deltas, c.Delta)
			for _, b := range c.Buckets {
				if oldest == nil {
					oldest = b.Value
				}
				f.Add(c.Meta, b.Index, oldest, []byte{}, []byte{}, false) // the payment as it was
				f.Add(c.Meta, b.Index, b.Value, c.Delta, deltas[0], false)
				f.Add(c.Meta, b.Index, b.Value, deltas[0], c.Delta, true)
				f.Add(c.Meta, bucketCount, b.Value, c.Delta, deltas[0], true)
				f.Add(c.Meta, -1, b.Value, c.Delta, deltas[0], true)
			}
		}
	}
	f.Fuzz(func(t *testing.T, metaBytes []byte, index int, bucket, older, newer []byte, mend bool) {
		buckets := []Bucket{{Index: index, Value: bucket}}
		ring := [][]byte{older, newer}
		if mend {
			metaBytes = mended(metaBytes, index, bucket, older, newer)
		}
		state, position, err := Load(metaBytes, buckets, ring)
		if err != nil {
			return
		}
		sum := uint64(0)
		for _, p := range state.payments.all() {
			sum += checksum(p)
		}
		if m := metaOf(t, metaBytes); m.Checksum != sum || m.Payments != state.Payments() {
			t.Fatalf("%d payments with the checksum %x are loaded, %d with %x are stored", state.Payments(), sum, m.Payments, m.Checksum)
		}
		// What was loaded is stored and loaded again as it is.
		c, err := NewRecorder(state).Commit(1, position)
		if err != nil {
			t.Fatal(err)
		}
		again, at, err := Load(c.Meta, buckets, append(ring, c.Delta))
		if err != nil || at != position || again.Payments() != state.Payments() || again.payments.checksum != state.payments.checksum {
			t.Fatalf("loaded again: %v, at %v, was %v", err, at, position)
		}
	})
}

func metaOf(t *testing.T, metaBytes []byte) (m meta) {
	t.Helper()
	if err := json.Unmarshal(metaBytes, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// mended is the meta with the count and checksum of what the rest holds.
func mended(metaBytes []byte, index int, bucket []byte, ring ...[]byte) []byte {
	var m meta
	if json.Unmarshal(metaBytes, &m) != nil {
		return metaBytes
	}
	payments := newTable()
	if index < 0 || index >= bucketCount || payments.loadBucket(index, bucket) != nil {
		return metaBytes
	}
	for _, d := range ring {
		if payments.applyDelta(d) != nil {
			return metaBytes
		}
	}
	m.Payments, m.Checksum = payments.count, 0
	for _, p := range payments.all() {
		m.Checksum += checksum(p)
	}
	b, err := json.Marshal(m)
	if err != nil {
		return metaBytes
	}
	return b
}

// Whatever stands in the log, a step ends with alerts that can be encoded or with
// an error; and what is stored after it loads as what was folded.
func FuzzStep(f *testing.F) {
	for _, s := range fuzzScripts {
		var log []byte
		for _, r := range fuzzRecords(f, s) {
			b, err := r.MarshalVT()
			if err != nil {
				f.Fatal(err)
			}
			log = append(binary.AppendUvarint(log, uint64(len(b))), b...)
		}
		f.Add(log)
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		state, out := New(), new(Output)
		if err := state.Step(configRecord(testConfig(nil), 0), out); err != nil {
			t.Fatal(err)
		}
		records := fuzzLog(log)
		for _, at := range []int64{tuesday12 + 1, monday10 + 200*day, math.MaxInt64} {
			for _, feed := range feeds {
				records = append(records, markOf(feed, at))
			}
		}
		for _, r := range records {
			if err := state.Step(r, out); err != nil {
				return // the partition stops here
			}
		}
		for _, a := range out.Alerts {
			if _, err := a.Encode(); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range out.Payments {
			if _, err := p.MarshalVT(); err != nil {
				t.Fatal(err)
			}
		}
		loadsAsFolded(t, state)
	})
}

// fuzzLog are the records of a log as the joiner takes them: length-prefixed,
// those that it can decode, with an origin.
func fuzzLog(log []byte) (records []*event.LogRecord) {
	u := unpacker{b: log}
	for len(u.b) > 0 {
		value := u.bytes(u.uvarint())
		if u.err != nil {
			return records
		}
		r := new(event.LogRecord)
		if r.UnmarshalVT(value) == nil && r.Origin != nil {
			records = append(records, r)
		}
	}
	return records
}

func loadsAsFolded(t *testing.T, folded *State) {
	t.Helper()
	c, err := NewRecorder(folded).Commit(1, Position{Offset: 1})
	if err != nil {
		t.Fatal(err)
	}
	loaded, _, err := Load(c.Meta, c.Buckets, [][]byte{c.Delta})
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Payments() != folded.Payments() {
		t.Fatalf("%d payments, folded were %d", loaded.Payments(), folded.Payments())
	}
	for key, p := range folded.payments.all() {
		if l := loaded.payments.get(key); !bytes.Equal(l, p) {
			t.Fatalf("payment %q is not loaded as it was folded", key)
		}
	}
}
