package intake

// span is a range of bytes, end exclusive.
type span struct{ start, end int }

// record is one raw record taken apart: the decoder's scratch memory.
type record struct {
	raw []byte
	// name of the field that is being read.
	name    []byte
	present fieldSet
	// where each present field's value stands in raw.
	where [fieldCount]span
	// texts of present fields, as spans of arena.
	texts [fieldCount]span
	// numbers: amounts, counts, words' indexes, days, milliseconds, 0 or 1.
	numbers [fieldCount]int64
	// zone of the business time as it was written.
	zone    span
	unknown []unknownField
	newest  span // name of the unknown field that is being read
	// leftover is what of it the event keeps.
	leftover leftover
	// arena holds every text that the event keeps. It becomes one string, of
	// which the event's strings are parts.
	arena []byte
	// card is the card number, the only copy; forgetCard wipes it.
	card     [maxCardDigits]byte
	cardSize int
}

// unknownField is a member that the feed does not know: where its quoted name
// and its value stand in raw.
type unknownField struct{ name, value span }

func (r *record) reset(raw []byte) {
	r.raw, r.present, r.zone = raw, 0, span{}
	r.unknown, r.arena = r.unknown[:0], r.arena[:0]
}

// forgetCard leaves no card number in memory that outlives the record.
func (r *record) forgetCard() {
	clear(r.card[:])
	r.cardSize, r.raw = 0, nil
}

func (r *record) has(id fieldID) bool { return r.present.has(id) }

// keep copies text into the arena.
func (r *record) keep(text []byte) span {
	start := len(r.arena)
	r.arena = append(r.arena, text...)
	return span{start, len(r.arena)}
}

func (r *record) text(s span) []byte { return r.arena[s.start:s.end] }

// cardDigits is the record's card number; empty without one.
func (r *record) cardDigits() []byte { return r.card[:r.cardSize] }
