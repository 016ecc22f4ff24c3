package bus

import (
	"encoding/binary"
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
	size := 0
	for i := range records {
		size += recordBytesMax(&records[i])
	}
	e.plain = slices.Grow(e.plain[:0], size)
	for i := range records {
		r := &records[i]
		e.plain = appendRecord(e.plain, r, r.TimeMs-firstTimeMs, int64(i))
		maxTimeMs = max(maxTimeMs, r.TimeMs)
	}
	e.out = slices.Grow(e.out[:0], batchBytesLikely(len(e.plain)))[:sizePrefixBytes+batchHeaderBytes]
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

// batchBytesLikely is what a batch of so many plain bytes mostly needs while it is
// packed: half of them, and room for a block. To grow towards it would leave garbage of
// several times the size.
func batchBytesLikely(plain int) int {
	return sizePrefixBytes + 2*batchHeaderBytes + plain/2 + lz4.CompressBlockBound(min(plain, frameBlockBytes))
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
