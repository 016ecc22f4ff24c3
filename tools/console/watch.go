package console

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
)

// Revision is one published revision of an alert, with its bytes.
type Revision struct {
	*alert.Alert
	Body []byte
}

// Filter says which alerts are shown. The zero value shows all.
type Filter struct {
	Kinds    []alert.Kind
	Statuses []alert.Status
	Merchant string
	// SinceMs is the first moment judged, Unix milliseconds.
	SinceMs int64
}

// Matches tells whether a revision is shown.
func (f Filter) Matches(a *alert.Alert) bool {
	return (len(f.Kinds) == 0 || slices.Contains(f.Kinds, a.Kind)) &&
		(len(f.Statuses) == 0 || slices.Contains(f.Statuses, a.Status)) &&
		(f.Merchant == "" || f.Merchant == a.Merchant) &&
		(f.SinceMs == 0 || a.MomentMs() >= f.SinceMs)
}

// ParseKind takes a kind also with - for _, and by its first letters.
func ParseKind(text string) (alert.Kind, error) {
	want := strings.ReplaceAll(strings.ToLower(text), "-", "_")
	var names []string
	for _, k := range alert.Kinds {
		if want != "" && strings.HasPrefix(string(k), want) {
			return k, nil
		}
		names = append(names, string(k))
	}
	return "", fmt.Errorf("--kind %q: use %s", text, strings.Join(names, " or "))
}

// ParseStatus takes a status in any case.
func ParseStatus(text string) (alert.Status, error) {
	switch s := alert.Status(strings.ToUpper(text)); s {
	case alert.Open, alert.Resolved, alert.Retracted:
		return s, nil
	default:
		return "", fmt.Errorf("--status %q: use open, resolved or retracted", text)
	}
}

// ParseSince takes RFC 3339, a date (its first moment, UTC), or a duration
// before now: 36h, 90m, 7d.
func ParseSince(text string, now time.Time) (ms int64, err error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.UnixMilli(), nil
	}
	if at, err := time.Parse(time.DateOnly, text); err == nil {
		return at.UnixMilli(), nil
	}
	if days, is := strings.CutSuffix(text, "d"); is {
		if d, err := time.ParseDuration(days + "h"); err == nil && d >= 0 {
			return now.Add(-24 * d).UnixMilli(), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d).UnixMilli(), nil
	}
	return 0, fmt.Errorf("--since %q: use 2026-01-31, 2026-01-31T09:00:00+08:00, or a time before now as in 36h or 7d", text)
}

// Watch reads the alert topics.
type Watch struct {
	Log    stage.Log
	Filter Filter
	// All shows every revision; else only the latest of each alert, and what comes
	// after it.
	All bool
	// Follow goes on after the present end until the context is done.
	Follow bool

	mu    sync.Mutex
	known map[string]map[uint32]bool // revisions read, by id
	last  map[string]uint32          // the highest of them
}

// Run calls show with the revisions in the order of (moment judged, id,
// revision) up to the present end of the topics, then, with Follow, as they come.
// A repeat of a revision is not shown again. The end of the context is no error.
func (w *Watch) Run(ctx context.Context, show func(Revision) error) error {
	w.known, w.last = map[string]map[uint32]bool{}, map[string]uint32{}
	var present []Revision
	var places []place
	for _, kind := range w.kinds() {
		at, err := readPresent(ctx, w.Log, kind.Topic().Name, func(_ int32, r stage.Record) error {
			rev, fresh, err := w.add(r)
			if fresh && (!w.All || w.Filter.Matches(rev.Alert)) {
				present = append(present, rev)
			}
			return err
		})
		if err != nil {
			return w.ended(ctx, fmt.Errorf("read alerts: %w", err))
		}
		places = append(places, at...)
	}
	if !w.All {
		present = slices.DeleteFunc(latest(present), func(r Revision) bool { return !w.Filter.Matches(r.Alert) })
	}
	slices.SortFunc(present, inOrder)
	for _, r := range present {
		if err := show(r); err != nil {
			return err
		}
	}
	if !w.Follow {
		return nil
	}
	return w.ended(ctx, w.follow(ctx, places, show))
}

// ended: who follows ends by the context.
func (w *Watch) ended(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		if w.Follow {
			return nil
		}
	default:
	}
	return err
}

func (w *Watch) kinds() []alert.Kind {
	if len(w.Filter.Kinds) > 0 {
		return w.Filter.Kinds
	}
	return alert.Kinds
}

// add decodes a record; fresh is false for a repeat.
func (w *Watch) add(r stage.Record) (rev Revision, fresh bool, err error) {
	a, err := alert.Decode(r.Value)
	if err != nil {
		return Revision{}, false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	revisions := w.known[a.ID]
	if revisions[a.Revision] {
		return Revision{}, false, nil
	}
	if revisions == nil {
		revisions = map[uint32]bool{}
		w.known[a.ID] = revisions
	}
	revisions[a.Revision] = true
	return Revision{Alert: a, Body: bytes.Clone(r.Value)}, true, nil
}

// highest tells whether the revision is the highest seen of its alert, and keeps
// it: a lower one may come later, and says nothing new.
func (w *Watch) highest(r Revision) bool {
	if r.Revision < w.last[r.ID] {
		return false
	}
	w.last[r.ID] = r.Revision
	return true
}

func latest(revisions []Revision) []Revision {
	byID := make(map[string]Revision, len(revisions))
	for _, r := range revisions {
		if held, there := byID[r.ID]; !there || r.Revision > held.Revision {
			byID[r.ID] = r
		}
	}
	return slices.Collect(maps.Values(byID))
}

func inOrder(a, b Revision) int {
	return cmp.Or(cmp.Compare(a.MomentMs(), b.MomentMs()), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Revision, b.Revision))
}

// follow shows what comes, one at a time.
func (w *Watch) follow(ctx context.Context, places []place, show func(Revision) error) error {
	for id, revisions := range w.known {
		for n := range revisions {
			w.last[id] = max(w.last[id], n)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	var showing sync.Mutex
	for _, at := range places {
		g.Go(func() error {
			reader, err := w.Log.Open(at.topic, at.partition)
			if err != nil {
				return err
			}
			defer reader.Close()
			for ctx.Err() == nil {
				err := readBatch(ctx, reader, &at, math.MaxInt64, func(_ int32, r stage.Record) error {
					rev, fresh, err := w.add(r)
					if err != nil || !fresh {
						return err
					}
					showing.Lock()
					defer showing.Unlock()
					if !w.Filter.Matches(rev.Alert) || (!w.highest(rev) && !w.All) {
						return nil
					}
					return show(rev)
				})
				if err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}
