package bus

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/klauspost/compress/snappy"
	"github.com/segmentio/kafka-go/compress"

	"settlewatch/pipelines/stage"
)

// A fetch reply holds record batches back to back, the last one possibly cut off.
// All numbers are big endian. One batch, format 2:
//
//	 0       8      12      16 17     21 23     27       35       43       51 53     57     61
//	 +-------+-------+-------+--+------+--+------+--------+--------+--------+--+------+------+---------
//	 | base  | length| leader|2 | crc  |at| last | first  | max    |producer|ep| base |number| records
//	 | offset|       | epoch |  | 32C  |tr| delta| time   | time   | id     |  | seq  | of   |
//	 +-------+-------+-------+--+------+--+------+--------+--------+--------+--+------+------+---------
//	                 ^length counts from here    ^ crc covers from byte 21 to the end
//
//	attributes: bits 0-2 codec, 3 times are the broker's, 4 in a transaction, 5 control
//
// The records, compressed as one piece unless codec is 0; numbers are zigzag varints:
//
//	length | attributes (1 byte) | time delta | offset delta | key length | key |
//	value length | value | headers | { name length | name | value length | value }*
//
// A length of -1 is null. Deltas count from the batch's first time and base
// offset; compaction leaves gaps between them, and may leave a batch with none.
const (
	batchLengthAt     = 8
	batchLengthFrom   = 12
	batchMagicAt      = 16
	batchCRCAt        = 17
	batchAttributesAt = 21
	batchLastDeltaAt  = 23
	batchFirstTimeAt  = 27
	batchMaxTimeAt    = 35
	batchProducerAt   = 43
	batchEpochAt      = 51
	batchSequenceAt   = 53
	batchCountAt      = 57
	batchHeaderBytes  = 61

	codecMask         = 0x07
	appendTimeBit     = 1 << 3
	transactionBit    = 1 << 4
	controlBit        = 1 << 5
	controlAbort      = 0
	recordBytesMin    = 7
	headerNamesMax    = 256
	inflatedBytesMax  = 256 << 20
	retainedBytesMax  = 32 << 20
	inflateStartBytes = 64 << 10
)

var (
	errCorrupt     = errors.New("corrupt record batch")
	errUnsupported = errors.New("unsupported by this client")
	castagnoli     = crc32.MakeTable(crc32.Castagnoli)
)

// abortedTransaction is an entry of a fetch reply: the records of producer from
// first on, up to its abort marker, were taken back.
type abortedTransaction struct{ producer, first int64 }

// decoder turns the batches of a fetch reply into records. Its memory is used
// again by the next decode.
type decoder struct {
	records []stage.Record
	headers []stage.Header
	source  bytes.Reader
	// What was packed lies in inflated; spare is what is left of it. A batch that does
	// not fit gets memory of its own, so that those before it need not move, and wanted
	// is what would have been enough for the reply.
	inflated, spare []byte
	used, wanted    int
	// names holds the header names seen so far: they are few and repeat.
	names    map[string]string
	aborting []int64
}

// decode appends the committed records of raw at or above from to d.records, and
// returns the offset to fetch next: behind the last whole batch, or from when
// there is none. Keys and values point into raw or into d's own memory.
func (d *decoder) decode(raw []byte, from int64, aborted []abortedTransaction) (next int64, err error) {
	d.reset()
	slices.SortFunc(aborted, func(a, b abortedTransaction) int { return cmp.Compare(a.first, b.first) })
	next = from
	for len(raw) >= batchMagicAt+1 {
		base := int64(binary.BigEndian.Uint64(raw))
		length := int(int32(binary.BigEndian.Uint32(raw[batchLengthAt:])))
		if length < batchMagicAt+1-batchLengthFrom {
			return 0, corrupt(base, "length of %d bytes", length)
		}
		if length > len(raw)-batchLengthFrom {
			break // cut off by the size of the reply
		}
		batch := raw[:batchLengthFrom+length]
		raw = raw[len(batch):]
		last, err := d.batch(batch, base, from, &aborted)
		if err != nil {
			return 0, err
		}
		next = max(next, last+1)
	}
	return next, nil
}

func (d *decoder) reset() {
	clear(d.records) // a record kept from an earlier reply would keep its memory alive
	clear(d.headers)
	d.records, d.headers, d.aborting = d.records[:0], d.headers[:0], d.aborting[:0]
	if d.wanted > cap(d.inflated) && d.wanted <= retainedBytesMax {
		d.inflated = make([]byte, 0, d.wanted)
	}
	d.spare, d.used, d.wanted = d.inflated, 0, 0
}

// batch decodes one whole batch and returns the last offset that it covers.
func (d *decoder) batch(b []byte, base, from int64, aborted *[]abortedTransaction) (last int64, err error) {
	if magic := b[batchMagicAt]; magic != 2 {
		return 0, fmt.Errorf("batch at offset %d has message format %d, only format 2 (Kafka 0.11 and later) is read: %w",
			base, magic, errUnsupported)
	}
	if len(b) < batchHeaderBytes {
		return 0, corrupt(base, "length of %d bytes", len(b))
	}
	want := binary.BigEndian.Uint32(b[batchCRCAt:])
	if got := crc32.Checksum(b[batchAttributesAt:], castagnoli); got != want {
		return 0, corrupt(base, "checksum is %08x, the header says %08x", got, want)
	}
	lastDelta := int32(binary.BigEndian.Uint32(b[batchLastDeltaAt:]))
	count := int32(binary.BigEndian.Uint32(b[batchCountAt:]))
	if base < 0 || base > math.MaxInt64-math.MaxInt32-1 || lastDelta < 0 || count < 0 {
		return 0, corrupt(base, "last offset delta %d, %d records", lastDelta, count)
	}
	last = base + int64(lastDelta)
	attributes := binary.BigEndian.Uint16(b[batchAttributesAt:])
	producer := int64(binary.BigEndian.Uint64(b[batchProducerAt:]))

	// A transaction's abort shows in the reply's list from its first offset to
	// its marker, which is a control batch of the same producer.
	for len(*aborted) > 0 && (*aborted)[0].first <= last {
		d.aborting = append(d.aborting, (*aborted)[0].producer)
		*aborted = (*aborted)[1:]
	}
	if attributes&controlBit != 0 {
		if len(d.aborting) > 0 && isAbortMarker(b[batchHeaderBytes:]) {
			d.aborting = slices.DeleteFunc(d.aborting, func(p int64) bool { return p == producer })
		}
		return last, nil
	}
	if count == 0 || last < from || attributes&transactionBit != 0 && slices.Contains(d.aborting, producer) {
		return last, nil
	}

	body := b[batchHeaderBytes:]
	if codec := attributes & codecMask; codec != 0 {
		if body, err = d.inflate(compress.Compression(codec), body); err != nil {
			return 0, fmt.Errorf("batch at offset %d: %w", base, err)
		}
	}
	firstTimeMs := int64(binary.BigEndian.Uint64(b[batchFirstTimeAt:]))
	appendTime := attributes&appendTimeBit != 0
	maxTimeMs := int64(binary.BigEndian.Uint64(b[batchMaxTimeAt:]))
	c := cursor{b: body}
	if room := min(int(count), len(body)/recordBytesMin); cap(d.records)-len(d.records) < room {
		d.records = slices.Grow(d.records, max(room, len(d.records)))
	}
	for delta := int64(-1); count > 0; count-- {
		r, at := d.record(&c)
		if c.bad || at <= delta || at > int64(lastDelta) {
			return 0, corrupt(base, "%d records do not fit their batch", count)
		}
		delta = at
		r.Offset = base + at
		if r.Offset < from {
			continue
		}
		r.TimeMs += firstTimeMs
		if appendTime {
			r.TimeMs = maxTimeMs
		}
		d.records = append(d.records, r)
	}
	if c.at != len(c.b) {
		return 0, corrupt(base, "%d bytes behind the last record", len(c.b)-c.at)
	}
	return last, nil
}

// record reads one record; its TimeMs is still the delta to the batch's time.
func (d *decoder) record(c *cursor) (r stage.Record, offsetDelta int64) {
	length := c.varint()
	if c.bad || length < 0 || length > int64(len(c.b)-c.at) {
		c.bad = true
		return r, 0
	}
	end := c.at + int(length)
	c.skip(1) // attributes, without meaning so far
	r.TimeMs = c.varint()
	offsetDelta = c.varint()
	r.Key = c.bytes()
	r.Value = c.bytes()
	if n := c.varint(); n != 0 {
		r.Headers = d.recordHeaders(c, n)
	}
	c.bad = c.bad || c.at != end
	return r, offsetDelta
}

func (d *decoder) recordHeaders(c *cursor, n int64) []stage.Header {
	// A header takes two bytes or more, which bounds a count that lies.
	if n < 0 || n > int64(len(c.b)-c.at)/2 {
		c.bad = true
		return nil
	}
	start := len(d.headers)
	for range n {
		name := c.bytes()
		value := c.bytes()
		if c.bad {
			return nil
		}
		d.headers = append(d.headers, stage.Header{Key: d.name(name), Value: value})
	}
	return d.headers[start:len(d.headers):len(d.headers)]
}

func (d *decoder) name(b []byte) string {
	if name, ok := d.names[string(b)]; ok {
		return name
	}
	name := string(b)
	if d.names == nil {
		d.names = map[string]string{}
	}
	if len(d.names) < headerNamesMax {
		d.names[name] = name
	}
	return name
}

// inflate returns what packed holds, in d's memory.
func (d *decoder) inflate(codec compress.Compression, packed []byte) ([]byte, error) {
	c := codec.Codec()
	if c == nil {
		return nil, fmt.Errorf("codec %d: %w", codec, errUnsupported)
	}
	if codec == compress.Snappy && !snappyFits(packed) {
		return nil, fmt.Errorf("snappy lengths beyond %d bytes: %w", inflatedBytesMax, errCorrupt)
	}
	if codec == compress.Lz4 {
		if plain, ordinary := unpack(d.spare, packed); ordinary {
			d.keep(plain)
			return plain, nil
		}
	}
	d.source.Reset(packed)
	r := c.NewReader(&d.source)
	defer r.Close()
	for plain := d.spare; ; {
		if len(plain) == cap(plain) {
			plain = slices.Grow(plain, max(inflateStartBytes, len(plain)))
		}
		n, err := r.Read(plain[len(plain):cap(plain)])
		plain = plain[:len(plain)+n]
		if len(plain) > inflatedBytesMax {
			return nil, fmt.Errorf("inflates beyond %d bytes: %w", inflatedBytesMax, errCorrupt)
		}
		if errors.Is(err, io.EOF) {
			d.keep(plain)
			return plain, nil
		}
		if err != nil {
			return nil, fmt.Errorf("inflate %s: %w: %w", codec, errCorrupt, err)
		}
	}
}

// keep takes a batch's bytes, which begin in spare or have moved, off what is spare.
func (d *decoder) keep(plain []byte) {
	if cap(plain) != cap(d.spare) {
		d.wanted = d.used + cap(plain)
	}
	d.used += len(plain)
	d.spare = plain[len(plain):]
}

// snappyFits looks at the lengths that a snappy body claims, since the codec
// takes memory for them before it reads on. A body is one block, or frames of a
// 4-byte length and a block behind the 16-byte header of Java's library.
func snappyFits(b []byte) bool {
	const headerBytes = 16
	if len(b) < headerBytes || !bytes.Equal(b[:8], []byte("\x82SNAPPY\x00")) {
		n, err := snappy.DecodedLen(b)
		return err == nil && n <= inflatedBytesMax
	}
	total := 0
	for b = b[headerBytes:]; len(b) > 0; {
		if len(b) < 4 {
			return false
		}
		frame := int64(binary.BigEndian.Uint32(b))
		if frame > int64(len(b)-4) {
			return false
		}
		n, err := snappy.DecodedLen(b[4 : 4+frame])
		if total += n; err != nil || total > inflatedBytesMax {
			return false
		}
		b = b[4+frame:]
	}
	return true
}

// isAbortMarker reads the one record of a control batch, whose key is a version
// and a type, both of two bytes.
func isAbortMarker(body []byte) bool {
	c := cursor{b: body}
	c.varint()
	c.skip(1)
	c.varint()
	c.varint()
	key := c.bytes()
	return !c.bad && len(key) >= 4 && binary.BigEndian.Uint16(key[2:]) == controlAbort
}

func corrupt(base int64, reason string, args ...any) error {
	return fmt.Errorf("batch at offset %d: %s: %w", base, fmt.Sprintf(reason, args...), errCorrupt)
}

// cursor reads on from at; bad stays set after the first value that does not fit.
type cursor struct {
	b   []byte
	at  int
	bad bool
}

func (c *cursor) skip(n int) {
	if n > len(c.b)-c.at {
		c.bad = true
		return
	}
	c.at += n
}

func (c *cursor) varint() int64 {
	if c.at < len(c.b) && c.b[c.at] < 0x80 { // most are one byte long
		u := c.b[c.at]
		c.at++
		return int64(u>>1) ^ -int64(u&1)
	}
	v, n := binary.Varint(c.b[c.at:])
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.at += n
	return v
}

// bytes reads a length and as many bytes; a length of -1 is nil.
func (c *cursor) bytes() []byte {
	n := c.varint()
	if n == -1 {
		return nil
	}
	if n < 0 || n > int64(len(c.b)-c.at) {
		c.bad = true
		return nil
	}
	start := c.at
	c.at += int(n)
	return c.b[start:c.at:c.at]
}
