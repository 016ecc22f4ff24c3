package bus

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pierrec/lz4/v4"
)

// Compressed records are one lz4 frame. It is written and read here rather than by
// the library's streams, which copy everything twice and add a checksum over the
// plain bytes: the batch has its own over the packed ones. What is written is version
// 1, independent blocks of at most 64 KiB, no checksums, no sizes; the last byte of
// the header is a checksum of it.
//
//	magic 4 | flags 60 | block size 40 | header's check 82 | { size 4, little endian | block }* | 0 4
const (
	frameMagic      = "\x04\x22\x4D\x18"
	frameHeader     = frameMagic + "\x60\x40\x82"
	frameBlockBytes = 64 << 10
	frameSizeBytes  = 4
	frameCheckBytes = 4
	frameStored     = 1 << 31 // in the size: the block is not compressed
	// Flags of others: a checksum behind each block and behind the last. All else, such
	// as blocks that go back into the one before, is left to the library.
	frameFlags        = 0x60
	frameBlockChecks  = 0x10
	frameContentCheck = 0x04
	// growBytesMax bounds what is taken ahead on the word of one block.
	growBytesMax = 4 << 20
	// lz4RatioMax bounds what a byte can become.
	lz4RatioMax = 255
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

// unpack appends what an ordinary frame holds to b, and returns all of it. It refuses
// nothing: false, with b as it was, leaves any other frame to the library, which says
// what is wrong with it.
func unpack(b, frame []byte) (out []byte, ordinary bool) {
	if len(frame) < len(frameHeader) || string(frame[:len(frameMagic)]) != frameMagic {
		return b, false
	}
	flags, code := frame[len(frameMagic)], frame[len(frameMagic)+1]>>4
	if flags&^(frameBlockChecks|frameContentCheck) != frameFlags || code < 4 || code > 7 {
		return b, false
	}
	behindBlock, behindAll := 0, 0
	if flags&frameBlockChecks != 0 {
		behindBlock = frameCheckBytes
	}
	if flags&frameContentCheck != 0 {
		behindAll = frameCheckBytes
	}
	blockMax := 1 << (8 + 2*code) // 64 KiB, 256 KiB, 1 MiB, 4 MiB
	out = b
	for frame = frame[len(frameHeader):]; len(frame) >= frameSizeBytes; {
		size := binary.LittleEndian.Uint32(frame)
		frame = frame[frameSizeBytes:]
		if size == 0 && len(frame) == behindAll {
			return out, true
		}
		if size == 0 {
			break
		}
		n := int(size &^ frameStored)
		if n > len(frame)-behindBlock || len(out)-len(b) > inflatedBytesMax-blockMax {
			break
		}
		block := frame[:n]
		frame = frame[n+behindBlock:]
		if size&frameStored != 0 {
			out = append(out, block...)
			continue
		}
		room := min(blockMax, lz4RatioMax*n)
		if room > cap(out)-len(out) { // for all that is to come, if it is like this block
			out = slices.Grow(out, min(room*(1+len(frame)/n), max(room, growBytesMax)))
		}
		plain, err := lz4.UncompressBlock(block, out[len(out):len(out)+room])
		if err != nil {
			break
		}
		out = out[:len(out)+plain]
	}
	return b, false
}
