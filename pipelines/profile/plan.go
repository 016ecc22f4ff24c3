package profile

import (
	"settlewatch/pipelines/intake"
	"settlewatch/schemas/event"
)

// The fast path from a row to its event. A profile says of each record the same
// things, and flat records have the same members in the same order: what the profile
// makes of each is found once, for the row's shape, and kept as a plan. By it the
// values go from the cells into intake's form, which writes the documented record and
// files its fields in one go.
//
// A plan never refuses a row, it gives up: then maker.make starts over, which also
// makes the rows without a plan, and says what is wrong. TestPlan holds the two to
// each other.
type plan struct {
	recipe *recipe
	form   *intake.Form
	feed   intake.Feed
	// row is its reader's, which numbers the shapes: another file's are others.
	row *row
	// seen is the shape of the row before; a plan is drawn for one that comes again.
	seen int
	// shape that the rest is for; 0: none.
	shape    int
	searched []int // cells that are held to what may never be in a record
	steps    []step
	// Of a settlement record one of these tells it from an equal one.
	lineID, ordinal intake.Field
}

// step writes one member of the documented record.
type step struct {
	how    how
	field  intake.Field
	cell   int // -1: the row has none of the name
	target int
	value  *value
	text   string // the constant; of a leftover what stands before its value
}

// how a step comes to its text, and what becomes of it.
type how uint8

const (
	ofCell     how = iota // a cell's text
	ofPart                // a part of a cell's text
	ofConstant            // the profile's text
	ofAmount              // a cell's text, as minor units
	ofInstant             // a cell's text, as an instant in UTC
	ofLeftover            // a cell that no field takes
	ofAny                 // whatever maker.text says, written as maker.fieldValue does
)

// newPlan is nil where rows are not made by one recipe alone, or of a kind that only
// the row says.
func (k *maker) newPlan() *plan {
	if k.m.where != nil || len(k.m.recipes) != 1 || k.m.fileDate != nil {
		return nil
	}
	recipe := k.m.recipes[0]
	kind := recipe.kind
	if recipe.when != nil || kind.origin != fromConstant || kind.words != nil {
		return nil
	}
	feed, known := intake.FeedOf(kind.constant)
	if !known {
		return nil
	}
	p := &plan{recipe: recipe, feed: feed, form: k.decoders[feed].Form(kind.constant)}
	for _, rule := range recipe.rules {
		if document := targets[rule.target].document; document != "" {
			if _, known := p.form.Field(document); !known {
				return nil // the record has it as a field that the feed does not know
			}
		}
	}
	if feed == intake.Settlement {
		p.lineID, _ = p.form.Field("line_id")
		p.ordinal, _ = p.form.Field("occurrence")
	}
	return p
}

// planned makes the records of a row by the plan; false if it has to be made without.
func (k *maker) planned(r *row) ([]Record, bool) {
	p := k.plan
	if p == nil || r.shape == 0 {
		return nil, false
	}
	if (r != p.row || r.shape != p.shape) && !k.draw(r) {
		return nil, false
	}
	for _, i := range p.searched {
		if !k.inspector.Clean(r.cells[i].value) {
			return nil, false
		}
	}
	e, ok := k.compose(p, r)
	if !ok {
		p.form.GiveUp()
		return nil, false
	}
	records := k.batches[:]
	if k.lends {
		k.events[0] = e
		records[0] = Record{Feed: p.feed, Events: k.events[:]}
	} else {
		records = []Record{{Feed: p.feed, Events: []*event.Event{e}}}
	}
	return records, k.finish(p.recipe, e, &records[0]) == nil
}

// compose fills the form.
func (k *maker) compose(p *plan, r *row) (*event.Event, bool) {
	p.form.Begin()
	for i := range p.steps {
		s := &p.steps[i]
		text := s.text
		if s.cell >= 0 {
			text = r.cells[s.cell].value
		}
		var ok bool
		switch s.how {
		case ofPart:
			if text, ok = s.value.expression.part.of(text); !ok {
				return nil, false
			}
			fallthrough
		case ofCell, ofConstant:
			ok = text == "" || p.form.Text(s.field, text)
		case ofInstant:
			ok = text == "" || p.form.UTC(s.field, text) || k.any(p, s)
		case ofAmount:
			ok = text == "" || k.amount(p.form, s, text)
		case ofLeftover:
			ok = text == "" || p.form.Unknown(s.text, text)
		case ofAny:
			ok = k.any(p, s)
		}
		if !ok {
			return nil, false
		}
	}
	// Without either, maker.write counts equal rows.
	if p.feed == intake.Settlement && !k.lone && !p.form.Has(p.lineID) && !p.form.Has(p.ordinal) {
		return nil, false
	}
	return p.form.Event(k.lends)
}

func (k *maker) amount(form *intake.Form, s *step, text string) bool {
	minor, reason, _ := s.value.amounts.minorUnits(text, "")
	return reason == "" && form.Amount(s.field, minor)
}

// any is a step of what is not ordinary, written as without a plan.
func (k *maker) any(p *plan, s *step) bool {
	text, reason, _ := k.text(s.value)
	if reason != "" || text == "" {
		return reason == ""
	}
	currency := ""
	if p.recipe.currency != nil {
		if currency, reason, _ = k.text(p.recipe.currency); reason != "" {
			return false
		}
	}
	k.json = k.json[:0]
	reason, _ = k.fieldValue(targets[s.target].class, s.value, text, currency)
	return reason == "" && p.form.Value(s.field, k.json)
}

// draw makes the plan for rows of r's shape; false if the shape has not come twice, or
// if such rows are none that a plan can make.
func (k *maker) draw(r *row) bool {
	p := k.plan
	if p.shape = 0; p.row != r || p.seen != r.shape {
		p.row, p.seen = r, r.shape
		return false
	}
	p.searched, p.steps = p.searched[:0], p.steps[:0]
	for i := range r.cells {
		at := k.place(i, r.cells[i].name)
		if at.verdict != nil {
			return false
		}
		if !at.exempt {
			p.searched = append(p.searched, i)
		}
	}
	var late []step // as maker.write has them
	for _, rule := range p.recipe.rules {
		t := &targets[rule.target]
		if t.document == "" {
			continue
		}
		s := k.step(rule, r)
		s.field, _ = p.form.Field(t.document)
		if t.name == "file_id" {
			late = append(late, s)
			continue
		}
		p.steps = append(p.steps, s)
	}
	for i := range r.cells {
		if k.places[i].leftover == "" {
			continue
		}
		member := p.form.UnknownMember(leftoverName(r.cells[i].name))
		if member == "" {
			return false
		}
		p.steps = append(p.steps, step{how: ofLeftover, cell: i, text: member})
	}
	p.steps = append(p.steps, late...)
	p.shape = r.shape
	return true
}

// step of a rule for rows of r's shape.
func (k *maker) step(rule rule, r *row) step {
	v, c := rule.value, targets[rule.target].class
	s := step{how: ofAny, cell: -1, target: rule.target, value: v}
	column := v.column
	switch {
	case v.words != nil || v.hasFallback:
		return s
	case v.origin == fromConstant && c == classText && intake.Plain(v.constant):
		s.how, s.text = ofConstant, v.constant
		return s
	case v.origin == fromColumn && c == classText:
		s.how = ofCell
	case v.origin == fromColumn && c == classAmount && v.amounts.minor:
		s.how = ofAmount
	case v.origin == fromColumn && c == classInstant && v.mayBeUTC():
		s.how = ofInstant
	case v.origin == fromExpression && c == classText && v.expression.part != nil:
		s.how, column = ofPart, v.expression.part.column
	default:
		return s
	}
	if column == "" || column[0] == '/' {
		s.how = ofAny
		return s
	}
	if i, found := r.index[column]; found {
		s.cell = i
	}
	return s
}
