package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"settlewatch/pipelines/intake"
	"settlewatch/pipelines/join"
	"settlewatch/pipelines/profile"
	"settlewatch/schemas/deadletter"
	"settlewatch/schemas/event"
)

// rejectionsKept of each file, in order; all are counted.
const rejectionsKept = 20

// feeds of a file's sources, by intake.Feed - 1.
var feeds = [...]intake.Feed{intake.Authorization, intake.Capture, intake.Settlement}

// file is one of the files.
type file struct {
	path   string
	name   string // as evidence and messages name it
	number int32
	input  counted
	closer io.Closer

	records    int // read, good or not
	events     int
	skipped    int // left out by the profile's filter
	late       int // events that arrived at the moment or later
	rejected   int
	samples    []Rejection
	references references
	failed     error // what ended the file before any record
}

func (f *file) close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// Rejection is one record that could not be read.
type Rejection struct {
	File string
	Line int
	// Path is the column or path of the field; empty for the record as a whole.
	Path   string
	Reason string
	Detail string
}

// openFiles opens all files before any is read, and reports all that is wrong
// with them at once. Files are numbered in the order of their names, so that the
// order in which they were given changes nothing.
func (r *run) openFiles(ctx context.Context) error {
	if len(r.Files) == 0 {
		return errors.New("reconcile: no file was given")
	}
	var errs []error
	for _, path := range r.Files {
		f := &file{path: path}
		size, err := f.open(ctx, r.Stdin)
		name := path
		if path == "-" {
			name = r.StdinName
		}
		if err == nil && !r.Profile.Matches(name) {
			err = &profile.FileError{File: name, Err: profile.ErrNoPattern}
		}
		if err != nil {
			errs = append(errs, err)
		}
		r.total += size
		f.input.n = &r.read
		r.files = append(r.files, f)
	}
	if err := errors.Join(errs...); err != nil {
		for _, f := range r.files {
			_ = f.close()
		}
		return err
	}
	if err := nameFiles(r.files, r.StdinName); err != nil {
		return err
	}
	slices.SortFunc(r.files, func(a, b *file) int { return strings.Compare(a.name, b.name) })
	for i, f := range r.files {
		f.number = int32(i)
		for _, feed := range feeds {
			r.sources = append(r.sources, event.FileSource(feed.String(), f.name, r.Profile.Name, r.Profile.Version).String())
		}
	}
	return nil
}

func (f *file) open(ctx context.Context, stdin io.Reader) (size int64, err error) {
	if f.path == "-" {
		if stdin == nil {
			return 0, errors.New("-: there is no standard input")
		}
		f.input.r = interruptible(ctx, stdin)
		return 0, nil
	}
	opened, err := os.Open(f.path)
	if err != nil {
		return 0, fmt.Errorf("open file: %w", err)
	}
	f.closer, f.input.r = opened, opened
	info, err := opened.Stat()
	switch {
	case err != nil:
		return 0, fmt.Errorf("open file: %w", err)
	case info.IsDir():
		return 0, fmt.Errorf("%s is a folder: name the files in it, for example %s", f.path, filepath.Join(f.path, "*"))
	}
	return info.Size(), nil
}

// nameFiles gives every file the shortest end of its path that no other file has.
func nameFiles(files []*file, stdinName string) error {
	var errs []error
	full := map[string]bool{}
	for _, f := range files {
		if f.path == "-" {
			f.name = stdinName
		} else {
			f.path = filepath.Clean(f.path)
			f.name = filepath.Base(f.path)
		}
		if full[f.path] {
			errs = append(errs, fmt.Errorf("%s is given twice", f.path))
		}
		full[f.path] = true
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for parts := 2; ; parts++ {
		seen := map[string]int{}
		for _, f := range files {
			seen[f.name]++
		}
		if len(seen) == len(files) {
			return nil
		}
		for _, f := range files {
			if seen[f.name] > 1 && f.path != "-" {
				f.name = lastParts(f.path, parts)
			}
		}
	}
}

func lastParts(path string, n int) string {
	parts := strings.Split(filepath.ToSlash(path), "/")
	return strings.Join(parts[max(0, len(parts)-n):], "/")
}

// counted counts the bytes that were read, and keeps a failure that is the
// machine's and not the file's.
type counted struct {
	r      io.Reader
	n      *atomic.Int64
	failed error
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		c.failed = err
	}
	return n, err
}

// interruptible is r, whose Read does not wait for somebody at a keyboard when
// ctx is done.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	context.AfterFunc(ctx, func() { _ = in.CloseWithError(ctx.Err()) }) // a pipe's never fails
	go func() {
		_, err := io.Copy(in, r)
		_ = in.CloseWithError(err) // likewise
	}()
	return out
}

// reading is one file on its way into the shards.
type reading struct {
	*run
	*file
	last place
}

// recordsBetweenLooks is how many records are read between two looks at whether
// somebody has ended the run.
const recordsBetweenLooks = 512

// readFile reads one file to its end. What is wrong with its records is counted;
// what is wrong with the file as a whole is kept for checkFiles. An error is
// final for the run.
func (r *run) readFile(ctx context.Context, f *file) error {
	in := &reading{run: r, file: f}
	for record, err := range r.Profile.Lend(f.name, &f.input) {
		if in.records%recordsBetweenLooks == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if err := in.broken(err); err != nil {
				return err
			}
			break
		}
		if err := in.take(&record); err != nil {
			return err
		}
	}
	if f.input.failed != nil && ctx.Err() == nil {
		return fmt.Errorf("read %s: %w", f.name, f.input.failed)
	}
	return ctx.Err()
}

// broken takes what ended the file. Behind records that were good it is one more
// that was not; before any, the file cannot be used.
func (in *reading) broken(err error) error {
	var broken *profile.FileError
	if !errors.As(err, &broken) {
		return fmt.Errorf("read %s: %w", in.name, err)
	}
	if in.records == 0 {
		in.failed = err
		return nil
	}
	in.reject(Rejection{File: in.name, Line: broken.Line, Reason: reasonFile, Detail: broken.Err.Error()})
	return nil
}

// reasonFile is the reason of a rejection that ends its file.
const reasonFile = "file_broken"

func (in *reading) reject(r Rejection) {
	in.rejected++
	if len(in.samples) < rejectionsKept {
		in.samples = append(in.samples, r)
	}
}

func (in *reading) take(record *profile.Record) error {
	in.records++
	switch {
	case record.Err != nil:
		in.reject(Rejection{
			File: in.name, Line: record.Line, Path: record.Err.Path,
			Reason: string(record.Err.Reason), Detail: record.Err.Detail,
		})
		return in.letter(record)
	case len(record.Events) == 0:
		in.skipped++
		return nil
	}
	source := int(in.number)*len(feeds) + int(record.Feed) - 1
	for _, e := range record.Events {
		// Several records can stand on one line; the index goes on there.
		if in.last.line == int64(record.Line) {
			in.last.index++
		} else {
			in.last = place{line: int64(record.Line)}
		}
		if record.ArrivalMs >= in.AsOfMs {
			in.late++ // nobody could know of it at that moment
			continue
		}
		in.events++
		in.references.add(in.last, referenceOf(e))
		in.shardOf(e.PaymentKey).take(join.At{Source: source, Offset: in.last.line, Index: in.last.index}, record.ArrivalMs, e)
	}
	return nil
}

// letter writes a rejected record as a dead letter.
func (in *reading) letter(record *profile.Record) error {
	if in.Rejects == nil {
		return nil
	}
	l := deadletter.Letter{
		Service: "reconcile", Profile: in.Profile.String(),
		Source:    deadletter.Source{Topic: in.name, Offset: int64(record.Line)},
		ArrivalMs: record.ArrivalMs, Path: record.Err.Path, Reason: string(record.Err.Reason), Detail: record.Err.Detail,
		Payload: deadletter.NewPayload(record.Raw),
	}
	b, err := l.Encode()
	if err == nil {
		_, err = in.Rejects.Write(append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write rejected record: %w", err)
	}
	return nil
}

// checkFiles fails for files that could not be used. An empty one may be right,
// as on a holiday; no record in any of them is no run.
func (r *run) checkFiles() error {
	var errs []error
	empty, records := 0, 0
	for _, f := range r.files {
		records += f.records
		switch {
		case errors.Is(f.failed, profile.ErrEmptyFile):
			empty++
		case f.failed != nil:
			errs = append(errs, f.failed)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if empty == len(r.files) {
		return errors.New("nothing to reconcile: every file is empty")
	}
	if records == 0 {
		return errors.New("nothing to reconcile: no file holds a record")
	}
	return nil
}
