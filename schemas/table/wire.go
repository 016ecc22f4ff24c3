package table

import (
	"encoding/hex"
	"strconv"
	"strings"
	"unsafe"

	"settlewatch/schemas/event"
	"settlewatch/schemas/wire"
)

// This file reads the ordinary record of the payment log, and of the payments topic,
// straight from its protobuf bytes into cells. The generated code makes a dozen objects
// and thirty texts of an event, and every one of a hundred columns would then be asked
// whether it is there: that was most of what the warehouse service did. Whatever is not
// ordinary (a part that comes twice, an unknown field, fees, leftovers with a name) goes
// the way of the generated code. FuzzEventRow and FuzzPaymentRow hold the two against
// each other.

// eventReader reads records of one partition of the payment log.
type eventReader struct {
	fieldReader
	partition int32
	refs      []reference
}

// fieldReader reads fields that are cells.
type fieldReader struct {
	hex []byte // room for what is written in hex
}

type reference struct {
	kind, value, scope string
	original           bool
}

func (e *eventReader) read(offset int64, value []byte, r *row) (bool, error) {
	if e.readWire(offset, value, r) {
		return true, nil
	}
	r.clear()
	decoded, ok, err := decodeEvent(e.partition, offset, value)
	if ok {
		fillRow(eventFields, &decoded, r)
	}
	return ok, err
}

// wireField is how one field of a message becomes a cell.
type wireField struct {
	column int
	form   wireForm
}

type wireForm byte

const (
	formNone wireForm = iota
	formText
	formHex
	formInt64
	formUint32
	formInt32
	formBool
)

// eventMessages are the columns of the fields 1, 2, … of the event's parts, by the
// part's number; part 0 is the event itself. A field with an empty name is unusual.
var eventMessages = compileWire(map[uint64][]string{
	0:  {"event_id", "payment_key", "", "", "replaces"},
	11: {"mti", "processing_code", "condition_code", "pos_type"},
	12: {
		"currency", "transaction_minor", "requested_minor", "approved_minor", "authorized_total_minor", "tip_minor",
		"surcharge_minor", "cashback_minor", "discount_minor", "replacement_minor", "amount_is_delta", "gross_minor",
		"net_minor", "", "settlement_minor", "settlement_currency", "settlement_rate", "settlement_rate_date",
	},
	13: {"response_code", "response_namespace", "response_class", "reason_code", "reason_namespace", "shown"},
	15: {"capture_id", "capture_sequence", "capture_final"},
	16: {
		"settlement_id", "batch_id", "line_id", "line_occurrence", "file_id", "business_date", "file_total_minor",
		"file_total_count", "trailer_seen", "takes_back",
	},
	17: {
		"business_time", "zone", "zone_from", "year_inferred", "local_time", "transmission_time", "settlement_date", "value_date",
	},
	18: {"cycle", "day_type", "calendar", "expected_pay_date", "hold_reason", "hold_until", "reserve_minor"},
	19: {
		"acquirer", "forwarder", "issuer", "scheme", "channel", "product", "merchant", "sub_merchant", "store", "category",
		"terminal", "terminal_serial", "terminal_model", "terminal_software", "agent", "operator",
	},
	20: {"card_bin", "card_last4", "card_token", "card_key_id", "card_device_pan", "card_par"},
	21: {"payee_token", "payee_last4", "payee_role"},
	22: {"region", "entry_mode", "entry_offline", "entry_fallback", "entry_verification"},
	23: {
		"instalment", "instalments", "split_group", "refund_status", "refund_reason", "dispute_stage", "dispute_reason",
		"dispute_deadline", "merchant_order", "merchant_order_minor", "incremental",
	},
	24: {"", "unknown_count"},
	25: {"profile", "profile_version", "raw_hash", "trace_id"},
})

const eventParts = 26

// hexedFields are bytes in the record and hex in the table.
var hexedFields = map[string]bool{
	"event_id": true, "replaces": true, "takes_back": true, "card_token": true, "payee_token": true, "raw_hash": true,
	"life": true,
}

func compileWire(messages map[uint64][]string) (parts [eventParts][]wireField) {
	for part, names := range messages {
		parts[part] = compileMessage(eventFields, names)
	}
	return parts
}

func compileMessage[R any](columns []column[R], names []string) []wireField {
	message := make([]wireField, len(names)+1)
	for i, name := range names {
		if name == "" {
			continue
		}
		f := wireField{column: columnOf(columns, name), form: formText}
		switch chType := columns[f.column].Type; {
		case hexedFields[name]:
			f.form = formHex
		case chType == "Bool":
			f.form = formBool
		case chType == "UInt32":
			f.form = formUint32
		case strings.Contains(chType, "Date32"):
			f.form = formInt32
		case strings.Contains(chType, "Int64"), strings.Contains(chType, "DateTime64"):
			f.form = formInt64
		}
		message[i+1] = f
	}
	return message
}

// columnOf is the place of a column; the tables are fixed, so a wrong name stops the
// program, and every test.
func columnOf[R any](columns []column[R], name string) int {
	for i, c := range columns {
		if c.Name == name {
			return i
		}
	}
	panic("no column " + name)
}

func eventColumn(name string) int { return columnOf(eventFields, name) }

// Columns that are not one field of one message.
var (
	columnSource, columnGeneration = eventColumn("source"), eventColumn("generation")
	columnOffset, columnIndex      = eventColumn("offset"), eventColumn("idx")
	columnArrival                  = eventColumn("arrival_time")
	columnLogPartition             = eventColumn("log_partition")
	columnLogOffset                = eventColumn("log_offset")
	columnRefs                     = eventColumn("refs")
)

// eventEnums have a name for 0 too, so their columns are written of every event.
var eventEnums = []wireEnum{
	{3, eventColumn("kind"), namesOf("KIND_", event.Kind_name)},
	{4, eventColumn("operation"), namesOf("OPERATION_", event.Operation_name)},
	{6, eventColumn("outcome"), namesOf("OUTCOME_", event.Outcome_name)},
	{7, eventColumn("mode"), namesOf("MODE_", event.Mode_name)},
	{8, eventColumn("side"), namesOf("SIDE_", event.Side_name)},
	{9, eventColumn("stage"), namesOf("STAGE_", event.Stage_name)},
	{10, eventColumn("adjustment_target"), namesOf("ADJUSTMENT_TARGET_", event.AdjustmentTarget_name)},
}

// wireEnum is a field of the event, its column, and the names of its values.
type wireEnum struct {
	field, column int
	names         []string
}

func namesOf(prefix string, names map[int32]string) []string {
	out := make([]string, len(names))
	for n, name := range names {
		out[n] = strings.ToLower(strings.TrimPrefix(name, prefix))
	}
	return out
}

func (e wireEnum) name(v int32) string {
	if v >= 0 && int(v) < len(e.names) {
		return e.names[v]
	}
	return strconv.Itoa(int(v))
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// readWire is false where the record is unusual; the row is to be cleared then.
func (e *eventReader) readWire(offset int64, value []byte, r *row) bool {
	e.hex, e.refs = e.hex[:0], e.refs[:0]
	f := wire.Of(value)
	var origin, body []byte
	var arrivalMs int64
	seen := uint64(0)
	for f.Next() {
		// Marks and configurations are few: the generated code reads them.
		if f.Number == 0 || f.Number > 3 || seen&(1<<f.Number) != 0 || f.Bytes == (f.Number == 2) {
			return false
		}
		seen |= 1 << f.Number
		switch f.Number {
		case 1:
			origin = f.Part
		case 2:
			arrivalMs = int64(f.V)
		default:
			body = f.Part
		}
	}
	if f.Unusual || seen&(1<<3) == 0 || !readOrigin(origin, r) || !e.readEvent(body, r) {
		return false
	}
	set(r, columnArrival, arrivalMs)
	set(r, columnLogPartition, int64(e.partition))
	set(r, columnLogOffset, offset)
	return true
}

// set sets a number, unless it is the column's default.
func set(r *row, column int, v int64) {
	if v != 0 {
		c := r.at(column)
		c.set, c.number = true, v
	}
}

// readOrigin leaves to the other way what is to be refused.
func readOrigin(b []byte, r *row) bool {
	f := wire.Of(b)
	var source string
	var generation, offset, index int64
	seen := uint64(0)
	for f.Next() {
		if f.Number > 4 || seen&(1<<f.Number) != 0 || f.Bytes != (f.Number == 1) {
			return false
		}
		seen |= 1 << f.Number
		switch f.Number {
		case 1:
			source = view(f.Part)
		case 2:
			generation = int64(uint32(f.V))
		case 3:
			offset = int64(f.V)
		case 4:
			index = int64(uint32(f.V))
		default:
			return false
		}
	}
	if f.Unusual || source == "" || offset < 0 {
		return false
	}
	c := r.at(columnSource)
	c.set, c.text = true, source
	set(r, columnGeneration, generation)
	set(r, columnOffset, offset)
	set(r, columnIndex, index)
	return true
}

func (e *eventReader) readEvent(b []byte, r *row) bool {
	f := wire.Of(b)
	var enums [11]int32
	seen := uint64(0)
	for f.Next() {
		n := f.Number
		switch {
		case n == 0 || n >= eventParts || n != 14 && seen&(1<<n) != 0:
			return false
		case n == 14 && f.Bytes:
			if !e.readReference(f.Part) {
				return false
			}
		case n <= 2 || n == 5:
			if !f.Bytes || !e.readField(&f, eventMessages[0][n], r) {
				return false
			}
		case n <= 10:
			if f.Bytes {
				return false
			}
			enums[n] = int32(f.V)
		default:
			if !f.Bytes || !e.readPart(f.Part, eventMessages[n], r) {
				return false
			}
		}
		seen |= 1 << n
	}
	if f.Unusual {
		return false
	}
	for _, enum := range eventEnums {
		c := r.at(enum.column)
		c.set, c.text = true, enum.name(enums[enum.field])
	}
	if len(e.refs) > 0 {
		c := r.at(columnRefs)
		c.set = true
		for _, ref := range e.refs {
			c.list = appendReference(c.list, ref.kind, ref.value, ref.scope, ref.original)
		}
	}
	return true
}

// readPart reads a message whose every field is a cell.
func (e *fieldReader) readPart(b []byte, columns []wireField, r *row) bool {
	f := wire.Of(b)
	seen := uint64(0)
	for f.Next() {
		if f.Number >= uint64(len(columns)) || seen&(1<<f.Number) != 0 || !e.readField(&f, columns[f.Number], r) {
			return false
		}
		seen |= 1 << f.Number
	}
	return !f.Unusual
}

func (e *fieldReader) readField(f *wire.Fields, to wireField, r *row) bool {
	if to.form == formNone || f.Bytes != (to.form <= formHex) {
		return false
	}
	c := r.at(to.column)
	c.set = true
	switch to.form {
	case formText:
		c.text = view(f.Part)
		c.set = c.text != ""
	case formHex:
		// Room is made for all at once: what was written must not move.
		if e.hex == nil || cap(e.hex)-len(e.hex) < 2*len(f.Part) {
			e.hex = make([]byte, 0, max(512, 2*len(f.Part)))
		}
		start := len(e.hex)
		e.hex = hex.AppendEncode(e.hex, f.Part)
		c.text = view(e.hex[start:])
		c.set = c.text != ""
	case formUint32:
		c.number = int64(uint32(f.V))
		c.set = c.number != 0
	case formInt32:
		c.number = int64(int32(f.V))
	case formBool:
		c.number = int64(min(f.V, 1))
		c.set = c.number != 0
	default:
		c.number = int64(f.V)
	}
	return true
}

func (e *eventReader) readReference(b []byte) bool {
	f := wire.Of(b)
	var ref reference
	seen := uint64(0)
	for f.Next() {
		if f.Number > 4 || seen&(1<<f.Number) != 0 || f.Bytes != (f.Number <= 3) {
			return false
		}
		seen |= 1 << f.Number
		switch f.Number {
		case 1:
			ref.kind = view(f.Part)
		case 2:
			ref.value = view(f.Part)
		case 3:
			ref.scope = view(f.Part)
		case 4:
			ref.original = f.V != 0
		default:
			return false
		}
	}
	e.refs = append(e.refs, ref)
	return !f.Unusual
}
