package traffic

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"settlewatch/pipelines/join"
)

// goldenAlerts are the sums of all bytes, in order, that the traffic of a seed
// gives as alerts and as payment snapshots. They change only where the rules or
// the contract do: never because the join became faster or keeps its state in
// another form.
var goldenAlerts = map[string]struct {
	options          Options
	alerts, payments int
	alertSum         string
	paymentSum       string
}{
	"all cases": {
		Options{Seed: 1, Payments: 3000},
		276, 7270,
		"777492127ec5b2681048100aeb611556f024e9aa12e3bb886ae22a0708b045a8",
		"dead741a4ecaf9560854f53e215b72ad848bc48eac275c2ba0019c0b41a21187",
	},
	"thirty days": {
		Options{Seed: 3, Payments: 3000, Days: 30},
		276, 7312,
		"e64bb5800f48d5264a97db1ab6ad8e87bd723feeba877cfd74c7adaab5dfccc3",
		"e30f024735e59e89346c5ce0140975af4bd12e253949368523a9760333997cb0",
	},
}

func TestAlertsAreTheSameBytes(t *testing.T) {
	for name, want := range goldenAlerts {
		t.Run(name, func(t *testing.T) {
			state, out := join.New(), new(join.Output)
			for _, r := range history(t, generator(t, want.options)) {
				if err := state.Step(r, out); err != nil {
					t.Fatal(err)
				}
			}
			alerts, payments := sha256.New(), sha256.New()
			for _, a := range out.Alerts {
				b, err := a.Encode()
				if err != nil {
					t.Fatal(err)
				}
				alerts.Write(append(b, '\n'))
			}
			for _, p := range out.Payments {
				b, err := p.MarshalVT()
				if err != nil {
					t.Fatal(err)
				}
				payments.Write(b)
			}
			if got := hex.EncodeToString(alerts.Sum(nil)); len(out.Alerts) != want.alerts || got != want.alertSum {
				t.Errorf("%d alerts with the sum %s, want %d with %s", len(out.Alerts), got, want.alerts, want.alertSum)
			}
			if got := hex.EncodeToString(payments.Sum(nil)); len(out.Payments) != want.payments || got != want.paymentSum {
				t.Errorf("%d snapshots with the sum %s, want %d with %s", len(out.Payments), got, want.payments, want.paymentSum)
			}
		})
	}
}
