package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"settlewatch/schemas/alert"
	"settlewatch/tools/bench"
)

// What was measured is told and shown however a run ends.
func TestScaleShowsWhatWasMeasured(t *testing.T) {
	f := scaleFlags{open: counts{1000, 2000, 2_000_000_000, 3000}, settled: counts{4000}}
	measure := func(ctx context.Context, p bench.ScalePlan) (bench.ScaleResult, error) {
		r := bench.ScaleResult{Payments: p.Payments, Settled: p.Settled, FillPerSecond: 5, RedisBytes: 87, EventsPerSecond: 1.5 * float64(p.Payments), Exact: true}
		if p.Payments == 3000 {
			r.EventsPerSecond = 0 // it did not come so far
			return r, context.Cause(ctx)
		}
		return r, nil
	}
	ctx, stop := context.WithCancelCause(t.Context())
	errStopped := errors.New("stopped by hand")
	stop(errStopped)

	ample := func() (bench.Room, error) { return bench.Room{MemoryBytes: 1 << 40, DiskBytes: 1 << 40}, nil }
	var out, messages strings.Builder
	err := measureRows(ctx, f, ample, &screen{out: &messages}, &out, measure)
	if !errors.Is(err, errStopped) {
		t.Errorf("the run ends with %v", err)
	}
	wantAll(t, "table", out.String(), "1500 (1.00)", "3000 (2.00)", "does not fit")
	if strings.Contains(out.String(), "4500") || strings.Contains(out.String(), "settled") {
		t.Errorf("the table shows what was not measured:\n%s", &out)
	}
	wantAll(t, "message", messages.String(), "87 B then, 1500 events/s on top\n", "3000 events/s on top\n", "does not fit: ", "5 events/s, 87 B then\n")

	// Nothing was measured: there is no table.
	out.Reset()
	f.open = counts{3000}
	if err := measureRows(ctx, f, ample, &screen{out: &messages}, &out, measure); !errors.Is(err, errStopped) || out.Len() > 0 {
		t.Errorf("%v, %s", err, &out)
	}
}

func TestLatencyShowsWhatWasPlayed(t *testing.T) {
	f := latencyFlags{duration: time.Minute, maxRate: 30_000}
	errDied := errors.New("the broker died")
	play := func(_ context.Context, p bench.LatencyPlan) (bench.LatencyResult, error) {
		if p.EventsPerSecond > 15_000 {
			return bench.LatencyResult{}, errDied
		}
		return bench.LatencyResult{Written: p.EventsPerSecond, Latencies: []bench.Latency{{Kind: alert.SettledTwice, Alerts: 7, P99: 512.5}}}, nil
	}
	free := int64(1 << 40)
	ask := func() (int64, error) { return free, nil }
	var out, messages strings.Builder
	if err := measureLoads(t.Context(), f, &screen{out: &messages}, &out, ask, play); !errors.Is(err, errDied) {
		t.Errorf("it ends with %v", err)
	}
	wantAll(t, "table", out.String(), "a third", "10000", "settled_twice", "512.5")
	wantAll(t, "message", messages.String(), "a third of 30000 events/s", "  settled_twice: 7 alerts, 0 missing, p50 0.0 ms, p99 512.5 ms", "two thirds of")

	// A disk that has room for the first load only refuses both before anything is played.
	out.Reset()
	messages.Reset()
	free = 3 << 30 // 2 GiB, and 10,000 events/s for 75 s of 450 B
	f.maxRate = 90_000
	err := measureLoads(t.Context(), f, &screen{out: &messages}, &out, ask, play)
	if err == nil || errors.Is(err, errDied) || out.Len()+messages.Len() > 0 {
		t.Fatalf("%v, %s, %s", err, &out, &messages)
	}
	wantAll(t, "error", err.Error(), "60000 events/s for 1m0s", "3.0 GiB are free", "--duration", "--dir")
}

func TestHighestRateIsTheLastThatWasKept(t *testing.T) {
	const most = 150_000.0
	// A machine that keeps up to most events a second: then alerts wait.
	play := func(_ context.Context, p bench.LatencyPlan) (bench.LatencyResult, error) {
		l := bench.Latency{Kind: alert.SettledTwice}
		for rate := p.EventsPerSecond; len(l.Tenths) < 10; rate *= p.Climb {
			tenth := bench.LatencyTenth{P50: 240}
			if rate > most {
				tenth.P50 = 2000
			}
			l.Tenths = append(l.Tenths, tenth)
		}
		return bench.LatencyResult{Latencies: []bench.Latency{{Kind: alert.PaidUnsettled}, l}}, nil
	}
	ample := func() (int64, error) { return 1 << 40, nil }
	for _, far := range []float64{1, 0.1, 5} {
		machine := func(ctx context.Context, p bench.LatencyPlan) (bench.LatencyResult, error) {
			p.EventsPerSecond /= far
			return play(ctx, p)
		}
		rate, err := highestRate(t.Context(), &screen{out: io.Discard}, ample, machine)
		if err != nil || rate > most*far || rate < most*far/1.1 {
			t.Errorf("%.0f events/s of %.0f, %v", rate, most*far, err)
		}
	}
	never := func(ctx context.Context, p bench.LatencyPlan) (bench.LatencyResult, error) {
		p.EventsPerSecond = 10 * most
		return play(ctx, p)
	}
	if _, err := highestRate(t.Context(), &screen{out: io.Discard}, ample, never); err == nil || !strings.Contains(err.Error(), "--max-rate") {
		t.Errorf("no rate is kept: %v", err)
	}
}

func wantAll(t *testing.T, what, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("no %s has %q:\n%s", what, want, text)
		}
	}
}
