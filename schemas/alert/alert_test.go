package alert_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
)

var update = flag.Bool("update", false, "rewrite the golden files that exist")

// samples are one alert of every shape, by the name of its golden file.
func samples() map[string]*alert.Alert {
	life := event.NewID("sample", "life")
	line := event.NewID("sample", "line")
	due := &alert.Due{
		Cycle: "T+1", ClearingDate: "2025-10-01", MoneyDue: "2025-10-09", EvidenceDue: "2025-10-09T04:00:00.000Z",
		Zone: "Asia/Shanghai", Calendar: "cn-working-days@2026.1",
		Arithmetic: "paid 2025-09-30 23:10, after the cut-off 23:00: cleared 2025-10-01; T+1: 2025-10-09",
	}
	unsettled := alert.Alert{
		ID:   alert.ID(alert.PaidUnsettled, "umpay|o|A-1", life, "sale"),
		Kind: alert.PaidUnsettled, Revision: 1, Status: alert.Open,
		PaymentKey: "umpay|o|A-1", Capture: "sale", Acquirer: "umpay", Merchant: "M<&>1", Terminal: "T1", Channel: "qr",
		AmountMinor: 10_000, Currency: "CNY",
		Amounts:      alert.Amounts{ObligationMinor: 10_000},
		MomentJudged: "2025-10-09T04:00:00.000Z", Due: due, Stage: "paid_out",
		Rules: alert.Rules{Name: "standard", Config: 3, JoinVersion: 1},
		Evidence: []alert.Evidence{{
			Kind: "authorization", EventID: life.String(), AmountMinor: 10_000,
			Topic: "raw.authorization.v1", Partition: 1, Offset: 41, Index: 0,
		}},
		EvidenceTotal: 1,
	}

	resolved := unsettled
	resolved.Revision, resolved.Status = 2, alert.Resolved
	resolved.Amounts.SettledMinor = 10_000
	resolved.MomentJudged = "2025-10-11T01:30:00.500Z"
	resolved.Closing = &alert.Closing{Reason: "settled", EventID: line.String(), DaysLate: 2}
	resolved.Evidence = append(unsettled.Evidence[:1:1], alert.Evidence{
		Kind: "settlement", EventID: line.String(), AmountMinor: 10_000,
		Topic: "raw.settlement.v1", Partition: 0, Offset: 9_007_199_254_740_993, Index: 2,
	})
	resolved.EvidenceTotal = 2

	twice := alert.Alert{
		ID:   alert.ID(alert.SettledTwice, "umpay|r|000123|T9|2025-10-09", life, ""),
		Kind: alert.SettledTwice, Revision: 1, Status: alert.Open,
		PaymentKey: "umpay|r|000123|T9|2025-10-09", Acquirer: "umpay", Merchant: "M2",
		AmountMinor: 2_000, Currency: "JPY",
		Amounts:      alert.Amounts{ObligationMinor: 10_000, SettledMinor: 12_000, RefundedMinor: 500},
		MomentJudged: "2025-10-10T00:00:00.000Z", Stage: "cleared",
		Rules: alert.Rules{Name: "standard", Config: 0, JoinVersion: 1},
		Evidence: []alert.Evidence{
			{Kind: "capture", EventID: life.String(), AmountMinor: 10_000, Topic: "raw.capture.v1", Offset: 1},
			{Kind: "settlement", EventID: line.String(), AmountMinor: 12_000, Topic: "raw.settlement.v1", Offset: 2},
		},
		EvidenceTotal: 40,
	}

	retracted := twice
	retracted.Revision, retracted.Status = 2, alert.Retracted
	retracted.Closing = &alert.Closing{Reason: "corrected"}

	reconciled := unsettled
	reconciled.Evidence = []alert.Evidence{{
		Kind: "authorization", EventID: life.String(), AmountMinor: 10_000,
		File: "2025-09/sales.csv", Line: 70_001, Reference: "A-1", Index: 1,
	}}

	return map[string]*alert.Alert{
		"paid_unsettled_in_files": &reconciled,
		"paid_unsettled_open":     &unsettled,
		"paid_unsettled_resolved": &resolved,
		"settled_twice_open":      &twice,
		"settled_twice_retracted": &retracted,
	}
}

// The bytes are the promise: a change here changes every alert ever published,
// and wants a new alert.Version.
func TestEncodeGolden(t *testing.T) {
	for name, a := range samples() {
		t.Run(name, func(t *testing.T) {
			body, err := a.Encode()
			if err != nil {
				t.Fatal(err)
			}
			var headers strings.Builder
			for _, h := range a.Headers() {
				fmt.Fprintf(&headers, "%s: %s\n", h.Key, h.Value)
			}
			golden(t, name+".json", append(body, '\n'))
			golden(t, name+".headers", []byte(headers.String()))

			back, err := alert.Decode(body)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, a) {
				t.Errorf("decoded\n%+v, was\n%+v", back, a)
			}
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("a golden file that is missing is a failure: %v", err)
	}
	if bytes.Equal(got, want) {
		return
	}
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is\n%s, want\n%s", path, got, want)
}

func TestIDTellsApart(t *testing.T) {
	life, other := event.NewID("a"), event.NewID("b")
	ids := map[string]string{}
	for name, id := range map[string]string{
		"this":          alert.ID(alert.PaidUnsettled, "k|o|1", life, "c1"),
		"other kind":    alert.ID(alert.SettledTwice, "k|o|1", life, "c1"),
		"other payment": alert.ID(alert.PaidUnsettled, "k|o|2", life, "c1"),
		"other life":    alert.ID(alert.PaidUnsettled, "k|o|1", other, "c1"),
		"other capture": alert.ID(alert.PaidUnsettled, "k|o|1", life, "c2"),
		"no capture":    alert.ID(alert.PaidUnsettled, "k|o|1", life, ""),
	} {
		if twin, taken := ids[id]; taken {
			t.Errorf("%q and %q have the same id", name, twin)
		}
		ids[id] = name
	}
}

func TestEveryKindHasATopicOfItsOwn(t *testing.T) {
	seen := map[string]alert.Kind{}
	for _, kind := range alert.Kinds {
		name := kind.Topic().Name
		if want := "alerts." + strings.ReplaceAll(string(kind), "_", "-") + ".v1"; name != want {
			t.Errorf("%s goes to %s, want %s", kind, name, want)
		}
		if other, taken := seen[name]; taken {
			t.Errorf("%s and %s share %s", kind, other, name)
		}
		seen[name] = kind
	}
}

func FuzzDecode(f *testing.F) {
	for _, a := range samples() {
		body, err := a.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte(`{"due":null,"evidence":[{}],"revision":4294967295}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := alert.Decode(body)
		if err != nil {
			return
		}
		first, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := alert.Decode(first)
		if err != nil {
			t.Fatalf("its own encoding: %v", err)
		}
		second, err := back.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Fatalf("encoded and decoded:\n%s, was\n%s", second, first)
		}
		if !json.Valid(first) {
			t.Fatalf("not JSON: %s", first)
		}
	})
}

// A subscriber keeps the highest revision of each id: repeats and lower
// revisions that come later change nothing.
func ExampleDecode() {
	highest := map[string]uint32{}
	receive := func(body []byte) {
		a, err := alert.Decode(body)
		if err != nil {
			fmt.Println(err)
			return
		}
		if a.Revision <= highest[a.ID] {
			return
		}
		highest[a.ID] = a.Revision
		fmt.Println(a.PaymentKey, a.Status, a.AmountMinor, a.Currency)
	}
	receive([]byte(`{"id":"1f","revision":1,"status":"OPEN","payment_key":"umpay|o|A-1","amount_minor":10000,"currency":"CNY"}`))
	receive([]byte(`{"id":"1f","revision":2,"status":"RESOLVED","payment_key":"umpay|o|A-1","amount_minor":10000,"currency":"CNY"}`))
	receive([]byte(`{"id":"1f","revision":1,"status":"OPEN","payment_key":"umpay|o|A-1","amount_minor":10000,"currency":"CNY"}`))
	// Output:
	// umpay|o|A-1 OPEN 10000 CNY
	// umpay|o|A-1 RESOLVED 10000 CNY
}
