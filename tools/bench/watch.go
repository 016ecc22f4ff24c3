package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/bus"
	"settlewatch/schemas/alert"
)

// fetchWait is how long one fetch of the watcher waits for data.
const fetchWait = 200 * time.Millisecond

// output is where somebody publishes alerts, and how they are read.
type output struct {
	topics []string
	// read says what an alert is about. Another one than was asked for is an error
	// with its reason.
	read func(body []byte) (sighting, error)
}

// sighting is one published alert.
type sighting struct {
	Expected
	// version tells a repeat, which is harmless, from another statement.
	version string
}

// ourAlert is what of an alert's body tells whether it is the expected one.
type ourAlert struct {
	ID          string       `json:"id"`
	Kind        alert.Kind   `json:"kind"`
	Revision    uint32       `json:"revision"`
	Status      alert.Status `json:"status"`
	PaymentKey  string       `json:"payment_key"`
	AmountMinor int64        `json:"amount_minor"`
}

// ourOutput is what our joiner publishes.
func ourOutput() output {
	const keyPrefix = acquirer + "|o|"
	o := output{read: func(body []byte) (sighting, error) {
		var a ourAlert
		if err := json.Unmarshal(body, &a); err != nil {
			return sighting{}, fmt.Errorf("alert cannot be read: %w", err)
		}
		if len(a.PaymentKey) <= len(keyPrefix) || a.PaymentKey[:len(keyPrefix)] != keyPrefix {
			return sighting{}, fmt.Errorf("alert for %q, which is not in the workload", a.PaymentKey)
		}
		i, known := paymentOf(a.PaymentKey[len(keyPrefix):])
		switch {
		case !known:
			return sighting{}, fmt.Errorf("alert for %q, which is not in the workload", a.PaymentKey)
		case a.Status != alert.Open || a.Revision != 1:
			return sighting{}, fmt.Errorf("%s of %s is revision %d, %s", a.Kind, a.PaymentKey, a.Revision, a.Status)
		case a.AmountMinor != amountMinor(i):
			return sighting{}, fmt.Errorf("%s of %s is about %d minor, want %d", a.Kind, a.PaymentKey, a.AmountMinor, amountMinor(i))
		}
		return sighting{Expected{a.Kind, i}, a.ID}, nil
	}}
	for _, k := range alert.Kinds {
		o.topics = append(o.topics, k.Topic().Name)
	}
	return o
}

// peerOutput is the topic of a peer.
func peerOutput(topic string) output {
	return output{topics: []string{topic}, read: func(body []byte) (sighting, error) {
		var a struct {
			Type    alert.Kind `json:"type"`
			Payment string     `json:"payment_id"`
		}
		if err := json.Unmarshal(body, &a); err != nil {
			return sighting{}, fmt.Errorf("alert cannot be read: %w", err)
		}
		if len(a.Payment) <= len(acquirer) {
			return sighting{}, fmt.Errorf("alert for %q, which is not in the workload", a.Payment)
		}
		i, known := paymentOf(a.Payment[len(acquirer)+1:])
		if !known {
			return sighting{}, fmt.Errorf("alert for %q, which is not in the workload", a.Payment)
		}
		return sighting{Expected: Expected{a.Type, i}}, nil
	}}
}

// watcher reads an output from its beginning and compares it with the truth.
type watcher struct {
	out   output
	truth map[Expected]bool

	mu       sync.Mutex
	seen     map[Expected]string
	repeated int
	wrong    []string // a few of them
	wrongs   int
	complete chan struct{}
	// onComplete runs at the moment when the last expected alert was read, onFirst,
	// unless it is nil, when the first was.
	onComplete, onFirst func()
	// before is the first payment of the workload; alerts of earlier ones are those
	// of an earlier watcher.
	before int64
}

func newWatcher(out output, truth map[Expected]bool, onComplete func()) *watcher {
	w := &watcher{
		out: out, truth: truth, seen: make(map[Expected]string, len(truth)),
		complete: make(chan struct{}), onComplete: onComplete,
	}
	return w
}

// run reads until ctx is done.
func (w *watcher) run(ctx context.Context, log *bus.Bus) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, name := range w.out.topics {
		n, err := log.Partitions(ctx, name)
		if err != nil {
			return fmt.Errorf("watch %s: %w", name, err)
		}
		for p := range n {
			g.Go(func() error { return w.follow(ctx, log, name, int32(p)) })
		}
	}
	return g.Wait()
}

func (w *watcher) follow(ctx context.Context, log *bus.Bus, name string, partition int32) error {
	reader, err := log.Open(name, partition)
	if err != nil {
		return fmt.Errorf("watch %s/%d: %w", name, partition, err)
	}
	defer func() { _ = reader.Close() }()
	for next := int64(0); ctx.Err() == nil; {
		batch, err := reader.Fetch(ctx, next, fetchWait)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch %s/%d at %d: %w", name, partition, next, err)
		}
		for _, r := range batch.Records {
			if r.Offset >= next {
				w.add(r.Value)
			}
		}
		next = max(next, batch.Next)
	}
	return nil
}

// wrongKept bounds how many wrong alerts are told one by one.
const wrongKept = 5

func (w *watcher) add(body []byte) {
	s, err := w.out.read(body)
	w.mu.Lock()
	defer w.mu.Unlock()
	version, again := w.seen[s.Expected]
	switch {
	case err != nil:
		w.note(err.Error())
		return
	case s.Payment < w.before:
		return
	case !w.truth[s.Expected]:
		w.note(fmt.Sprintf("%s for payment %d, which is not expected", s.Kind, s.Payment))
		return
	case again && version != s.version:
		w.note(fmt.Sprintf("%s for payment %d is there twice, with two ids", s.Kind, s.Payment))
		return
	case again:
		w.repeated++
		return
	}
	w.seen[s.Expected] = s.version
	if len(w.seen) == 1 && w.onFirst != nil {
		w.onFirst()
	}
	if len(w.seen) == len(w.truth) {
		w.onComplete()
		close(w.complete)
	}
}

func (w *watcher) note(text string) {
	w.wrongs++
	if len(w.wrong) < wrongKept {
		w.wrong = append(w.wrong, text)
	}
}

// verdict says what is missing or too much; empty is exact.
func (w *watcher) verdict() (notes []string, alerts, repeated int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	notes = append(notes, w.wrong...)
	if more := w.wrongs - len(w.wrong); more > 0 {
		notes = append(notes, fmt.Sprintf("and %d more wrong alerts", more))
	}
	if missing := len(w.truth) - len(w.seen); missing > 0 {
		notes = append(notes, fmt.Sprintf("%d of %d expected alerts are missing", missing, len(w.truth)))
	}
	return notes, len(w.seen), w.repeated
}
