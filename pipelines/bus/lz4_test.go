package bus

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/pierrec/lz4/v4"
)

// frameOf is what another producer's library makes of b.
func frameOf(t testing.TB, b []byte, options ...lz4.Option) []byte {
	t.Helper()
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	if err := w.Apply(options...); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// mixed is n bytes, of which some repeat and some do not.
func mixed(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 0, n+64)
	for len(b) < n {
		b = append(b, "the same words again, "...)
		for range 16 {
			b = append(b, byte(random.Uint32()))
		}
	}
	return b[:n]
}

func TestUnpackReadsWhatOthersPack(t *testing.T) {
	noise := make([]byte, 300<<10) // blocks of it are stored as they are
	random := rand.New(rand.NewPCG(3, 4))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	for name, plain := range map[string][]byte{
		"nothing": nil, "one byte": {7}, "one block": mixed(60 << 10), "several blocks": mixed(5 << 20), "noise": noise,
		"zeros": make([]byte, 1<<20),
	} {
		e := encoder{plain: plain}
		if err := e.pack(); err != nil {
			t.Fatal(err)
		}
		for writer, frame := range map[string][]byte{
			"ours":            e.out,
			"kafka-go":        frameOf(t, plain),
			"without a check": frameOf(t, plain, lz4.ChecksumOption(false), lz4.BlockSizeOption(lz4.Block64Kb)),
			"block checks":    frameOf(t, plain, lz4.BlockChecksumOption(true), lz4.BlockSizeOption(lz4.Block256Kb)),
			"no content":      frameOf(t, plain, lz4.ChecksumOption(false), lz4.BlockSizeOption(lz4.Block1Mb)),
		} {
			t.Run(name+" by "+writer, func(t *testing.T) {
				got, ordinary := unpack([]byte("before"), frame)
				if !ordinary || string(got) != "before"+string(plain) {
					t.Fatalf("ordinary is %t, %d bytes of %d", ordinary, len(got)-len("before"), len(plain))
				}
			})
		}
	}
}

func TestUnpackLeavesOtherFramesToTheLibrary(t *testing.T) {
	plain := mixed(100 << 10)
	good := frameOf(t, plain, lz4.ChecksumOption(false))
	for name, frame := range map[string][]byte{
		"a size of the content": frameOf(t, plain, lz4.SizeOption(uint64(len(plain)))),
		"another magic":         edit(good, func(b []byte) { b[0]++ }),
		"linked blocks":         edit(good, func(b []byte) { b[4] &^= 0x20 }),
		"a dictionary":          edit(good, func(b []byte) { b[4] |= 1 }),
		"no such block size":    edit(good, func(b []byte) { b[5] = 0x30 }),
		"cut off":               good[:len(good)-1],
		"cut off in a block":    good[:1000],
		"another frame behind":  append(bytes.Clone(good), good...),
		"a bad block":           edit(good, func(b []byte) { clear(b[11:40]) }),
		"only a header":         good[:7],
		"nothing":               nil,
	} {
		t.Run(name, func(t *testing.T) {
			if got, ordinary := unpack([]byte("before"), frame); ordinary || string(got) != "before" {
				t.Fatalf("ordinary is %t, %d bytes", ordinary, len(got))
			}
		})
	}
}

// What both read they read alike. The library looks at checksums besides, which here
// are the batch's.
func FuzzUnpack(f *testing.F) {
	for _, n := range []int{0, 1, 100, 70 << 10} {
		e := encoder{plain: mixed(n)}
		if err := e.pack(); err != nil {
			f.Fatal(err)
		}
		f.Add(e.out)
		f.Add(frameOf(f, mixed(n), lz4.BlockChecksumOption(true), lz4.BlockSizeOption(lz4.Block64Kb)))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		got, ordinary := unpack(nil, frame)
		if !ordinary {
			return
		}
		if want, err := io.ReadAll(lz4.NewReader(bytes.NewReader(frame))); err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, the library reads %d others", len(got), len(want))
		}
	})
}
