package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"settlewatch/pipelines/calendar"
)

// Parse reads a profile. The error joins a *Mistake for each thing wrong, with
// its line; text that is no YAML is one mistake.
func Parse(text []byte) (*Profile, error) {
	if len(text) > textMax {
		return nil, fmt.Errorf("parse profile of %d bytes: want at most %d", len(text), textMax)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var root yaml.Node
	if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
		return nil, &Mistake{Line: 1, Problem: "the profile is empty"}
	} else if err != nil {
		return nil, fmt.Errorf("parse profile: %w", err)
	}
	d := &document{}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		d.mistake(&second, "", "one profile only: more text follows the first document")
	}
	p := d.profile(root.Content[0])
	if len(d.mistakes) > 0 {
		return nil, d.err()
	}
	return p, nil
}

// nameForm is what may stand in a source's name.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

func (d *document) profile(node *yaml.Node) *Profile {
	known := []string{"profile", "version", "defaults", "files"}
	p := &Profile{idle: new([feeds]sync.Pool)}
	var defaults, files *entry
	for _, e := range d.entries(node, "") {
		switch e.key {
		case "profile":
			p.Name = d.text(e.value, e.path)
			if p.Name != "" && (!nameForm.MatchString(p.Name) || p.Name == DocumentedName) {
				d.mistake(e.value, e.path, "want 1 to 64 letters, digits, '_', '.' or '-', and not %q", DocumentedName)
			}
		case "version":
			p.Version = uint32(d.number(e.value, e.path, 1, 1<<31-1))
		case "defaults":
			defaults = &e
		case "files":
			files = &e
		default:
			d.unknown(e, known)
		}
	}
	if p.Name == "" {
		d.mistake(node, "profile", "missing: the profile's name")
	}
	if p.Version == 0 {
		d.mistake(node, "version", "missing: count it up with every change, the same bytes may become other records")
	}
	if files == nil {
		d.mistake(node, "files", "missing: the list of file patterns, each with its fields")
		return p
	}
	d.items(files.value, "files", func(node *yaml.Node, path string) {
		b := &fileBuilder{document: d, keys: map[string]entry{}, fields: map[string]entry{}}
		if defaults != nil {
			b.take(defaults.value, defaults.path)
		}
		b.take(node, path)
		p.files = append(p.files, b.build(node, path))
	})
	// What is in defaults is read for each file; a mistake in it is one mistake.
	d.mistakes = slices.CompactFunc(d.sorted(), func(a, b *Mistake) bool { return *a == *b })
	return p
}

func (d *document) sorted() []*Mistake {
	slices.SortStableFunc(d.mistakes, func(a, b *Mistake) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return strings.Compare(a.Problem, b.Problem)
	})
	return d.mistakes
}

// fileBuilder makes the mapping of one file: its own keys over the defaults.
type fileBuilder struct {
	*document
	keys   map[string]entry
	fields map[string]entry
	m      *mapping
	layout []string
}

var fileKeys = []string{
	"match", "format", "encoding", "csv", "records", "where", "zone", "layout", "file_date",
	"amounts", "identifiers", "ignore", "kind", "fields", "events",
}

// take adds keys over those that are there; fields are taken one by one.
func (b *fileBuilder) take(node *yaml.Node, path string) {
	for _, e := range b.entries(node, path) {
		if !slices.Contains(fileKeys, e.key) {
			b.unknown(e, fileKeys)
			continue
		}
		if e.key == "fields" {
			for _, f := range b.entries(e.value, e.path) {
				b.fields[f.key] = f
			}
			continue
		}
		b.keys[e.key] = e
	}
}

// with calls read if the key is there.
func (b *fileBuilder) with(key string, read func(e entry)) {
	if e, found := b.keys[key]; found {
		read(e)
	}
}

func (b *fileBuilder) build(node *yaml.Node, at string) *mapping {
	b.m = &mapping{encoding: "utf-8", amounts: plainAmount, csv: plainDialect(), identifiers: map[string]bool{}, ignored: map[string]bool{}}
	m := b.m
	if _, found := b.keys["match"]; !found {
		b.mistake(node, at+".match", "missing: the pattern of the files' names, such as settle_*.csv")
	}
	b.with("match", func(e entry) {
		for _, pattern := range b.texts(e.value, e.path) {
			if _, err := path.Match(pattern, ""); err != nil || strings.Contains(pattern, "/") {
				b.mistake(e.value, e.path, "want a pattern of a file's name without folders, such as settle_*.csv")
			}
			m.patterns = append(m.patterns, pattern)
		}
	})
	if _, found := b.keys["format"]; !found {
		b.mistake(node, at+".format", "missing: csv, json, jsonl or xml")
	}
	b.with("format", func(e entry) {
		m.format = format(b.choice(e.value, e.path, "csv", "json", "jsonl", "xml"))
	})
	b.with("encoding", func(e entry) {
		m.encoding = b.choice(e.value, e.path, slices.Sorted(maps.Keys(encodings))...)
	})
	b.with("csv", func(e entry) {
		if m.format != formatCSV && m.format != "" {
			b.mistake(e.at, e.path, "the format is %s", m.format)
		}
		b.dialect(e)
	})
	b.recordsPath(node, at)
	b.with("zone", func(e entry) { m.zone = b.location(e) })
	b.with("layout", func(e entry) { b.layout = b.layouts(e) })
	b.with("amounts", func(e entry) { m.amounts = b.amountFormat(e, plainAmount) })
	b.with("identifiers", func(e entry) { b.set(e, m.identifiers) })
	b.with("ignore", func(e entry) { b.set(e, m.ignored) })
	b.with("where", func(e entry) { m.where = b.condition(e) })
	b.with("file_date", func(e entry) { m.fileDate = b.value(e, classDate) })
	b.recipes(node, at)
	m.settle()
	return m
}

func (b *fileBuilder) set(e entry, into map[string]bool) {
	for _, name := range b.texts(e.value, e.path) {
		into[name] = true
	}
}

func (b *fileBuilder) recordsPath(node *yaml.Node, at string) {
	m := b.m
	e, found := b.keys["records"]
	switch {
	case found && (m.format == formatCSV || m.format == formatJSONL):
		b.mistake(e.at, e.path, "in %s every row is a record", m.format)
	case found:
		text := b.text(e.value, e.path)
		separator := "."
		if m.format == formatXML {
			separator = "/"
			text = strings.TrimPrefix(text, "/")
		}
		m.records = strings.Split(text, separator)
		if slices.Contains(m.records, "") {
			b.mistake(e.value, e.path, "a part of the path is empty")
		}
		if len(m.records) > 0 && m.records[0] == "$" && m.format == formatJSON {
			m.records = m.records[1:]
		}
	case m.format == formatXML:
		b.mistake(node, at+".records", "missing: the path of a record's element, such as /Report/Line")
	}
}

func (b *fileBuilder) location(e entry) *time.Location {
	name := b.text(e.value, e.path)
	if name == "" {
		return nil
	}
	location, err := calendar.Location(name)
	if err != nil {
		b.mistake(e.value, e.path, "%v", err)
	}
	return location
}

func (b *fileBuilder) layouts(e entry) []string {
	layouts := b.texts(e.value, e.path)
	for _, layout := range layouts {
		switch layout {
		case layoutRFC3339, layoutUnix, layoutUnixMs:
			continue
		}
		// A layout that writes every moment alike names no part of it.
		a := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC).Format(layout)
		z := time.Date(2019, 11, 27, 18, 49, 57, 0, time.UTC).Format(layout)
		switch {
		case a == z:
			b.mistake(e.value, e.path, "no layout: write the moment 2006-01-02 15:04:05 as the file would, or rfc3339, unix, unix_ms")
		case strings.Contains(layout, "MST"):
			b.mistake(e.value, e.path, "abbreviations of zones are ambiguous: give the zone by name")
		case !strings.Contains(layout, "06"):
			b.mistake(e.value, e.path, "the layout has no year")
		}
	}
	return layouts
}

func (b *fileBuilder) amountFormat(e entry, f amountFormat) amountFormat {
	known := []string{"unit", "decimal", "group", "sign"}
	for _, e := range b.entries(e.value, e.path) {
		if !b.amountKey(e, &f) {
			b.unknown(e, known)
		}
	}
	if f.decimal == f.group {
		b.mistake(e.value, e.path, "decimal and group are the same character")
	}
	return f
}

// amountKey reads one of the keys of an amount.
func (b *fileBuilder) amountKey(e entry, f *amountFormat) bool {
	switch e.key {
	case "unit":
		f.minor = b.choice(e.value, e.path, "major", "minor") == "minor"
	case "decimal":
		f.decimal = b.choice(e.value, e.path, ".", ",")
		if f.decimal == "" {
			f.decimal = "."
		}
	case "group":
		f.group = b.choice(e.value, e.path, ",", ".", " ", "'", "\u00A0", "\u202F", "，")
	case "sign":
		f.sign = sign(b.choice(e.value, e.path, string(signKeep), string(signDrop), string(signFlip)))
	default:
		return false
	}
	return true
}

// condition is a boolean expression.
func (b *fileBuilder) condition(e entry) *expression {
	return b.expression(e, strings.TrimPrefix(b.text(e.value, e.path), "="), reflect.Bool)
}

func (b *fileBuilder) expression(e entry, text string, kind reflect.Kind) *expression {
	if text == "" {
		return nil
	}
	compiled, err := compile(text, kind)
	if err != nil {
		b.mistake(e.value, e.path, "expression: %v", err)
		return nil
	}
	compiled.line = e.value.Line
	return compiled
}

// recipes are the events of a record: a list, or one by the file's own kind.
func (b *fileBuilder) recipes(node *yaml.Node, at string) {
	events, several := b.keys["events"]
	kind, one := b.keys["kind"]
	switch {
	case several && one:
		b.mistake(kind.at, kind.path, "each of the events has a kind of its own")
	case several:
		b.items(events.value, events.path, func(node *yaml.Node, path string) { b.recipe(node, path) })
	case one:
		r := &recipe{kind: b.kind(kind)}
		b.fill(r, node, at, b.fields)
	default:
		b.mistake(node, at+".kind", "missing: what a record is, such as line; or a list of events")
	}
	if b.m.fileDate == nil {
		for _, r := range b.m.recipes {
			for _, rule := range r.rules {
				if rule.value.origin == fromFileDate {
					b.mistakes = append(b.mistakes, &Mistake{
						Line: rule.value.line, Path: at + ".file_date",
						Problem: "missing: " + targets[rule.target].name + " is on the file's date",
					})
				}
			}
		}
	}
}

func (b *fileBuilder) recipe(node *yaml.Node, path string) {
	known := []string{"when", "kind", "fields"}
	r := &recipe{}
	fields := maps.Clone(b.fields)
	for _, e := range b.entries(node, path) {
		switch e.key {
		case "when":
			r.when = b.condition(e)
		case "kind":
			r.kind = b.kind(e)
		case "fields":
			for _, f := range b.entries(e.value, e.path) {
				fields[f.key] = f
			}
		default:
			b.unknown(e, known)
		}
	}
	if r.kind == nil {
		b.mistake(node, path+".kind", "missing: what the event is, such as line")
		return
	}
	b.fill(r, node, path, fields)
}
