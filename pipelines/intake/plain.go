package intake

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// What is plain stands between the quotes of a JSON string as it is: ASCII
// characters from space to tilde but the quote and the backslash. These functions
// look at eight bytes at a time, for nearly every text is short and plain.

// PlainEnd is where the quote stands that ends a text which begins at raw[at:]; 0
// if the text is not plain, or if nothing ends it.
func PlainEnd(raw []byte, at int) int {
	for ; at+8 <= len(raw); at += 8 {
		if found := odd(binary.LittleEndian.Uint64(raw[at:])); found != 0 {
			if at += bits.TrailingZeros64(found) / 8; raw[at] == '"' {
				return at
			}
			return 0
		}
	}
	for ; at < len(raw); at++ {
		switch c := raw[at]; {
		case c == '"':
			return at
		case c < ' ' || c >= 0x7F || c == '\\':
			return 0
		}
	}
	return 0
}

// odd sets the high bit of each byte that is a quote, a backslash, or outside of ASCII,
// above tilde or below space. A borrow or carry can only come out of such a byte, so
// that the lowest one is always right.
func odd(w uint64) uint64 {
	quote, escape := w^quotes, w^backslashes
	return (w | (w + ones) | (w - spaces) | (quote-ones)&^quote | (escape-ones)&^escape) & highs
}

// One of a byte in each of eight.
const (
	ones        = 0x0101010101010101
	highs       = 0x80 * ones
	spaces      = ' ' * ones
	quotes      = '"' * ones
	backslashes = '\\' * ones
)

// Plain tells whether all of a text is plain.
func Plain(text string) bool {
	raw := unsafe.Slice(unsafe.StringData(text), len(text)) // which is only read
	var bad uint64
	for ; len(raw) >= 8; raw = raw[8:] {
		bad |= odd(binary.LittleEndian.Uint64(raw))
	}
	for _, c := range raw {
		if c < ' ' || c >= 0x7F || c == '\\' || c == '"' {
			return false
		}
	}
	return bad == 0
}
