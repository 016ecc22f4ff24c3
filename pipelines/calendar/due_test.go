package calendar

import (
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"settlewatch/schemas/event"
)

// at is an instant given in local time.
func at(t testing.TB, zoneName, text string) int64 {
	t.Helper()
	z := zoned(t, zoneName)
	return z.instant(day(t, text[:10]), clockMsOf(t, text[11:]))
}

func utc(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// The golden due dates: payment made at this local time, money due T+1.
func TestGoldenDueDates(t *testing.T) {
	for _, test := range []struct{ paid, clearing, due, about string }{
		{"2018-04-04 12:00", "2018-04-04", "2018-04-08", "tomb-sweeping days off, Sunday worked"},
		{"2020-04-06 22:59", "2020-04-06", "2020-04-07", "the last minute of a day off"},
		{"2020-04-06 23:00", "2020-04-07", "2020-04-08", "from 23:00 on it is the next day's"},
		{"2023-01-21 12:00", "2023-01-21", "2023-01-28", "spring festival, Saturday worked"},
		{"2023-01-27 12:00", "2023-01-27", "2023-01-28", "the festival's last day"},
		{"2025-01-25 12:00", "2025-01-25", "2025-01-26", "Sunday worked before the festival"},
		{"2025-09-30 23:10", "2025-10-01", "2025-10-09", "National Day, after the cut-off"},
		{"2025-09-30 22:59:59", "2025-09-30", "2025-10-09", "National Day, before the cut-off"},
		{"2026-01-02 23:10", "2026-01-03", "2026-01-04", "Sunday worked after New Year"},
		{"2026-02-13 22:59", "2026-02-13", "2026-02-14", "Saturday worked before the festival"},
		{"2026-02-13 23:00", "2026-02-14", "2026-02-24", "ten minutes later, ten days later"},
		{"2026-05-08 23:10", "2026-05-09", "2026-05-11", "Saturday worked, then Sunday off"},
	} {
		terms := compile(t)
		clearing := terms.ClearingDate(at(t, "Asia/Shanghai", test.paid), "pos")
		due, err := terms.Due(clearing, "")
		if err != nil {
			t.Errorf("%s: %v", test.about, err)
			continue
		}
		if clearing.String() != test.clearing || due.MoneyDue.String() != test.due {
			t.Errorf("%s: paid %s, clears %s (want %s), due %s (want %s)",
				test.about, test.paid, clearing, test.clearing, due.MoneyDue, test.due)
		}
		if want := test.due + "T04:00:00Z"; utc(due.EvidenceDueMs) != want {
			t.Errorf("%s: evidence due %s, want %s", test.about, utc(due.EvidenceDueMs), want)
		}
	}
}

func TestDueByCycleAndCounting(t *testing.T) {
	rollFirst := event.Counting_COUNTING_ROLL_FIRST
	for _, test := range []struct {
		cycle, clearing string
		counting        event.Counting
		due             string
	}{
		{"T+0", "2025-09-30", 0, "2025-09-30"}, // works
		{"T+0", "2025-10-01", 0, "2025-10-09"}, // off: the next working day
		{"T+2", "2025-09-30", 0, "2025-10-10"},
		{"T+3", "2025-09-30", 0, "2025-10-11"}, // Saturday worked
		{"T+4", "2025-09-30", 0, "2025-10-13"},
		{"T+1", "2025-10-04", 0, "2025-10-09"},
		{"T+1", "2025-10-04", rollFirst, "2025-10-10"}, // rolled to the 9th first
		{"T+1", "2025-09-30", rollFirst, "2025-10-09"}, // works: nothing to roll
		{"T+0", "2025-10-04", rollFirst, "2025-10-09"},
		{"D+0", "2025-10-01", 0, "2025-10-01"},
		{"D+1", "2025-09-30", 0, "2025-10-01"}, // never rolled
		{"D+1", "2025-10-04", rollFirst, "2025-10-05"},
		{"D+366", "2026-12-31", 0, "2028-01-01"},       // needs no calendar
		{"W+1", "2025-09-29", 0, "2025-10-09"},         // Monday; the week ends on the 5th
		{"W+1", "2025-10-05", 0, "2025-10-09"},         // the Sunday itself
		{"W+1", "2025-10-06", 0, "2025-10-13"},         // the Monday after
		{"W+2", "2025-11-05", 0, "2025-11-11"},         //
		{"W+1", "2025-10-05", rollFirst, "2025-10-09"}, // the week of the clearing date, not of the rolled one
		{"M+1", "2025-09-01", 0, "2025-10-09"},
		{"M+1", "2025-09-30", 0, "2025-10-09"},
		{"M+5", "2025-10-01", 0, "2025-11-07"},
		{"M+1", "2026-11-30", 0, "2026-12-01"},
	} {
		terms := compile(t, func(t *event.Terms) { t.PublishDays, t.Counting = 1, test.counting })
		due, err := terms.Due(day(t, test.clearing), test.cycle)
		if err != nil || due.MoneyDue.String() != test.due || due.Cycle != test.cycle {
			t.Errorf("%s, counting %d, clearing %s: due %s (%s, %v), want %s",
				test.cycle, test.counting, test.clearing, due.MoneyDue, due.Cycle, err, test.due)
		}
		if published := due.MoneyDue + 1; utc(due.EvidenceDueMs) != published.String()+"T04:00:00Z" {
			t.Errorf("%s of %s: evidence due %s", test.cycle, test.clearing, utc(due.EvidenceDueMs))
		}
	}
}

func TestDueBeyondTheCalendar(t *testing.T) {
	terms := compile(t, func(t *event.Terms) { t.PublishDays = 1 })
	for _, test := range []struct {
		clearing, cycle string
		year            int
	}{
		{"2026-12-31", "T+1", 2027},
		{"2026-12-30", "T+2", 2027},
		{"2026-12-01", "M+1", 2027},
		{"2026-12-28", "W+1", 2027},
		{"2027-03-01", "T+0", 2027},
		{"2030-03-01", "T+1", 2030},
		{"2017-12-31", "T+1", 2017},
		{"2017-12-31", "T+0", 2017},
	} {
		for range 2 { // computed, then remembered
			_, err := terms.Due(day(t, test.clearing), test.cycle)
			var unknown *UnknownYearError
			if !errors.As(err, &unknown) || unknown.Year != test.year {
				t.Errorf("%s of %s: got %v, want year %d", test.cycle, test.clearing, err, test.year)
			}
		}
	}
	for _, absurd := range []Date{math.MinInt32, math.MaxInt32} {
		if _, err := terms.Due(absurd, "D+1"); !errors.Is(err, ErrUnknownYear) {
			t.Errorf("%d: got %v", absurd, err)
		}
	}
}

func TestDueRefusesTheCycleOfAPayment(t *testing.T) {
	terms := compile(t)
	for _, cycle := range []string{"T+", "tomorrow", "T+1 ", "Z+1", "T+0", "D+0"} {
		if due, err := terms.Due(day(t, "2025-09-30"), cycle); !errors.Is(err, ErrCycle) {
			t.Errorf("%q: got %v, %v", cycle, due, err)
		}
	}
}

func TestClearingDateByChannelAndCutoff(t *testing.T) {
	early := func(t *event.Terms) {
		t.CutoffMs = ptr(2 * hourMs)
		t.ChannelCutoffs = []*event.ChannelCutoff{{Channel: "pos", CutoffMs: ptr(22 * hourMs)}}
	}
	none := func(t *event.Terms) { t.CutoffMs = nil }
	for _, test := range []struct {
		about   string
		change  func(*event.Terms)
		paid    string
		channel string
		want    string
	}{
		{"the last second", func(*event.Terms) {}, "2025-05-10 22:59:59", "pos", "2025-05-10"},
		{"the cut-off itself", func(*event.Terms) {}, "2025-05-10 23:00:00", "pos", "2025-05-11"},
		{"a channel without a cut-off", func(*event.Terms) {}, "2025-05-10 23:59:59", "qr", "2025-05-10"},
		{"no channel", func(*event.Terms) {}, "2025-05-10 23:59:59", "", "2025-05-11"},
		{"before 02:00 the cycle still closes today", early, "2025-05-10 01:59:59", "", "2025-05-10"},
		{"from 02:00 on it closes tomorrow", early, "2025-05-10 02:00:00", "", "2025-05-11"},
		{"at 10:00 too", early, "2025-05-10 10:00", "", "2025-05-11"},
		{"a channel with its own", early, "2025-05-10 10:00", "pos", "2025-05-10"},
		{"no cut-off at all", none, "2025-05-10 23:59:59", "pos", "2025-05-10"},
	} {
		terms := compile(t, test.change)
		if got := terms.ClearingDate(at(t, "Asia/Shanghai", test.paid), test.channel); got.String() != test.want {
			t.Errorf("%s: %s clears %s, want %s", test.about, test.paid, got, test.want)
		}
	}
}

func TestLocalDateSaturates(t *testing.T) {
	terms := compile(t)
	for ms, want := range map[int64]Date{math.MinInt64: minDate, math.MaxInt64: maxDate} {
		if got := terms.LocalDate(ms); got != want {
			t.Errorf("%d is of %s, want %s", ms, got, want)
		}
	}
	if got := terms.ClearingDate(math.MaxInt64, ""); got < maxDate {
		t.Errorf("the end of time clears %s", got)
	}
}

func newYork(changes ...func(*event.Terms)) []func(*event.Terms) {
	return append([]func(*event.Terms){func(t *event.Terms) {
		t.Zone, t.ChannelCutoffs = "America/New_York", nil
	}}, changes...)
}

// Where the clock changes, a cut-off and a publishing time that do not exist are
// shifted forward by the gap, and of two the first counts.
func TestClockChanges(t *testing.T) {
	cutoff := func(text string) func(*event.Terms) {
		return func(terms *event.Terms) { terms.CutoffMs = ptr(clockMsOf(t, text)) }
	}
	for _, test := range []struct{ cutoff, paid, want string }{
		{"02:30", "2025-03-09T06:59:59Z", "2025-03-09"}, // 01:59:59
		{"02:30", "2025-03-09T07:29:59Z", "2025-03-09"}, // 03:29:59, the cut-off is at 03:30
		{"02:30", "2025-03-09T07:30:00Z", "2025-03-10"},
		{"01:30", "2025-11-02T05:29:59Z", "2025-11-02"}, // the first 01:29:59
		{"01:30", "2025-11-02T05:30:00Z", "2025-11-03"}, // the first 01:30
		{"01:30", "2025-11-02T06:10:00Z", "2025-11-03"}, // 01:10 again, the cycle stays closed
		{"01:30", "2025-11-02T06:30:00Z", "2025-11-03"},
	} {
		paid, err := time.Parse(time.RFC3339, test.paid)
		if err != nil {
			t.Fatal(err)
		}
		terms := compile(t, newYork(cutoff(test.cutoff))...)
		if got := terms.ClearingDate(paid.UnixMilli(), ""); got.String() != test.want {
			t.Errorf("cut-off %s: paid %s, clears %s, want %s", test.cutoff, test.paid, got, test.want)
		}
	}
	terms := compile(t, newYork(func(t *event.Terms) { t.PublishMs, t.GraceMs = 2*hourMs+hourMs/2, 0 })...)
	due, err := terms.Due(day(t, "2025-03-08"), "D+1")
	if err != nil || utc(due.EvidenceDueMs) != "2025-03-09T07:30:00Z" {
		t.Errorf("published at 02:30 of a day without it: %s, %v", utc(due.EvidenceDueMs), err)
	}
}

func TestEvidenceIsNotDueBeforeTheCutoffWhenTheClockIsSetBack(t *testing.T) {
	terms := compile(t, newYork(func(t *event.Terms) {
		t.Cycle, t.PublishMs, t.GraceMs, t.CutoffMs = "D+0", hourMs/2, 3*hourMs, ptr(3*hourMs+hourMs/2)
	})...)
	due, err := terms.Due(day(t, "2025-11-02"), "")
	if err != nil || utc(due.EvidenceDueMs) != "2025-11-02T08:30:00Z" { // 03:30 local
		t.Errorf("evidence due %s, %v", utc(due.EvidenceDueMs), err)
	}
}

func TestClearingDateNeverRunsBackwards(t *testing.T) {
	shanghai, york := compile(t), compile(t, newYork(func(t *event.Terms) { t.CutoffMs = ptr(hourMs + hourMs/2) })...)
	rapid.Check(t, func(t *rapid.T) {
		terms := rapid.SampledFrom([]*Terms{shanghai, york}).Draw(t, "terms")
		ms := rapid.Int64Range(1_500_000_000_000, 1_800_000_000_000).Draw(t, "ms")
		later := ms + rapid.Int64Range(0, 2*dayMs).Draw(t, "later")
		first, second := terms.ClearingDate(ms, ""), terms.ClearingDate(later, "")
		if second < first {
			t.Fatalf("%d clears %s, %d clears %s", ms, first, later, second)
		}
		if local := terms.LocalDate(ms); first < local || first > local+1 {
			t.Fatalf("%d of %s clears %s", ms, local, first)
		}
	})
}

func TestDueProperties(t *testing.T) {
	letters := rapid.SampledFrom([]byte("TDWM"))
	rapid.Check(t, func(t *rapid.T) {
		counting := rapid.SampledFrom([]event.Counting{1, 2}).Draw(t, "counting")
		terms := compile2(t, func(t *event.Terms) { t.Counting, t.PublishDays = counting, 1 })
		c := cycle{letter: letters.Draw(t, "letter"), days: rapid.IntRange(1, 30).Draw(t, "days")}
		clearing := Date(rapid.Int32Range(int32(DateOf(2018, 1, 1)), int32(DateOf(2026, 9, 1))).Draw(t, "clearing"))
		due, err := terms.Due(clearing, c.String())
		if err != nil {
			t.Fatal(err)
		}
		if due.MoneyDue < clearing+Date(c.days) {
			t.Fatalf("%s of %s is due %s", c, clearing, due.MoneyDue)
		}
		if works, err := terms.calendar.Working(due.MoneyDue); c.letter != 'D' && (!works || err != nil) {
			t.Fatalf("%s of %s is due on a day off, %s", c, clearing, due.MoneyDue)
		}
		if tomorrow, err := terms.Due(clearing+1, c.String()); err != nil || tomorrow.MoneyDue < due.MoneyDue {
			t.Fatalf("%s of the day after %s is due %s, before %s (%v)", c, clearing, tomorrow.MoneyDue, due.MoneyDue, err)
		}
		c.days++
		if longer, err := terms.Due(clearing, c.String()); err != nil || longer.MoneyDue <= due.MoneyDue {
			t.Fatalf("%s of %s is due %s, not after %s (%v)", c, clearing, longer.MoneyDue, due.MoneyDue, err)
		}
		if again, err := terms.Due(clearing, due.Cycle); err != nil || again != due {
			t.Fatalf("remembered %v, computed %v (%v)", again, due, err)
		}
		if closes := terms.zone.instant(clearing, terms.latestCutoffMs); due.EvidenceDueMs < closes {
			t.Fatalf("evidence due %d, before the cut-off at %d", due.EvidenceDueMs, closes)
		}
	})
}

func compile2(t *rapid.T, change func(*event.Terms)) *Terms {
	terms, err := NewTerms(chinaTerms(change), calendars2026)
	if err != nil {
		t.Fatal(err)
	}
	return terms
}

// What is remembered for one cycle and date is never the answer to another.
func TestDueRemembersEachCycleOfItsOwn(t *testing.T) {
	ask := []string{"T+2", "", "D+1", "T+1", "W+1", "M+1", "T+2", "", "D+1"}
	shared := compile(t)
	for i, cycle := range append(ask, ask...) {
		clearing := day(t, "2025-09-30") + Date(i%2)
		want, err := compile(t).Due(clearing, cycle)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := shared.Due(clearing, cycle); err != nil || got != want {
			t.Errorf("%q of %s: remembered %v, %v, want %v", cycle, clearing, got, err, want)
		}
	}
}

func TestDueForgetsWhenItRemembersTooMuch(t *testing.T) {
	terms := compile(t)
	first, err := terms.Due(day(t, "2018-01-01"), "D+1")
	if err != nil {
		t.Fatal(err)
	}
	for i := range Date(2 * memoMax) {
		if _, err := terms.Due(day(t, "2018-01-01")+i, "D+1"); err != nil {
			t.Fatal(err)
		}
		if len(terms.memo) > memoMax {
			t.Fatalf("%d answers are remembered", len(terms.memo))
		}
	}
	if again, err := terms.Due(day(t, "2018-01-01"), "D+1"); err != nil || again != first {
		t.Fatalf("got %v, %v, want %v", again, err, first)
	}
}

func BenchmarkDue(b *testing.B) {
	terms := compile(b)
	ms := at(b, "Asia/Shanghai", "2025-09-30 23:10")
	b.ReportAllocs()
	for i := range b.N {
		clearing := terms.ClearingDate(ms+int64(i%1000)*1000, "pos")
		if _, err := terms.Due(clearing, ""); err != nil {
			b.Fatal(err)
		}
	}
}
