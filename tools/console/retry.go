package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/profile"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/event"
	"settlewatch/schemas/topic"
)

// RetryHeader names, on a record that was appended again, the place of the
// record that could not be read: topic/partition/offset.
const RetryHeader = "settlewatch-retry-of"

// Edit is what an operator corrects in a record. At most one of Replace and the
// other two is given; with none the record is tried as it is, for a decoder that
// has been changed.
type Edit struct {
	// Replace is the whole record.
	Replace []byte
	// Set and Unset change fields at the top of the record's JSON object. A value
	// that is JSON, a number or true or "text", is taken as it is, any other as text.
	Set   map[string]string
	Unset []string
}

// ParseEdit reads name=value texts and names.
func ParseEdit(set, unset []string) (Edit, error) {
	e := Edit{Unset: unset}
	for _, s := range set {
		name, value, found := strings.Cut(s, "=")
		if !found || name == "" {
			return Edit{}, errors.New("--set: want field=value") // the text may hold a card number
		}
		if e.Set == nil {
			e.Set = map[string]string{}
		}
		e.Set[name] = value
	}
	return e, nil
}

// apply gives the corrected record. Its errors quote nothing of the record.
func (e Edit) apply(raw []byte) ([]byte, error) {
	if e.Replace != nil {
		return e.Replace, nil
	}
	if len(e.Set) == 0 && len(e.Unset) == 0 {
		return raw, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return nil, errors.New("the record is no JSON object (CSV, XML, or several records in one), so no field of it can be set: give the whole corrected record with --file")
	}
	for name, value := range e.Set {
		if !json.Valid([]byte(value)) {
			quoted, err := json.Marshal(value)
			if err != nil {
				return nil, fmt.Errorf("set %s: %w", name, err)
			}
			value = string(quoted)
		}
		fields[name] = json.RawMessage(value)
	}
	for _, name := range e.Unset {
		if _, there := fields[name]; !there {
			return nil, fmt.Errorf("the record has no field %q to remove", name)
		}
		delete(fields, name)
	}
	out, err := json.Marshal(fields)
	if err != nil {
		return nil, errors.New("the corrected record cannot be written as JSON")
	}
	return out, nil
}

// Repaired is a record that was a dead letter and can be read now.
type Repaired struct {
	Source deadletter.Source
	Events []*event.Event // at least one
	record stage.Record
}

// ErrNotRetried is a dead letter that cannot be tried again from here, or still
// cannot be read.
var ErrNotRetried = errors.New("not retried")

// feeds by their raw topics.
var feeds = map[string]intake.Feed{
	topic.RawAuthorization.Name: intake.Authorization,
	topic.RawCapture.Name:       intake.Capture,
	topic.RawSettlement.Name:    intake.Settlement,
}

// Repair reads the raw record of a dead letter again at its place, corrects it,
// and holds it to the profile by which its service reads; another version of it is
// what may have been changed since. Nothing is written.
func Repair(ctx context.Context, log stage.Log, l *deadletter.Letter, edit Edit, by *profile.Profile) (*Repaired, error) {
	place := PlaceOf(l.Source)
	feed, raw := feeds[l.Source.Topic]
	if !raw {
		return nil, fmt.Errorf("%w: %s is no record of a raw topic", ErrNotRetried, place)
	}
	if name, _, _ := strings.Cut(l.Profile, "@"); name != by.Name {
		return nil, fmt.Errorf("%w: %s was read by profile %s, and this is %s: give the file of that profile with --profile", ErrNotRetried, place, l.Profile, by)
	}
	r, there, err := readOne(ctx, log, l.Source.Topic, l.Source.Partition, l.Source.Offset)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, fmt.Errorf("%w: the raw record at %s is gone: give the whole record with --file to its topic's producer", ErrNotRetried, place)
	}
	value, err := edit.apply(r.Value)
	if err == nil {
		err = unmasked(edit.Replace, r.Value)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNotRetried, place, err)
	}
	// Without a key cards get no token, which decides nothing about readability.
	events, err := by.Decode(value, feed)
	if err != nil {
		return nil, fmt.Errorf("%w: %s still cannot be read: %w", ErrNotRetried, place, err)
	}
	if len(events) == 0 {
		return nil, fmt.Errorf("%w: profile %s leaves %s out: nothing would come of it", ErrNotRetried, by, place)
	}
	headers := []stage.Header{{Key: RetryHeader, Value: []byte(place)}}
	for _, h := range r.Headers {
		if h.Key != RetryHeader {
			headers = append(headers, h)
		}
	}
	return &Repaired{
		Source: l.Source, Events: events,
		record: stage.Record{Key: r.Key, Value: value, Headers: headers},
	}, nil
}

// maskedCard is a card number as a dead letter shows it.
var maskedCard = regexp.MustCompile(`[0-9]{6}\*{2,}[0-9]{4}`)

// unmasked refuses a replacement that was made of the dead letter's text: the card
// number that the raw record has would be lost with its mask.
func unmasked(replace, raw []byte) error {
	for _, masked := range maskedCard.FindAll(replace, -1) {
		if !bytes.Contains(raw, masked) {
			return errors.New("the corrected record has a masked card number, which the raw record has in full: " +
				"correct single fields with --set, or begin from the sender's record")
		}
	}
	return nil
}

// Append the corrected record at the end of its raw partition, as what arrives
// at the given moment (Unix milliseconds). Appending it twice is a repeat: the
// event's identity is the record's own.
func (r *Repaired) Append(ctx context.Context, log stage.Log, arrivalMs int64) error {
	r.record.TimeMs = arrivalMs
	if err := log.Append(ctx, stage.Outgoing{Topic: r.Source.Topic, Partition: r.Source.Partition, Records: []stage.Record{r.record}}); err != nil {
		return fmt.Errorf("retry %s: %w", PlaceOf(r.Source), err)
	}
	return nil
}

// AppendAll appends corrected records in their order, one after the other, and gives
// how many the log has acknowledged; told is called after each of them, never before.
// After an error the next one may be in the log too.
//
// That a letter was retried is noted nowhere: it stays where it is. So nothing can be
// noted and not be done, and whoever is stopped half way, or is not alone, does all of
// it again, which is a repeat.
func AppendAll(ctx context.Context, log stage.Log, all []*Repaired, arrivalMs int64, told func(*Repaired) error) (int, error) {
	for i, r := range all {
		if err := r.Append(ctx, log, arrivalMs); err != nil {
			return i, err
		}
		if err := told(r); err != nil {
			return i + 1, err
		}
	}
	return len(all), nil
}

// EventText is the event that a record becomes, for people. Its ids are left out:
// those of records without one of their own depend on the services' card key.
func EventText(e *event.Event) (string, error) {
	shown := proto.CloneOf(e)
	shown.Id, shown.Replaces, shown.Provenance = nil, nil, nil
	b, err := protojson.Marshal(shown)
	if err != nil {
		return "", fmt.Errorf("show event: %w", err)
	}
	return Readable(b), nil
}

// readOne reads the record at an offset; false where there is none any more.
func readOne(ctx context.Context, log stage.Log, topic string, partition int32, offset int64) (stage.Record, bool, error) {
	reader, err := log.Open(topic, partition)
	if err != nil {
		return stage.Record{}, false, err
	}
	defer reader.Close()
	first, end, err := reader.Bounds(ctx)
	if err != nil || offset < first || offset >= end {
		return stage.Record{}, false, err
	}
	batch, err := reader.Fetch(ctx, offset, fetchWait)
	if err != nil {
		return stage.Record{}, false, err
	}
	for _, r := range batch.Records {
		if r.Offset != offset {
			continue
		}
		// The reader's memory ends with it.
		r.Key, r.Value, r.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), slices.Clone(r.Headers)
		for i := range r.Headers {
			r.Headers[i].Value = bytes.Clone(r.Headers[i].Value)
		}
		return r, true, nil
	}
	return stage.Record{}, false, nil
}
