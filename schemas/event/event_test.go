package event_test

import (
	"strings"
	"testing"

	"settlewatch/schemas/event"
)

func TestNewIDKeepsPartsApart(t *testing.T) {
	ids := map[event.ID]string{}
	for _, parts := range [][]string{
		{}, {""}, {"", ""}, {"ab", "c"}, {"a", "bc"}, {"abc"}, {"abc", ""}, {"", "abc"}, {"a\x00b"}, {"a", "b"},
	} {
		id := event.NewID(parts...)
		if other, taken := ids[id]; taken {
			t.Errorf("%q and %s have the same id", parts, other)
		}
		ids[id] = strings.Join(parts, "·")
		if id != event.NewID(parts...) {
			t.Errorf("%q: the id is not always the same", parts)
		}
	}
}

// An id is in stored state, in alerts and in ClickHouse: how it is made may never change.
func TestNewIDGolden(t *testing.T) {
	for want, parts := range map[string][]string{
		"e6d9fd893be7662a2898cf0ef5ca5f9c": {"line", "umpay", "batch-1", "line-1"},
	} {
		if got := event.NewID(parts...).String(); got != want {
			t.Errorf("NewID(%q) = %s, want %s", parts, got, want)
		}
	}
}

func TestIDFromBytes(t *testing.T) {
	id := event.NewID("a")
	back, err := event.IDFromBytes(id[:])
	if err != nil || back != id {
		t.Errorf("IDFromBytes(id) = %v, %v", back, err)
	}
	for _, n := range []int{0, 1, 15, 17, 32} {
		if _, err := event.IDFromBytes(make([]byte, n)); err == nil {
			t.Errorf("an id of %d bytes was accepted", n)
		}
	}
	if id.IsZero() || !(event.ID{}).IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestPaymentKeyAcquirer(t *testing.T) {
	for key, want := range map[event.PaymentKey]string{
		"umpay|o|A-1":                "umpay",
		"umpay|r|123|T1|2026-01-02":  "umpay",
		"umpay":                      "umpay",
		"":                           "",
		"|o|A-1":                     "",
		"north.bank|o|with|in|order": "north.bank",
	} {
		if got := key.Acquirer(); got != want {
			t.Errorf("%q: acquirer %q, want %q", key, got, want)
		}
	}
}

func TestParseSource(t *testing.T) {
	source := event.Source{Service: "settlement", Topic: "raw.settlement.v1", Partition: 3, Profile: "documented", Version: 12}
	if got, want := source.String(), "settlement/raw.settlement.v1/3/documented@12"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	back, err := event.ParseSource(source.String())
	if err != nil || back != source {
		t.Errorf("ParseSource(%q) = %+v, %v", source, back, err)
	}
	for _, name := range []string{
		"", "a", "a/b/0", "a/b/0/p@1/x", "a/b/x/p@1", "a/b/-1/p@1", "a/b/2147483648/p@1", "a/b/0/p", "a/b/0/p@", "a/b/0/p@x",
		"a/b/0/p@-1", "a/b/0/p@4294967296",
	} {
		if got, err := event.ParseSource(name); err == nil {
			t.Errorf("ParseSource(%q) = %+v, want an error", name, got)
		}
	}
}

// A name that is read must be the name of what was read: two names for one
// source would be two positions for one reader's rule.
func FuzzParseSource(f *testing.F) {
	f.Add("settlement/raw.settlement.v1/3/documented@12")
	f.Add("a/b/00/p@01")
	f.Add("a/b/+1/p@1")
	f.Add("a/b/0/p@1@2")
	f.Fuzz(func(t *testing.T, name string) {
		source, err := event.ParseSource(name)
		if err != nil {
			return
		}
		if source.String() != name {
			t.Errorf("ParseSource(%q).String() = %q", name, source)
		}
	})
}
