// Package contract renders schemas/asyncapi.yaml into a page for people.
//
// What enters are the AsyncAPI document and the JSON Schemas that it names; what
// leaves is Markdown. Guaranteed: the same files give the same page, in the order
// in which they are written, so that a test can hold docs/asyncapi.md to them.
package contract

import (
	"fmt"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Render the document at name; read gives a file beside it by its path.
func Render(name string, read func(path string) ([]byte, error)) (string, error) {
	r := &renderer{read: read, files: map[string]node{}}
	doc, err := r.file(name)
	if err != nil {
		return "", err
	}
	r.doc, r.name = doc, name
	info := doc.at("info")
	r.printf("# Topics: %s %s\n\n", info.at("title").text(), info.at("version").text())
	r.printf("<!-- Rendered from schemas/%s by tools/contract; `go test ./tools/contract -update` writes it. -->\n\n", path.Base(name))
	r.printf("%s\n\n", strings.TrimSpace(info.at("description").text()))
	r.overview()
	for _, channel := range doc.at("channels").fields() {
		r.channel(channel)
	}
	return strings.TrimSpace(r.out.String()) + "\n", r.err
}

type renderer struct {
	read  func(string) ([]byte, error)
	files map[string]node
	doc   node
	name  string
	out   strings.Builder
	err   error // the first
}

func (r *renderer) printf(format string, args ...any) { fmt.Fprintf(&r.out, format, args...) }

// file parses a YAML or JSON file; JSON is YAML too.
func (r *renderer) file(name string) (node, error) {
	if n, ok := r.files[name]; ok {
		return n, nil
	}
	text, err := r.read(name)
	if err != nil {
		return node{}, fmt.Errorf("read contract: %w", err)
	}
	var y yaml.Node
	if err := yaml.Unmarshal(text, &y); err != nil {
		return node{}, fmt.Errorf("parse %s: %w", name, err)
	}
	n := node{y: y.Content[0], file: name}
	r.files[name] = n
	return n, nil
}

// follow resolves a $ref, in this file or another; other keys beside it stand
// before those of the target.
func (r *renderer) follow(n node) node {
	ref := n.at("$ref").text()
	if ref == "" {
		return n
	}
	file, pointer, _ := strings.Cut(ref, "#")
	if file == "" {
		file = n.file
	} else {
		file = path.Join(path.Dir(n.file), file)
	}
	target, err := r.file(file)
	for _, step := range strings.Split(strings.Trim(pointer, "/"), "/") {
		if step != "" {
			target = target.at(step)
		}
	}
	if err == nil && target.y == nil {
		err = fmt.Errorf("%s: %s leads nowhere", n.file, ref)
	}
	if err != nil {
		if r.err == nil {
			r.err = err
		}
		return node{}
	}
	return r.follow(target)
}

func (r *renderer) overview() {
	r.printf("| topic | what | partitions | kept |\n|-|-|-|-|\n")
	for _, c := range r.doc.at("channels").fields() {
		kafka := c.value.at("bindings").at("kafka")
		r.printf("| [`%s`](#%s) | %s | %s | %s |\n", c.value.at("address").text(), anchor(c.value.at("title").text()),
			cell(c.value.at("description").text()), kafka.at("partitions").text(), kept(kafka.at("topicConfiguration")))
	}
	r.printf("\n")
}

func kept(config node) string {
	if strings.Contains(strings.Join(config.at("cleanup.policy").texts(), " "), "compact") {
		return "the latest of each key"
	}
	if config.at("retention.ms").text() == "-1" {
		return "everything"
	}
	return config.at("retention.ms").text() + " ms"
}

func (r *renderer) channel(c field) {
	r.printf("## %s\n\n`%s`. %s\n\n", c.value.at("title").text(), c.value.at("address").text(), c.value.at("description").text())
	for _, o := range r.doc.at("operations").fields() {
		if o.value.at("channel").at("$ref").text() == "#/channels/"+c.name {
			r.printf("- %s\n", o.value.at("summary").text())
		}
	}
	r.printf("\n")
	for _, m := range c.value.at("messages").fields() {
		r.message(r.follow(m.value), m.name)
	}
}

func (r *renderer) message(m node, name string) {
	r.printf("### Message %s\n\n%s\n\n", code(name), oneLine(m.at("summary").text()+" "+m.at("description").text()))
	traits := []node{m}
	for _, t := range m.at("traits").items() {
		traits = append(traits, r.follow(t))
	}
	for _, t := range traits {
		if t != m && t.at("description").text() != "" {
			r.printf("%s\n\n", oneLine(t.at("description").text()))
		}
		if key := r.follow(t.at("bindings").at("kafka").at("key")); key.y != nil {
			r.printf("Key: %s\n\n", key.at("description").text())
		}
	}
	if h := m.at("headers"); h.y != nil {
		r.printf("| header | value | |\n|-|-|-|\n")
		schemas := append(h.at("allOf").items(), h)
		values := map[string]node{}
		var order []string
		for _, s := range schemas {
			for _, p := range r.follow(s).at("properties").fields() {
				if _, ok := values[p.name]; !ok {
					order = append(order, p.name)
				}
				// A later part of allOf says it more closely.
				if old := values[p.name]; old.y == nil || p.value.at("const").y != nil {
					values[p.name] = p.value
				}
			}
		}
		for _, h := range order {
			r.printf("| %s | %s | %s |\n", code(h), r.form(values[h]), cell(values[h].at("description").text()))
		}
		r.printf("\n")
	}
	payload := m.at("payload")
	if ref := payload.at("$ref").text(); strings.HasSuffix(ref, ".json") {
		r.printf("Schema: [%s](../schemas/%s)\n\n", code(strings.TrimPrefix(ref, "./")), strings.TrimPrefix(ref, "./"))
	}
	schema := r.follow(payload)
	if schema.at("properties").y == nil {
		return
	}
	if about := schema.at("description").text(); about != "" {
		r.printf("%s\n\n", about)
	}
	r.printf("| field | | value | |\n|-|-|-|-|\n")
	r.rows(schema, "", true)
	r.printf("\n")
}

// rows of an object's fields; those of objects inside it follow, with their path.
func (r *renderer) rows(schema node, prefix string, present bool) {
	required := map[string]bool{}
	for _, name := range schema.at("required").texts() {
		required[name] = present
	}
	for _, p := range schema.at("properties").fields() {
		s := r.follow(p.value)
		about := p.value.at("description").text()
		if about == "" {
			about = s.at("description").text()
		}
		must := ""
		if required[p.name] {
			must = "always"
		}
		name, inside := prefix+p.name, s
		if items := s.at("items"); items.y != nil {
			name, inside = name+"[]", r.follow(items)
		}
		r.printf("| %s | %s | %s | %s |\n", code(name), must, r.form(p.value), cell(about))
		if inside.at("properties").y != nil {
			r.rows(inside, name+".", true)
		}
	}
}

// enumMax is how many values stand in a table; the currencies do not.
const enumMax = 24

// form is what a value may be, in a few words.
func (r *renderer) form(n node) string {
	s := r.follow(n)
	switch ref := n.at("$ref").text(); {
	case ref == "#/$defs/instant", ref == "#/$defs/date", ref == "#/$defs/text":
		return path.Base(ref)
	case len(s.at("enum").items()) > enumMax:
		return fmt.Sprintf("one of %d, see the schema", len(s.at("enum").items()))
	case s.at("const").y != nil:
		return code(s.at("const").text())
	case s.at("enum").y != nil:
		var values []string
		for _, v := range s.at("enum").texts() {
			values = append(values, code(v))
		}
		return strings.Join(values, ", ")
	case s.at("pattern").text() != "":
		return "text " + cell(code(s.at("pattern").text()))
	case s.at("type").text() == "array":
		return "list"
	case s.at("type").text() == "string":
		return "text"
	default:
		return s.at("type").text()
	}
}

func code(s string) string { return "`" + s + "`" }

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func cell(s string) string { return strings.ReplaceAll(oneLine(s), "|", `\|`) }

// anchor is what GitHub makes of a heading.
func anchor(title string) string {
	return strings.ReplaceAll(strings.ToLower(title), " ", "-")
}
