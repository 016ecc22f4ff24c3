package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"settlewatch/pipelines/stage"
)

func oneBatch(ctx context.Context) {
	b := BatchesOf(ctx)
	b.Next()
	b.Fetched(ctx, time.Now(), stage.Batch{Records: []stage.Record{{Offset: 41}, {Offset: 42}}})
	b.Publish("alerts", 1, 1)(nil)
	b.Commit(Redis)(errors.New("lost"))
	b.Next()
	b.Fetched(ctx, time.Now(), stage.Batch{}) // an empty fetch is no batch
	b.Commit(Redis)(nil)
	b.Next()
}

func TestSpansOfABatch(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	traces := newTraces("joiner", sdk.WithSpanProcessor(recorder))
	oneBatch(traces.Own(t.Context(), "payment-log.v1", 3))
	var got []string
	batch := recorder.Ended()[len(recorder.Ended())-1].SpanContext()
	for _, span := range recorder.Ended() {
		got = append(got, span.Name()+" "+span.Status().Description)
		if span.SpanContext().TraceID() != batch.TraceID() || (span.Name() != "batch" && span.Parent().SpanID() != batch.SpanID()) {
			t.Errorf("%s is not below the batch", span.Name())
		}
		if span.EndTime().Before(span.StartTime()) {
			t.Errorf("%s ends before it begins", span.Name())
		}
	}
	if want := []string{"fetch ", "step ", "publish ", "commit lost", "batch "}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if attributes := fmt.Sprint(recorder.Ended()[4].Attributes()); !strings.Contains(attributes, "payment-log.v1") || !strings.Contains(attributes, "41") {
		t.Errorf("attributes %s", attributes)
	}
}

// Without traces nothing is made, not even on the heap.
func TestNoTracesCostNothing(t *testing.T) {
	var traces *Traces
	ctx := traces.Own(t.Context(), "payment-log.v1", 3)
	if ctx != t.Context() {
		t.Error("a context was made")
	}
	batch := stage.Batch{Records: []stage.Record{{}}}
	if n := testing.AllocsPerRun(100, func() {
		b := BatchesOf(ctx)
		b.Next()
		b.Fetched(ctx, time.Time{}, batch)
		b.Publish("alerts", 1, 1)(nil)
		b.Commit(Redis)(nil)
	}); n != 0 {
		t.Errorf("%.0f allocations a batch", n)
	}
	if err := traces.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCollectorGetsSpans(t *testing.T) {
	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.URL.Path + " " + string(body)
	}))
	defer collector.Close()
	for _, address := range []string{collector.URL, collector.URL + "/"} {
		traces, err := NewTraces(t.Context(), "joiner", address, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		oneBatch(traces.Own(t.Context(), "payment-log.v1", 3))
		if err := traces.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if text := <-got; !strings.HasPrefix(text, "/v1/traces ") || !strings.Contains(text, "settlewatch-joiner") || !strings.Contains(text, "publish") {
			t.Errorf("the collector got %q", text)
		}
	}
}
