package profile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/expr-lang/expr/vm"

	"settlewatch/pipelines/intake"
	"settlewatch/schemas/event"
)

// maker makes records of the rows of one file: it writes what the row says as
// the documented record and has intake read that.
type maker struct {
	m       *mapping
	profile string
	version uint32

	row         *row
	environment *environment
	machine     vm.VM
	plan        *plan // nil: rows cannot be made by one
	inspector   intake.Inspector
	decoders    [intake.Settlement + 1]*intake.Decoder
	// names are the verdicts on the names of columns and paths, by name.
	names map[string]*intake.DecodeError
	// places say what the profile makes of the cell at each place of a row; hints
	// where each value found its column in the last row. Rows are mostly alike.
	places []place
	hints  []int
	// lends: the events, and the slices that they come in, are valid until the next
	// row.
	lends   bool
	events  [1]*event.Event
	batches [1]Record
	// seen counts equal rows, by a hash of what they say.
	seen map[uint64]uint32
	json []byte
	// content names the current row by what it says, once it was asked for.
	content string
	// kafka: arrivals are those of the Kafka records; lone: the row is all that one
	// of them holds, so that there are no others to tell it apart from.
	kafka, lone bool
}

// place is what follows from a cell's name.
type place struct {
	name     string
	known    bool
	verdict  *intake.DecodeError
	exempt   bool   // from the search
	leftover string // the name it is kept by, quoted; empty: a field takes it
}

// namesMax bounds the verdicts that are remembered: trees may name their
// branches as they like.
const namesMax = 10_000

func newMaker(p *Profile, m *mapping, base string) (*maker, error) {
	k := &maker{
		m: m, profile: p.Name, version: p.Version,
		names: map[string]*intake.DecodeError{},
		seen:  map[uint64]uint32{},
		hints: make([]int, m.values),
	}
	for _, feed := range []intake.Feed{intake.Authorization, intake.Capture, intake.Settlement} {
		d := intake.NewDecoder(feed, p.key)
		for name := range m.identifiers {
			d.Exempt(leftoverName(name))
		}
		k.decoders[feed] = d
	}
	k.plan = k.newPlan()
	k.machine.MemoryBudget = nodesMax
	k.environment = newEnvironment(&k.row, m.amounts, base)
	if v := m.fileDate; v != nil && v.origin != fromColumn && base != "" {
		k.row = &row{}
		if problem := k.readFileDate(); problem != nil {
			return nil, fmt.Errorf("%w: file_date: %s", ErrSyntax, problem.Detail)
		}
	}
	return k, nil
}

// lend, unless a row has several events: they would share the memory of one.
func (k *maker) lend() { k.lends = len(k.m.recipes) == 1 }

func (k *maker) skipRawHash() {
	for _, d := range k.decoders[1:] {
		d.SkipRawHash()
	}
}

// readFileDate finds the date of the file, which may stand in its name or in
// what comes before the records.
func (k *maker) readFileDate() *intake.DecodeError {
	v := k.m.fileDate
	text, reason, detail := k.text(v)
	if reason != "" {
		return refuse("file_date", reason, detail)
	}
	if text == "" {
		return refuse("file_date", intake.ReasonMissingField, "the file has no date where the profile says")
	}
	moment, _, ok := v.instant(text)
	if !ok {
		return refuse("file_date", intake.ReasonBadDate, "not in the profile's layout, or not in 2000 to 2099")
	}
	k.environment.FileDate = moment.In(v.zone).Format(time.DateOnly)
	return nil
}

// records of one row: all of its events, or its refusal.
func (k *maker) records(r *row) []Record {
	records, err := k.make(r)
	if err != nil {
		err.Path = intake.SafePath(err.Path)
		return []Record{{Err: err, Raw: intake.Mask(r.raw)}}
	}
	return records
}

func (k *maker) make(r *row) ([]Record, *intake.DecodeError) {
	if r.err != nil {
		return nil, r.err
	}
	k.row, k.content = r, ""
	if records, ok := k.planned(r); ok {
		return records, nil
	}
	if v := k.m.fileDate; v != nil && v.origin == fromColumn && !k.lone {
		if err := k.readFileDate(); err != nil {
			return nil, err
		}
	}
	if is, err := k.holds(k.m.where, "where"); err != nil || !is {
		return []Record{{}}, err
	}
	inspected := false
	records := k.batches[:0]
	if !k.lends {
		records = nil
	}
	for _, recipe := range k.m.recipes {
		if is, err := k.holds(recipe.when, "when"); err != nil {
			return nil, err
		} else if !is {
			continue
		}
		if !inspected {
			if err := k.inspect(); err != nil {
				return nil, err
			}
			inspected = true
		}
		record, err := k.event(recipe)
		if err != nil {
			return nil, err
		}
		if last := len(records) - 1; last >= 0 && records[last].Feed == record.Feed && records[last].ArrivalMs == record.ArrivalMs {
			records[last].Events = append(records[last].Events, record.Events...)
			continue
		}
		records = append(records, record)
	}
	if len(records) == 0 {
		return []Record{{}}, nil
	}
	return records, nil
}

// holds evaluates a condition; none always holds.
func (k *maker) holds(condition *expression, name string) (bool, *intake.DecodeError) {
	if condition == nil {
		return true, nil
	}
	result, err := condition.run(&k.machine, k.environment)
	if err != nil {
		return false, refuse(name, intake.ReasonBadText, "the profile's condition has no result")
	}
	is, _ := result.(bool)
	return is, nil
}

// inspect holds all that the row says to what may never be in a record. What
// becomes an identifier or the card number is left to intake, which knows them.
func (k *maker) inspect() *intake.DecodeError {
	for i := range k.row.cells {
		c := &k.row.cells[i]
		at := k.place(i, c.name)
		if at.verdict != nil {
			return refuse(c.name, at.verdict.Reason, at.verdict.Detail)
		}
		if at.exempt || len(c.value) == 0 {
			continue
		}
		if err := k.inspector.Text(c.value); err != nil {
			return refuse(c.name, err.Reason, err.Detail)
		}
	}
	return nil
}

// place of the i-th cell, which has the name.
func (k *maker) place(i int, name string) *place {
	if i >= len(k.places) {
		k.places = append(k.places, make([]place, i+1-len(k.places))...)
	}
	at := &k.places[i]
	if at.known && at.name == name {
		return at
	}
	verdict, known := k.names[name]
	if !known {
		verdict = k.inspectName(name)
		if len(k.names) < namesMax {
			k.names[name] = verdict
		}
	}
	*at = place{name: name, known: true, verdict: verdict, exempt: k.m.exempt[name]}
	if !k.m.direct[name] && !k.m.ignored[name] {
		at.leftover = string(appendText(nil, leftoverName(name)))
	}
	return at
}

// inspectName looks at every part of a path.
func (k *maker) inspectName(name string) *intake.DecodeError {
	isCard := k.m.cards[name]
	if err := k.inspector.Name(name, isCard); err != nil {
		return err
	}
	if k.m.format == formatCSV {
		return nil
	}
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return r == '.' || r == '/' || r == '@' || r == '[' || r == ']' }) {
		if err := k.inspector.Name(part, isCard); err != nil {
			return err
		}
	}
	return nil
}

// event makes one event of the row.
func (k *maker) event(recipe *recipe) (Record, *intake.DecodeError) {
	kind, reason, detail := k.text(recipe.kind)
	if reason != "" {
		return Record{}, refuse(recipe.kind.name("kind"), reason, detail)
	}
	feed, known := intake.FeedOf(kind)
	if !known {
		return Record{}, refuse(recipe.kind.name("kind"), intake.ReasonUnknownType, "not a kind of record")
	}
	if err := k.write(recipe, kind, feed); err != nil {
		return Record{}, err
	}
	if k.lends {
		e, err := k.decoders[feed].Borrow(k.json)
		if err != nil {
			return Record{}, k.located(recipe, err)
		}
		k.events[0] = e
		record := Record{Feed: feed, Events: k.events[:]}
		return record, k.finish(recipe, e, &record)
	}
	e, err := k.decoders[feed].Decode(k.json)
	if err != nil {
		return Record{}, k.located(recipe, err)
	}
	record := Record{Feed: feed, Events: []*event.Event{e}}
	return record, k.finish(recipe, e, &record)
}

// located is intake's error with the column in the place of the JSON pointer.
func (k *maker) located(recipe *recipe, err error) *intake.DecodeError {
	var decode *intake.DecodeError
	if !errors.As(err, &decode) {
		return refuse("", intake.ReasonNotJSON, "not readable")
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(decode.Path, "/"), "/")
	switch {
	case name == "type":
		name = recipe.kind.name("kind")
	case name != "":
		if i, known := fieldByDocument[name]; known {
			name = targets[i].name
			for _, rule := range recipe.rules {
				if rule.target == i {
					name = rule.value.name(name)
				}
			}
		}
	}
	return refuse(name, decode.Reason, decode.Detail)
}

// occurrence is which of the equal rows of this file it is, from 1.
func (k *maker) occurrence(content uint64) uint32 {
	if k.lone {
		return 1
	}
	k.seen[content]++
	return k.seen[content]
}

// contentID names a record that has no name of its own.
func (k *maker) contentID() string {
	if k.content != "" { // several events of one row have one answer
		return k.content
	}
	parts := make([]string, 0, 2*len(k.row.cells))
	for _, c := range k.row.cells {
		if !k.m.ignored[c.name] && !k.m.cards[c.name] {
			parts = append(parts, c.name, c.value)
		}
	}
	id := event.NewID(parts...)
	k.content = id.String() + "-" + strconv.FormatUint(uint64(k.occurrence(xxhash.Sum64(id[:]))), 10)
	return k.content
}
