package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/profile"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/demo"
	"settlewatch/tools/reconcile"
)

// What a shop's PSP and its bank have sent: an order that is settled in time, two
// that are not by different terms, one settled twice, one late. A row is left out,
// another cannot be read.
const (
	harborCaptures = `{"report":{"generated_at":"2025-09-22T12:00:00Z","accounts":[{"merchant":"m-1","transactions":[
{"id":"t1","state":"captured","reference":"SETTLED","terms":"standard","amount":{"value":10000,"currency":"CNY"},"times":{"captured":"2025-09-22T10:00:00+08:00"}},
{"id":"t2","state":"captured","reference":"FAST","terms":"fast","amount":{"value":2000,"currency":"CNY"},"times":{"captured":"2025-09-26T10:00:00+08:00"}},
{"id":"t3","state":"captured","reference":"STANDARD","terms":"standard","amount":{"value":3000,"currency":"CNY"},"times":{"captured":"2025-09-26T10:00:00+08:00"},"card":{"scheme":"x"}},
{"id":"t4","state":"failed"}]},{"merchant":"m-2","transactions":[
{"id":"t5","state":"captured","reference":"TWICE","amount":{"value":4000,"currency":"CNY"},"times":{"captured":"2025-09-22T10:00:00+08:00"}},
{"id":"t6","state":"captured","reference":"LATE","amount":{"value":5000,"currency":"CNY"},"times":{"captured":"2025-09-22T10:00:00+08:00"}}]}]}}
`
	bankLines = `L1|SETTLED|100.00|0.60|成功|2025-09-23 09:30:00|
L2|TWICE|40.00||成功|2025-09-23 09:30:00|
L3|TWICE|40.00||成功|2025-09-24 09:30:00|再次
L4|STANDARD|30.00||失败|2025-09-24 09:30:00|
L5|LATE|fifty||成功|2025-09-24 09:30:00|
L5|LATE|50.00|0.30|成功|2025-09-25 09:30:00|
`
	harborFile, bankFile = "harbor-1.json", "bank-1.csv"
)

// TestProfiles: the ingest services read vendors' records by a profile, and the
// alerts are those of `reconcile` over the same files with the same profile.
func TestProfiles(t *testing.T) {
	profilePath, err := filepath.Abs(filepath.Join("testdata", "harbor-and-bank.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(profilePath)
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := simplifiedchinese.GB18030.NewEncoder().String(bankLines)
	if err != nil {
		t.Fatal(err)
	}
	asOf := time.Date(2025, 10, 20, 0, 0, 0, 0, time.UTC).UnixMilli()
	abilities, err := demo.Abilities()
	if err != nil {
		t.Fatal(err)
	}
	config := ruleset.Default(abilities, playedSources(p)...)
	want := reconciled(t, p, config, asOf, map[string]string{harborFile: harborCaptures, bankFile: lines})

	w := startUnder(t, config, nil, func(o *demo.PlatformOptions) {
		setting := []string{"SETTLEWATCH_PROFILE=" + profilePath}
		o.ServiceEnvironment = map[string][]string{"capture": setting, "settlement": setting}
	})
	// A document is one record; of the bank each row.
	w.writeAll(topic.RawCapture, stage.Record{Value: []byte(harborCaptures), TimeMs: arrivalsOf(t, p, harborFile, harborCaptures)[0]})
	arrivals, rows := arrivalsOf(t, p, bankFile, lines), strings.SplitAfter(strings.TrimSuffix(lines, "\n"), "\n")
	var records []stage.Record
	for i, row := range rows {
		records = append(records, stage.Record{Value: []byte(row), TimeMs: arrivals[i]})
	}
	w.writeAll(topic.RawSettlement, records...)
	for _, raw := range []topic.Topic{topic.RawAuthorization, topic.RawCapture, topic.RawSettlement} {
		for n := range raw.Partitions {
			mark := stage.Record{TimeMs: asOf, Headers: []stage.Header{{Key: stage.MarkHeader, Value: []byte(strconv.FormatInt(asOf, 10))}}}
			if err := w.Bus.Append(w.ctx, stage.Outgoing{Topic: raw.Name, Partition: int32(n), Records: []stage.Record{mark}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.until("all alerts are there, and all events are in ClickHouse", func() bool {
		s, err := w.Warehouse.Summary(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		got := w.collector.Collected()
		return len(got.Lines()) >= len(want.Alerts) && len(got.Letters) > 0 && s.Events == uint64(want.Summary.Events) && s.Holds()
	})
	collected := w.collector.Collected()
	var got, wanted []string
	for _, a := range want.Alerts {
		wanted = append(wanted, withoutPlaces(t, a))
	}
	for _, revisions := range collected.Alerts {
		for _, revision := range revisions {
			got = append(got, withoutPlaces(t, revision.Alert))
		}
	}
	slices.Sort(got)
	slices.Sort(wanted)
	if len(wanted) < 4 || !slices.Equal(got, wanted) {
		t.Errorf("the alerts are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wanted, "\n"))
	}
	if all := strings.Join(got, "\n"); !strings.Contains(all, `"cycle":"D+1"`) || !strings.Contains(all, `"cycle":"T+1"`) {
		t.Error("the terms of the records have no effect")
	}
	if len(collected.Letters) != 1 {
		t.Errorf("%d dead letters", len(collected.Letters))
	}
	for _, l := range collected.Letters {
		if l.Profile != p.String() || l.Path != "gross" || l.Source.Topic != topic.RawSettlement.Name || l.Source.Offset != 4 {
			t.Errorf("dead letter %+v", l)
		}
	}
}

// playedSources are the raw partitions: captures and settlement by the profile.
func playedSources(p *profile.Profile) []*event.ExpectedSource {
	var out []*event.ExpectedSource
	for raw, by := range map[topic.Topic]string{
		topic.RawAuthorization: boot.Documented, topic.RawCapture: p.String(), topic.RawSettlement: p.String(),
	} {
		service, _ := topic.ReadBy(raw.Name)
		for n := range raw.Partitions {
			name := service + "/" + raw.Name + "/" + strconv.Itoa(n) + "/" + by
			out = append(out, &event.ExpectedSource{Name: name, Clock: event.Clock_CLOCK_PLAYED})
		}
	}
	return out
}

// reconciled is what the command finds in the files.
func reconciled(t *testing.T, p *profile.Profile, config *event.Config, asOf int64, files map[string]string) *reconcile.Report {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	r, err := reconcile.Run(t.Context(), reconcile.Options{Files: paths, Profile: p, Config: config, AsOfMs: asOf})
	if err != nil {
		t.Fatal(err)
	}
	if r.Summary.Rejected != 1 {
		t.Fatalf("%d rows are rejected", r.Summary.Rejected)
	}
	return r
}

// arrivalsOf the records of a file, by the profile. One that has none arrives with
// the one before it.
func arrivalsOf(t *testing.T, p *profile.Profile, name, text string) (arrivalsMs []int64) {
	t.Helper()
	line := 0
	for r, err := range p.Read(name, strings.NewReader(text)) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Line == line {
			continue // another event of the row
		}
		line = r.Line
		if r.ArrivalMs == 0 {
			r.ArrivalMs = arrivalsMs[len(arrivalsMs)-1]
		}
		arrivalsMs = append(arrivalsMs, r.ArrivalMs)
	}
	return arrivalsMs
}

// writeAll appends raw records with the arrivals that they have.
func (w *world) writeAll(raw topic.Topic, records ...stage.Record) {
	w.t.Helper()
	if err := w.Bus.Append(w.ctx, stage.Outgoing{Topic: raw.Name, Records: records}); err != nil {
		w.t.Fatal(err)
	}
}

// A service whose profile cannot read its feed does not start, and says why.
func TestProfileOfAnotherFeed(t *testing.T) {
	path, err := filepath.Abs(filepath.Join("..", "..", "deploy", "profiles", "lotus-bank.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(patient(t), binary(t, "capture"), "--profile", path, "--card-key-id", "k")
	cmd.Env = append(os.Environ(), "SETTLEWATCH_CARD_KEY=bm90IGEgc2VjcmV0LCBhIHRlc3Qh", "SETTLEWATCH_HTTP_ADDR=off")
	out, _ := cmd.CombinedOutput() // its status says it
	said, status := string(out), cmd.ProcessState.ExitCode()
	for _, want := range []string{"profile lotus-bank@1 cannot read the " + intake.Capture.String() + " feed", "line 30: kind: line is no record"} {
		if status != 2 || !strings.Contains(said, want) {
			t.Errorf("status %d, %s\nwant 2 and %q", status, said, want)
		}
	}
}
