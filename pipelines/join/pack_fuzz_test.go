package join

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"settlewatch/schemas/event"
)

// fuzzScripts are histories that reach every part of the packed form.
var fuzzScripts = []script{
	"A100 due S100",
	"a200 C60(1) C40(2) due S60(1) F30 P60 now due+2d",
	"A100 S100 S100#x L100<x due fix<x:S90 cancel<x due+1d",
	"A?100 R~40 T115 K20 H2 U N94+6 N80 D100 now due+3d",
	"O100(3) H due+40d S100(9) V R12 due+200d",
	"A100 S50",
}

func fuzzRecords(f *testing.F, s script) []*event.LogRecord {
	records := s.records(f, testKey)
	for i, r := range records {
		if r.GetEvent() != nil && i%2 == 0 {
			r.Origin.Generation, r.Origin.Index = 1, uint32(i)
			r.GetEvent().Time.SettlementDate = ptr(int32(20514))
			r.GetEvent().Parties.Terminal, r.GetEvent().Parties.Channel = "T1", "pos"
			r.GetEvent().Due = &event.Due{Cycle: "T+2"}
		}
	}
	return records
}

// What cannot be a packed payment gives an error; what can be read is, packed
// again, the same payment.
func FuzzUnpack(f *testing.F) {
	for _, s := range fuzzScripts {
		records := fuzzRecords(f, s)
		for n := range records {
			state, _ := fold(f, testConfig(nil), records[:n+1])
			for p := range state.payments.all() {
				f.Add(p.packed)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h history
		key, keyErr := packedKey(b)
		if err := h.unpack(b); err != nil {
			return
		}
		if keyErr != nil || key != h.key {
			t.Fatalf("the key is %q and, read alone, %q, %v", h.key, key, keyErr)
		}
		packed, _ := h.pack(nil, nil, packedNext(b))
		if err := h.unpack(packed); err != nil {
			t.Fatalf("what was packed cannot be read: %v", err)
		}
		if again, _ := h.pack(nil, nil, packedNext(packed)); !bytes.Equal(again, packed) {
			t.Fatalf("packed again it is\n%x\nwas\n%x", again, packed)
		}
	})
}

// What pack made is unpacked and packed again to the same bytes, and a cut or a
// byte too much is noticed.
func TestUnpackIsTheInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := drawHistory(t)
		for range rapid.IntRange(0, 3).Draw(t, "marks") {
			at := monday10 + int64(rapid.IntRange(0, 100).Draw(t, "hours"))*60*minute
			for _, feed := range feeds {
				records = append(records, markOf(feed, at))
			}
		}
		state, _ := fold(t, testConfig(nil), records)
		for p := range state.payments.all() {
			var h history
			if err := h.unpack(p.packed); err != nil {
				t.Fatal(err)
			}
			again, _ := h.pack(nil, nil, p.next)
			if !bytes.Equal(again, p.packed) {
				t.Fatalf("payment %s is\n%x\nwas\n%x", p.key, again, p.packed)
			}
			body, n := binary.Uvarint(p.packed[nextBytes:])
			for cut := range nextBytes + n + int(body) {
				if err := h.unpack(p.packed[:cut]); err == nil {
					t.Fatalf("payment %s, cut to %d bytes of %d, is read", p.key, cut, len(p.packed))
				}
			}
			if err := h.unpack(append(again, 0)); err == nil {
				t.Fatalf("payment %s and a byte is read", p.key)
			}
		}
	})
}
