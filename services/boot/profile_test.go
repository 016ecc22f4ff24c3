package boot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/event"
	"settlewatch/services/health"
	"settlewatch/services/telemetry"
)

const vendorProfiles = "../../deploy/profiles"

// readProfileSetting is what a service of one feed makes of --profile.
func readProfileSetting(t *testing.T, path string, feed intake.Feed) (*reading, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags, NeedProfile)
	if path != "" {
		if err := flags.Parse([]string{"--profile", path}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Read(flags, NeedProfile)
	if err != nil {
		return nil, err
	}
	h := health.New(health.Options{})
	return readsBy(&Run{Settings: s, Health: h, Metrics: telemetry.NewMetrics("settlement", h, nil)}, feed)
}

func TestProfileSetting(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("profile: p\nversion: 0\nfiles: []\nx: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lotus := filepath.Join(vendorProfiles, "lotus-bank.yaml")
	for _, c := range []struct {
		path, group string
		feed        intake.Feed
		wrong       []string
	}{
		{"", "settlewatch.capture.documented@1", intake.Capture, nil},
		{"documented", "settlewatch.settlement.documented@1", intake.Settlement, nil},
		{lotus, "settlewatch.settlement.lotus-bank@1", intake.Settlement, nil},
		{lotus, "", intake.Capture, []string{"settings", "profile lotus-bank@1 cannot read the capture feed", "line 30: kind: line is no record of the capture feed"}},
		{filepath.Join(vendorProfiles, "none.yaml"), "", intake.Capture, []string{"profile (--profile): open", "no such file"}},
		{broken, "", intake.Capture, []string{"profile (--profile): ", "broken.yaml:\n", "line 2: version", "line 4: x"}},
	} {
		r, err := readProfileSetting(t, c.path, c.feed)
		if (err == nil) != (c.wrong == nil) {
			t.Errorf("%s for %s: %v", c.path, c.feed, err)
			continue
		}
		for _, want := range c.wrong {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s for %s: %v, want %q", c.path, c.feed, err, want)
			}
		}
		if err == nil && GroupIngest(c.feed, r.String()) != c.group {
			t.Errorf("%s for %s: group %s, want %s", c.path, c.feed, GroupIngest(c.feed, r.String()), c.group)
		}
	}
	if got := (&reading{name: Profile, version: ProfileVersion}).String(); got != Documented {
		t.Errorf("%s is not %s", Documented, got)
	}
}

// A record that a profile cannot read is one dead letter: which field of the vendor's
// was wrong, by which profile, and the text without the card number.
func TestDeadLetterOfAProfile(t *testing.T) {
	r, err := readProfileSetting(t, filepath.Join(vendorProfiles, "harbor-psp.yaml"), intake.Capture)
	if err != nil {
		t.Fatal(err)
	}
	raw := []byte(`{"report":{"generated_at":"2025-09-23T20:00:00Z","accounts":[{"merchant":"m","transactions":[
{"id":"tx_1","state":"captured","amount":{"value":12.5,"currency":"EUR"},"times":{"captured":"2025-09-23T10:00:00Z"},"card":{"number":"4111111111111111"}},
{"id":"tx_2","state":"failed"},
{"id":"tx_3","state":"captured","reference":"A","amount":{"value":7,"currency":"EUR"},"times":{"captured":"2025-09-23T10:00:00Z"}}]}]}}`)
	reads, err := r.intake()
	if err != nil {
		t.Fatal(err)
	}
	events, reason := reads.Events(raw, nil)
	var decode *intake.DecodeError
	if len(events) != 0 || !errors.As(reason, &decode) {
		t.Errorf("region is missing: %d events, %v", len(events), reason)
	}
	raw = []byte(strings.Replace(string(raw), `"merchant"`, `"region":"eu","merchant"`, 1))
	if events, reason = reads.Events(raw, nil); len(events) != 1 || reason == nil {
		t.Fatalf("%d events, %v", len(events), reason)
	}
	record, err := reads.DeadLetter(event.Source{Service: "capture", Topic: "raw.capture.v1", Partition: 1, Profile: r.name, Version: r.version},
		stage.Record{Value: raw, Offset: 7, TimeMs: 8}, reason)
	if err != nil {
		t.Fatal(err)
	}
	l, err := deadletter.Decode(record.Value)
	if err != nil {
		t.Fatal(err)
	}
	if l.Profile != "harbor-psp@1" || l.Path != "amount.value" || l.Source.Offset != 7 || l.ArrivalMs != 8 ||
		strings.Contains(string(record.Value), "4111111111111111") || !strings.Contains(string(record.Value), "411111******1111") {
		t.Errorf("%s", record.Value)
	}
}
