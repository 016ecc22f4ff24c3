package reconcile_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"settlewatch/pipelines/calendar"
	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/join"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
	"settlewatch/tools/reconcile"
	"settlewatch/tools/traffic"
)

func abilities() ruleset.Abilities {
	return ruleset.Abilities{JoinVersion: join.Version, TZData: calendar.TZDataVersion, Calendar: traffic.CalendarVersion}
}

// streamed folds the generator's records as the services do: in the order in
// which a loader writes, with its marks, as one partition of the log.
func streamed(t *testing.T, g *traffic.Generator) (alerts []*alert.Alert, refused int) {
	t.Helper()
	key := intake.TokenKey{ID: "test", Secret: []byte("0123456789abcdef")}
	decoders := map[traffic.Feed]*intake.Decoder{
		traffic.FeedAuthorization: intake.NewDecoder(intake.Authorization, key),
		traffic.FeedCapture:       intake.NewDecoder(intake.Capture, key),
		traffic.FeedSettlement:    intake.NewDecoder(intake.Settlement, key),
	}
	state, out := join.New(), new(join.Output)
	step := func(r *event.LogRecord) {
		if err := state.Step(r, out); err != nil {
			t.Fatal(err)
		}
	}
	step(&event.LogRecord{
		Origin: &event.Origin{Source: "config/config.v1/0/config@1"},
		Body:   &event.LogRecord_Config{Config: traffic.Config(abilities(), g.Sources("documented", 1)...)},
	})
	offsets := map[string]int64{}
	for r := range g.Records() {
		source := event.Source{Service: r.Feed.Service(), Topic: r.Topic, Partition: r.Partition, Profile: "documented", Version: 1}.String()
		record := &event.LogRecord{Origin: &event.Origin{Source: source, Offset: offsets[source]}, ArrivalMs: r.TimeMs}
		offsets[source]++
		if r.IsMark() {
			ms, err := strconv.ParseInt(string(r.Headers[0].Value), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			record.Body = &event.LogRecord_Mark{Mark: &event.Mark{TMs: ms}}
		} else if e, err := decoders[r.Feed].Decode(r.Value); err == nil {
			record.Body = &event.LogRecord_Event{Event: e}
		} else {
			refused++
			continue
		}
		step(record)
	}
	if state.Pending() {
		t.Fatal("the stream's last mark leaves payments unjudged")
	}
	return out.Alerts, refused
}

// withoutPlaces are the alerts as sorted lines, without where their evidence lies.
func withoutPlaces(t *testing.T, alerts []*alert.Alert) []string {
	t.Helper()
	var lines []string
	for _, a := range alerts {
		bare := *a
		bare.Evidence = slices.Clone(a.Evidence)
		for i := range bare.Evidence {
			e := &bare.Evidence[i]
			e.Topic, e.Partition, e.Offset, e.File, e.Line, e.Reference = "", 0, 0, "", 0, ""
		}
		b, err := bare.Encode()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(b))
	}
	slices.Sort(lines)
	return lines
}

func sameLines(t *testing.T, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	shown := 0
	for _, line := range got {
		if _, found := slices.BinarySearch(want, line); !found && shown < 3 {
			shown++
			t.Errorf("only in the files: %s", line)
		}
	}
	for _, line := range want {
		if _, found := slices.BinarySearch(got, line); !found && shown < 6 {
			shown++
			t.Errorf("only in the stream: %s", line)
		}
	}
	t.Errorf("%d revisions from files, %d from the stream", len(got), len(want))
}

// TestFilesGiveTheAlertsOfTheStream: the same alerts, revision by revision, with
// the same ids, amounts, due times and moments.
func TestFilesGiveTheAlertsOfTheStream(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			g, err := traffic.New(traffic.Options{Seed: seed, Payments: 3000})
			if err != nil {
				t.Fatal(err)
			}
			want, refused := streamed(t, g)
			files, err := g.WriteFiles(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			r, err := reconcile.Run(t.Context(), reconcile.Options{
				Files: files, Config: traffic.Config(abilities()), AsOfMs: g.EndMs(), Workers: int(seed),
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(want) == 0 {
				t.Fatal("the stream gave no alert: nothing is shown by equality")
			}
			sameLines(t, withoutPlaces(t, r.Alerts), withoutPlaces(t, want))
			truth := g.Truth()
			s := r.Summary
			if s.Events != truth.Events || s.Payments != truth.Payments || s.Rejected != refused ||
				refused != truth.DeadLetterTotal() || !s.IdentityHolds || s.AfterAsOf != 0 {
				t.Errorf("summary %+v; planted were %d events of %d payments, %d dead letters",
					s, truth.Events, truth.Payments, refused)
			}
			for _, a := range r.Alerts {
				for _, e := range a.Evidence {
					if e.File == "" || e.Line < 1 || e.Reference == "" || e.Topic != "" {
						t.Fatalf("evidence %+v of %s", e, a.ID)
					}
				}
			}
		})
	}
}

// TestOrderAndWorkersChangeNothing: a result is about the files, not about how
// they were named on the command line or how many processors there were.
func TestOrderAndWorkersChangeNothing(t *testing.T) {
	g, err := traffic.New(traffic.Options{Seed: 6, Payments: 1500})
	if err != nil {
		t.Fatal(err)
	}
	files, err := g.WriteFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var first []byte
	for workers := 1; workers <= 3; workers++ {
		slices.Reverse(files)
		r, err := reconcile.Run(t.Context(), reconcile.Options{
			Files: files, Config: traffic.Config(abilities()), AsOfMs: g.EndMs(), Workers: workers,
		})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := errors.Join(r.WriteJSON(&out), r.WriteText(&out, false)); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = out.Bytes()
		}
		if !bytes.Equal(out.Bytes(), first) {
			t.Errorf("%d workers give another result", workers)
		}
	}
}
