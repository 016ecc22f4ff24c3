package join

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"settlewatch/pipelines/hop"
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
			for _, p := range state.payments.all() {
				f.Add(p)
			}
		}
	}
	for n := range 9 {
		f.Add(make([]byte, n))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h history
		head, headErr := peek(b)
		if err := h.unpack(b); err != nil {
			return
		}
		if key, err := packedKey(b); headErr != nil || err != nil || key != h.key || head.key != h.key || head.judged != h.judged {
			t.Fatalf("the head is %+v, %v and the key %q, %v, of %+v", head, headErr, key, err, h)
		}
		packed, _ := h.pack(nil, nil, head.next)
		if err := h.unpack(packed); err != nil {
			t.Fatalf("what was packed cannot be read: %v", err)
		}
		if again, _ := h.pack(nil, nil, head.next); !bytes.Equal(again, packed) {
			t.Fatalf("packed again it is\n%x\nwas\n%x", again, packed)
		}
	})
}

// Every field of a payment comes back.
func TestUnpackIsTheInverseOfPack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawPayment(t)
		next := rapid.Int64().Draw(t, "next")
		packed, _ := h.pack(nil, nil, next)
		head, err := peek(packed)
		if err != nil || head.key != h.key || head.next != next || head.judged != h.judged || head.epoch != h.epoch || head.template != h.template {
			t.Fatalf("the head is %+v, %v; want next %d of %+v", head, err, next, h)
		}
		// What the slices held before does not matter.
		got := history{alerts: make([]cursor, 1, 9), facts: make([]fact, 2, 9), pending: make([]pendingFact, 3, 9), events: 7}
		if err := got.unpack(packed); err != nil {
			t.Fatal(err)
		}
		if len(h.alerts) == 0 {
			got.alerts = nil
		}
		if len(h.facts) == 0 {
			got.facts = nil
		}
		if len(h.pending) == 0 {
			got.pending = nil
		}
		got.names, got.flags = nil, h.flags
		if !reflect.DeepEqual(got, h) {
			t.Fatalf("unpacked is\n%+v\npacked was\n%+v", got, h)
		}
	})
}

// A payment that was cut, or of which anything is left over, is not read.
func TestUnpackNoticesDamage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawPayment(t)
		pending := h.pending
		h.pending = nil
		_, body := h.pack(nil, nil, 0)
		packed := append(appendHead(nil, flagBody, h.key, h.epoch, 0, &h.template), binary.AppendUvarint(nil, uint64(len(body)))...)
		packed = append(packed, body...)
		var got history
		for cut := range len(packed) {
			if err := got.unpack(packed[:cut]); !errors.Is(err, errCorrupt) {
				t.Fatalf("cut to %d bytes of %d it is read: %v", cut, len(packed), err)
			}
		}
		withBody := func(body []byte) []byte {
			b := appendHead(nil, flagBody, h.key, h.epoch, 0, &h.template)
			return append(binary.AppendUvarint(b, uint64(len(body))), body...)
		}
		// The length of the body says how many facts it holds.
		whole := map[int]bool{}
		for facts := h.facts; len(facts) > 0 && len(h.facts) > 0; facts = facts[:len(facts)-1] {
			at := len(body)
			for i := len(facts) - 1; i < len(h.facts); i++ {
				at -= len(appendFact(nil, &h.facts[i], &h.template))
			}
			whole[at] = true
		}
		for cut := range len(body) {
			if whole[cut] {
				continue
			}
			if err := got.unpack(withBody(body[:cut])); !errors.Is(err, errCorrupt) {
				t.Fatalf("its body cut to %d bytes of %d is read: %v", cut, len(body), err)
			}
		}
		if err := got.unpack(withBody(append(slices.Clone(body), 0))); !errors.Is(err, errCorrupt) {
			t.Fatalf("with a byte too much in its body it is read: %v", err)
		}
		for i := range pending {
			whole := appendPending(nil, &pending[i], &h.template)
			for cut := 1; cut < len(whole); cut++ {
				if err := got.unpack(append(slices.Clone(packed), whole[:cut]...)); !errors.Is(err, errCorrupt) {
					t.Fatalf("a pending fact cut to %d bytes of %d is read: %v", cut, len(whole), err)
				}
			}
		}
	})
}

func drawID(t *rapid.T, what string) (id event.ID) {
	// Zero is absent.
	if rapid.Bool().Draw(t, "has "+what) {
		copy(id[:], rapid.SliceOfN(rapid.Byte(), len(id), len(id)).Draw(t, what))
	}
	return id
}

func drawFact(t *rapid.T) fact {
	optional := rapid.OneOf(rapid.Just(absent), rapid.Int64())
	f := fact{
		id: drawID(t, "id"), replaces: drawID(t, "replaces"), takesBack: drawID(t, "takesBack"),
		kind: event.Kind(rapid.IntRange(0, 255).Draw(t, "kind")), operation: event.Operation(rapid.IntRange(0, 15).Draw(t, "operation")),
		outcome: event.Outcome(rapid.IntRange(0, 15).Draw(t, "outcome")), mode: event.Mode(rapid.IntRange(0, 15).Draw(t, "mode")),
		stage: event.Stage(rapid.IntRange(0, 15).Draw(t, "stage")), target: event.AdjustmentTarget(rapid.IntRange(0, 255).Draw(t, "target")),
		delta: rapid.Bool().Draw(t, "delta"), incremental: rapid.Bool().Draw(t, "incremental"), netOnly: rapid.Bool().Draw(t, "netOnly"),
		capture: rapid.String().Draw(t, "capture"), currency: rapid.String().Draw(t, "currency"), cycle: rapid.String().Draw(t, "cycle"),
		amount: rapid.Int64().Draw(t, "amount"), approved: optional.Draw(t, "approved"), total: optional.Draw(t, "total"),
		stays: optional.Draw(t, "stays"), fee: rapid.Int64().Draw(t, "fee"), holdUntil: optional.Draw(t, "holdUntil"),
		hasClearing: rapid.Bool().Draw(t, "hasClearing"),
		source:      rapid.IntRange(0, 1<<20).Draw(t, "source"), generation: rapid.Uint32().Draw(t, "generation"),
		offset: rapid.Int64().Draw(t, "offset"), index: rapid.Uint32().Draw(t, "index"),
	}
	if f.hasClearing {
		f.clearing = rapid.Int32().Draw(t, "clearing")
	}
	return f
}

func drawPending(t *rapid.T) pendingFact {
	f := pendingFact{
		fact: drawFact(t), effective: rapid.Int64().Draw(t, "effective"), arrival: rapid.Int64().Draw(t, "arrival"),
		hasBusiness: rapid.Bool().Draw(t, "hasBusiness"), hasDate: rapid.Bool().Draw(t, "hasDate"),
		merchant: rapid.String().Draw(t, "merchant"), terminal: rapid.String().Draw(t, "terminal"), channel: rapid.String().Draw(t, "channel"),
	}
	if f.hasBusiness {
		f.business = rapid.Int64().Draw(t, "business")
	}
	if f.hasDate {
		f.settlement = rapid.Int32().Draw(t, "settlement")
	}
	return f
}

func drawCursor(t *rapid.T) cursor {
	return cursor{
		kind: rapid.Byte().Draw(t, "kind"), capture: rapid.String().Draw(t, "capture"), revision: rapid.Uint32().Draw(t, "revision"),
		status: rapid.Byte().Draw(t, "status"), amount: rapid.Int64().Draw(t, "amount"), clearing: rapid.Int32().Draw(t, "clearing"),
		cycle: rapid.String().Draw(t, "cycle"), currency: rapid.String().Draw(t, "currency"),
	}
}

func drawPayment(t *rapid.T) history {
	h := history{
		epoch: rapid.Uint64().Draw(t, "epoch"),
		template: template{
			rapid.Int64().Draw(t, "base"), rapid.Int64().Draw(t, "amount"), rapid.String().Draw(t, "currency"),
			rapid.String().Draw(t, "merchant"), rapid.String().Draw(t, "terminal"), rapid.String().Draw(t, "channel"),
		},
		key: event.PaymentKey(rapid.String().Draw(t, "key")), life: drawID(t, "life"), version: rapid.Uint64().Draw(t, "version"),
		judged: rapid.Int64Min(hop.Never+1).Draw(t, "judged"), last: rapid.Int64().Draw(t, "last"),
		merchant: rapid.String().Draw(t, "merchant"), terminal: rapid.String().Draw(t, "terminal"), channel: rapid.String().Draw(t, "channel"),
		events: rapid.Uint32().Draw(t, "events"), repeats: rapid.Uint32().Draw(t, "repeats"),
		conflicts: rapid.Uint32().Draw(t, "conflicts"), overflow: rapid.Uint32().Draw(t, "overflow"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "alerts") {
		h.alerts = append(h.alerts, drawCursor(t))
	}
	for range rapid.IntRange(0, 3).Draw(t, "facts") {
		h.facts = append(h.facts, drawFact(t))
	}
	for range rapid.IntRange(0, 3).Draw(t, "pending") {
		h.pending = append(h.pending, drawPending(t))
	}
	return h
}
