package conformance_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"settlewatch/pipelines/subscribe/conformance"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/alert/fold"
)

// ours is schemas/alert/fold as a service would use it: what it took is stored before
// it acts, and read again at the start. flaw is a bug that is planted in it.
type ours struct {
	path  string
	flaw  string
	fold  fold.Fold
	taken []conformance.Record
	acted map[string]uint32
}

func open(t *testing.T, dir, flaw string) conformance.Consumer {
	t.Helper()
	o := &ours{path: filepath.Join(dir, "taken.json"), flaw: flaw, acted: map[string]uint32{}}
	text, err := os.ReadFile(o.path)
	if errors.Is(err, os.ErrNotExist) || flaw == "forgets" {
		return o
	}
	if err == nil {
		err = json.Unmarshal(text, &o.taken)
	}
	for _, r := range o.taken {
		a, decodeErr := alert.Decode([]byte(r.Value))
		if decodeErr != nil {
			t.Fatal(decodeErr)
		}
		_, err = o.fold.Add(a.ID, a.Revision, []byte(r.Value))
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *ours) Close() error { return nil }

func (o *ours) Take(_ context.Context, r conformance.Record) ([]conformance.Told, error) {
	a, err := alert.Decode([]byte(r.Value))
	if err != nil {
		return nil, err
	}
	verdict, err := o.fold.Add(a.ID, a.Revision, []byte(r.Value))
	told := conformance.Told{ID: a.ID, Revision: a.Revision, Status: a.Status, AmountMinor: a.AmountMinor}
	switch o.flaw {
	case "keeps a lower revision":
		if verdict == fold.Late {
			verdict = fold.Fresh
		}
	case "tells twice":
		if verdict == fold.Repeat {
			verdict = fold.Fresh
		}
	case "ignores retractions":
		if a.Status == alert.Retracted {
			verdict = fold.Repeat
		}
	case "takes another body":
		err = nil
	case "strict about fields":
		decoder := json.NewDecoder(strings.NewReader(r.Value))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(new(alert.Alert)); err != nil {
			return nil, err
		}
	case "amounts as doubles":
		told.AmountMinor = int64(float64(a.AmountMinor))
	case "wants revision 1 first":
		if _, known := o.acted[a.ID]; !known && a.Revision != 1 {
			return nil, errors.New("a first revision that is not 1")
		}
	}
	if err != nil || verdict != fold.Fresh {
		return nil, err
	}
	o.acted[a.ID] = a.Revision
	o.taken = append(o.taken, r)
	text, err := json.Marshal(o.taken)
	if err == nil {
		err = os.WriteFile(o.path, text, 0o600)
	}
	return []conformance.Told{told}, err
}

func TestOurFoldConforms(t *testing.T) {
	conformance.Run(t, func(t *testing.T, dir string) conformance.Consumer { t.Helper(); return open(t, dir, "") })
}

// Each bug breaks a case, and the case says which.
func TestBugsAreCaught(t *testing.T) {
	for flaw, want := range map[string]string{
		"keeps a lower revision": "a lower revision comes late: it acted on",
		"tells twice":            "every record comes twice: it acted twice on",
		"ignores retractions":    "a retraction is acted on: it did not act on",
		"forgets":                "what was handled comes again after a restart: it acted twice on",
		"takes another body":     "one revision with two bodies is refused: it took two different bodies",
		"strict about fields":    "unknown fields and headers are ignored: life 1: record 1: json: unknown field",
		"amounts as doubles":     "amounts are whole numbers of 64 bits: it acted on",
		"wants revision 1 first": "a first revision that is not 1: life 1: record 1",
	} {
		var broken []string
		for _, c := range conformance.Cases() {
			err := conformance.Play(t.Context(), c, t.TempDir(), func(dir string) (conformance.Consumer, error) { return open(t, dir, flaw), nil })
			if err != nil {
				broken = append(broken, c.Name+": "+err.Error())
			}
		}
		if all := strings.Join(broken, "\n"); !strings.Contains(all, want) {
			t.Errorf("%s breaks\n%s\nwant %q", flaw, all, want)
		}
	}
}
