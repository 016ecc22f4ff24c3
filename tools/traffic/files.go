package traffic

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"
)

// WriteFiles writes the records of Records into dir, one JSON Lines file for each
// partition of a feed, and returns their paths in the order of feed and
// partition. A line holds when the record arrived and what it was:
//
//	{"arrival":"2025-09-22T00:00:00.000Z","record":{…}}
//
// What is not one line of JSON in UTF-8 stands there as "raw_base64" instead of
// "record". Marks are left out: a file is complete when it is read to its end.
// Records keep their order, and of files with equal arrivals the names sort as
// the partitions do, so that the files say what the topics say.
func (g *Generator) WriteFiles(dir string) (paths []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("write traffic: %w", err)
	}
	var outputs [feedCount][]*output
	defer func() {
		for f := range outputs {
			for _, o := range outputs[f] {
				err = errors.Join(err, o.close())
			}
		}
	}()
	for f := range feedCount {
		n := g.opt.Partitions[f]
		for partition := range n {
			// Leading zeros keep ten behind nine.
			name := fmt.Sprintf("%s-%0*d.jsonl", f.Service(), len(fmt.Sprint(n-1)), partition)
			o, err := newOutput(filepath.Join(dir, name))
			if err != nil {
				return nil, err
			}
			outputs[f] = append(outputs[f], o)
			paths = append(paths, o.path)
		}
	}
	var line []byte
	for r := range g.Records() {
		if r.IsMark() {
			continue
		}
		line = AppendLine(line[:0], r.TimeMs, r.Value)
		if err := outputs[r.Feed][r.Partition].write(line); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// AppendLine appends one raw record as a line of WriteFiles, with its end.
func AppendLine(b []byte, arrivalMs int64, raw []byte) []byte {
	b = append(b, `{"arrival":"`...)
	b = time.UnixMilli(arrivalMs).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	if json.Valid(raw) && utf8.Valid(raw) && bytes.IndexByte(raw, '\n') < 0 {
		b = append(b, `","record":`...)
		b = append(b, raw...)
	} else {
		b = append(b, `","raw_base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, raw)
		b = append(b, '"')
	}
	return append(b, '}', '\n')
}

// output is one file that is being written.
type output struct {
	path string
	file *os.File
	*bufio.Writer
}

func newOutput(path string) (*output, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("write traffic: %w", err)
	}
	return &output{path: path, file: file, Writer: bufio.NewWriterSize(file, 1<<16)}, nil
}

func (o *output) write(line []byte) error {
	if _, err := o.Write(line); err != nil {
		return fmt.Errorf("write traffic: %w", err)
	}
	return nil
}

func (o *output) close() error {
	if err := errors.Join(o.Flush(), o.file.Close()); err != nil {
		return fmt.Errorf("write traffic: %w", err)
	}
	return nil
}
