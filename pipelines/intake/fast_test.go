package intake

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"settlewatch/schemas/event"
)

// ordinary are records as the benchmark's workload has them: one of each feed.
var ordinary = []struct {
	feed   Feed
	record string
}{
	{Authorization, `{"event_id":"e220a8397b1dcdaf","order_id":"000000000000","acquirer":"acq1","merchant_id":"m1000","terminal_id":"t10000","amount_minor":548217,"currency":"CNY","response_code":"00","mode":"dual","business_time":"2025-09-01T00:00:00.000Z","type":"authorization"}`},
	{Capture, `{"event_id":"6e789e6aa1b965f4","order_id":"000000000000","acquirer":"acq1","merchant_id":"m1000","terminal_id":"t10000","amount_minor":548217,"currency":"CNY","business_time":"2025-09-01T00:02:00.000Z","type":"capture"}`},
	{Settlement, `{"line_id":"06c45d188009454f","batch_id":"20250901","order_id":"000000000000","acquirer":"acq1","merchant_id":"m1000","terminal_id":"t10000","gross_minor":548217,"currency":"CNY","business_time":"2025-09-01T00:22:00.000Z","stage":"paid_out","type":"line"}`},
}

// strict decodes without the fast path.
func strict(d *Decoder, raw []byte) (*event.Event, error) {
	if len(raw) == 0 || len(raw) > MaxBytes {
		return d.Decode(raw) // refused before either path
	}
	d.record.reset(raw)
	defer d.record.forgetCard()
	if err := d.read(); err != nil {
		return nil, err
	}
	kind, err := d.check()
	if err != nil {
		return nil, err
	}
	return d.fill(kind, false), nil
}

// both holds the fast path to the strict one: the same event, the same bytes, the
// same error, and no card number left behind. The decoders live on, so that what
// one record leaves in them meets the next.
type both struct{ fast, lent, strict map[Feed]*Decoder }

func newBoth() both {
	b := both{map[Feed]*Decoder{}, map[Feed]*Decoder{}, map[Feed]*Decoder{}}
	for _, feed := range []Feed{Authorization, Capture, Settlement} {
		b.fast[feed], b.lent[feed], b.strict[feed] = NewDecoder(feed, testKey), NewDecoder(feed, testKey), NewDecoder(feed, testKey)
	}
	return b
}

func (b both) compare(t testing.TB, feed Feed, raw []byte) {
	t.Helper()
	before := bytes.Clone(raw)
	want, wantErr := strict(b.strict[feed], raw)
	fast, fastErr := b.fast[feed].Decode(raw)
	lent, lentErr := b.lent[feed].Borrow(raw)
	if !bytes.Equal(before, raw) {
		t.Fatal("the record was changed")
	}
	for _, got := range []struct {
		way string
		e   *event.Event
		err error
	}{{"Decode", fast, fastErr}, {"Borrow", lent, lentErr}} {
		var refusal, wantRefusal *DecodeError
		errors.As(got.err, &refusal)
		errors.As(wantErr, &wantRefusal)
		if (refusal == nil) != (wantRefusal == nil) || refusal != nil && *refusal != *wantRefusal {
			t.Fatalf("%s: %v, strict: %v\n%s", got.way, got.err, wantErr, raw)
		}
		if (got.e == nil) != (want == nil) {
			t.Fatalf("%s: %v, strict: %v\n%s", got.way, got.e, want, raw)
		}
		if want == nil {
			continue
		}
		gotBytes, err := got.e.MarshalVT()
		wantBytes, wantErr := want.MarshalVT()
		if err != nil || wantErr != nil || !bytes.Equal(gotBytes, wantBytes) || !proto.Equal(got.e, want) {
			t.Fatalf("%s: %v\nstrict: %v\n%s", got.way, got.e, want, raw)
		}
	}
	for _, d := range []*Decoder{b.fast[feed], b.lent[feed]} {
		if card := cardOf(raw); card != "" && want != nil && bytes.Contains(d.arena[:cap(d.arena)], []byte(card)) {
			t.Fatalf("the decoder keeps the card number of %s", raw)
		}
	}
}

// corpus is everything that the tests know of, by feed.
func corpus(t testing.TB) map[Feed][][]byte {
	t.Helper()
	records := map[Feed][][]byte{}
	for _, e := range examples() {
		if len(e.record) < 4<<10 {
			records[e.feed] = append(records[e.feed], []byte(e.record))
		}
	}
	for _, r := range ordinary {
		records[r.feed] = append(records[r.feed], []byte(r.record))
	}
	paths, err := filepath.Glob("testdata/golden/*.record.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d golden records, %v", len(paths), err)
	}
	for _, path := range paths {
		record, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(filepath.Base(path), "-")
		feed := map[string]Feed{"authorization": Authorization, "capture": Capture, "settlement": Settlement}[name]
		records[feed] = append(records[feed], record, compact(record))
	}
	return records
}

// compact is the record on one line, as producers write it.
func compact(record []byte) []byte { return []byte(edit(string(record))) }

func TestFastIsStrict(t *testing.T) {
	b, taken := newBoth(), 0
	for feed, records := range corpus(t) {
		for _, record := range records {
			for other := Authorization; other <= Settlement; other++ {
				b.compare(t, other, record)
			}
			d := NewDecoder(feed, testKey)
			d.record.reset(record)
			if d.scan() {
				taken++
			}
		}
	}
	if taken < 40 {
		t.Errorf("the fast path took %d records", taken)
	}
}

// What is ordinary must not fall to the strict reader unnoticed.
func TestFastTakesTheOrdinary(t *testing.T) {
	for _, r := range ordinary {
		more := strings.Replace(r.record, `,"`, `,"card_token":"7a2b1c0d9e8f","more":true,"none":null,"n":-12,"`, 1)
		for _, text := range []string{r.record, more, strings.NewReplacer(`":`, `": `, `,"`, `, "`).Replace(r.record)} {
			d := NewDecoder(r.feed, testKey)
			d.record.reset([]byte(text))
			if !d.scan() {
				t.Errorf("left to the strict reader: %s", text)
			}
		}
	}
}

// pieces are what mutations put into records: what JSON allows and producers
// seldom write, what is wrong, and what must not pass.
var pieces = []string{
	`"`, `\`, `\"`, `\u0034`, `{`, `}`, `[`, `]`, `,`, `:`, ` `, "\n", "\t", "\x00", "\x7f", "é", "\xff", "４",
	`null`, `true`, `false`, `0`, `00`, `-`, `-0`, `-1`, `1.5`, `1e3`, `9007199254740992`, `4111111111111111`, `6222021234567890123`,
	`"4111111111111111"`, `"card_number":"4111111111111111"`, `"cardNumber":"1"`, `"cvv":"123"`, `"x":{"pin":1}`, `"order_id":"o-2"`, `"amount_minor":1`,
	`"delta":true`, `"operation":"correction"`, `"replaces":"a-0"`, `"settlement_date":"2024-02-29"`, `"channel":"4111 1111 1111 1111"`,
	`"operator":";4111111111111111=25121011234?"`, `"note":"n"`, `"note":"n","note":"m"`, `"x":1,"y":null,"x":2`, `"":"z"`, `"x1":01`, `"pan":"4111111111111111"`, `"trace_id":"4111111111111111"`, `"mode":"single"`, `2025-02-29`, `+08:00`, `|`, `CNY`, `XXX`,
	`"operator":"` + strings.Repeat("a", 128) + `"`, `"operator":"` + strings.Repeat("a", 129) + `"`,
}

// mutate changes a record in one to four places.
func mutate(r *rand.Rand, record []byte, records [][]byte) []byte {
	record = bytes.Clone(record)
	for range 1 + r.IntN(4) {
		at := r.IntN(len(record) + 1)
		end := min(len(record), at+r.IntN(6))
		switch r.IntN(7) {
		case 0: // one byte is another
			if at < len(record) {
				record[at] = byte(r.IntN(256))
			}
		case 1: // bytes are missing
			record = append(record[:at], record[end:]...)
		case 2: // a piece stands between or in the place of others
			record = bytes.Join([][]byte{record[:at], record[end:]}, []byte(pieces[r.IntN(len(pieces))]))
		case 3: // one more member
			record = bytes.Replace(record, []byte(`,"`), []byte(","+pieces[r.IntN(len(pieces))]+`,"`), 1)
		case 4: // another value, at the place of one of the members
			members := bytes.SplitAfter(record, []byte(`":`))
			i := r.IntN(len(members))
			if _, rest, found := bytes.Cut(members[i], []byte(`,"`)); found && i > 0 {
				members[i] = append([]byte(pieces[r.IntN(len(pieces))]+`,"`), rest...)
			}
			record = bytes.Join(members, nil)
		case 5: // the members in another order
			members := bytes.Split(record, []byte(`,"`))
			if len(members) > 3 {
				i, j := 1+r.IntN(len(members)-2), 1+r.IntN(len(members)-2)
				members[i], members[j] = members[j], members[i]
			}
			record = bytes.Join(members, []byte(`,"`))
		case 6: // the beginning of one and the end of another
			other := records[r.IntN(len(records))]
			record = append(record[:at:at], other[r.IntN(len(other)+1):]...)
		}
	}
	return record
}

func TestFastIsStrictOnMutations(t *testing.T) {
	b, records := newBoth(), corpus(t)
	for seed := range uint64(30_000) {
		r := rand.New(rand.NewPCG(seed, 6))
		feed := Authorization + Feed(r.IntN(3))
		of := records[feed]
		b.compare(t, feed, mutate(r, of[r.IntN(len(of))], of))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// FuzzFast: the fast path and the strict reader agree on any bytes.
func FuzzFast(f *testing.F) {
	for feed, records := range corpus(f) {
		for _, record := range records {
			f.Add(int(feed), record)
		}
	}
	b := newBoth()
	f.Fuzz(func(t *testing.T, number int, raw []byte) {
		b.compare(t, Feed(1+uint(number)%3), raw)
	})
}

func BenchmarkOrdinary(b *testing.B) {
	for _, r := range ordinary {
		b.Run("decode/"+r.feed.String(), func(b *testing.B) {
			d := NewDecoder(r.feed, testKey)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Decode([]byte(r.record)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("borrow/"+r.feed.String(), func(b *testing.B) {
			d := NewDecoder(r.feed, testKey)
			raw := []byte(r.record)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Borrow(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("encode/"+r.feed.String(), func(b *testing.B) {
			e, err := NewDecoder(r.feed, testKey).Decode([]byte(r.record))
			if err != nil {
				b.Fatal(err)
			}
			log := &event.LogRecord{Origin: &event.Origin{Source: "authorization/raw.authorization.v1/0/documented@1", Offset: 123456}, ArrivalMs: 1758700000000, Body: &event.LogRecord_Event{Event: e}}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := log.MarshalVT(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Every byte at every place of a text of every length, behind as many others: both
// functions look at eight bytes at a time and at the rest one by one.
func TestPlain(t *testing.T) {
	for length := 1; length < 20; length++ {
		for at := range length {
			for c := range 256 {
				text := bytes.Repeat([]byte{'~'}, length)
				text[at] = byte(c)
				plain := c >= ' ' && c <= '~' && c != '\\' && c != '"'
				if Plain(string(text)) != plain {
					t.Fatalf("byte %#x at %d of %d: plain %t", c, at, length, !plain)
				}
				for _, behind := range []string{"", `"`, "\x00", "é", `"é"`, strings.Repeat("~", 9) + `"`} {
					whole := string(text) + behind
					want := strings.IndexByte(whole, '"')
					if want < 0 || !plain && c != '"' || strings.ContainsAny(whole[:max(want, 0)], "\x00é") {
						want = 0
					}
					if got := PlainEnd([]byte("x"+whole), 1); got != 0 && got != want+1 || got == 0 && want != 0 {
						t.Fatalf("byte %#x at %d of %d, then %q: ends at %d, want %d", c, at, length, behind, got, want+1)
					}
				}
			}
		}
	}
}

func TestSkipRawHash(t *testing.T) {
	for _, r := range ordinary {
		d := NewDecoder(r.feed, testKey)
		want := decode(t, r.feed, r.record)
		d.SkipRawHash()
		got, err := d.Borrow([]byte(r.record))
		if err != nil {
			t.Fatal(err)
		}
		want.Provenance.RawHash = nil
		if !proto.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}
