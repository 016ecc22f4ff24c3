package boot

import (
	"context"
	"errors"
	"fmt"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// reasonInternal is for records that are readable and still cannot be used.
const reasonInternal = "unusable"

// deadLetter masks the record, says where it lies and what was wrong, and counts it.
func (r *Run) deadLetter(source event.Source, raw stage.Record, reason error) (stage.Record, error) {
	l := deadletter.Letter{
		Service: source.Service, Profile: fmt.Sprintf("%s@%d", source.Profile, source.Version),
		Source:    deadletter.Source{Topic: source.Topic, Partition: source.Partition, Offset: raw.Offset},
		ArrivalMs: raw.TimeMs, Reason: reasonInternal, Detail: reason.Error(),
		Payload: deadletter.NewPayload(intake.Mask(raw.Value)),
	}
	var decode *intake.DecodeError
	if errors.As(reason, &decode) {
		l.Path, l.Reason, l.Detail = decode.Path, string(decode.Reason), decode.Detail
	}
	r.Metrics.DeadLetters.WithLabelValues(l.Reason).Inc()
	value, err := l.Encode()
	if err != nil {
		return stage.Record{}, err
	}
	return stage.Record{Key: l.Key(), Value: value, TimeMs: raw.TimeMs}, nil
}

// RefuseTo sends a record that makes no row, or that the joiner cannot fold, to the
// dead letters. reader is what it was read as.
func (r *Run) RefuseTo(log stage.Log, service, reader string) func(context.Context, stage.Refused) error {
	return func(ctx context.Context, row stage.Refused) error {
		source := event.Source{Service: service, Topic: row.Topic, Partition: row.Partition, Profile: reader, Version: 1}
		letter, err := r.deadLetter(source, row.Record, row.Err)
		if err != nil {
			return err
		}
		return log.Append(ctx, stage.Outgoing{Topic: topic.DeadLetters.Name, Partition: 0, Records: []stage.Record{letter}})
	}
}
