package traffic

import (
	"bytes"
	"testing"

	"settlewatch/pipelines/join"
	"settlewatch/pipelines/oracle"
	"settlewatch/schemas/alert"
)

// TestTheOracleAgrees: the second implementation of the rules gives the bytes of
// the first, revision by revision, on the traffic of five seeds.
func TestTheOracleAgrees(t *testing.T) {
	for seed := range uint64(5) {
		records := history(t, generator(t, Options{Seed: seed + 1, Payments: 2000}))
		state, out := join.New(), new(join.Output)
		for _, r := range records {
			if err := state.Step(r, out); err != nil {
				t.Fatal(err)
			}
		}
		want, err := oracle.Alerts(records)
		if err != nil {
			t.Fatal(err)
		}
		if len(want) == 0 || len(want) != len(out.Alerts) {
			t.Fatalf("seed %d: the oracle has %d revisions, the join %d", seed+1, len(want), len(out.Alerts))
		}
		for i := range want {
			if a, b := body(t, want[i]), body(t, out.Alerts[i]); !bytes.Equal(a, b) {
				t.Fatalf("seed %d, revision %d: the oracle has\n%s\nthe join\n%s", seed+1, i, a, b)
			}
		}
	}
}

func body(t *testing.T, a *alert.Alert) []byte {
	t.Helper()
	b, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
