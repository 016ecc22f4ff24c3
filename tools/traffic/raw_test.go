package traffic

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"settlewatch/pipelines/intake"
	"settlewatch/schemas/raw"
)

// beyondSchema are the reasons that no schema can know.
var beyondSchema = map[intake.Reason]bool{
	intake.ReasonEmpty: true, intake.ReasonNotJSON: true, intake.ReasonNotUTF8: true, intake.ReasonNULByte: true,
	intake.ReasonDuplicateName: true, intake.ReasonTooLarge: true, intake.ReasonCardNumber: true,
	intake.ReasonTrackData: true, intake.ReasonNotInteger: true,
}

// TestSchemasAgree: the JSON Schemas take every valid record and refuse every
// malformed one that a schema can.
func TestSchemasAgree(t *testing.T) {
	var schemas [feedCount]*jsonschema.Schema
	for f, text := range [feedCount]string{raw.Authorization, raw.Capture, raw.Settlement} {
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		compiler := jsonschema.NewCompiler()
		compiler.AssertFormat()
		if err := compiler.AddResource("feed.json", document); err != nil {
			t.Fatal(err)
		}
		if schemas[f], err = compiler.Compile("feed.json"); err != nil {
			t.Fatal(err)
		}
	}
	decode := decoders()
	g := generator(t, Options{Seed: 21, Payments: 500})
	for r := range g.Records() {
		if r.IsMark() {
			continue
		}
		_, err := decode[r.Feed].Decode(r.Value)
		var refused *intake.DecodeError
		if errors.As(err, &refused); refused != nil && beyondSchema[refused.Reason] {
			continue
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.Value))
		if err != nil {
			t.Fatal(err)
		}
		if err := schemas[r.Feed].Validate(instance); (err == nil) != (refused == nil) {
			t.Errorf("the decoder says %v, the schema %v: %.300q", refused, err, r.Value)
		}
	}
}

// TestRepeats: what is sent again is the same bytes, or those of a file with
// another name, and the decoder gives it the same identity.
func TestRepeats(t *testing.T) {
	g := generator(t, Options{Seed: 22, Payments: 2000})
	decode := decoders()
	same, renamed := 0, 0
	var p payment
	for i := range g.opt.Payments {
		g.plan(&p, i)
		for k, s := range p.story.Steps {
			if s.repeats == 0 {
				continue
			}
			first, again := g.render(nil, &p, int(s.repeats)-1), g.render(nil, &p, k)
			if s.has&isRenamed == 0 {
				same++
				if !bytes.Equal(first, again) {
					t.Errorf("case %q: %s is no repeat of %s", p.story.Name, again, first)
				}
				continue
			}
			renamed++
			if bytes.Equal(first, again) || !bytes.Equal(bytes.Replace(again, []byte("-resent"), nil, 1), first) {
				t.Errorf("case %q: %s is not %s in a renamed file", p.story.Name, again, first)
			}
			a, errA := decode[s.feed].Decode(first)
			b, errB := decode[s.feed].Decode(again)
			if errA != nil || errB != nil || !bytes.Equal(a.GetId(), b.GetId()) {
				t.Errorf("case %q: ids differ, or %v, %v", p.story.Name, errA, errB)
			}
		}
	}
	if same == 0 || renamed == 0 {
		t.Errorf("%d repeats, %d in renamed files", same, renamed)
	}
}

// TestCards: every card number is one that must be masked, wherever it stands.
func TestCards(t *testing.T) {
	g := generator(t, Options{Seed: 23, Payments: 500})
	var p payment
	for i := range g.opt.Payments {
		g.plan(&p, i)
		card := p.card[:p.cardLen]
		if luhnDigit(card[:len(card)-1]) != card[len(card)-1] {
			t.Fatalf("payment %d has a card with a wrong check digit", i)
		}
		if _, err := decoders()[FeedAuthorization].Decode([]byte(strings.Replace(
			soundRecords[FeedAuthorization], "op01", string(card), 1))); err == nil {
			t.Errorf("a card of range %s passes as an operator", card[:6])
		}
	}
}
