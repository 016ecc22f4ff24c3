package traffic

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"

	"settlewatch/pipelines/calendar"
)

func generator(t testing.TB, opt Options) *Generator {
	t.Helper()
	g, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func fingerprint(g *Generator) string {
	h := sha256.New()
	var n [8]byte
	number := func(v int64) { binary.BigEndian.PutUint64(n[:], uint64(v)); h.Write(n[:]) }
	for r := range g.Records() {
		h.Write([]byte(r.Topic))
		for _, v := range []int64{int64(r.Partition), r.TimeMs, r.WriteMs, int64(len(r.Key)), int64(len(r.Value)), int64(len(r.Headers))} {
			number(v)
		}
		h.Write(r.Key)
		h.Write(r.Value)
		for _, header := range r.Headers {
			h.Write([]byte(header.Key))
			h.Write(header.Value)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

func TestSameOptionsSameBytes(t *testing.T) {
	for _, clean := range []bool{false, true} {
		opt := Options{Seed: 7, Payments: 2000, Clean: clean}
		g := generator(t, opt)
		first := fingerprint(g)
		if again := fingerprint(g); again != first {
			t.Errorf("clean %t: a second pass gives other bytes", clean)
		}
		if other := fingerprint(generator(t, opt)); other != first {
			t.Errorf("clean %t: a second generator gives other bytes", clean)
		}
		opt.Seed = 8
		if other := fingerprint(generator(t, opt)); other == first {
			t.Errorf("clean %t: another seed gives the same bytes", clean)
		}
	}
}

type place struct {
	topic     string
	partition int32
}

// TestOrder: written in order, arrivals in a partition never go back, and no
// mark speaks of what comes after it.
func TestOrder(t *testing.T) {
	for name, opt := range map[string]Options{
		"planted": {Seed: 3, Payments: 5000},
		"clean":   {Seed: 3, Payments: 5000, Days: 30, Clean: true},
		"marks at the end of a pause": {
			Seed: 3, Payments: 5000, Clean: true,
			Pauses: []Pause{{Feed: FeedSettlement, From: localMs(calendar.DateOf(2025, 9, 24), 9*hourMs+1), To: localMs(calendar.DateOf(2025, 9, 24), 15*hourMs)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := generator(t, opt)
			var written int64
			lastTime, lastMark := map[place]int64{}, map[place]int64{}
			for r := range g.Records() {
				at := place{r.Topic, r.Partition}
				if r.WriteMs < written || r.WriteMs < r.TimeMs {
					t.Fatalf("written %d after %d, arrived %d", r.WriteMs, written, r.TimeMs)
				}
				written = r.WriteMs
				if r.TimeMs < lastTime[at] {
					t.Fatalf("%v: arrival %d after %d", at, r.TimeMs, lastTime[at])
				}
				lastTime[at] = r.TimeMs
				if !r.IsMark() {
					if r.TimeMs < lastMark[at] {
						t.Fatalf("%v: mark %d spoke of a record that arrived at %d", at, lastMark[at], r.TimeMs)
					}
					continue
				}
				mark, err := strconv.ParseInt(string(r.Headers[0].Value), 10, 64)
				if err != nil || r.Headers[0].Key != MarkHeader || len(r.Value) != 0 {
					t.Fatalf("%v: mark %+v: %v", at, r, err)
				}
				if mark <= lastMark[at] {
					t.Fatalf("%v: mark %d after %d", at, mark, lastMark[at])
				}
				lastMark[at] = mark
			}
			if len(lastMark) != 6 {
				t.Errorf("%d partitions have marks, want 6", len(lastMark))
			}
			for at, mark := range lastMark {
				if mark != g.EndMs() {
					t.Errorf("%v: last mark %d, want %d", at, mark, g.EndMs())
				}
			}
		})
	}
}

// TestPauses: a silent feed writes nothing, the others go on.
func TestPauses(t *testing.T) {
	g := generator(t, Options{Seed: 1, Payments: 60_000, Days: 30, Clean: true})
	pauses := g.Options().Pauses
	if len(pauses) != 4 {
		t.Fatalf("%d pauses", len(pauses))
	}
	heldBack, others := make([]int, len(pauses)), make([]int, len(pauses))
	for r := range g.Records() {
		for i, p := range pauses {
			if r.WriteMs >= p.From && r.WriteMs < p.To {
				if r.Feed == p.Feed {
					t.Fatalf("pause %d: %s wrote at %d", i, r.Topic, r.WriteMs)
				}
				others[i]++
			}
			if r.Feed == p.Feed && r.WriteMs == p.To && r.TimeMs < p.To {
				heldBack[i]++
			}
		}
	}
	if heldBack[3] == 0 || heldBack[0]+heldBack[1]+heldBack[2] != 0 {
		t.Errorf("held back %v, want only the last pause to hold back", heldBack)
	}
	if slices.Min(others) == 0 {
		t.Errorf("records of others during the pauses: %v", others)
	}
	if _, err := New(Options{Pauses: []Pause{{Late: true}}}); err == nil {
		t.Error("a late pause among planted cases is accepted; their truth would be wrong")
	}
}

// TestCounts: the truth's numbers are those of the records.
func TestCounts(t *testing.T) {
	for _, payments := range []int{1, 200, 20_000} {
		g := generator(t, Options{Seed: 5, Payments: payments})
		truth := g.Truth()
		keys := map[string]bool{}
		records, marks := 0, 0
		for r := range g.Records() {
			if r.IsMark() {
				marks++
				continue
			}
			records++
			var fields struct {
				Acquirer, OrderID, RRN, TerminalID, PaymentDate string
			}
			raw := map[string]any{}
			if json.Unmarshal(r.Value, &raw) != nil {
				continue
			}
			fields.Acquirer, _ = raw["acquirer"].(string)
			if order, ok := raw["order_id"].(string); ok {
				keys[fields.Acquirer+"|o|"+order] = true
			} else {
				rrn, _ := raw["rrn"].(string)
				terminal, _ := raw["terminal_id"].(string)
				on, _ := raw["payment_date"].(string)
				keys[fields.Acquirer+"|r|"+rrn+"|"+terminal+"|"+on] = true
			}
		}
		if records != truth.Events+truth.DeadLetterTotal() {
			t.Errorf("%d payments: %d records, want %d + %d", payments, records, truth.Events, truth.DeadLetterTotal())
		}
		if len(keys) < truth.Payments {
			t.Errorf("%d payments: %d keys, want at least %d", payments, len(keys), truth.Payments)
		}
		for _, e := range truth.Alerts {
			if !keys[e.PaymentKey] {
				t.Errorf("%d payments: expected alert about %q, which no record names", payments, e.PaymentKey)
			}
		}
		if marks == 0 || len(truth.Cases) != len(plantedCases) {
			t.Errorf("%d payments: %d marks, %d of %d cases", payments, marks, len(truth.Cases), len(plantedCases))
		}
		if len(truth.DeadLetters) == 0 || truth.DeadLetterTotal() < len(malformedKinds) {
			t.Errorf("%d payments: %d dead letters of %d kinds", payments, truth.DeadLetterTotal(), len(malformedKinds))
		}
	}
}

func TestCleanExpectsNothing(t *testing.T) {
	truth := generator(t, Options{Seed: 5, Payments: 3000, Days: 30, Clean: true}).Truth()
	if len(truth.Alerts) != 0 || truth.DeadLetterTotal() != 0 || truth.Payments != 3000 {
		t.Errorf("truth %+v", truth)
	}
	for _, c := range ordinaryCases {
		if len(c.Want) != 0 || c.Weight == 0 {
			t.Errorf("ordinary case %q wants %v, weight %d", c.Name, c.Want, c.Weight)
		}
	}
}

// TestEveryNumberedCase: 1 to 49 but 33 and 34, each with its number first.
func TestEveryNumberedCase(t *testing.T) {
	names, numbers := map[string]bool{}, map[int]bool{}
	for _, c := range plantedCases {
		if names[c.Name] || c.Words == "" || len(c.Steps) == 0 {
			t.Errorf("case %q: twice, or without words or steps", c.Name)
		}
		names[c.Name] = true
		if n, err := strconv.Atoi(c.Name[:2]); err == nil {
			numbers[n] = true
		}
	}
	for n := 1; n <= 49; n++ {
		if numbers[n] == (n == 33 || n == 34) {
			t.Errorf("case %d: present %t", n, numbers[n])
		}
	}
}

// TestSettleDays holds the generator's own count to the golden dates.
func TestSettleDays(t *testing.T) {
	g := generator(t, Options{Start: calendar.DateOf(2025, time.September, 22), Payments: 1})
	for moment, want := range map[string]string{
		"2025-09-26T12:00:00+08:00": "2025-09-28", // a make-up Sunday
		"2025-09-30T22:59:59+08:00": "2025-10-09",
		"2025-09-30T23:10:00+08:00": "2025-10-09",
		"2025-09-29T23:00:00+08:00": "2025-10-09",
		"2025-09-29T22:59:59+08:00": "2025-09-30",
	} {
		at, err := time.Parse(time.RFC3339, moment)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.settleDay(clearingDate(at.UnixMilli(), "pos"), 1); got.String() != want {
			t.Errorf("%s settles on %s, want %s", moment, got, want)
		}
	}
	if got := clearingDate(localMs(calendar.DateOf(2025, 9, 29), 23*hourMs), "qr"); got.String() != "2025-09-29" {
		t.Errorf("a qr payment at 23:00 clears on %s", got)
	}
}

func TestPermutation(t *testing.T) {
	for _, n := range []uint64{1, 2, 3, 10, 97, 1000, 99_991} {
		p := newPermutation(n, 12345)
		seen := make([]bool, n)
		for i := range n {
			r := p.rank(i)
			if seen[r] || p.index(r) != i {
				t.Fatalf("n %d: index %d, rank %d, back %d", n, i, r, p.index(r))
			}
			seen[r] = true
		}
	}
}

func TestLive(t *testing.T) {
	g := generator(t, Options{Seed: 5, Payments: 2000})
	from := g.EndMs()
	records, marks := 0, 0
	last, lastMark := from, from
	for r := range g.Live(0) {
		if r.TimeMs < last {
			t.Fatalf("arrival %d after %d", r.TimeMs, last)
		}
		last = r.TimeMs
		if r.IsMark() {
			marks++
			if r.TimeMs < lastMark || r.TimeMs > lastMark+5*minuteMs {
				t.Fatalf("mark %d after %d", r.TimeMs, lastMark)
			}
			lastMark = r.TimeMs
		} else if r.TimeMs < lastMark {
			t.Fatalf("mark %d spoke of a record that arrived at %d", lastMark, r.TimeMs)
		}
		if records++; records == 20_000 {
			break
		}
	}
	if marks == 0 || records < 20_000 {
		t.Errorf("%d records, %d marks", records, marks)
	}
	// Without a break it ends where the calendar ends.
	end := int64(0)
	for r := range generator(t, Options{Payments: 100}).Live(localMs(calendar.DateOf(2026, 9, 1), 0)) {
		end = r.TimeMs
	}
	if y := localDate(end).Year(); y != 2026 {
		t.Errorf("live traffic ends in %d", y)
	}
}

func TestBadOptions(t *testing.T) {
	for name, opt := range map[string]Options{
		"payments":  {Payments: -1},
		"days":      {Days: 1000},
		"marks":     {MarkEvery: time.Millisecond},
		"calendar":  {Start: calendar.DateOf(2030, 1, 1)},
		"its end":   {Start: calendar.DateOf(2026, 12, 1), Days: 30},
		"partition": {Partitions: [3]int{-1, 0, 0}},
	} {
		if _, err := New(opt); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	records := 0
	for b.Loop() {
		for range generator(b, Options{Seed: 7, Payments: 100_000}).Records() {
			records++
		}
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
}
