package intake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"settlewatch/schemas/event"
)

// formTexts are what fields are filled with: mostly right for some field.
var formTexts = []string{
	"acq-1", "o-1", "a-1", "m", "t1", "CNY", "XXX", "00", "51", "dual", "single", "paid_out", "cleared", "accepted", "correction", "new", "2020-04-06", "2020-02-30",
	"2020-04-06T08:00:00Z", "2020-04-06T08:00:00.120Z", "2020-04-06T08:00:00.000Z", "2020-04-06T08:00:00+08:00", "2020-04-06T08:00:120000Z", "2020-04-06T25:00:00Z",
	"6222021234567890123", "4111 1111 1111 1111", ";4111111111111111=25121011234?", "000123456789", "a|b", "1", "-1", "007", "9007199254740992", "4111111111111111",
	strings.Repeat("n", 128), strings.Repeat("n", 129),
}

// A form's event is the one that Decode makes of the same record as JSON, byte for
// byte; and whether it made one or gave up, no card number stays behind.
func TestForm(t *testing.T) {
	t.Run("whole", func(t *testing.T) { testForm(t, func(*Decoder) {}) })
	t.Run("bare", func(t *testing.T) { testForm(t, (*Decoder).SkipRawHash) })
}

func testForm(t *testing.T, set func(*Decoder)) {
	made := map[string]int{}
	for feed := Authorization; feed <= Settlement; feed++ {
		d, reader := NewDecoder(feed, testKey), NewDecoder(feed, testKey)
		set(d)
		set(reader)
		var names []string
		for name := range d.known {
			names = append(names, name)
		}
		slices.Sort(names)
		for seed := range uint64(30_000) {
			r := rand.New(rand.NewPCG(seed, 11))
			kind := recordTable[r.IntN(len(recordTable))]
			form := d.Form(kind.name)
			if form == nil {
				continue
			}
			form.Begin()
			card := fmt.Sprintf("62220212345%08d", seed)
			written := []byte(`{"type":"` + kind.name + `"`)
			ok := true
			// What the type needs, in most records, and some fields besides.
			var ids []fieldID
			for id := range fieldCount {
				if id != fType && (kind.required | kind.oneOf | setOf(fOrderID, fCurrency)).has(id) && r.IntN(60) > 0 {
					ids = append(ids, id)
				}
			}
			for range r.IntN(4) {
				if field, known := form.Field(names[r.IntN(len(names))]); known {
					ids = append(ids, fieldID(field))
				}
			}
			for _, id := range ids {
				field, text := Field(id), formText(r, id, card)
				value := strconv.Quote(text)
				switch n, err := strconv.ParseInt(text, 10, 64); {
				case err == nil && fields[id].shape == shapeAmount:
					ok, value = ok && form.Amount(field, n), strconv.FormatInt(n, 10)
				case err == nil && fields[id].shape == shapeCount && json.Valid([]byte(text)):
					ok, value = ok && form.Value(field, []byte(text)), text
				case fields[id].shape == shapeBool:
					value = []string{"true", "false", "null"}[r.IntN(3)]
					ok = ok && form.Value(field, []byte(value))
				case fields[id].shape == shapeInstant && strings.HasSuffix(text, "Z") && r.IntN(2) == 0:
					ok = ok && form.UTC(field, text)
					trimmed, _, _ := strings.Cut(strings.NewReplacer(".120Z", ".12Z", ".000Z", "Z").Replace(text), " ")
					value = strconv.Quote(trimmed)
				case r.IntN(2) == 0:
					ok = ok && form.Value(field, []byte(value))
				default:
					ok = ok && form.Text(field, text)
				}
				written = append(written, `,"`+fields[id].name+`":`+value...)
			}
			if name := []string{"", "note", "note", "x y"}[r.IntN(4)]; name != "" {
				for range 1 + r.IntN(12)/11 {
					ok = ok && form.Unknown(form.UnknownMember(name), "n")
					written = append(written, `,"`+name+`":"n"`...)
				}
			}
			written = append(written, '}')
			want, err := reader.Decode(written)
			var got *event.Event
			done := ok
			if done {
				got, done = form.Event(seed%2 == 0)
			}
			if !done {
				form.GiveUp()
				// Its own: those of formTexts may stand in the memory of an earlier record, as
				// what is no card number there.
				if cardOf(written) == card && bytes.Contains(d.arena[:cap(d.arena)], []byte(card)) {
					t.Fatalf("seed %d: the form keeps the card number of %s", seed, written)
				}
			}
			if d.cardSize != 0 || d.card != [maxCardDigits]byte{} || d.raw != nil {
				t.Fatalf("seed %d: the decoder remembers a card number", seed)
			}
			if !done {
				continue
			}
			if err != nil {
				t.Fatalf("seed %d: a form takes what is refused, %v: %s", seed, err, written)
			}
			made[kind.name]++
			gotBytes, _ := got.MarshalVT()
			wantBytes, _ := want.MarshalVT()
			if !bytes.Equal(gotBytes, wantBytes) {
				t.Fatalf("seed %d: %v\nas JSON %v\n%s", seed, got, want, written)
			}
		}
	}
	for _, kind := range recordTable {
		if made[kind.name] < 20 {
			t.Errorf("%d records of type %s", made[kind.name], kind.name)
		}
	}
}

// formText is mostly right for the field. The card number is one that no other record has.
func formText(r *rand.Rand, id fieldID, card string) string {
	if r.IntN(12) == 0 {
		return formTexts[r.IntN(len(formTexts))]
	}
	switch f := &fields[id]; f.shape {
	case shapeWord:
		return f.words[r.IntN(len(f.words))]
	case shapeAmount, shapeCount:
		return strconv.Itoa(1 + r.IntN(1<<20))
	case shapeCurrency:
		return []string{"CNY", "JPY"}[r.IntN(2)]
	case shapeDate:
		return "2020-04-06"
	case shapeInstant:
		return formTexts[18+r.IntN(5)]
	case shapeCard:
		return card
	default:
		return []string{"x1", card}[r.IntN(20)/19]
	}
}

// A form has the bound that a record has, whether it writes all of it or not.
func TestFormTooLarge(t *testing.T) {
	for _, bare := range []bool{false, true} {
		for _, c := range []struct {
			more int
			ok   bool
		}{{0, true}, {100, false}} {
			d := NewDecoder(Authorization, testKey)
			d.skipsRawHash = bare
			form := d.Form("authorization")
			form.Begin()
			size := len(form.head) + len(`}`)
			for name, text := range map[string]string{
				"acquirer": "a", "event_id": "e", "order_id": "o", "merchant_id": "m", "business_time": "2020-04-06T08:00:00Z", "currency": "CNY", "mode": "dual",
			} {
				if field, _ := form.Field(name); !form.Text(field, text) {
					t.Fatal(name)
				}
				size += len(name) + len(text) + len(`,"":""`)
			}
			if field, _ := form.Field("amount_minor"); !form.Amount(field, 1) {
				t.Fatal("amount")
			}
			size += len(`,"amount_minor":`) + minCardDigits + len(`,"note":""`)
			if !form.Unknown(form.UnknownMember("note"), strings.Repeat("n", MaxBytes-size+c.more)) {
				t.Fatal("note")
			}
			if _, ok := form.Event(false); ok != c.ok {
				t.Errorf("bare %v: a record of %d bytes more than 256 KiB: %v", bare, c.more, ok)
			}
		}
	}
}

func BenchmarkForm(b *testing.B) {
	d := NewDecoder(Authorization, testKey)
	form := d.Form("authorization")
	fieldNamed := func(name string) Field {
		field, known := form.Field(name)
		if !known {
			b.Fatal(name)
		}
		return field
	}
	texts := []struct {
		field Field
		text  string
	}{
		{fieldNamed("event_id"), "e220a8397b1dcdaf"},
		{fieldNamed("order_id"), "000000000000"},
		{fieldNamed("acquirer"), "acq1"},
		{fieldNamed("merchant_id"), "m1000"},
		{fieldNamed("terminal_id"), "t10000"},
		{fieldNamed("currency"), "CNY"},
		{fieldNamed("response_code"), "00"},
		{fieldNamed("mode"), "dual"},
	}
	amount, at := fieldNamed("amount_minor"), fieldNamed("business_time")
	b.ReportAllocs()
	for b.Loop() {
		form.Begin()
		for i := range texts {
			form.Text(texts[i].field, texts[i].text)
		}
		form.Amount(amount, 548217)
		form.UTC(at, "2025-09-01T00:00:00.000Z")
		if _, ok := form.Event(true); !ok {
			b.Fatal("gave up")
		}
	}
}
