package bus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/protocol"

	"settlewatch/pipelines/stage"
)

var codecs = []compress.Compression{compress.None, compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd}

func sample(n int) []stage.Record {
	records := make([]stage.Record, n)
	for i := range records {
		r := &records[i]
		r.Offset = int64(i)
		r.TimeMs = 1_700_000_000_000 + int64(i%7) - 3
		r.Value = fmt.Appendf(nil, `{"kind":"CAPTURED","payment":"merchant-%d/order-%08d","amountMinor":%d,"currency":"EUR","pad":"%0120d"}`, i%13, i, i*17, i)
		if i%5 != 0 {
			r.Key = fmt.Appendf(nil, "order-%08d", i)
		}
		if i%3 == 0 {
			r.Headers = []stage.Header{{Key: "origin", Value: r.Value[:9:9]}, {Key: "empty", Value: []byte{}}, {Key: "null"}}
		}
	}
	return records
}

// foreign encodes with kafka-go, without the size prefix.
func foreign(t testing.TB, records []stage.Record, attributes protocol.Attributes) []byte {
	t.Helper()
	set := protocol.RecordSet{Version: 2, Attributes: attributes}
	var list []protocol.Record
	for _, r := range records {
		p := protocol.Record{Time: time.UnixMilli(r.TimeMs)}
		if r.Key != nil {
			p.Key = protocol.NewBytes(r.Key)
		}
		if r.Value != nil {
			p.Value = protocol.NewBytes(r.Value)
		}
		for _, h := range r.Headers {
			p.Headers = append(p.Headers, protocol.Header{Key: h.Key, Value: h.Value})
		}
		list = append(list, p)
	}
	set.Records = protocol.NewRecordReader(list...)
	var out bytes.Buffer
	if _, err := set.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()[sizePrefixBytes:]
}

// edit changes header fields and makes the checksum right again.
func edit(batch []byte, change func(b []byte)) []byte {
	b := bytes.Clone(batch)
	change(b)
	binary.BigEndian.PutUint32(b[batchCRCAt:], crc32.Checksum(b[batchAttributesAt:], castagnoli))
	return b
}

func atOffset(batch []byte, base int64) []byte {
	return edit(batch, func(b []byte) { binary.BigEndian.PutUint64(b, uint64(base)) })
}

func transactional(batch []byte, producer int64) []byte {
	return edit(batch, func(b []byte) {
		b[batchAttributesAt+1] |= transactionBit
		binary.BigEndian.PutUint64(b[batchProducerAt:], uint64(producer))
	})
}

// marker ends producer's transaction at offset base.
func marker(t testing.TB, base, producer int64, commit byte) []byte {
	key := []byte{0, 0, 0, commit}
	b := foreign(t, []stage.Record{{Key: key, Value: make([]byte, 6), TimeMs: 1}}, 0)
	return atOffset(edit(b, func(b []byte) {
		b[batchAttributesAt+1] |= transactionBit | controlBit
		binary.BigEndian.PutUint64(b[batchProducerAt:], uint64(producer))
	}), base)
}

func offsets(d *decoder) []int64 {
	found := []int64{}
	for _, r := range d.records {
		found = append(found, r.Offset)
	}
	return found
}

func TestDecodeWhatKafkaGoEncodes(t *testing.T) {
	want := sample(100)
	var d decoder
	for _, codec := range codecs {
		next, err := d.decode(foreign(t, want, protocol.Attributes(codec)), 0, nil)
		if err != nil || next != 100 {
			t.Fatalf("%s: next %d, %v", codec, next, err)
		}
		if !reflect.DeepEqual(d.records, want) {
			t.Errorf("%s: records differ", codec)
		}
	}
}

// Batches of every size around the limits of a block, records larger than a block,
// and bytes that cannot be compressed.
func TestKafkaGoReadsWhatIsEncoded(t *testing.T) {
	noise := func(n int) []byte {
		value := make([]byte, n)
		_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(value) // it never fails
		return value
	}
	batches := [][]stage.Record{sample(1), sample(100), sample(3000), {{Value: noise(1)}}, {{Value: noise(3 * frameBlockBytes), TimeMs: 1}}}
	for n := frameBlockBytes - 24; n < frameBlockBytes+8; n++ {
		batches = append(batches, []stage.Record{{Value: bytes.Repeat([]byte("x"), n)}}, []stage.Record{{Key: noise(n)}})
	}
	var e encoder
	for i, want := range batches {
		b, err := e.encode(want)
		if err != nil {
			t.Fatal(err)
		}
		var set protocol.RecordSet
		if _, err := set.ReadFrom(bytes.NewReader(b)); err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
		var got []stage.Record
		for {
			p, err := set.Records.ReadRecord()
			if err != nil {
				break
			}
			r := stage.Record{Offset: p.Offset, TimeMs: p.Time.UnixMilli()}
			r.Key, _ = protocol.ReadAll(p.Key)
			r.Value, _ = protocol.ReadAll(p.Value)
			for _, h := range p.Headers {
				r.Headers = append(r.Headers, stage.Header(h))
			}
			got = append(got, r)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("batch %d: kafka-go reads other records", i)
		}
		var d decoder
		if _, err := d.decode(b[sizePrefixBytes:], 0, nil); err != nil || !reflect.DeepEqual(d.records, want) {
			t.Errorf("batch %d: decoded are other records, %v", i, err)
		}
	}
}

// What is packed is byte for byte what kafka-go writes of the same records, and the
// header says the same of it: the log's bytes are nobody's choice but the format's.
func TestPackedBytesAreKafkaGos(t *testing.T) {
	var e encoder
	for _, n := range []int{1, 100, 3000} {
		b, err := e.encode(sample(n))
		if err != nil {
			t.Fatal(err)
		}
		got, want := b[sizePrefixBytes:], foreign(t, sample(n), 0)
		plain, ordinary := unpack(nil, got[batchHeaderBytes:])
		if !ordinary || !bytes.Equal(plain, want[batchHeaderBytes:]) {
			t.Errorf("%d records: %d bytes are packed, other than kafka-go's %d", n, len(plain), len(want)-batchHeaderBytes)
		}
		for _, part := range []struct{ from, to int }{{batchLastDeltaAt, batchProducerAt}, {batchCountAt, batchHeaderBytes}} {
			if !bytes.Equal(got[part.from:part.to], want[part.from:part.to]) {
				t.Errorf("%d records: header bytes %d to %d are %x, kafka-go's %x", n, part.from, part.to, got[part.from:part.to], want[part.from:part.to])
			}
		}
	}
}

func TestDecodeSkips(t *testing.T) {
	three := foreign(t, sample(3), 0)
	compacted := atOffset(edit(three, func(b []byte) { binary.BigEndian.PutUint32(b[batchLastDeltaAt:], 9) }), 20)
	emptied := edit(three, func(b []byte) {
		binary.BigEndian.PutUint32(b[batchCountAt:], 0)
		binary.BigEndian.PutUint32(b[batchLengthAt:], batchHeaderBytes-batchLengthFrom)
	})[:batchHeaderBytes]
	emptied = atOffset(emptied, 30) // edit also renews the checksum of what is left
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

	tests := []struct {
		name    string
		raw     []byte
		from    int64
		aborted []abortedTransaction
		want    []int64
		next    int64
	}{
		{"nothing", nil, 7, nil, []int64{}, 7},
		{"records below the offset", three, 2, nil, []int64{2}, 3},
		{"a batch below the offset", join(three, atOffset(three, 3)), 4, nil, []int64{4, 5}, 6},
		{"the last batch is cut off", join(three, atOffset(three, 3)[:70]), 0, nil, []int64{0, 1, 2}, 3},
		{"not even a header", join(three, three[:5]), 0, nil, []int64{0, 1, 2}, 3},
		{"only a part of a batch", three[:len(three)-1], 0, nil, []int64{}, 0},
		{"compaction took the last records", compacted, 20, nil, []int64{20, 21, 22}, 30},
		{"compaction took all", emptied, 30, nil, []int64{}, 33},
		{"a gap between batches", join(three, compacted), 0, nil, []int64{0, 1, 2, 20, 21, 22}, 30},
		{"a control batch", join(three, marker(t, 3, 9, 1)), 0, nil, []int64{0, 1, 2}, 4},
		{
			"an aborted transaction",
			join(transactional(three, 9), marker(t, 3, 9, controlAbort), atOffset(three, 4)),
			0,
			[]abortedTransaction{{9, 0}},
			[]int64{4, 5, 6},
			7,
		},
		{
			"a committed one after an aborted one of the same producer",
			join(transactional(three, 9), marker(t, 3, 9, controlAbort), atOffset(transactional(three, 9), 4), marker(t, 7, 9, 1)),
			0,
			[]abortedTransaction{{9, 0}},
			[]int64{4, 5, 6},
			8,
		},
		{
			"aborted and committed ones interleaved, the list unsorted",
			join(transactional(three, 9), atOffset(transactional(three, 8), 3), atOffset(transactional(three, 7), 6),
				marker(t, 9, 9, controlAbort), marker(t, 10, 8, 1), marker(t, 11, 7, controlAbort)),
			0,
			[]abortedTransaction{{7, 6}, {9, 0}},
			[]int64{3, 4, 5},
			12,
		},
		{
			"the list reaches behind the reply",
			transactional(three, 9), 0,
			[]abortedTransaction{{9, 3}},
			[]int64{0, 1, 2},
			3,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var d decoder
			next, err := d.decode(test.raw, test.from, test.aborted)
			if err != nil || next != test.next || !reflect.DeepEqual(offsets(&d), test.want) {
				t.Errorf("offsets %v, next %d, %v; want %v, %d", offsets(&d), next, err, test.want, test.next)
			}
		})
	}
}

func TestDecodeShowsAppendTime(t *testing.T) {
	b := edit(foreign(t, sample(3), protocol.Lz4), func(b []byte) {
		b[batchAttributesAt+1] |= appendTimeBit
		binary.BigEndian.PutUint64(b[batchMaxTimeAt:], 1_800_000_000_000)
	})
	var d decoder
	if _, err := d.decode(b, 0, nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range d.records {
		if r.TimeMs != 1_800_000_000_000 {
			t.Errorf("time of offset %d is %d", r.Offset, r.TimeMs)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := foreign(t, sample(3), 0)
	tests := []struct {
		name string
		raw  []byte
		want error
	}{
		{"a flipped bit", func() []byte { b := bytes.Clone(good); b[80] ^= 1; return b }(), errCorrupt},
		{"an old format", edit(good, func(b []byte) { b[batchMagicAt] = 1 }), errUnsupported},
		{"an unknown codec", edit(good, func(b []byte) { b[batchAttributesAt+1] |= 7 }), errUnsupported},
		{"more records than there are", edit(good, func(b []byte) { b[batchCountAt+3] = 4 }), errCorrupt},
		{"fewer records than there are", edit(good, func(b []byte) { b[batchCountAt+3] = 2 }), errCorrupt},
		{"offsets beyond the batch", edit(good, func(b []byte) { b[batchLastDeltaAt+3] = 1 }), errCorrupt},
		{"a negative offset", atOffset(good, -5), errCorrupt},
		{"a length below the header", edit(good, func(b []byte) { binary.BigEndian.PutUint32(b[batchLengthAt:], 20) })[:32], errCorrupt},
		{"a negative length", edit(good, func(b []byte) { b[batchLengthAt] = 0x80 }), errCorrupt},
		{"what is not lz4", edit(good, func(b []byte) { b[batchAttributesAt+1] |= byte(compress.Lz4) }), errCorrupt},
		{"what is not snappy", edit(good, func(b []byte) { b[batchAttributesAt+1] |= byte(compress.Snappy) }), errCorrupt},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var d decoder
			if _, err := d.decode(test.raw, 0, nil); !errors.Is(err, test.want) {
				t.Errorf("decode returned %v", err)
			}
		})
	}
}

// FuzzDecode: decoding never panics, whatever the bytes, and what was decoded
// encodes and decodes again to the same.
func FuzzDecode(f *testing.F) {
	for _, codec := range codecs {
		f.Add(foreign(f, sample(4), protocol.Attributes(codec)), int64(0))
	}
	f.Add(marker(f, 3, 9, 0), int64(3))
	f.Add(transactional(foreign(f, sample(2), 0), 9), int64(1))
	f.Fuzz(func(t *testing.T, raw []byte, from int64) {
		// With a right checksum the fuzzer reaches what lies behind it.
		if len(raw) >= batchHeaderBytes {
			if n := int(int32(binary.BigEndian.Uint32(raw[batchLengthAt:]))) + batchLengthFrom; n > batchHeaderBytes && n <= len(raw) {
				raw = bytes.Clone(raw)
				binary.BigEndian.PutUint32(raw[batchCRCAt:], crc32.Checksum(raw[batchAttributesAt:n], castagnoli))
			}
		}
		var d decoder
		next, err := d.decode(raw, from, []abortedTransaction{{9, 0}})
		if err != nil {
			return
		}
		if next < from {
			t.Fatalf("next %d is below %d", next, from)
		}
		if len(d.records) == 0 {
			return
		}
		var e encoder
		again, err := e.encode(d.records)
		if err != nil {
			t.Fatal(err)
		}
		var d2 decoder
		if _, err := d2.decode(again[sizePrefixBytes:], 0, nil); err != nil {
			t.Fatal(err)
		}
		for i := range d.records {
			d.records[i].Offset = int64(i)
			if len(d.records[i].Headers) == 0 {
				d.records[i].Headers = nil
			}
		}
		if !reflect.DeepEqual(d.records, d2.records) {
			t.Fatalf("decoded again: %v\nwant %v", d2.records, d.records)
		}
	})
}

// FuzzReply: the reply around the batches never panics either.
func FuzzReply(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1})
	f.Add(make([]byte, 80))
	f.Fuzz(func(_ *testing.T, in []byte) {
		x := fetchExchange{in: in}
		_, _ = x.reply(nil)
	})
}

func TestRecordBytesMaxBounds(t *testing.T) {
	for _, r := range sample(20) {
		for _, delta := range []int64{0, -1, 1 << 62, -1 << 63} {
			if got := len(appendRecord(nil, &r, delta, 1<<31-1)); got > recordBytesMax(&r) {
				t.Errorf("a record takes %d bytes, the bound is %d", got, recordBytesMax(&r))
			}
		}
	}
}

// The first reply finds out how much memory a reply takes; from then on it is used
// again, by batches of ours and of other producers, packed or not.
func TestDecoderUsesItsMemoryAgain(t *testing.T) {
	const perBatch = 1000
	records := sample(perBatch)
	for _, codec := range []compress.Compression{compress.None, compress.Lz4, compress.Zstd} {
		var reply []byte
		for n := range 12 {
			batch := foreign(t, records, protocol.Attributes(codec))
			binary.BigEndian.PutUint64(batch, uint64(n*perBatch))
			reply = append(reply, batch...)
		}
		var d decoder
		decode := func() {
			if _, err := d.decode(reply, 0, nil); err != nil {
				t.Fatal(err)
			}
			for i := range d.records {
				if r, want := &d.records[i], &records[i%perBatch]; r.Offset != int64(i) || !bytes.Equal(r.Value, want.Value) {
					t.Fatalf("%s: record %d at offset %d is another than was written", codec, i, r.Offset)
				}
			}
		}
		decode() // and here in memory that is too small
		decode()
		memory := unsafe.SliceData(d.inflated)
		decode()
		if at := unsafe.SliceData(d.inflated); at != memory || d.wanted != 0 || d.used > cap(d.inflated) {
			t.Errorf("%s: a third reply that is alike does not fit into %d bytes, and wants %d", codec, cap(d.inflated), d.wanted)
		}
	}
}

func TestFinal(t *testing.T) {
	for err, want := range map[error]bool{
		kafka.NotLeaderForPartition:    false,
		kafka.BrokerNotAvailable:       false,
		kafka.NotEnoughReplicas:        false,
		errors.New("connection reset"): false,
		protocol.NewErrNoTopic("t"):    false,
		kafka.TopicAuthorizationFailed: true,
		kafka.SASLAuthenticationFailed: true,
		kafka.InvalidTimestamp:         true,
		kafka.MessageSizeTooLarge:      true,
		kafka.OffsetOutOfRange:         true,
		corrupt(7, "x"):                true,
	} {
		if final(err) != want {
			t.Errorf("final(%v) = %t", err, !want)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, codec := range []compress.Compression{compress.None, compress.Lz4, compress.Zstd} {
		b.Run(codec.String(), func(b *testing.B) {
			records := sample(3000)
			raw := foreign(b, records, protocol.Attributes(codec))
			var d decoder
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.decode(raw, 0, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(records)), "ns/record")
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	records := sample(3000)
	var e encoder
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.encode(records); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(records)), "ns/record")
}
