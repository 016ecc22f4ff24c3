package intake

import (
	"settlewatch/schemas/event"
)

// What is kept of unknown fields; all are counted.
const (
	maxLeftoverFields     = 16
	maxLeftoverNameBytes  = 128
	maxLeftoverValueBytes = 256
)

// leftover is what goes into the event of fields without a meaning.
type leftover struct {
	count int
	kept  int
	names [maxLeftoverFields]span
	value [maxLeftoverFields]span
}

// collectLeftover files the fields that the feed does not know, and those that it
// knows but to which this record type gives no meaning. Names and the values'
// JSON text go into the arena, in the order of the record, then of the table.
func (d *Decoder) collectLeftover(kind *recordType) {
	l := &d.leftover
	l.count, l.kept = 0, 0
	for _, u := range d.unknown {
		if l.count++; l.kept < maxLeftoverFields {
			name := unquote(nil, d.raw[u.name.start:u.name.end])
			l.add(d, name, d.raw[u.value.start:u.value.end])
		}
	}
	for set := d.present &^ kind.uses; set != 0; set &= set - 1 {
		id := lowest(set)
		if l.count++; l.kept < maxLeftoverFields {
			l.add(d, []byte(fields[id].name), d.raw[d.where[id].start:d.where[id].end])
		}
	}
}

func (l *leftover) add(d *Decoder, name, value []byte) {
	l.names[l.kept] = d.keep(cutText(name, maxLeftoverNameBytes))
	l.value[l.kept] = d.keep(cutText(value, maxLeftoverValueBytes))
	l.kept++
}

func (b *builder) fillLeftover() {
	l := &b.leftover
	if l.count == 0 {
		return
	}
	unknown := make([]*event.UnknownField, 0, l.kept)
	for i := range l.kept {
		unknown = append(unknown, &event.UnknownField{
			Name: b.text[l.names[i].start:l.names[i].end], Value: b.text[l.value[i].start:l.value[i].end],
		})
	}
	b.event.Leftover = &event.Leftover{Unknown: unknown, UnknownCount: uint32(l.count)}
}
