package join

import (
	"fmt"
	"testing"

	"settlewatch/schemas/event"
)

// A payment for which events never end stays within its bound, and takes nothing from
// the others; however the log is cut, the same is left out.
func TestPaymentIsBounded(t *testing.T) {
	const source = "capture/raw.capture.v1/0/json@1"
	fold := func(cut int) (*State, []byte) {
		t.Helper()
		s, r := New(), (*Recorder)(nil)
		r = NewRecorder(s)
		var out Output
		for i := range int64(60_000) {
			key := "acq|o|flooded"
			if i%100 == 0 {
				key = fmt.Sprint("acq|o|", i)
			}
			id, amountMinor := event.NewID(key, fmt.Sprint(i)), i
			record := &event.LogRecord{
				Origin: &event.Origin{Source: source, Offset: i}, ArrivalMs: 1000 + i,
				Body: &event.LogRecord_Event{Event: &event.Event{
					Id: id[:], PaymentKey: key, Kind: event.Kind_KIND_CAPTURE, Outcome: event.Outcome_OUTCOME_ACCEPTED,
					Operation: event.Operation_OPERATION_NEW, Capture: &event.CaptureRef{Id: fmt.Sprint("capture ", i)},
					Amounts: &event.Amounts{Currency: "CNY", TransactionMinor: &amountMinor}, Time: &event.Time{}, Parties: &event.Parties{},
				}},
			}
			if err := s.Step(record, &out); err != nil {
				t.Fatal(err)
			}
			if int(i)%cut == 0 {
				if _, err := r.Commit(uint64(i)/uint64(cut)+1, Position{Offset: i + 1}); err != nil {
					t.Fatal(err)
				}
			}
		}
		c, err := r.Commit(1<<40, Position{Offset: 60_000})
		if err != nil {
			t.Fatal(err)
		}
		return s, c.Meta
	}
	s, meta := fold(10_000)
	if s.counts.Overflow == 0 || s.Payments() != 601 {
		t.Errorf("%d events were left out, %d payments are there", s.counts.Overflow, s.Payments())
	}
	for key, packed := range s.Bucket(BucketOf("acq|o|flooded")) {
		if len(packed) > paymentBytesMax+1024 {
			t.Errorf("%s has %d bytes", key, len(packed))
		}
	}
	if _, again := fold(777); string(again) != string(meta) {
		t.Errorf("cut otherwise it is\n%s\nwant\n%s", again, meta)
	}
}
