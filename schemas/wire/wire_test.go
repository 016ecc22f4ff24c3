package wire

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// FuzzFields: what is not unusual is what the library reads.
func FuzzFields(f *testing.F) {
	message := protowire.AppendTag(nil, 1, protowire.VarintType)
	message = protowire.AppendVarint(message, 300)
	message = protowire.AppendTag(message, 19, protowire.BytesType)
	message = protowire.AppendString(message, "text")
	f.Add(message)
	f.Add(append(bytes.Clone(message), message...))
	f.Add(message[:len(message)-1])
	f.Add([]byte{8})
	f.Add([]byte{0x80, 0x80})
	f.Add([]byte{10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add(protowire.AppendFixed32(protowire.AppendTag(nil, 2, protowire.Fixed32Type), 7))
	f.Fuzz(func(t *testing.T, message []byte) {
		rest := message
		fields := Of(message)
		for fields.Next() {
			number, kind, n := protowire.ConsumeTag(rest)
			if n < 0 {
				return // a field number that the library refuses: the readers know none of those
			}
			rest = rest[n:]
			if uint64(number) != fields.Number || (kind == protowire.BytesType) != fields.Bytes {
				t.Fatalf("field %d, bytes %t, want %d of kind %d", fields.Number, fields.Bytes, number, kind)
			}
			if fields.Bytes {
				part, n := protowire.ConsumeBytes(rest)
				if n < 0 || !bytes.Equal(part, fields.Part) {
					t.Fatalf("part %q, want %q", fields.Part, part)
				}
				rest = rest[n:]
				continue
			}
			v, n := protowire.ConsumeVarint(rest)
			if n < 0 || v != fields.V {
				t.Fatalf("number %d, want %d", fields.V, v)
			}
			rest = rest[n:]
		}
		if !fields.Unusual && len(rest) > 0 {
			t.Fatalf("%d bytes are left, and nothing is unusual", len(rest))
		}
	})
}

func TestOnce(t *testing.T) {
	f := Of(nil)
	if !f.Once(3) || !f.Once(4) || f.Once(3) || !f.Unusual {
		t.Error("a part that comes twice is not unusual")
	}
}
