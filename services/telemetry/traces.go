package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"settlewatch/pipelines/stage"
)

// Traces makes spans. A nil Traces makes none.
type Traces struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// NewTraces sends spans to "stdout" or to the collector at an http:// or https://
// address (OTLP over HTTP); an empty destination is nil, no traces.
func NewTraces(ctx context.Context, service, destination string, log *slog.Logger) (*Traces, error) {
	var exporter sdk.SpanExporter
	var err error
	switch destination {
	case "":
		return nil, nil //nolint:nilnil // Nil makes no spans, and is not a failure.
	case "stdout":
		exporter, err = stdouttrace.New(stdouttrace.WithWriter(os.Stdout))
	default:
		exporter, err = otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(collectorURL(destination)))
	}
	if err != nil {
		return nil, fmt.Errorf("send traces to %s: %w", destination, err)
	}
	// Spans that nobody takes are lost; the service goes on.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces were not sent", "error", err) }))
	return newTraces(service, sdk.WithBatcher(exporter)), nil
}

// collectorURL adds the path that collectors have where none is given.
func collectorURL(destination string) string {
	u, err := url.Parse(destination)
	if err != nil || (u.Path != "" && u.Path != "/") {
		return destination
	}
	u.Path = "/v1/traces"
	return u.String()
}

func newTraces(service string, exporter sdk.TracerProviderOption) *Traces {
	version, _ := Version()
	provider := sdk.NewTracerProvider(exporter, sdk.WithResource(resource.NewSchemaless(
		attribute.String("service.name", "settlewatch-"+service), attribute.String("service.version", version))))
	return &Traces{provider: provider, tracer: provider.Tracer("settlewatch")}
}

// Close sends what is left.
func (t *Traces) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

// Batches are the spans of one owned partition: one per fetch that brought records,
// with fetch, step, publish and commit below it. A nil Batches does nothing.
type Batches struct {
	tracer trace.Tracer
	place  []attribute.KeyValue

	// The loop publishes to several partitions at a time.
	mu   sync.Mutex
	span trace.Span
	in   context.Context // the span's
	step time.Time       // when the fetch ended; zero once the step's span is made
}

type batchesKey struct{}

// Own gives an owned partition's context its Batches.
func (t *Traces) Own(ctx context.Context, topic string, partition int32) context.Context {
	if t == nil {
		return ctx
	}
	return context.WithValue(ctx, batchesKey{}, &Batches{tracer: t.tracer, place: []attribute.KeyValue{
		attribute.String("topic", topic), attribute.Int("partition", int(partition)),
	}})
}

// BatchesOf the partition that ctx belongs to; nil without traces.
func BatchesOf(ctx context.Context) *Batches {
	b, _ := ctx.Value(batchesKey{}).(*Batches)
	return b
}

// Next ends the open batch, if there is one: the loop asks for more when it is done.
func (b *Batches) Next() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.span != nil {
		b.stepped()
		b.span.End()
		b.span, b.in = nil, nil
	}
}

// Fetched begins a batch, if the fetch brought records.
func (b *Batches) Fetched(ctx context.Context, began time.Time, batch stage.Batch) {
	if b == nil || len(batch.Records) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.in, b.span = b.tracer.Start(ctx, "batch", trace.WithTimestamp(began), trace.WithAttributes(b.place...), trace.WithAttributes(
		attribute.Int64("offset", batch.Records[0].Offset), attribute.Int("records", len(batch.Records))))
	_, fetch := b.tracer.Start(b.in, "fetch", trace.WithTimestamp(began))
	fetch.End()
	b.step = time.Now()
}

// stepped makes the span of the work between the fetch and the first publish or
// commit. It wants the lock.
func (b *Batches) stepped() {
	if b.step.IsZero() {
		return
	}
	_, step := b.tracer.Start(b.in, "step", trace.WithTimestamp(b.step))
	step.End()
	b.step = time.Time{}
}

// Publish begins a span; what it returns ends it.
func (b *Batches) Publish(topic string, partition int32, records int) func(error) {
	if b == nil {
		return nothing
	}
	return b.begin("publish", attribute.String("topic", topic), attribute.Int("partition", int(partition)), attribute.Int("records", records))
}

// Commit begins a span; what it returns ends it.
func (b *Batches) Commit(server string) func(error) {
	if b == nil {
		return nothing
	}
	return b.begin("commit", attribute.String("server", server))
}

func nothing(error) {}

func (b *Batches) begin(name string, attrs ...attribute.KeyValue) func(error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.span == nil {
		return nothing
	}
	b.stepped()
	_, span := b.tracer.Start(b.in, name, trace.WithAttributes(attrs...))
	return func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}
