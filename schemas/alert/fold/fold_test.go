package fold

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestVerdicts(t *testing.T) {
	type record struct {
		id       string
		revision uint32
		body     string
		want     Verdict
	}
	for name, records := range map[string][]record{
		"in order":        {{"a", 1, "x", Fresh}, {"a", 2, "y", Fresh}, {"b", 1, "x", Fresh}},
		"repeated":        {{"a", 1, "x", Fresh}, {"a", 1, "x", Repeat}, {"a", 2, "y", Fresh}, {"a", 1, "x", Repeat}, {"a", 2, "y", Repeat}},
		"late":            {{"a", 3, "z", Fresh}, {"a", 1, "x", Late}, {"a", 2, "y", Late}, {"a", 4, "w", Fresh}},
		"late, repeated":  {{"a", 2, "y", Fresh}, {"a", 1, "x", Late}, {"a", 1, "x", Repeat}},
		"revisions skip":  {{"a", 1, "x", Fresh}, {"a", 5, "y", Fresh}},
		"ids are apart":   {{"a", 2, "x", Fresh}, {"b", 1, "x", Fresh}, {"a", 1, "y", Late}},
		"highest of uint": {{"a", 1<<32 - 1, "x", Fresh}, {"a", 1, "y", Late}},
	} {
		t.Run(name, func(t *testing.T) {
			var f Fold
			for i, r := range records {
				got, err := f.Add(r.id, r.revision, []byte(r.body))
				if err != nil || got != r.want {
					t.Errorf("record %d, %s revision %d: %v, %v; want %v", i, r.id, r.revision, got, err, r.want)
				}
			}
		})
	}
}

func TestDifference(t *testing.T) {
	var f Fold
	mustAdd(t, &f, "a", 2, "open")
	mustAdd(t, &f, "a", 1, "early")
	for revision := uint32(1); revision <= 2; revision++ {
		_, err := f.Add("a", revision, []byte("other"))
		var difference *DifferenceError
		if !errors.As(err, &difference) || difference.ID != "a" || difference.Revision != revision {
			t.Errorf("revision %d with another body: %v", revision, err)
		}
	}
	if v := mustAdd(t, &f, "a", 2, "open"); v != Repeat {
		t.Errorf("after the difference the first body is %v", v)
	}
	if _, err := f.Add("a", 0, nil); err == nil {
		t.Error("revision 0 was taken")
	}
	if _, err := f.Add("", 1, nil); err == nil {
		t.Error("an empty id was taken")
	}
	if got := f.IDs(); !slices.Equal(got, []string{"a"}) || f.Highest("a") != 2 || f.Highest("b") != 0 {
		t.Errorf("remembered %v, highest %d", got, f.Highest("a"))
	}
}

// Whatever order and repeats the records come in, what a subscriber ends with is
// the highest revision, and Fresh ones rise.
func FuzzHighestStands(f *testing.F) {
	f.Add([]byte{1, 2, 1, 3, 2})
	f.Fuzz(func(t *testing.T, order []byte) {
		var fold Fold
		highest, last := map[string]uint32{}, map[string]uint32{}
		for _, b := range order {
			id, revision := fmt.Sprint("id", b%3), uint32(b/3)+1
			v := mustAdd(t, &fold, id, revision, fmt.Sprint(id, revision))
			highest[id] = max(highest[id], revision)
			if v == Fresh {
				if revision <= last[id] {
					t.Fatalf("%s: fresh revision %d after %d", id, revision, last[id])
				}
				last[id] = revision
			}
			if last[id] != highest[id] || fold.Highest(id) != highest[id] {
				t.Fatalf("%s stands at %d, came up to %d", id, last[id], highest[id])
			}
		}
	})
}

func mustAdd(t *testing.T, f *Fold, id string, revision uint32, body string) Verdict {
	t.Helper()
	v, err := f.Add(id, revision, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
