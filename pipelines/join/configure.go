package join

import (
	"encoding/binary"
	"slices"
	"strings"

	"settlewatch/pipelines/hop"
	"settlewatch/schemas/event"
)

// rejudge is what a CONFIG does to the payments of a group whose next moment was
// set before it.
type rejudge struct {
	epoch uint64
	from  int64
}

func (s *State) rejudgeOf(group int) rejudge {
	if group == noGroup {
		return rejudge{s.epoch, hop.Never}
	}
	return rejudge{s.epoch, s.judgeFrom[group]}
}

// next is a payment's next moment. One that was judged before the last CONFIG is
// judged again at the frontier of then, and so is one with moments that were not
// worth it: what was foreseen for it holds no more. One that was not judged waits
// for its first event, as before. So a CONFIG changes all payments and writes none.
func (r rejudge) next(h *head) int64 {
	again := (h.flags&flagBody != 0 && r.from != hop.Never) || h.flags&flagDeferred != 0
	if h.epoch == r.epoch || !again {
		return h.next
	}
	return min(h.next, max(r.from, h.judged+1))
}

// steady tells whether a new CONFIG leaves payments where they are: the same groups
// of the same sources, so that no frontier jumps; the same clearing dates; and none
// that waits to be judged again since the last one.
func (s *State) steady(c *event.Config) bool {
	old := s.config
	if len(old.Groups) != len(c.Groups) || old.TzdataVersion != c.TzdataVersion {
		return false
	}
	for i := range old.Groups {
		a, b := old.Groups[i], c.Groups[i]
		if a.Name != b.Name || !slices.Equal(a.Acquirers, b.Acquirers) || !sameSources(a, b) || !sameClearing(a.Terms, b.Terms) {
			return false
		}
		if from := s.judgeFrom[i]; from != hop.Never && from >= s.hop.Frontier(i) {
			return false
		}
	}
	return true
}

func sameSources(a, b *event.Group) bool {
	return slices.EqualFunc(a.Sources, b.Sources, func(a, b *event.ExpectedSource) bool { return a.Name == b.Name })
}

func sameClearing(a, b *event.Terms) bool {
	return a.GetZone() == b.GetZone() && optional(a.CutoffMs) == optional(b.CutoffMs) &&
		slices.EqualFunc(a.ChannelCutoffs, b.ChannelCutoffs, func(a, b *event.ChannelCutoff) bool {
			return a.Channel == b.Channel && optional(a.CutoffMs) == optional(b.CutoffMs)
		})
}

// writeOut makes what the last CONFIG left to be found a part of each payment, and
// judges what was not worth it, before a CONFIG under which it could not be found
// any more. Nothing is said by it.
func (s *State) writeOut(out *Output) error {
	var keys []event.PaymentKey
	for key, packed := range s.payments.all() {
		if h, err := peek(packed); err != nil {
			return corrupt(key)
		} else if h.epoch != s.epoch || h.flags&flagDeferred != 0 {
			keys = append(keys, event.PaymentKey(strings.Clone(string(key))))
		}
	}
	for _, key := range keys {
		if g := s.group(key); g != noGroup {
			if err := s.writeOutOne(key, g, out); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *State) writeOutOne(key event.PaymentKey, group int, out *Output) error {
	hash := hashKey(key)
	b, slot := s.payments.find(key, hash)
	h, err := peek(b.payment(slot))
	if err != nil {
		return corrupt(key)
	}
	r := s.rejudgeOf(group)
	next := r.next(&h)
	if h.flags&flagDeferred != 0 {
		if err := s.judgeDeferred(b, slot, hash, s.hop.Frontier(group), group, out); err != nil {
			return err
		}
		if b, slot = s.payments.find(key, hash); slot < 0 {
			return nil
		}
		if h, err = peek(b.payment(slot)); err != nil {
			return corrupt(key)
		}
		// A judgement that the last CONFIG asked for still stands. It speaks at r.from, not
		// before, whatever its terms say of moments that have passed.
		if h.flags&flagBody == 0 || next != r.from {
			next = h.next
		}
	}
	s.payments.rehead(b, slot, hash, &h, newHead{h.flags, s.epoch, next}, nil)
	return nil
}

// appendReheaded appends a payment with another head. Facts may be appended to it.
func appendReheaded(b, old []byte, h *head, n newHead) []byte {
	b = append(append(b, n.flags&^flagWhole), old[1:h.epochAt]...)
	b = binary.AppendUvarint(b, n.epoch)
	b = appendMoment(b, n.next, 0)
	b = append(b, old[h.restAt:h.bodyAt]...)
	if h.flags&flagWhole != 0 {
		b = binary.AppendUvarint(b, uint64(len(old)-h.bodyAt))
	}
	return append(b, old[h.bodyAt:]...)
}
