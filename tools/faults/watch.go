package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
	"settlewatch/tools/demo"
)

const (
	watchEvery  = 100 * time.Millisecond
	healthEvery = 500 * time.Millisecond
	// silenceMost: what stands still says so within the services' own bound, and the
	// time of two looks.
	silenceMost = stallAfter + 2*time.Second
)

// leg is one service's way through one topic.
type leg struct{ service, group, topic string }

var legs = []leg{
	{"authorization", boot.GroupIngest(intake.Authorization, boot.Documented), topic.RawAuthorization.Name},
	{"capture", boot.GroupIngest(intake.Capture, boot.Documented), topic.RawCapture.Name},
	{"settlement", boot.GroupIngest(intake.Settlement, boot.Documented), topic.RawSettlement.Name},
	{"joiner", boot.GroupJoiner, topic.PaymentLog.Name},
	{"warehouse", boot.GroupWarehouse, topic.PaymentLog.Name},
}

// watch looks at the services all the time: how much memory they have, where the
// state stands, what their health says.
type watch struct {
	w *world

	mu       sync.Mutex
	peakKiB  map[string]int64
	places   map[int32][]invariant.Place
	looks    map[string][]invariant.Look
	lastSaid map[string]string
}

func newWatch(w *world) *watch {
	return &watch{
		w: w, peakKiB: map[string]int64{}, places: map[int32][]invariant.Place{},
		looks: map[string][]invariant.Look{}, lastSaid: map[string]string{},
	}
}

func (a *watch) run(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var healthAt time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			a.memory()
			a.state()
			if now.Sub(healthAt) >= healthEvery {
				healthAt = now
				a.health(ctx)
			}
		}
	}
}

// memory notes the largest resident set that each service has had.
func (a *watch) memory() {
	for _, name := range demo.Services {
		pid := a.w.supervisor.Pid(name)
		if pid == 0 {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue // it has just ended
		}
		for line := range strings.Lines(string(text)) {
			if rest, is := strings.CutPrefix(line, "VmHWM:"); is {
				kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				a.mu.Lock()
				a.peakKiB[name] = max(a.peakKiB[name], kib)
				a.mu.Unlock()
			}
		}
	}
}

// peaks are the most that each service has had, in MiB.
func (a *watch) peaks() map[string]float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	mib := map[string]float64{}
	for name, kib := range a.peakKiB {
		mib[name] = float64(kib) / 1024
	}
	return mib
}

// largest names the service that has had most memory, and how much that was.
func (a *watch) largest() (service string, mib float64) {
	for name, v := range a.peaks() {
		if v > mib || v == mib && name < service {
			service, mib = name, v
		}
	}
	return service, mib
}

// state notes where the stored state of every partition stands.
func (a *watch) state() {
	for p := range int32(topic.PaymentLog.Partitions) {
		place, err := a.w.storedPlace(p)
		if err != nil || place.Sequence == 0 {
			continue // Redis is away, or empty: that is the scenario's affair
		}
		a.mu.Lock()
		if seen := a.places[p]; len(seen) == 0 || seen[len(seen)-1] != place {
			a.places[p] = append(seen, place)
		}
		a.mu.Unlock()
	}
}

// metaKey is where a partition's state says how far it is.
func metaKey(partition int32) string {
	return fmt.Sprintf("sw:{%s/%d}:meta", topic.PaymentLog.Name, partition)
}

// storedPlace reads where the state of a partition stands, past all clients.
func (w *world) storedPlace(partition int32) (invariant.Place, error) {
	text, err := w.askState("HMGET", metaKey(partition), "seq", "offset")
	if err != nil {
		return invariant.Place{}, err
	}
	sequence, offset, _ := strings.Cut(text, "\n")
	if sequence == "" {
		return invariant.Place{}, nil
	}
	var place invariant.Place
	if place.Sequence, err = strconv.ParseUint(sequence, 10, 64); err != nil {
		return place, fmt.Errorf("read the state's sequence: %w", err)
	}
	if place.Offset, err = strconv.ParseInt(offset, 10, 64); err != nil {
		return place, fmt.Errorf("read the state's offset: %w", err)
	}
	return place, nil
}

// askState asks the Redis that holds the state; of a cluster the node that has the key.
func (w *world) askState(words ...string) (string, error) {
	var errs []error
	for _, addr := range w.stateAddrs {
		text, err := ask(w.ctx, addr, words...)
		if err == nil {
			return text, nil
		}
		// MOVED names the node that has it; any node says so.
		if at := strings.Index(err.Error(), "MOVED "); at >= 0 {
			if _, owner, is := strings.Cut(strings.TrimPrefix(err.Error()[at:], "MOVED "), " "); is {
				return ask(w.ctx, owner, words...)
			}
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// health asks every service what it says of itself, and sees for itself how far it is.
func (a *watch) health(ctx context.Context) {
	for _, l := range legs {
		look := a.where(ctx, l)
		said, ok := a.w.verdict(ctx, l.service, "/healthz")
		if ok {
			said, ok = a.w.verdict(ctx, l.service, "/readyz")
		}
		look.Says = !ok
		a.mu.Lock()
		a.looks[l.service] = append(a.looks[l.service], look)
		if !ok {
			a.lastSaid[l.service] = said
		}
		a.mu.Unlock()
	}
}

// where is how far a service is; while the broker is away, where it was last.
func (a *watch) where(ctx context.Context, l leg) invariant.Look {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	look := invariant.Look{AtMs: time.Now().UnixMilli()}
	places, err := a.w.bus.Places(ctx, l.group, l.topic)
	if err != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if seen := a.looks[l.service]; len(seen) > 0 {
			look.Position, look.Waiting = seen[len(seen)-1].Position, seen[len(seen)-1].Waiting
		}
		return look
	}
	for _, p := range places {
		look.Position += max(0, p.Committed)
		look.Waiting = look.Waiting || p.Lag() > 0
	}
	return look
}

// verdict asks for one of a service's two verdicts; not to answer is one too.
func (w *world) verdict(ctx context.Context, service, path string) (said string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.http[service]+path, nil)
	if err != nil {
		return err.Error(), false
	}
	reply, err := probe.Do(request)
	if err != nil {
		return err.Error(), false
	}
	defer func() { _ = reply.Body.Close() }()
	text := make([]byte, 4<<10)
	n, _ := reply.Body.Read(text)
	return string(text[:n]), reply.StatusCode == http.StatusOK
}

// probe keeps no connection: the service behind an address is another one after
// each kill.
var probe = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// Ways to see that something goes on.

// stored is how far the state is, over all partitions.
func (w *world) stored() (sum int64, err error) {
	for p := range int32(topic.PaymentLog.Partitions) {
		place, err := w.storedPlace(p)
		if err != nil {
			return 0, nil //nolint:nilerr // Redis is away: nothing goes on yet
		}
		sum += place.Offset
	}
	return sum, nil
}

// alerts is how many revisions were published, repeats not counted.
func (w *world) alerts() (int64, error) {
	c := w.collector.Collected()
	n := 0
	for _, revisions := range c.Alerts {
		n += len(revisions)
	}
	return int64(n), nil
}

// committed is how far a service's group is.
func (w *world) committed(service string) progress {
	return func() (sum int64, err error) {
		for _, l := range legs {
			if l.service != service {
				continue
			}
			places, err := w.bus.Places(w.ctx, l.group, l.topic)
			if err != nil {
				return 0, nil //nolint:nilerr // the broker is away: nothing goes on yet
			}
			for _, p := range places {
				sum += max(0, p.Committed)
			}
		}
		return sum, nil
	}
}

// lag is how much a service has before it, over all its topics.
func (w *world) lag(service string) (sum int64, err error) {
	for _, l := range allLegs() {
		if l.service != service {
			continue
		}
		n, err := w.bus.Lag(w.ctx, l.group, l.topic)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
