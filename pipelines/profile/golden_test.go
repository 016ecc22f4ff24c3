package profile_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/profile"
)

var update = flag.Bool("update", false, "write the golden files anew")

const profiles = "../../deploy/profiles"

var cardKey = intake.TokenKey{ID: "test", Secret: []byte("0123456789abcdef")}

func load(t testing.TB, name string) *profile.Profile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(profiles, name))
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines >= 60 {
		t.Errorf("%s has %d lines, want less than 60", name, lines)
	}
	p, err := profile.Parse(text)
	if err != nil {
		t.Fatalf("%s:\n%v", name, err)
	}
	return p.WithCardKey(cardKey)
}

// show writes records as text that a person can judge.
func show(t testing.TB, p *profile.Profile, name string, text []byte) string {
	t.Helper()
	var b strings.Builder
	for r, err := range p.Read(name, strings.NewReader(string(text))) {
		if err != nil {
			var file *profile.FileError
			if !errors.As(err, &file) {
				t.Fatalf("%T is no FileError", err)
			}
			fmt.Fprintf(&b, "ERROR %v\n", err)
			continue
		}
		switch {
		case r.Err != nil:
			fmt.Fprintf(&b, "%s:%d refused: %v\n    %s\n", r.File, r.Line, r.Err, strings.ReplaceAll(string(r.Raw), "\n", "\n    "))
		case r.Skipped():
			fmt.Fprintf(&b, "%s:%d left out\n", r.File, r.Line)
		}
		for _, e := range r.Events {
			fmt.Fprintf(&b, "%s:%d %s, arrived %s\n", r.File, r.Line, r.Feed, time.UnixMilli(r.ArrivalMs).UTC().Format(time.RFC3339Nano))
			text, err := protojson.MarshalOptions{Multiline: true, Indent: "  "}.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			// The encoder varies its white space on purpose.
			fmt.Fprintln(&b, strings.ReplaceAll(string(text), ":  ", ": "))
		}
	}
	return b.String()
}

func TestVendors(t *testing.T) {
	for _, c := range []struct{ profile, file string }{
		{"lotus-bank.yaml", "lotus_settle_20250924.csv"},
		{"harbor-psp.yaml", "harbor-2025-09-23.json"},
		{"meridian.yaml", "batch77.advice.xml"},
	} {
		t.Run(c.profile, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", c.file))
			if err != nil {
				t.Fatal(err)
			}
			got := show(t, load(t, c.profile), c.file, text)
			golden := filepath.Join("testdata", c.file+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}
