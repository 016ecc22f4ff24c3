package intake

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"settlewatch/schemas/money"
	"settlewatch/schemas/raw"
)

var schemaTexts = map[Feed]string{Authorization: raw.Authorization, Capture: raw.Capture, Settlement: raw.Settlement}

// compile makes validators that assert formats.
func compile(t testing.TB) map[Feed]*jsonschema.Schema {
	t.Helper()
	schemas := map[Feed]*jsonschema.Schema{}
	for feed, text := range schemaTexts {
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		id := document.(map[string]any)["$id"].(string)
		compiler := jsonschema.NewCompiler()
		compiler.AssertFormat()
		if err := compiler.AddResource(id, document); err != nil {
			t.Fatal(err)
		}
		if schemas[feed], err = compiler.Compile(id); err != nil {
			t.Fatal(err)
		}
	}
	return schemas
}

// valid tells whether the schema accepts a record; what is not JSON it cannot.
func valid(schema *jsonschema.Schema, record string) bool {
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(record))
	return err == nil && schema.Validate(document) == nil
}

// The schemas accept and refuse what the decoder does, but for what no schema
// can say; and that is accepted, so that the exceptions stay true.
func TestSchemasAgreeOnExamples(t *testing.T) {
	schemas := compile(t)
	for _, e := range examples() {
		want := e.reason == "" || e.beyondSchema
		if got := valid(schemas[e.feed], e.record); got != want {
			t.Errorf("%s: the schema accepts it: %t, want %t", e.name, got, want)
		}
	}
}

// Every field and every record type that the decoder knows is in the schema of
// its feed, and the other way round; so is every word, limit and requirement.
func TestSchemasHaveTheFields(t *testing.T) {
	type property struct {
		Ref     string `json:"$ref"`
		Type    string `json:"type"`
		Enum    []any  `json:"enum"`
		Minimum *int64 `json:"minimum"`
	}
	refs := map[shape]string{
		shapeText: "text", shapeKeyPart: "keyPart", shapeAmount: "amount", shapeCount: "count",
		shapeDate: "date", shapeInstant: "instant", shapeCurrency: "currency",
	}
	for feed, text := range schemaTexts {
		var document struct {
			Properties map[string]property `json:"properties"`
			Defs       struct {
				Currency struct{ Enum []string } `json:"currency"`
			} `json:"$defs"`
		}
		if err := json.Unmarshal([]byte(text), &document); err != nil {
			t.Fatal(err)
		}
		known := knownFields(feed)
		for name := range document.Properties {
			if _, ok := known[name]; !ok {
				t.Errorf("%s: the decoder does not know %q", feed, name)
			}
		}
		for name, id := range known {
			p, ok := document.Properties[name]
			if !ok {
				t.Errorf("%s: the schema does not have %q", feed, name)
				continue
			}
			f := fields[id]
			ref := "#/$defs/" + refs[f.shape]
			switch {
			case id == fType:
				types := []string{}
				for _, kind := range recordTable {
					if kind.feed == feed {
						types = append(types, kind.name)
					}
				}
				sameWords(t, name, p.Enum, types)
			case f.shape == shapeWord:
				sameWords(t, name, p.Enum, f.words)
			case f.shape == shapeBool:
				if p.Type != "boolean" {
					t.Errorf("%s: %q is %q, want boolean", feed, name, p.Type)
				}
			case feed == Capture && id == fAmount:
				if p.Ref != "#/$defs/difference" {
					t.Errorf("%s: %q is %q", feed, name, p.Ref)
				}
			case refs[f.shape] != "" && p.Ref != ref:
				t.Errorf("%s: %q is %q, want %q", feed, name, p.Ref, ref)
			}
			if f.least != 0 && (p.Minimum == nil || *p.Minimum != f.least) {
				t.Errorf("%s: %q has another minimum than %d", feed, name, f.least)
			}
		}
		if !slices.Equal(document.Defs.Currency.Enum, money.Codes()) {
			t.Errorf("%s: other currencies than money has", feed)
		}
	}
}

func sameWords(t *testing.T, name string, got []any, want []string) {
	t.Helper()
	words := []string{}
	for _, word := range got {
		words = append(words, word.(string))
	}
	slices.Sort(words)
	want = slices.Clone(want)
	slices.Sort(want)
	if !slices.Equal(words, want) {
		t.Errorf("%q: the schema has %q, the decoder %q", name, words, want)
	}
}

// A field that a type needs is needed by both: each one is left out in turn.
func TestSchemasRequireTheSame(t *testing.T) {
	schemas := compile(t)
	full := map[Feed]string{Authorization: baseAuthorization, Capture: baseCapture, Settlement: baseLine}
	for _, kind := range recordTable {
		base := edit(full[kind.feed], "type", quoted(kind.name), "business_time", `"2020-04-06T22:59:00+08:00"`)
		decoder := NewDecoder(kind.feed, testKey)
		members := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(base), &members); err != nil {
			t.Fatal(err)
		}
		for name := range members {
			record := edit(base, name, "")
			_, err := decoder.Decode([]byte(record))
			if accepted := valid(schemas[kind.feed], record); accepted != (err == nil) {
				t.Errorf("%s without %s: the schema accepts it: %t, the decoder says %v", kind.name, name, accepted, err)
			}
		}
	}
}

// Every forbidden name is refused by both, at the top and inside, in any case.
func TestSchemasForbidTheSame(t *testing.T) {
	schemas := compile(t)
	documented := []string{
		"cvv", "cvv2", "cvc", "cvc2", "cvn", "cvn2", "track1", "track2", "track3", "track_data", "pin_block", "pin",
		"expiry", "expiry_date", "de14", "de34", "de35", "de36", "de45", "de52",
		"emv_57", "emv_56", "emv_5A", "emv_5F20", "emv_5F24", "emv_9F1F", "emv_9F20", "emv_9F6B",
	}
	bases := map[Feed]string{Authorization: baseAuthorization, Capture: baseCapture, Settlement: baseLine}
	names := slices.Clone(documented)
	for name := range forbiddenNames {
		names = append(names, name)
	}
	if len(documented) != len(forbiddenNames) {
		t.Errorf("%d names are documented, %d forbidden", len(documented), len(forbiddenNames))
	}
	for _, name := range names {
		for _, spelling := range []string{name, strings.ToUpper(name), strings.ReplaceAll(name, "_", "-")} {
			for feed, base := range bases {
				for _, record := range []string{edit(base, spelling, "1"), edit(base, "x", `[{"`+spelling+`":{}}]`)} {
					_, err := NewDecoder(feed, testKey).Decode([]byte(record))
					var refusal *DecodeError
					if !errors.As(err, &refusal) || refusal.Reason != ReasonForbiddenField {
						t.Errorf("the %s decoder accepts %q: %v", feed, spelling, err)
					}
					if valid(schemas[feed], record) {
						t.Errorf("the %s schema accepts %q", feed, spelling)
					}
				}
			}
		}
	}
	if !valid(schemas[Authorization], edit(baseAuthorization, "pinch", "1", "tracking", "1", "de140", "1")) {
		t.Error("the schema refuses names that only begin like forbidden ones")
	}
}
