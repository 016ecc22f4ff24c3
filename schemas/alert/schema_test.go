package alert_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"settlewatch/schemas/alert"
)

const schemaFile = "alert.schema.json"

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	schema, err := compiler.Compile(schemaFile)
	if err != nil {
		t.Fatalf("compile %s: %v", schemaFile, err)
	}
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, body []byte) error {
	t.Helper()
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(instance)
}

func TestSamplesMatchTheSchema(t *testing.T) {
	schema := compile(t)
	for name, a := range samples() {
		body, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, schema, body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The schema must also say no, or it describes nothing.
func TestTheSchemaRefuses(t *testing.T) {
	schema := compile(t)
	for name, spoil := range map[string]func(*alert.Alert){
		"revision 0":              func(a *alert.Alert) { a.Revision = 0 },
		"unknown status":          func(a *alert.Alert) { a.Status = "CLOSED" },
		"unknown kind":            func(a *alert.Alert) { a.Kind = "paid_twice" },
		"an id that is no hash":   func(a *alert.Alert) { a.ID = "1" },
		"no amount":               func(a *alert.Alert) { a.AmountMinor = 0 },
		"currency as a number":    func(a *alert.Alert) { a.Currency = "156" },
		"moment without ms":       func(a *alert.Alert) { a.MomentJudged = "2025-10-09T04:00:00Z" },
		"moment with offset":      func(a *alert.Alert) { a.MomentJudged = "2025-10-09T12:00:00.000+08:00" },
		"no evidence":             func(a *alert.Alert) { a.Evidence = nil },
		"a file without a line":   func(a *alert.Alert) { a.Evidence = []alert.Evidence{{Kind: "capture", EventID: a.ID, File: "a.csv"}} },
		"evidence from nowhere":   func(a *alert.Alert) { a.Evidence = []alert.Evidence{{Kind: "capture", EventID: a.ID}} },
		"closed while open":       func(a *alert.Alert) { a.Closing = &alert.Closing{Reason: "settled"} },
		"resolved without reason": func(a *alert.Alert) { a.Status = alert.Resolved },
		"unknown reason":          func(a *alert.Alert) { a.Status, a.Closing = alert.Resolved, &alert.Closing{Reason: "lost"} },
		"another kind's due time": func(a *alert.Alert) { a.Kind, a.Capture = alert.SettledTwice, "" },
		"no capture":              func(a *alert.Alert) { a.Capture = "" },
		"more evidence than the limit": func(a *alert.Alert) {
			a.Evidence = slices.Repeat(a.Evidence, alert.EvidenceLimit+1)
		},
	} {
		a := *samples()["paid_unsettled_open"]
		spoil(&a)
		body, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if validate(t, schema, body) == nil {
			t.Errorf("%s: accepted %s", name, body)
		}
	}
}

// Every field of the code is in the schema and every property of the schema in
// the code, with the same type and the same idea of what may be absent.
func TestSchemaHasTheFieldsOfTheCode(t *testing.T) {
	root := readSchema(t, schemaFile)
	compareStruct(t, "alert", root, root, reflect.TypeFor[alert.Alert]())

	properties := root["properties"].(map[string]any)
	var kinds []any
	for _, kind := range alert.Kinds {
		kinds = append(kinds, string(kind))
	}
	sameSet(t, "kind", properties["kind"].(map[string]any)["enum"].([]any), kinds)
	sameSet(t, "status", properties["status"].(map[string]any)["enum"].([]any),
		[]any{string(alert.Open), string(alert.Resolved), string(alert.Retracted)})
	var reasons []any
	for _, reason := range alert.Reasons {
		reasons = append(reasons, reason)
	}
	closing := properties["closing"].(map[string]any)["properties"].(map[string]any)
	sameSet(t, "reason", closing["reason"].(map[string]any)["enum"].([]any), reasons)
	if limit := properties["evidence"].(map[string]any)["maxItems"]; limit != float64(alert.EvidenceLimit) {
		t.Errorf("maxItems of evidence is %v, EvidenceLimit %d", limit, alert.EvidenceLimit)
	}
}

func readSchema(t *testing.T, file string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatalf("read %s: %v", file, err)
	}
	return root
}

func compareStruct(t *testing.T, path string, root, schema map[string]any, goType reflect.Type) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	var names, required []any
	for i := range goType.NumField() {
		field := goType.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
		if !strings.Contains(options, "omitempty") {
			required = append(required, name)
		}
		if property, found := properties[name].(map[string]any); found {
			compareType(t, path+"."+name, root, property, field.Type)
		}
	}
	var described []any
	for name := range properties {
		described = append(described, name)
	}
	sameSet(t, path, described, names)
	list, _ := schema["required"].([]any)
	sameSet(t, path+" required", list, required)
	if schema["additionalProperties"] != false {
		t.Errorf("%s: additionalProperties is not false", path)
	}
}

func compareType(t *testing.T, path string, root, schema map[string]any, goType reflect.Type) {
	t.Helper()
	if reference, found := schema["$ref"].(string); found {
		name, local := strings.CutPrefix(reference, "#/$defs/")
		definition, known := root["$defs"].(map[string]any)[name].(map[string]any)
		if !local || !known {
			t.Errorf("%s: %s leads nowhere", path, reference)
			return
		}
		schema = definition
	}
	var want string
	switch goType.Kind() {
	case reflect.Pointer:
		compareType(t, path, root, schema, goType.Elem())
		return
	case reflect.Struct:
		want = "object"
		compareStruct(t, path, root, schema, goType)
	case reflect.Slice:
		want = "array"
		items, _ := schema["items"].(map[string]any)
		compareType(t, path+"[]", root, items, goType.Elem())
	case reflect.String:
		want = "string"
	case reflect.Bool:
		want = "boolean"
	default:
		if !goType.ConvertibleTo(reflect.TypeFor[int64]()) {
			t.Errorf("%s: Go type %s", path, goType)
		}
		want = "integer"
	}
	if schema["type"] != want {
		t.Errorf("%s: type is %v, want %s", path, schema["type"], want)
	}
}

func sameSet(t *testing.T, what string, schema, code []any) {
	t.Helper()
	for _, name := range code {
		if !slices.Contains(schema, name) {
			t.Errorf("%s: %v is in the code and not in the schema", what, name)
		}
	}
	for _, name := range schema {
		if !slices.Contains(code, name) {
			t.Errorf("%s: %v is in the schema and not in the code", what, name)
		}
	}
}
