package join

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"settlewatch/schemas/event"
)

// drawPiled is an event as Whole takes it; of the wild ones, few fit into the fixed places.
func drawPiled(t *rapid.T) pendingFact {
	number, text := rapid.Int64Range(0, 3), rapid.SampledFrom([]string{"", "m", "t1"})
	currencies, sources := []string{"CNY", "THB"}, []int{0, 300}
	if rapid.IntRange(0, 2).Draw(t, "wild") == 0 {
		number = rapid.OneOf(rapid.Int64Range(-3, 3), rapid.SampledFrom([]int64{
			math.MaxUint32, math.MaxUint32 + 1, math.MaxInt32, math.MaxInt32 + 1, math.MinInt32, math.MinInt32 - 1, math.MaxInt64, math.MinInt64,
		}))
		text = rapid.SampledFrom([]string{"", "merchant", string(make([]byte, 255)), string(make([]byte, 256))})
		currencies, sources = []string{"CNY", "", "XAU"}, []int{0, math.MaxUint16, math.MaxUint16 + 1}
	}
	f := pendingFact{
		fact: fact{
			kind: event.Kind(rapid.IntRange(0, len(event.Kind_name)-1).Draw(t, "kind")), operation: event.Operation(rapid.IntRange(0, 3).Draw(t, "operation")),
			outcome: event.Outcome(rapid.IntRange(0, len(event.Outcome_name)-1).Draw(t, "outcome")),
			mode:    event.Mode(rapid.IntRange(0, len(event.Mode_name)-1).Draw(t, "mode")), stage: event.Stage(rapid.IntRange(0, len(event.Stage_name)-1).Draw(t, "stage")),
			currency: rapid.SampledFrom(currencies).Draw(t, "currency"), amount: number.Draw(t, "amount"),
			approved: absent, total: absent, stays: absent, holdUntil: absent,
			source: rapid.SampledFrom(sources).Draw(t, "source"), offset: number.Draw(t, "offset"),
		},
		arrival: number.Draw(t, "arrival"), merchant: text.Draw(t, "merchant"), terminal: text.Draw(t, "terminal"), channel: text.Draw(t, "channel"),
	}
	f.effective = f.arrival
	copy(f.id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	if f.hasBusiness = rapid.Bool().Draw(t, "has business"); f.hasBusiness {
		f.business = f.arrival + number.Draw(t, "business")
	}
	f.capture = rapid.SampledFrom([]string{"", "", f.id.String(), f.id.String(), "1"}).Draw(t, "capture")
	if rapid.Bool().Draw(t, "approved") {
		f.approved = rapid.SampledFrom([]int64{f.amount, f.amount, 5}).Draw(t, "as")
	}
	return f
}

// TestPiled: an entry gives the event back that it was made of, in whatever form and
// wherever it stands, and says whose it is.
func TestPiled(t *testing.T) {
	forms := map[byte]int{}
	rapid.Check(t, func(t *rapid.T) {
		p := pile{}
		var want []pendingFact
		var keys []string
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			f := drawPiled(t)
			key := rapid.SampledFrom([]string{"", "acq1|o|1", string(make([]byte, 255)), string(make([]byte, 3000))}).Draw(t, "key")
			p.add(key, uint32(len(want)), &f)
			want, keys = append(want, f), append(keys, key)
		}
		n := 0
		for _, chunk := range append(p.full, p.last) {
			for len(chunk) > 0 {
				e := piled(chunk[:piled(chunk).size()])
				chunk = chunk[len(e):]
				got, names := pendingFact{merchant: "of before"}, []byte(nil)
				if !e.read(&got, &names) || got != want[n] {
					t.Fatalf("entry %d\n%+v\nwant\n%+v", n, got, want[n])
				}
				if string(e.key()) != keys[n] || e.hash() != uint32(n) {
					t.Fatalf("entry %d is of %q, want %q", n, e.key(), keys[n])
				}
				forms[e[piledFormAt]]++
				n++
			}
		}
		if n != len(want) {
			t.Fatalf("%d entries of %d events", n, len(want))
		}
	})
	for _, form := range []byte{isPiledPacked, 0, piledBusiness, piledBusiness | piledCaptureIsID, piledApproved} {
		if forms[form] == 0 {
			t.Errorf("no entry of form %b", form)
		}
	}
}

// TestPiledBounds: just what fits is not packed, and either comes back.
func TestPiledBounds(t *testing.T) {
	for name, c := range map[string]struct {
		edit   func(f *pendingFact)
		packed bool
	}{
		"ordinary":              {func(*pendingFact) {}, false},
		"the last offset":       {func(f *pendingFact) { f.offset = math.MaxUint32 }, false},
		"an offset too many":    {func(f *pendingFact) { f.offset = math.MaxUint32 + 1 }, true},
		"an offset below":       {func(f *pendingFact) { f.offset = -1 }, true},
		"the last source":       {func(f *pendingFact) { f.source = math.MaxUint16 }, false},
		"a source too many":     {func(f *pendingFact) { f.source = math.MaxUint16 + 1 }, true},
		"business far later":    {func(f *pendingFact) { f.business = f.arrival + math.MaxInt32 }, false},
		"business too late":     {func(f *pendingFact) { f.business = f.arrival + math.MaxInt32 + 1 }, true},
		"business far earlier":  {func(f *pendingFact) { f.business = f.arrival + math.MinInt32 }, false},
		"business too early":    {func(f *pendingFact) { f.business = f.arrival + math.MinInt32 - 1 }, true},
		"no business":           {func(f *pendingFact) { f.business, f.hasBusiness = 0, false }, false},
		"a long text":           {func(f *pendingFact) { f.terminal = string(make([]byte, 255)) }, false},
		"a text too long":       {func(f *pendingFact) { f.terminal = string(make([]byte, 256)) }, true},
		"texts beyond a chunk":  {func(f *pendingFact) { f.merchant, f.terminal = string(make([]byte, 255)), string(make([]byte, 255)) }, true},
		"later than it came":    {func(f *pendingFact) { f.effective++ }, true},
		"with a clearing date":  {func(f *pendingFact) { f.hasClearing = true }, true},
		"a part was approved":   {func(f *pendingFact) { f.approved = 99 }, true},
		"all of it is approved": {func(f *pendingFact) { f.approved = 100 }, false},
		"its own name":          {func(f *pendingFact) { f.capture = f.id.String() }, false},
		"another name":          {func(f *pendingFact) { f.capture = "1" }, true},
		"a correction":          {func(f *pendingFact) { f.replaces[3] = 1 }, true},
		"takes back":            {func(f *pendingFact) { f.takesBack[15] = 1 }, true},
		"a target":              {func(f *pendingFact) { f.target = 1 }, true},
		"a difference":          {func(f *pendingFact) { f.delta = true }, true},
		"incremental":           {func(f *pendingFact) { f.incremental = true }, true},
		"net":                   {func(f *pendingFact) { f.netOnly = true }, true},
		"a cycle":               {func(f *pendingFact) { f.cycle = "T+1" }, true},
		"a total":               {func(f *pendingFact) { f.total = 0 }, true},
		"a part stays":          {func(f *pendingFact) { f.stays = 0 }, true},
		"a hold":                {func(f *pendingFact) { f.holdUntil = 0 }, true},
		"a fee":                 {func(f *pendingFact) { f.fee = 1 }, true},
		"an index":              {func(f *pendingFact) { f.index = 1 }, true},
		"a date":                {func(f *pendingFact) { f.settlement, f.hasDate = 20514, true }, true},
		"a generation":          {func(f *pendingFact) { f.generation = 1 }, true},
	} {
		f := pendingFact{fact: fact{
			kind: event.Kind_KIND_AUTHORIZATION, currency: "CNY", amount: 100, approved: absent, total: absent, stays: absent, holdUntil: absent,
		}, arrival: monday10, effective: monday10, business: monday10, hasBusiness: true}
		c.edit(&f)
		e := piled(appendPiled(make([]byte, 0, pileEntryMost), "acq1|o|1", 7, &f))
		var got pendingFact
		if packed := e[piledFormAt]&isPiledPacked != 0; packed != c.packed || !e.read(&got, nil) || got != f {
			t.Errorf("%s: packed %v\n%+v\nwant %v\n%+v", name, packed, got, c.packed, f)
		}
	}
}
