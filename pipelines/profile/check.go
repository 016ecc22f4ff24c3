package profile

import (
	"errors"
	"io"
	"path/filepath"
	"slices"
)

// Checked is what a trial reading of a file has shown.
type Checked struct {
	Rows, Events, Refused, LeftOut int
	// First are the first records with events, and Mistakes the first that were
	// refused, as many as were asked for.
	First, Mistakes []Record
	// Unseen are columns and paths that the profile names and no record had a value
	// for: misspelt, most likely.
	Unseen []Unseen
	// File ended the reading, if anything did.
	File *FileError
}

// Unseen is a name in the profile without a value in the file.
type Unseen struct {
	Name string `json:"name"`
	Line int    `json:"line"` // of the profile
}

// Clean tells whether nothing is wrong.
func (c *Checked) Clean() bool {
	return c.Refused == 0 && c.File == nil && len(c.Unseen) == 0
}

// Check reads a whole file for trial and keeps the first records and mistakes.
func (p *Profile) Check(name string, r io.Reader, first, mistakes int) *Checked {
	c := &Checked{}
	watch := &watcher{seen: map[string]bool{}}
	for record, err := range p.read(name, r, reading{watch: watch}) {
		if err != nil {
			errors.As(err, &c.File)
			break
		}
		switch {
		case record.Err != nil:
			if c.Refused++; c.Refused <= mistakes {
				c.Mistakes = append(c.Mistakes, record)
			}
		case record.Skipped():
			c.LeftOut++
		default:
			c.Events += len(record.Events)
			if len(c.First) < first {
				c.First = append(c.First, record)
			}
		}
	}
	c.Rows = watch.rows
	if m := p.mapping(filepath.Base(name)); m != nil && watch.rows > 0 {
		for name, line := range m.needed {
			if !watch.seen[name] {
				c.Unseen = append(c.Unseen, Unseen{name, line})
			}
		}
		slices.SortFunc(c.Unseen, func(a, b Unseen) int { return a.Line - b.Line })
	}
	return c
}

// watcher notes which of the profile's names have had a value.
type watcher struct {
	rows int
	seen map[string]bool
}

func (w *watcher) note(m *mapping, r *row) {
	if w.rows++; r.err != nil {
		return
	}
	for name := range m.needed {
		if !w.seen[name] && r.value(name) != "" {
			w.seen[name] = true
		}
	}
}
