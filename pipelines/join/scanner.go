package join

import (
	"encoding/binary"
	"slices"

	"settlewatch/schemas/event"
)

// A scanner reads parts of packed payments, and gives them on as they are written. What
// is not written in the fewest bytes is odd.
//
// What it reads lies in front of zeros, each of them a number or a text of nothing: so
// whether there is anything to read is asked once for many parts, by left.
type scanner struct {
	b   []byte
	at  int
	n   int // where it ends
	odd bool
}

// zerosBehind is more than the parts that are read between two questions.
const zerosBehind = 64

// scan copies b to room, and zeros behind it.
func scan(room, b []byte) (s scanner, roomOut []byte) {
	room = append(append(room[:0], b...), zeros[:]...)
	return scanner{b: room, n: len(b)}, room
}

var zeros [zerosBehind]byte

// left tells whether there is more to read; done whether all was, and no more.
func (s *scanner) left() bool { return s.at < s.n && !s.odd }
func (s *scanner) done() bool { return s.at == s.n && !s.odd }

func (s *scanner) end() { s.at, s.odd = s.n, true }

func (s *scanner) byte() byte {
	s.at++
	return s.b[s.at-1]
}

func (s *scanner) uvarint() uint64 {
	if v := s.b[s.at]; v < 0x80 {
		s.at++
		return uint64(v)
	}
	return s.longVarint()
}

// longVarint reads what is two or three bytes by itself: most numbers are.
func (s *scanner) longVarint() uint64 {
	b := s.b[s.at:]
	if len(b) > 2 {
		if b[1] < 0x80 && b[1] != 0 {
			s.at += 2
			return uint64(b[0]&0x7f) | uint64(b[1])<<7
		}
		if b[1] >= 0x80 && b[2] < 0x80 && b[2] != 0 {
			s.at += 3
			return uint64(b[0]&0x7f) | uint64(b[1]&0x7f)<<7 | uint64(b[2])<<14
		}
	}
	v, n := binary.Uvarint(b)
	if n <= 0 || b[n-1] == 0 {
		s.end()
		return 0
	}
	s.at += n
	return v
}

func (s *scanner) varint() int64 {
	v := s.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (s *scanner) take(n uint64) []byte {
	if left := s.n - s.at; left < 0 || n > uint64(left) {
		s.end()
		return nil
	}
	v := s.b[s.at : s.at+int(n)]
	s.at += int(n)
	return v
}

func (s *scanner) text() []byte { return s.take(s.uvarint()) }

// carryVarint gives a number on.
func (s *scanner) carryVarint(to *pen) uint64 {
	v := s.uvarint()
	to.uvarint(v)
	return v
}

func (s *scanner) carryText(to *pen) { to.text(s.text()) }

func (s *scanner) carryID(to *pen) {
	const n = len(event.ID{})
	if s.n-s.at < n {
		s.end()
		return
	}
	*(*[n]byte)(to.b[to.n:]) = [n]byte(s.b[s.at:])
	to.n += n
	s.at += n
}

// carryShape gives on what shape.append wrote.
func (s *scanner) carryShape(to *pen) {
	first := s.byte()
	to.byte(first)
	if first == unusualShape {
		to.bytes(s.take(uint64(len(shape{}))))
	}
}

// carryCurrency gives on what appendCurrency wrote.
func (s *scanner) carryCurrency(to *pen) {
	if n := s.carryVarint(to); n >= uint64(len(usualCurrencies)) {
		to.bytes(s.take(n - uint64(len(usualCurrencies))))
	}
}

// A pen writes into memory that is used again, without the call that append makes for
// each few bytes. There is always room for penRoom bytes behind a begin, a fact or a text.
type pen struct {
	b []byte
	n int // written
}

// penRoom is more than a fact has beside its texts.
const penRoom = 256

func (p *pen) written() []byte { return p.b[:p.n] }

// begin starts anew.
func (p *pen) begin() {
	p.n = 0
	p.need(0)
}

// need makes room for n bytes, and penRoom behind them.
func (p *pen) need(n int) {
	if len(p.b)-p.n < n+penRoom {
		p.grow(n + penRoom)
	}
}

func (p *pen) grow(n int) {
	p.b = slices.Grow(p.b[:p.n], n)
	p.b = p.b[:cap(p.b)]
}

func (p *pen) byte(v byte) {
	p.b[p.n] = v
	p.n++
}

func (p *pen) uvarint(v uint64) {
	if v < 0x80 {
		p.b[p.n] = byte(v)
		p.n++
		return
	}
	p.longVarint(v)
}

func (p *pen) longVarint(v uint64) { p.n += binary.PutUvarint(p.b[p.n:], v) }

func (p *pen) varint(v int64) { p.uvarint(uint64(v<<1) ^ uint64(v>>63)) }

func (p *pen) bytes(b []byte) {
	p.need(len(b))
	p.n += copy(p.b[p.n:], b)
}

func (p *pen) text(b []byte) {
	p.uvarint(uint64(len(b)))
	p.bytes(b)
}
