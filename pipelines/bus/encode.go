package bus

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"

	"github.com/pierrec/lz4/v4"
	"github.com/segmentio/kafka-go/compress"

	"settlewatch/pipelines/stage"
)

// sizePrefixBytes is the int32 that a produce request wants before the batch.
const sizePrefixBytes = 4

// encoder makes one record batch (the layout is drawn above decoder) of records.
// Its memory is used again by the next encode.
type encoder struct {
	plain []byte
	out   []byte
	lz4   lz4.CompressorCCompat
}

// encode returns a size prefix and one batch with all records, lz4-compressed.
// They must be at least one.
func (e *encoder) encode(records []stage.Record) ([]byte, error) {
	firstTimeMs, maxTimeMs := records[0].TimeMs, records[0].TimeMs
	e.plain = e.plain[:0]
	for i := range records {
		r := &records[i]
		e.plain = appendRecord(e.plain, r, r.TimeMs-firstTimeMs, int64(i))
		maxTimeMs = max(maxTimeMs, r.TimeMs)
	}
	e.out = slices.Grow(e.out[:0], sizePrefixBytes+batchHeaderBytes)[:sizePrefixBytes+batchHeaderBytes]
	if err := e.pack(); err != nil {
		return nil, err
	}

	b := e.out[sizePrefixBytes:]
	clear(b[:batchHeaderBytes])
	binary.BigEndian.PutUint32(e.out, uint32(len(b)))
	binary.BigEndian.PutUint32(b[batchLengthAt:], uint32(len(b)-batchLengthFrom))
	binary.BigEndian.PutUint32(b[batchLengthFrom:], 0xffffffff) // leader epoch: the broker's to fill in
	b[batchMagicAt] = 2
	binary.BigEndian.PutUint16(b[batchAttributesAt:], uint16(compress.Lz4))
	binary.BigEndian.PutUint32(b[batchLastDeltaAt:], uint32(len(records)-1))
	binary.BigEndian.PutUint64(b[batchFirstTimeAt:], uint64(firstTimeMs))
	binary.BigEndian.PutUint64(b[batchMaxTimeAt:], uint64(maxTimeMs))
	// Minus one throughout: neither idempotent nor in a transaction. The hop's own
	// origins tell a repeat, and a sequence per process would not.
	binary.BigEndian.PutUint64(b[batchProducerAt:], ^uint64(0))
	binary.BigEndian.PutUint16(b[batchEpochAt:], ^uint16(0))
	binary.BigEndian.PutUint32(b[batchSequenceAt:], ^uint32(0))
	binary.BigEndian.PutUint32(b[batchCountAt:], uint32(len(records)))
	binary.BigEndian.PutUint32(b[batchCRCAt:], crc32.Checksum(b[batchAttributesAt:], castagnoli))
	return e.out, nil
}

// The records are one lz4 frame, written here rather than by the library's
// stream, which would copy everything twice and add a checksum over the plain
// bytes: the batch has its own over the packed ones. Version 1, independent
// blocks of at most 64 KiB, no checksums, no sizes; the last byte belongs to this
// header alone.
//
//	magic 4 | flags 60 | block size 40 | header's check 82 | { size 4, little endian | block }* | 0 4
const (
	frameHeader     = "\x04\x22\x4D\x18\x60\x40\x82"
	frameBlockBytes = 64 << 10
	frameSizeBytes  = 4
	frameStored     = 1 << 31 // in the size: the block is not compressed
	// acceleration is how fast the search gives up on bytes that do not repeat, of
	// which ids and hashes have many: much less time for hardly more bytes.
	acceleration = 4
)

// pack appends e.plain to e.out as one frame.
func (e *encoder) pack() error {
	e.lz4.Acceleration = acceleration
	e.out = append(e.out, frameHeader...)
	for plain := e.plain; len(plain) > 0; {
		block := plain[:min(len(plain), frameBlockBytes)]
		plain = plain[len(block):]
		e.out = slices.Grow(e.out, frameSizeBytes+lz4.CompressBlockBound(len(block)))
		at := len(e.out) + frameSizeBytes
		n, err := e.lz4.CompressBlock(block, e.out[at:cap(e.out)])
		if err != nil {
			return fmt.Errorf("compress %d bytes: %w", len(block), err)
		}
		size := uint32(n)
		if n >= len(block) {
			n = copy(e.out[at:cap(e.out)], block)
			size = uint32(n) | frameStored
		}
		e.out = e.out[:at+n]
		binary.LittleEndian.PutUint32(e.out[at-frameSizeBytes:], size)
	}
	e.out = binary.LittleEndian.AppendUint32(e.out, 0)
	return nil
}

func appendRecord(b []byte, r *stage.Record, timeDelta, offsetDelta int64) []byte {
	b = binary.AppendVarint(b, int64(recordBodyBytes(r, timeDelta, offsetDelta)))
	b = append(b, 0) // attributes
	b = binary.AppendVarint(b, timeDelta)
	b = binary.AppendVarint(b, offsetDelta)
	b = appendNullable(b, r.Key)
	b = appendNullable(b, r.Value)
	b = binary.AppendVarint(b, int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		b = binary.AppendVarint(b, int64(len(h.Key)))
		b = append(b, h.Key...)
		b = appendNullable(b, h.Value)
	}
	return b
}

func appendNullable(b, value []byte) []byte {
	if value == nil {
		return binary.AppendVarint(b, -1)
	}
	b = binary.AppendVarint(b, int64(len(value)))
	return append(b, value...)
}

// recordBodyBytes is the size of a record without its own length.
func recordBodyBytes(r *stage.Record, timeDelta, offsetDelta int64) int {
	n := 1 + varintBytes(timeDelta) + varintBytes(offsetDelta) +
		nullableBytes(r.Key) + nullableBytes(r.Value) + varintBytes(int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		n += varintBytes(int64(len(h.Key))) + len(h.Key) + nullableBytes(h.Value)
	}
	return n
}

// recordBytesMax bounds what a record takes in a batch, whatever its deltas.
func recordBytesMax(r *stage.Record) int {
	return binary.MaxVarintLen32 + recordBodyBytes(r, -1<<63, 1<<31)
}

func nullableBytes(b []byte) int {
	if b == nil {
		return 1
	}
	return varintBytes(int64(len(b))) + len(b)
}

func varintBytes(v int64) int {
	zigzag := uint64(v<<1) ^ uint64(v>>63)
	return (bits.Len64(zigzag|1) + 6) / 7
}
