// Package wire goes through a protobuf message field by field, for readers that want
// a few numbers of an ordinary record and leave what is not ordinary to the generated
// code, which makes objects of all of it.
package wire

import "encoding/binary"

// Fields of one message, and the field that Next came to. It stops, unusual, at what
// the generated code would refuse, and at what it would read in another way than
// field by field.
type Fields struct {
	message []byte
	at      int    // where the next field begins
	seen    uint64 // parts that may come once, by number

	Unusual bool
	Number  uint64
	// Bytes: the field is a text or a message, in Part, which is a part of the message.
	// Otherwise it is a number, V.
	Bytes bool
	V     uint64
	Part  []byte
}

// Of begins a message.
func Of(message []byte) Fields { return Fields{message: message} }

// Next goes to the next field; false at the end, and at what is unusual. Most tags,
// lengths and numbers are one byte: they take no call.
func (f *Fields) Next() bool {
	b, at := f.message, f.at
	if len(b)-at < 2 {
		f.Unusual = f.Unusual || len(b) > at
		return false
	}
	tag := uint64(b[at])
	if at++; tag >= 0x80 {
		if tag, at = uvarintAt(b, at-1); at <= 0 || at == len(b) {
			f.Unusual = true
			return false
		}
	}
	v := uint64(b[at])
	if at++; v >= 0x80 {
		if v, at = uvarintAt(b, at-1); at <= 0 {
			f.Unusual = true
			return false
		}
	}
	f.Number = tag >> 3
	switch {
	case f.Unusual:
		return false
	case tag&7 == 0:
		f.Bytes, f.V = false, v
	case tag&7 == 2 && v <= uint64(len(b)-at):
		f.Bytes, f.Part = true, b[at:at+int(v)]
		at += int(v)
	default:
		f.Unusual = true
		return false
	}
	f.at = at
	return true
}

// uvarintAt reads a number and gives where it ends; 0 or less where it does not.
func uvarintAt(b []byte, at int) (v uint64, end int) {
	v, n := binary.Uvarint(b[at:])
	if n <= 0 {
		return 0, n
	}
	return v, at + n
}

// Once tells whether a part comes for the first time: of two, the generated code
// makes one.
func (f *Fields) Once(number uint64) bool {
	bit := uint64(1) << number
	f.Unusual = f.Unusual || f.seen&bit != 0
	f.seen |= bit
	return !f.Unusual
}
