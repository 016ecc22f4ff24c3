package join

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/payment"
)

// stored is what Redis would hold after one commit of the state.
func stored(t *testing.T, s *State, sequence uint64) Changes {
	t.Helper()
	c, err := NewRecorder(s).Commit(sequence, Position{Offset: 41})
	if err != nil {
		t.Fatal(err)
	}
	return lasting(c)
}

// lasting are changes that outlast the next commit.
func lasting(c Changes) Changes {
	c.Delta, c.Buckets = bytes.Clone(c.Delta), slices.Clone(c.Buckets)
	for i := range c.Buckets {
		c.Buckets[i].Value = bytes.Clone(c.Buckets[i].Value)
	}
	return c
}

func bucketValue(c Changes, index int) []byte {
	for _, b := range c.Buckets {
		if b.Index == index {
			return b.Value
		}
	}
	return nil
}

func explained(t *testing.T, history script) Explanation {
	t.Helper()
	s, _ := fold(t, testConfig(nil), history.records(t, testKey))
	c := stored(t, s, 1)
	_, e := explainedAt(t, c)
	return e
}

// explainedAt is the test's payment as a commit holds it, and what is said of it.
func explainedAt(t *testing.T, c Changes) ([]byte, Explanation) {
	t.Helper()
	packed, err := Pick(testKey, bucketValue(c, BucketOf(testKey)), nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Explain(c.Meta, packed)
	if err != nil {
		t.Fatal(err)
	}
	return packed, e
}

// show is an explanation in a few words.
func show(e Explanation) string {
	var b strings.Builder
	for _, f := range e.Judged {
		fmt.Fprintf(&b, "%s %d@%d ", KindName(f.Kind), f.AmountMinor, f.Offset)
	}
	for _, f := range e.Pending {
		fmt.Fprintf(&b, "pending %s %d@%d ", KindName(f.Kind), f.AmountMinor, f.Offset)
	}
	for _, c := range e.Captures {
		fmt.Fprintf(&b, "| %s owed %d settled %d open %d ", c.Capture, c.OwedMinor, c.SettledMinor, c.OpenMinor)
	}
	for _, a := range e.Alerts {
		fmt.Fprintf(&b, "| %s r%d %s %d ", a.Kind, a.Revision, a.Status, a.AmountMinor)
	}
	return strings.TrimSpace(b.String() + "| " + strings.TrimPrefix(e.Status.String(), "STATUS_"))
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		history script
		want    string
	}{
		{"A100", "pending authorization 100@0 | sale owed 100 settled 0 open 100 | UNKNOWN"},
		{"A100 now", "authorization 100@0 | sale owed 100 settled 0 open 100 | OPEN"},
		{"A100 due", "authorization 100@0 | sale owed 100 settled 0 open 100 | paid_unsettled r1 OPEN 100 | UNSETTLED"},
		{"A100 due S60", "authorization 100@0 pending settlement 60@2 | sale owed 100 settled 60 open 40 | paid_unsettled r1 OPEN 100 | UNSETTLED"},
		{"S100 A100 due", "settlement 100@0 authorization 100@1 | sale owed 100 settled 100 open 0 | SETTLED"},
		{"C100(1) S60 S60 now", "capture 100@0 settlement 60@1 settlement 60@2 | 1 owed 100 settled 100 open 0 | settled_twice r1 OPEN 20 | SETTLED_TWICE"},
	} {
		if got := show(explained(t, c.history)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.history, got, c.want)
		}
	}
}

// TestExplainSaysWhatThePublishedAlertSays: id, due time and arithmetic are those
// of the alert, and the place is the commit's.
func TestExplainSaysWhatThePublishedAlertSays(t *testing.T) {
	s, out := fold(t, testConfig(nil), script("A100 due").records(t, testKey))
	c := stored(t, s, 1)
	_, e := explainedAt(t, c)
	a := out.Alerts[0]
	if p := e.Alerts[0]; p.ID != a.ID || p.Kind != alert.PaidUnsettled || p.Capture != a.Capture {
		t.Errorf("published %+v, the alert is %+v", p, a)
	}
	if o := e.Captures[0]; o.Due == nil || *o.Due != *a.Due || o.EvidenceDueMs != tuesday12 || o.HeldUntilMs != Never {
		t.Errorf("due %+v, the alert's is %+v", e.Captures[0], a.Due)
	}
	want := Place{LogOffset: 41, Rules: "test", Group: "all", FrontierMs: tuesday12 + 1, Holder: authorizationFeed}
	if e.Place != want || e.JudgedMs != tuesday12 || e.NextMs != Never || e.Status != payment.Status_STATUS_UNSETTLED {
		t.Errorf("place %+v, judged %d, next %d", e.Place, e.JudgedMs, e.NextMs)
	}
	if f := e.Judged[0]; f.Source != authorizationFeed || f.ID.String() != a.Evidence[0].EventID {
		t.Errorf("fact %+v, evidence %+v", f, a.Evidence[0])
	}
}

// TestPick: the last entry stands, a removal removes, and another payment of the
// same bucket is another.
func TestPick(t *testing.T) {
	s, out := fold(t, testConfig(nil), script("A100 now").records(t, testKey))
	r := NewRecorder(s)
	first, err := r.Commit(1, Position{})
	if err != nil {
		t.Fatal(err)
	}
	first = lasting(first)
	// Another feed's offsets, so that the records are no repeats.
	for _, rec := range script("now now S100 now").records(t, testKey) {
		if err := s.Step(rec, out); err != nil {
			t.Fatal(err)
		}
	}
	second, err := r.Commit(2, Position{})
	if err != nil {
		t.Fatal(err)
	}
	bucket := bucketValue(first, BucketOf(testKey))
	for _, c := range []struct {
		name   string
		bucket []byte
		deltas [][]byte
		facts  int
	}{
		{"bucket alone", bucket, nil, 1},
		{"the delta stands over the bucket", bucket, [][]byte{second.Delta}, 2},
		{"a delta that the bucket holds already", bucket, [][]byte{first.Delta, second.Delta}, 2},
		{"no bucket yet", nil, [][]byte{first.Delta}, 1},
	} {
		packed, err := Pick(testKey, c.bucket, c.deltas)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		e, err := Explain(second.Meta, packed)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(e.Judged) + len(e.Pending); n != c.facts {
			t.Errorf("%s: %d facts, want %d", c.name, n, c.facts)
		}
	}
	removal := func(sequence byte) []byte {
		b := deltaOf(byte(len(testKey))<<2 | changeRemoved)
		b[0] = sequence
		return append(b, testKey...)
	}
	for name, deltas := range map[string][][]byte{"removed": {first.Delta, removal(2)}, "never there": nil} {
		if _, err := Pick(testKey, nil, deltas); !errors.Is(err, ErrUnknownPayment) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Pick(testKey, nil, [][]byte{removal(0), first.Delta}); err != nil {
		t.Errorf("a life after a removal: %v", err)
	}
	if _, err := Pick("acq1|o|2", nil, [][]byte{first.Delta}); !errors.Is(err, ErrUnknownPayment) {
		t.Errorf("another key: %v", err)
	}
}

// What is shown of a payment lasts, though its memory is taken for another.
func TestExplainKeeps(t *testing.T) {
	s, _ := fold(t, testConfig(nil), script("A100 due S60").records(t, testKey))
	c := stored(t, s, 1)
	packed, e := explainedAt(t, c)
	before := fmt.Sprintf("%+v", e)
	for i := range packed {
		packed[i] = '?'
	}
	if after := fmt.Sprintf("%+v", e); after != before || !strings.Contains(before, string(testKey)) {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
}

// TestExplainDamage: damaged bytes are errors, never a panic.
func TestExplainDamage(t *testing.T) {
	s, _ := fold(t, testConfig(nil), script("A100 due S60").records(t, testKey))
	c := stored(t, s, 1)
	packed, err := Pick(testKey, nil, [][]byte{c.Delta})
	if err != nil {
		t.Fatal(err)
	}
	for n := range packed {
		// Between two pending facts nothing is missing that could be missed.
		if e, err := Explain(c.Meta, packed[:n]); err == nil && len(e.Pending) > 0 {
			t.Errorf("%d bytes of a payment are taken whole", n)
		}
	}
	whole := map[int]bool{sequenceBytes: true} // where a change ends
	for u := (unpacker{b: c.Delta[sequenceBytes:]}); len(u.b) > 0; whole[len(c.Delta)-len(u.b)] = true {
		if _, err := u.change(); err != nil {
			t.Fatal(err)
		}
	}
	for n := range c.Delta {
		if _, err := Pick(testKey, nil, [][]byte{c.Delta[:n]}); !whole[n] && (err == nil || errors.Is(err, ErrUnknownPayment)) {
			t.Errorf("%d bytes of a delta are taken", n)
		}
	}
	if _, err := Explain([]byte("{"), packed); err == nil {
		t.Error("a meta that is no JSON is taken")
	}
	if _, err := Explain([]byte(`{"format":99}`), packed); !errors.Is(err, ErrNewerState) {
		t.Errorf("a newer format: %v", err)
	}
	if p, err := Standing(c.Meta, event.PaymentKey("nobody|o|1")); err != nil || p.LogOffset != 41 || p.Group != "all" {
		t.Errorf("standing %+v, %v", p, err)
	}
}
