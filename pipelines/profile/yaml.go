package profile

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Mistake is one thing wrong with a profile.
type Mistake struct {
	Line    int    // in the YAML text, from 1
	Path    string // files[0].fields.amount
	Problem string
}

func (m *Mistake) Error() string {
	if m.Path == "" {
		return fmt.Sprintf("line %d: %s", m.Line, m.Problem)
	}
	return fmt.Sprintf("line %d: %s: %s", m.Line, m.Path, m.Problem)
}

// document is the YAML text of a profile while it is read. It goes through the
// nodes by hand, because a decoder forgets the lines of what it has accepted.
type document struct {
	mistakes []*Mistake
	nodes    int
}

// What bounds a profile: bytes of text, and what aliases can make of them.
const (
	textMax  = 256 << 10
	visitMax = 20_000
)

func (d *document) mistake(node *yaml.Node, path, format string, args ...any) {
	line := 1
	if node != nil && node.Line > 0 {
		line = node.Line
	}
	d.mistakes = append(d.mistakes, &Mistake{Line: line, Path: path, Problem: fmt.Sprintf(format, args...)})
}

// err joins the mistakes in the order of the text.
func (d *document) err() error {
	slices.SortStableFunc(d.mistakes, func(a, b *Mistake) int { return a.Line - b.Line })
	all := make([]error, len(d.mistakes))
	for i, m := range d.mistakes {
		all[i] = m
	}
	return errors.Join(all...)
}

// entry is one key of a mapping.
type entry struct {
	key   string
	at    *yaml.Node // the key's
	value *yaml.Node
	path  string
}

// entries of a mapping in the order of the text. A key may come once.
func (d *document) entries(node *yaml.Node, path string) []entry {
	node = resolve(node)
	if node.Kind != yaml.MappingNode {
		d.mistake(node, path, "want keys and values")
		return nil
	}
	var all []entry
	lines := map[string]int{}
	for i := 0; i+1 < len(node.Content) && d.visit(node); i += 2 {
		key := resolve(node.Content[i])
		if key.Kind != yaml.ScalarNode {
			d.mistake(key, path, "want a plain key")
			continue
		}
		e := entry{key: key.Value, at: key, value: resolve(node.Content[i+1]), path: key.Value}
		if path != "" {
			e.path = path + "." + key.Value
		}
		if line, found := lines[e.key]; found {
			d.mistake(key, e.path, "this key is already on line %d", line)
			continue
		}
		lines[e.key] = key.Line
		all = append(all, e)
	}
	return all
}

// visit counts, and stops what aliases would make endless.
func (d *document) visit(node *yaml.Node) bool {
	if d.nodes++; d.nodes == visitMax+1 {
		d.mistake(node, "", "more than %d entries", visitMax)
	}
	return d.nodes <= visitMax
}

// items of a list; a single value is a list of one.
func (d *document) items(node *yaml.Node, path string, each func(node *yaml.Node, path string)) {
	node = resolve(node)
	if node.Kind != yaml.SequenceNode {
		each(node, path)
		return
	}
	for i, item := range node.Content {
		if !d.visit(node) {
			return
		}
		each(resolve(item), fmt.Sprintf("%s[%d]", path, i))
	}
}

// text of a scalar as it is written; "" with a mistake if it is none.
func (d *document) text(node *yaml.Node, path string) string {
	node = resolve(node)
	if node.Kind != yaml.ScalarNode || node.ShortTag() == "!!null" || node.Value == "" {
		d.mistake(node, path, "want a value")
		return ""
	}
	return node.Value
}

func (d *document) texts(node *yaml.Node, path string) []string {
	var all []string
	d.items(node, path, func(node *yaml.Node, path string) {
		if text := d.text(node, path); text != "" {
			all = append(all, text)
		}
	})
	return all
}

// number from least to most.
func (d *document) number(node *yaml.Node, path string, least, most int) int {
	text := d.text(node, path)
	n, err := strconv.Atoi(text)
	if text != "" && (err != nil || n < least || n > most) {
		d.mistake(node, path, "want a whole number from %d to %d", least, most)
		return least
	}
	return n
}

func (d *document) flag(node *yaml.Node, path string) bool {
	switch text := d.text(node, path); text {
	case "true", "yes":
		return true
	case "false", "no", "":
	default:
		d.mistake(node, path, "want true or false")
	}
	return false
}

// choice is one of a few words.
func (d *document) choice(node *yaml.Node, path string, allowed ...string) string {
	text := d.text(node, path)
	if text != "" && !slices.Contains(allowed, text) {
		d.mistake(node, path, "want one of %q", allowed)
		return ""
	}
	return text
}

// unknown reports a key that nothing reads.
func (d *document) unknown(e entry, known []string) {
	d.mistake(e.at, e.path, "this key is not known here; want one of %q", known)
}

// resolve is what an alias stands for.
func resolve(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}
