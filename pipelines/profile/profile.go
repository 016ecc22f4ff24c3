// Package profile reads what other parties write: CSV, JSON, JSON Lines and XML
// files, and Kafka records of the same formats, by a profile of a few lines.
//
// In come a profile (YAML) and bytes; out come canonical events, each with the
// file and the line that it was read from and the moment at which it arrived,
// or the reason why a record was refused. The profile only says where the
// fields of the documented record (docs/raw-events.md) are found; the record
// itself is made by package intake, so that identities, checks, masking and
// tokens are the same for every format.
//
// Guarantees. Memory is bounded by the size of one record, whatever the size of
// the file, but for the count of equal rows (16 bytes or so for each row that
// has no id of its own). The same profile, name and bytes always give the same
// records. A bad record is refused alone, with its line and its column; what
// makes the whole file unreadable is a FileError, and the records before it
// stand. No error text quotes a value of the file.
package profile

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"path/filepath"
	"sync"

	"settlewatch/pipelines/intake"
	"settlewatch/schemas/event"
)

// Profile is a parsed profile. It is safe for concurrent use.
type Profile struct {
	// Name and Version are part of the source's name: the same bytes read by
	// another version may be other records.
	Name    string
	Version uint32

	files []*mapping
	key   intake.TokenKey
	// idle are decoders of single records, which are costly to make, by feed.
	idle *[feeds]sync.Pool
}

// feeds is one more than the greatest intake.Feed; 0 is any.
const feeds = int(intake.Settlement) + 1

// Record is what was read at one place of a file: one or several events that
// arrived in one feed at one moment, or the reason why there are none. A record
// that the profile's filter leaves out has neither. One row gives several
// Records where its events belong to different feeds or moments.
type Record struct {
	File string // as it was given to Read
	// Line on which the record begins, from 1.
	Line int
	// ArrivalMs is when the record became known, Unix milliseconds.
	ArrivalMs int64
	Feed      intake.Feed
	Events    []*event.Event
	// Err is why the record was refused. Its path is the column, the JSON path or
	// the element path, as the profile writes it.
	Err *intake.DecodeError
	// Raw is the record's text, masked, fit for a dead letter; only with Err.
	Raw []byte
}

// Skipped tells whether the profile's filter left the record out.
func (r *Record) Skipped() bool { return r.Err == nil && len(r.Events) == 0 }

// FileError ends the reading of a file: there is nothing behind it that could be
// read. The records before it stand.
type FileError struct {
	File string
	Line int // from 1; 0 for the file as a whole
	Err  error
}

// Error is "file:line: what is wrong". It quotes no value of the file.
func (e *FileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

// Unwrap is the cause, for errors.Is.
func (e *FileError) Unwrap() error { return e.Err }

// What a FileError may wrap, besides errors of the reader that was given.
var (
	ErrNoPattern     = errors.New("no file pattern of the profile fits the name")
	ErrEmptyFile     = errors.New("the file is empty")
	ErrEncoding      = errors.New("the text is not in the profile's encoding")
	ErrMissingColumn = errors.New("the profile names a column that the file does not have")
	ErrForbidden     = errors.New("the file has a column that may never be stored")
	ErrTruncated     = errors.New("the file ends too early")
	ErrSyntax        = errors.New("the text cannot be read")
	ErrNoRecords     = errors.New("the file has no place where the profile's records could be")
)

// String is name@version.
func (p *Profile) String() string { return fmt.Sprintf("%s@%d", p.Name, p.Version) }

// WithCardKey is the profile with a key that makes card tokens. Without one,
// cards keep BIN and last four only.
func (p *Profile) WithCardKey(key intake.TokenKey) *Profile {
	keyed := *p
	keyed.key, keyed.idle = key, new([feeds]sync.Pool)
	return &keyed
}

// Matches tells whether a pattern of the profile fits the file's name.
func (p *Profile) Matches(name string) bool { return p.mapping(name) != nil }

// mapping is the first whose pattern fits the last element of the name.
func (p *Profile) mapping(name string) *mapping {
	base := filepath.Base(name)
	for _, m := range p.files {
		for _, pattern := range m.patterns {
			if fits, err := path.Match(pattern, base); err == nil && fits {
				return m
			}
		}
	}
	return nil
}

// Read reads a file, or any stream under a file's name, record by record. An
// error is always a *FileError and always the last thing that comes.
func (p *Profile) Read(name string, r io.Reader) iter.Seq2[Record, error] {
	return p.read(name, r, reading{})
}

// Lend is Read for who is done with each record before the next comes: the events
// and their slice are valid until then. They have no hash of the raw record.
func (p *Profile) Lend(name string, r io.Reader) iter.Seq2[Record, error] {
	return p.read(name, r, reading{lends: true})
}

// reading is how a file is read.
type reading struct {
	watch *watcher // nil: nobody wants to know
	lends bool
}

func (p *Profile) read(name string, r io.Reader, how reading) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		m := p.mapping(name)
		if m == nil {
			yield(Record{}, &FileError{File: name, Err: ErrNoPattern})
			return
		}
		rows, err := m.open(r)
		if err == nil {
			err = p.readRows(name, m, rows, how, yield)
		}
		if err == nil || errors.Is(err, errStopped) {
			return
		}
		at := &FileError{File: name, Err: err}
		var placed *placedError
		if errors.As(err, &placed) {
			at.Line, at.Err = placed.line, placed.err
		}
		yield(Record{}, at)
	}
}

// errStopped is what the caller's break becomes on its way out.
var errStopped = errors.New("stopped")

// placedError is what a reader of rows says of the file as a whole.
type placedError struct {
	line int
	err  error
}

func (e *placedError) Error() string { return e.err.Error() }
func (e *placedError) Unwrap() error { return e.err }

func at(line int, format string, args ...any) error {
	return &placedError{line: line, err: fmt.Errorf(format, args...)}
}

// rowReader shows the rows of one file in order. A row that could not be taken
// apart comes with its own problem; an error is about the file, or the visitor's.
// What is visited is the reader's again afterwards.
type rowReader interface {
	each(visit func(*row) error) error
}

func (p *Profile) readRows(name string, m *mapping, rows rowReader, how reading, yield func(Record, error) bool) error {
	maker, err := m.maker(p, filepath.Base(name))
	if err != nil {
		return err
	}
	if how.lends {
		maker.lend()
		maker.skipRawHash()
	}
	return rows.each(func(r *row) error {
		if how.watch != nil {
			how.watch.note(m, r)
		}
		records := maker.records(r)
		for i := range records {
			records[i].File, records[i].Line = name, r.line
			if !yield(records[i], nil) {
				return errStopped
			}
		}
		return nil
	})
}

// Decode makes the events of one Kafka record, by the profile's first mapping that
// makes events of the feed: a JSON value, an XML element, or a row of a CSV whose columns the profile names;
// where the mapping needs what stands around its records (a header line, a path
// from the root), the record is a file of its own. Events of another feed than
// the given one are refused; 0 is any. The arrival is the Kafka record's, hence
// the profile's is not looked at. A record that the filter leaves out gives
// nothing. The error is always a *intake.DecodeError; the rows of a file that
// are not refused stand beside it.
func (p *Profile) Decode(raw []byte, feed intake.Feed) ([]*event.Event, error) {
	idle := &p.idle[feed]
	m, _ := idle.Get().(*single)
	if m == nil {
		var err *intake.DecodeError
		if m, err = p.newSingle(feed); err != nil {
			return nil, err
		}
	}
	defer idle.Put(m)
	return m.decode(raw, feed, nil)
}
