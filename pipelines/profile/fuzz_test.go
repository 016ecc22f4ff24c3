package profile_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"settlewatch/pipelines/profile"
)

// fuzzRead holds what every reader promises: it ends, lines never go back, a
// record is refused or not, and the same bytes give the same records.
func fuzzRead(f *testing.F, p *profile.Profile, name string, seeds ...string) {
	if text, err := os.ReadFile(filepath.Join("testdata", name)); err == nil {
		f.Add(text)
	}
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		line, rows := 0, 0
		for r, err := range p.Read(name, bytes.NewReader(text)) {
			if err != nil {
				break
			}
			rows++
			if r.Line < line || r.Line < 1 || r.Line > bytes.Count(text, []byte("\n"))+bytes.Count(text, []byte("\r"))+1 {
				t.Fatalf("line %d after %d", r.Line, line)
			}
			line = r.Line
			if r.Err != nil && len(r.Events) > 0 {
				t.Fatal("refused, and with events")
			}
			for _, e := range r.Events {
				if e.PaymentKey == "" || len(e.Id) != 16 {
					t.Fatalf("an event without a name: %v", e)
				}
			}
		}
		if again := p.Check(name, bytes.NewReader(text), 0, 0); again.Rows > rows && again.File == nil {
			t.Fatalf("%d records, then %d", rows, again.Rows)
		}
		_, _ = p.Decode(text, 0) // must not panic; whether it is a record is its own business
	})
}

func FuzzCSV(f *testing.F) {
	fuzzRead(f, load(f, "lotus-bank.yaml"), "lotus_settle_20250924.csv")
}

func FuzzPlainCSV(f *testing.F) {
	fuzzRead(f, smallProfile(f, "o", "g", "format: csv;csv: {footer: 1, comment: '#'}"), "f", "o,g\n1,2\n\"a\nb\",3\n", "o,g\r\"\n")
}

func FuzzJSON(f *testing.F) {
	fuzzRead(f, load(f, "harbor-psp.yaml"), "harbor-2025-09-23.json", `{"report":{"accounts":[{"transactions":[{}]}]}}`)
}

func FuzzJSONLines(f *testing.F) {
	fuzzRead(f, smallProfile(f, "o", "g", "format: jsonl"), "f", "{\"o\":1,\"g\":2}\n[]\n")
}

func FuzzXML(f *testing.F) {
	fuzzRead(f, load(f, "meridian.yaml"), "batch77.advice.xml", `<Advice><Batch id="x"><Entry flag="C"/></Batch></Advice>`)
}

func FuzzDocumented(f *testing.F) {
	fuzzRead(f, profile.Documented(), "f", `{"arrival":"2025-09-22T09:30:00.123Z","record":{"type":"capture"}}`)
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"lotus-bank.yaml", "harbor-psp.yaml", "meridian.yaml"} {
		text, err := os.ReadFile(filepath.Join(profiles, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(good))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := profile.Parse(text)
		if (p == nil) == (err == nil) {
			t.Fatalf("%v, %v", p, err)
		}
		if p != nil {
			_, _ = p.Decode([]byte(`{"o":1}`), 0) // must not panic
		}
	})
}
