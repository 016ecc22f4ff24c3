package console

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/topic"
)

// Letters are the distinct dead letters, in the order of their topic.
type Letters []*deadletter.Letter

// ReadLetters reads the dead letters up to the topic's present end. A hop may
// repeat a letter; one stands for each raw record.
func ReadLetters(ctx context.Context, log stage.Log) (Letters, error) {
	var letters Letters
	seen := map[deadletter.Source]bool{}
	_, err := readPresent(ctx, log, topic.DeadLetters.Name, func(_ int32, r stage.Record) error {
		l, err := deadletter.Decode(r.Value)
		if err != nil || seen[l.Source] {
			return err
		}
		seen[l.Source] = true
		letters = append(letters, l)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	return letters, nil
}

// Find the letter of a place.
func (ls Letters) Find(at deadletter.Source) (*deadletter.Letter, bool) {
	i := slices.IndexFunc(ls, func(l *deadletter.Letter) bool { return l.Source == at })
	if i < 0 {
		return nil, false
	}
	return ls[i], true
}

// Select those of a reason, a field and a topic; an empty one selects all. A
// field may be given with or without its slash.
func (ls Letters) Select(reason, field, topic string) Letters {
	field = strings.TrimPrefix(field, "/")
	var out Letters
	for _, l := range ls {
		if (reason == "" || l.Reason == reason) && (field == "" || strings.TrimPrefix(l.Path, "/") == field) &&
			(topic == "" || l.Source.Topic == topic) {
			out = append(out, l)
		}
	}
	return out
}

// Group is the letters of one service, reason and field.
type Group struct {
	Service string `json:"service"`
	Reason  string `json:"reason"`
	Field   string `json:"field"` // JSON pointer; empty for the record as a whole
	Detail  string `json:"detail"`
	Count   int    `json:"count"`
	// Latest is the place of the last one.
	Latest          string `json:"latest"`
	LatestArrivalMs int64  `json:"latest_arrival_ms"`
}

// Groups of the letters, the largest first.
func (ls Letters) Groups() []Group {
	index := map[[3]string]int{}
	var groups []Group
	for _, l := range ls {
		key := [3]string{l.Service, l.Reason, l.Path}
		i, known := index[key]
		if !known {
			i = len(groups)
			index[key] = i
			groups = append(groups, Group{Service: l.Service, Reason: l.Reason, Field: l.Path})
		}
		g := &groups[i]
		g.Count++
		g.Detail, g.Latest, g.LatestArrivalMs = l.Detail, PlaceOf(l.Source), l.ArrivalMs
	}
	slices.SortStableFunc(groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Field, b.Field))
	})
	return groups
}

// PlaceOf a raw record, topic/partition/offset.
func PlaceOf(s deadletter.Source) string {
	return fmt.Sprintf("%s/%d/%d", s.Topic, s.Partition, s.Offset)
}

// ParsePlace is the inverse of PlaceOf.
func ParsePlace(text string) (deadletter.Source, error) {
	wrong := fmt.Errorf("place %q: want topic/partition/offset, such as raw.capture.v1/0/41 (`settlewatch dead list --each` shows them)", text)
	parts := strings.Split(text, "/")
	if len(parts) != 3 || parts[0] == "" {
		return deadletter.Source{}, wrong
	}
	partition, err := strconv.ParseInt(parts[1], 10, 32)
	offset, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || err2 != nil || partition < 0 || offset < 0 {
		return deadletter.Source{}, wrong
	}
	return deadletter.Source{Topic: parts[0], Partition: int32(partition), Offset: offset}, nil
}

func fieldOf(path string) string {
	if path == "" {
		return "(the record)"
	}
	return strings.TrimPrefix(path, "/")
}

// WriteGroups prints the letters by reason.
func (ls Letters) WriteGroups(out io.Writer) error {
	groups := ls.Groups()
	t := newTable()
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 1, Align: text.AlignRight, AlignHeader: text.AlignRight}})
	t.AppendHeader(table.Row{"records", "reason", "field", "what was wrong", "service", "the latest"})
	for _, g := range groups {
		t.AppendRow(table.Row{g.Count, g.Reason, fieldOf(g.Field), g.Detail, g.Service, g.Latest})
	}
	_, err := fmt.Fprintln(out, t.Render())
	return err
}

// WriteEach prints one letter a line, in the order in which they came.
func (ls Letters) WriteEach(out io.Writer) error {
	t := newTable()
	t.AppendHeader(table.Row{"place", "arrival, UTC", "reason", "field", "what was wrong"})
	for _, l := range ls {
		t.AppendRow(table.Row{PlaceOf(l.Source), instant(l.ArrivalMs), l.Reason, fieldOf(l.Path), l.Detail})
	}
	_, err := fmt.Fprintln(out, t.Render())
	return err
}

// WriteLetter prints one letter with its payload, which was masked before it
// became a letter.
func WriteLetter(out io.Writer, l *deadletter.Letter, s Style) error {
	payload, err := l.Payload.Bytes()
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, row := range [][2]string{
		{"place", PlaceOf(l.Source)},
		{"arrival", instant(l.ArrivalMs)},
		{"service", l.Service + ", profile " + l.Profile},
		{"reason", l.Reason},
		{"field", fieldOf(l.Path)},
		{"wrong", l.Detail},
	} {
		fmt.Fprintf(&b, "%s %s\n", s.faint(pad(row[0], 8)), row[1])
	}
	note := "card numbers masked"
	if l.Payload.Truncated {
		note += fmt.Sprintf("; the first part of %d bytes", l.Payload.Size)
	}
	fmt.Fprintf(&b, "%s (%s)\n%s", s.heading("record"), note, Readable(payload))
	fmt.Fprintf(&b, "%s settlewatch dead retry %s --set FIELD=VALUE --dry-run\n", s.faint(pad("next", 8)), PlaceOf(l.Source))
	_, err = io.WriteString(out, b.String())
	return err
}

// Readable makes bytes fit for a terminal: JSON indented, control characters
// shown as such, and a newline at the end.
func Readable(payload []byte) string {
	if len(payload) == 0 {
		return "(empty)\n"
	}
	var indented bytes.Buffer
	if json.Indent(&indented, payload, "", "  ") == nil {
		payload = indented.Bytes()
	}
	shown := strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(string(payload), string(unicode.ReplacementChar)))
	return strings.TrimRight(shown, "\n") + "\n"
}
