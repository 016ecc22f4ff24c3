package alert_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/topic"
)

// Internal topics are no contract with anyone outside.
var internal = map[string]bool{topic.PaymentLog.Name: true, topic.Config.Name: true, topic.Checkpoints.Name: true}

type asyncAPI struct {
	Channels map[string]struct {
		Address  string
		Messages map[string]struct {
			Ref string `yaml:"$ref"`
		}
		Bindings struct {
			Kafka struct {
				Topic         string
				Partitions    int
				Configuration struct {
					Cleanup     []string `yaml:"cleanup.policy"`
					RetentionMs int64    `yaml:"retention.ms"`
				} `yaml:"topicConfiguration"`
			}
		}
	}
	Operations map[string]struct {
		Action  string
		Channel struct {
			Ref string `yaml:"$ref"`
		}
	}
	Components struct {
		Messages map[string]struct {
			Name        string
			ContentType string `yaml:"contentType"`
			Payload     struct {
				Ref string `yaml:"$ref"`
			}
			Headers map[string]any
		}
	}
}

const documentFile = "../asyncapi.yaml"

func document(t *testing.T) (typed asyncAPI, plain any) {
	t.Helper()
	text, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &typed); err != nil {
		t.Fatalf("read %s: %v", documentFile, err)
	}
	if err := yaml.Unmarshal(text, &plain); err != nil {
		t.Fatalf("read %s: %v", documentFile, err)
	}
	return typed, plain
}

// The document names every topic that others read or write, as it is created.
func TestAsyncAPIHasTheTopicsOfTheCode(t *testing.T) {
	doc, _ := document(t)
	described := map[string]bool{}
	for name, channel := range doc.Channels {
		described[channel.Address] = true
		binding := channel.Bindings.Kafka
		if binding.Topic != channel.Address {
			t.Errorf("%s: the binding names topic %q, the address is %q", name, binding.Topic, channel.Address)
		}
		if len(channel.Messages) == 0 {
			t.Errorf("%s: no message", name)
		}
		for _, known := range topic.All {
			if known.Name != channel.Address {
				continue
			}
			cleanup := "delete"
			if known.Compacted {
				cleanup = "compact"
			}
			configuration := binding.Configuration
			if binding.Partitions != known.Partitions || configuration.RetentionMs != known.RetentionMs ||
				len(configuration.Cleanup) != 1 || configuration.Cleanup[0] != cleanup {
				t.Errorf("%s: bindings %+v, the code creates %+v", name, binding, known)
			}
		}
	}
	for _, known := range topic.All {
		if described[known.Name] == internal[known.Name] {
			t.Errorf("%s: described %v, internal %v", known.Name, described[known.Name], internal[known.Name])
		}
		delete(described, known.Name)
	}
	for address := range described {
		t.Errorf("%s: not in the code", address)
	}
}

// Seen from the product: raw topics are received, everything else is sent.
func TestAsyncAPIOperations(t *testing.T) {
	doc, _ := document(t)
	used := map[string]bool{}
	for name, operation := range doc.Operations {
		channel, found := doc.Channels[strings.TrimPrefix(operation.Channel.Ref, "#/channels/")]
		if !found {
			t.Errorf("%s: %s leads nowhere", name, operation.Channel.Ref)
			continue
		}
		used[channel.Address] = true
		want := "send"
		if strings.HasPrefix(channel.Address, "raw.") {
			want = "receive"
		}
		if operation.Action != want {
			t.Errorf("%s: action %s on %s, want %s", name, operation.Action, channel.Address, want)
		}
	}
	for name, channel := range doc.Channels {
		if !used[channel.Address] {
			t.Errorf("%s: no operation", name)
		}
	}
}

func TestAsyncAPIDescribesTheAlerts(t *testing.T) {
	doc, plain := document(t)
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err := compiler.AddResource("asyncapi.json", plain); err != nil {
		t.Fatal(err)
	}
	seen := map[alert.Kind]bool{}
	for name, a := range samples() {
		message := messageOf(t, doc, a.Kind)
		seen[a.Kind] = true
		schema, err := compiler.Compile("asyncapi.json#/components/messages/" + message + "/headers")
		if err != nil {
			t.Fatal(err)
		}
		headers := map[string]any{}
		for _, h := range a.Headers() {
			headers[h.Key] = h.Value
		}
		if err := schema.Validate(headers); err != nil {
			t.Errorf("%s: headers: %v", name, err)
		}
		for key := range headers {
			spoiled := map[string]any{}
			for other, value := range headers {
				if other != key {
					spoiled[other] = value
				}
			}
			if schema.Validate(spoiled) == nil {
				t.Errorf("%s: the document does not require header %s", name, key)
			}
		}
		headers["ce_type"] = "settlewatch.alert.another.v1"
		if schema.Validate(headers) == nil {
			t.Errorf("%s: the document accepts the type of another kind", name)
		}
		described := doc.Components.Messages[message]
		if typeHeader(a) != described.Name {
			t.Errorf("%s: ce_type %q, the message is named %q", name, typeHeader(a), described.Name)
		}
		if filepath.Base(described.Payload.Ref) != schemaFile {
			t.Errorf("%s: payload %q, want %s", name, described.Payload.Ref, schemaFile)
		}
	}
	for _, kind := range alert.Kinds {
		if !seen[kind] {
			t.Errorf("%s: no sample", kind)
		}
	}
}

func TestAsyncAPIRefersToFilesThatExist(t *testing.T) {
	doc, _ := document(t)
	for name, message := range doc.Components.Messages {
		if message.Payload.Ref == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(documentFile), message.Payload.Ref)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAsyncAPIDescribesTheDeadLetter(t *testing.T) {
	doc, _ := document(t)
	file := filepath.Join(filepath.Dir(documentFile), doc.Components.Messages["deadLetter"].Payload.Ref)
	root := readSchema(t, file)
	compareStruct(t, "dead letter", root, root, reflect.TypeFor[deadletter.Letter]())

	schema, err := jsonschema.NewCompiler().Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{"", "{", "\xff"} {
		body, err := (&deadletter.Letter{
			Service: "capture", Profile: "documented@1", Source: deadletter.Source{Topic: "raw.capture.v1", Offset: 3},
			Reason: "not_json", Payload: deadletter.NewPayload([]byte(payload)),
		}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, schema, body); err != nil {
			t.Errorf("payload %q: %v", payload, err)
		}
	}
}

// messageOf follows the kind's topic to the name of its one message.
func messageOf(t *testing.T, doc asyncAPI, kind alert.Kind) string {
	t.Helper()
	for _, channel := range doc.Channels {
		if channel.Address != kind.Topic().Name {
			continue
		}
		for _, message := range channel.Messages {
			return strings.TrimPrefix(message.Ref, "#/components/messages/")
		}
	}
	t.Fatalf("%s: no channel has the address %s", kind, kind.Topic().Name)
	return ""
}

func typeHeader(a *alert.Alert) string {
	for _, h := range a.Headers() {
		if h.Key == "ce_type" {
			return h.Value
		}
	}
	return ""
}
