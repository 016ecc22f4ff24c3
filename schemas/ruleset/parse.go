package ruleset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// sizeMax bounds the text; a CONFIG of a thousand sources has a tenth of it.
// entriesMax bounds what aliases can make of it.
const (
	sizeMax    = 1 << 20
	entriesMax = 100_000
)

// Parse reads the YAML text of a CONFIG. The error joins a *Mistake for each
// thing wrong, with its line; text that is no YAML at all is one mistake.
func Parse(text []byte) (*event.Config, error) {
	if len(text) > sizeMax {
		return nil, fmt.Errorf("parse configuration of %d bytes: want at most %d", len(text), sizeMax)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, &Mistake{Line: 1, Problem: "the configuration is empty"}
	} else if err != nil {
		return nil, fmt.Errorf("parse configuration: %w", err)
	}
	r := &reader{lines: make(map[string]int)}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		r.mistake(&second, "", "one configuration only: more text follows the first document")
	}
	config := r.config(document.Content[0])

	// What could not be read is not judged a second time.
	seen := make(map[string]bool)
	for _, m := range r.mistakes {
		seen[m.Path] = true
	}
	var c checker
	c.config(config)
	for _, m := range c.mistakes {
		if !seen[m.Path] {
			m.Line = r.line(m.Path)
			r.mistakes = append(r.mistakes, m)
		}
	}
	if len(r.mistakes) > 0 {
		slices.SortStableFunc(r.mistakes, func(a, b *Mistake) int { return a.Line - b.Line })
		return nil, join(r.mistakes)
	}
	return config, nil
}

// reader walks the nodes of the text and collects what is wrong with them. It
// walks by hand because a decoder forgets the lines of what it has accepted.
type reader struct {
	mistakes []*Mistake
	lines    map[string]int // of every path seen
	entries  int            // read so far
}

// enter counts an entry, and tells when there are too many.
func (r *reader) enter(node *yaml.Node) bool {
	r.entries++
	if r.entries == entriesMax+1 {
		r.mistake(node, "", "more than %d entries", entriesMax)
	}
	return r.entries <= entriesMax
}

func (r *reader) mistake(node *yaml.Node, path, format string, args ...any) {
	r.mistakes = append(r.mistakes, &Mistake{Line: node.Line, Path: path, Problem: fmt.Sprintf(format, args...)})
}

// line of a path, or of the nearest thing around it.
func (r *reader) line(path string) int {
	for path != "" {
		if line, found := r.lines[path]; found {
			return line
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 1
}

// field reads one key of a mapping.
type field struct {
	read     func(node *yaml.Node, path string)
	optional bool
}

func need(read func(node *yaml.Node, path string)) field { return field{read: read} }
func may(read func(node *yaml.Node, path string)) field  { return field{read: read, optional: true} }

// mapping reads a mapping whose keys are fixed.
func (r *reader) mapping(node *yaml.Node, path string, fields map[string]field) {
	found := make(map[string]bool)
	r.pairs(node, path, func(key, value *yaml.Node, valuePath string) {
		f, known := fields[key.Value]
		if !known {
			r.mistake(key, valuePath, "this key is not known")
			return
		}
		found[key.Value] = true
		f.read(value, valuePath)
	})
	var missing []string
	for name, f := range fields {
		if !f.optional && !found[name] {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	for _, name := range missing {
		r.mistake(node, under(path, name), "missing")
	}
}

// pairs walks a mapping in the order of the text.
func (r *reader) pairs(node *yaml.Node, path string, each func(key, value *yaml.Node, path string)) {
	node = target(node)
	if node.Kind != yaml.MappingNode {
		r.mistake(node, path, "want keys and values")
		return
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(node.Content) && r.enter(node); i += 2 {
		key, value := target(node.Content[i]), target(node.Content[i+1])
		if key.Kind != yaml.ScalarNode {
			r.mistake(key, path, "want a plain key")
			continue
		}
		valuePath := under(path, key.Value)
		if line, found := seen[key.Value]; found {
			r.mistake(key, valuePath, "this key is already on line %d", line)
			continue
		}
		seen[key.Value] = key.Line
		r.lines[valuePath] = key.Line
		each(key, value, valuePath)
	}
}

// list walks a sequence.
func (r *reader) list(node *yaml.Node, path string, each func(node *yaml.Node, path string)) {
	node = target(node)
	if node.Kind != yaml.SequenceNode {
		r.mistake(node, path, "want a list")
		return
	}
	for i, item := range node.Content {
		if !r.enter(node) {
			return
		}
		item = target(item)
		itemPath := fmt.Sprintf("%s[%d]", path, i)
		r.lines[itemPath] = item.Line
		each(item, itemPath)
	}
}

// scalar is the text of a value as it was written: whether YAML would take 23:00
// or 2026.1 for a number does not matter.
func (r *reader) scalar(node *yaml.Node, path string) (string, bool) {
	node = target(node)
	if node.Kind != yaml.ScalarNode || node.ShortTag() == "!!null" || node.Value == "" {
		r.mistake(node, path, "want a value")
		return "", false
	}
	return node.Value, true
}

func (r *reader) text(into *string) func(*yaml.Node, string) {
	return func(node *yaml.Node, path string) {
		if value, ok := r.scalar(node, path); ok {
			*into = value
		}
	}
}

// number reads a whole number from 0 on that fits the type.
func number[T int32 | int64 | uint32](r *reader, into *T) func(*yaml.Node, string) {
	return func(node *yaml.Node, path string) {
		value, ok := r.scalar(node, path)
		if !ok {
			return
		}
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || T(n) < 0 || uint64(T(n)) != n {
			r.mistake(node, path, "%.40q: want a whole number, none below zero", value)
			return
		}
		*into = T(n)
	}
}

// quantity reads a value in one of the forms of units.go.
func quantity[T any](r *reader, parse func(string) (T, error), set func(T)) func(*yaml.Node, string) {
	return func(node *yaml.Node, path string) {
		text, ok := r.scalar(node, path)
		if !ok {
			return
		}
		value, err := parse(text)
		if err != nil {
			r.mistake(node, path, "%v", err)
			return
		}
		set(value)
	}
}

func (r *reader) config(node *yaml.Node) *event.Config {
	config := &event.Config{}
	r.mapping(node, "", map[string]field{
		"rules":         need(r.text(&config.Rules)),
		"join_version":  need(number(r, &config.JoinVersion)),
		"alert_version": need(number(r, &config.AlertVersion)),
		"tzdata":        need(r.text(&config.TzdataVersion)),
		"calendars": need(func(node *yaml.Node, path string) {
			r.pairs(node, path, func(key, value *yaml.Node, path string) {
				calendar := &event.CalendarVersion{Name: key.Value}
				r.text(&calendar.Version)(value, path)
				config.Calendars = append(config.Calendars, calendar)
			})
		}),
		"groups": need(func(node *yaml.Node, path string) {
			r.list(node, path, func(node *yaml.Node, path string) {
				config.Groups = append(config.Groups, r.group(node, path))
			})
		}),
		"log_partitions": may(number(r, &config.LogPartitions)),
	})
	return config
}

func (r *reader) group(node *yaml.Node, path string) *event.Group {
	group := &event.Group{}
	r.mapping(node, path, map[string]field{
		"name": need(r.text(&group.Name)),
		"acquirers": may(func(node *yaml.Node, path string) {
			r.list(node, path, func(node *yaml.Node, path string) {
				var acquirer string
				r.text(&acquirer)(node, path)
				group.Acquirers = append(group.Acquirers, acquirer)
			})
		}),
		"topics": may(func(node *yaml.Node, path string) {
			r.list(node, path, func(node *yaml.Node, path string) {
				group.Sources = append(group.Sources, r.topic(node, path)...)
			})
		}),
		"sources": may(func(node *yaml.Node, path string) {
			r.list(node, path, func(node *yaml.Node, path string) {
				group.Sources = append(group.Sources, r.source(node, path))
			})
		}),
		"terms": need(func(node *yaml.Node, path string) {
			group.Terms = r.terms(node, path)
		}),
	})
	return group
}

// source reads one source as the log names it.
func (r *reader) source(node *yaml.Node, path string) *event.ExpectedSource {
	source := &event.ExpectedSource{}
	offset := func(into **int64) func(*yaml.Node, string) {
		return func(node *yaml.Node, path string) {
			*into = new(int64)
			number(r, *into)(node, path)
		}
	}
	r.mapping(node, path, map[string]field{
		"name":         need(r.text(&source.Name)),
		"clock":        need(quantity(r, clocks.parse, func(c event.Clock) { source.Clock = c })),
		"from_offset":  may(offset(&source.FromOffset)),
		"until_offset": may(offset(&source.UntilOffset)),
	})
	return source
}

// partitionsMax bounds what one line of topics stands for.
const partitionsMax = 10_000

// topic reads a raw topic with the profile that reads it: a source for each of
// its partitions.
func (r *reader) topic(node *yaml.Node, path string) []*event.ExpectedSource {
	var name, profile string
	var partitions uint32
	var clock event.Clock
	before := len(r.mistakes)
	r.mapping(node, path, map[string]field{
		"name":       need(r.text(&name)),
		"partitions": need(number(r, &partitions)),
		"profile":    need(r.text(&profile)),
		"clock":      need(quantity(r, clocks.parse, func(c event.Clock) { clock = c })),
	})
	service, known := topic.ReadBy(name)
	if name != "" && !known {
		r.mistake(node, path+".name", "%.60q is no raw topic; name its partitions one by one under sources", name)
	}
	if partitions > partitionsMax {
		r.mistake(node, path+".partitions", "more than %d", partitionsMax)
	}
	if _, _, versioned := strings.Cut(profile, "@"); profile != "" && !versioned {
		r.mistake(node, path+".profile", "%.60q: want name@version, such as documented@1", profile)
	}
	if len(r.mistakes) > before {
		return nil
	}
	sources := make([]*event.ExpectedSource, partitions)
	for p := range sources {
		sources[p] = &event.ExpectedSource{Name: fmt.Sprintf("%s/%s/%d/%s", service, name, p, profile), Clock: clock}
	}
	return sources
}

func (r *reader) terms(node *yaml.Node, path string) *event.Terms {
	terms := &event.Terms{}
	ms := func(into *int64) func(int64) { return func(v int64) { *into = v } }
	days := func(into *int32) func(int32) { return func(v int32) { *into = v } }
	r.mapping(node, path, map[string]field{
		"cycle":    need(r.text(&terms.Cycle)),
		"calendar": need(r.text(&terms.Calendar)),
		"zone":     need(r.text(&terms.Zone)),
		"counting": need(quantity(r, countings.parse, func(c event.Counting) { terms.Counting = c })),
		"cutoff":   need(quantity(r, parseCutoff, func(c *int64) { terms.CutoffMs = c })),
		"channel_cutoffs": may(func(node *yaml.Node, path string) {
			r.pairs(node, path, func(key, value *yaml.Node, path string) {
				cutoff := &event.ChannelCutoff{Channel: key.Value}
				quantity(r, parseCutoff, func(c *int64) { cutoff.CutoffMs = c })(value, path)
				terms.ChannelCutoffs = append(terms.ChannelCutoffs, cutoff)
			})
		}),
		"publish":         need(quantity(r, parseClock, ms(&terms.PublishMs))),
		"publish_days":    need(number(r, &terms.PublishDays)),
		"grace":           need(quantity(r, parseDuration, ms(&terms.GraceMs))),
		"tolerance_minor": need(number(r, &terms.ToleranceMinor)),
		"refunds":         need(quantity(r, refundModes.parse, func(m event.RefundMode) { terms.Refunds = m })),
		"stage":           need(quantity(r, stages.parse, func(s event.Stage) { terms.Stage = int32(s) })),
		"fee":             need(quantity(r, parsePercent, ms(&terms.FeeBps))),
		"max_fee":         need(quantity(r, parsePercent, ms(&terms.MaxFeeBps))),
		"allowance":       need(quantity(r, parsePercent, ms(&terms.AllowanceBps))),
		"life":            need(quantity(r, parseDays, days(&terms.LifeDays))),
		"hold_cap":        need(quantity(r, parseDays, days(&terms.HoldCapDays))),
		"start":           may(quantity(r, parseDate, func(d int32) { terms.StartDate = &d })),
	})
	return terms
}

// target is what an alias stands for.
func target(node *yaml.Node) *yaml.Node {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

func under(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
