package profile

import (
	"settlewatch/pipelines/intake"
	"settlewatch/schemas/event"
)

// Decoder makes events of Kafka records, one after the other, as Profile.Decode
// does, but lends them where it can: reading them costs no allocation then. It is
// not safe for concurrent use.
type Decoder struct {
	single *single
	feed   intake.Feed
}

// NewDecoder makes a decoder of records of a feed; 0 is any. The error says that
// the profile needs what only a file has.
func (p *Profile) NewDecoder(feed intake.Feed) (*Decoder, error) {
	s, err := p.newSingle(feed)
	if err != nil {
		return nil, err
	}
	if k, profiled := s.maker.(*maker); !profiled || k.lone { // a record that is a file has many rows
		s.maker.lend()
	}
	return &Decoder{single: s, feed: feed}, nil
}

// Events appends the events of one record to into. They are valid until the next
// call. The error is as that of Profile.Decode.
func (d *Decoder) Events(raw []byte, into []*event.Event) ([]*event.Event, error) {
	return d.single.decode(raw, d.feed, into)
}
