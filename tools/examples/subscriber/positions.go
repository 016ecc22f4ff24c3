package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/subscribe"
)

// positions are kept in a JSON file, {"topic/partition": next offset}. A service
// with a database keeps them there, in the transaction that does the work.
type positions struct {
	path string
	next map[string]int64
}

var _ subscribe.Positions = (*positions)(nil)

func openPositions(path string) (*positions, error) {
	p := &positions{path: path, next: map[string]int64{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read positions: %w", err)
	}
	if err := json.Unmarshal(text, &p.next); err != nil {
		return nil, fmt.Errorf("read positions from %s: %w", path, err)
	}
	return p, nil
}

func (p *positions) Load(_ context.Context, place subscribe.Place) (int64, error) {
	if next, ok := p.next[place.String()]; ok {
		return next, nil
	}
	return stage.None, nil
}

// Store writes a new file and puts it in the place of the old one, so that a crash
// leaves one of the two, whole.
func (p *positions) Store(_ context.Context, place subscribe.Place, next int64) error {
	p.next[place.String()] = next
	text, err := json.MarshalIndent(p.next, "", "  ")
	if err != nil {
		return fmt.Errorf("encode positions: %w", err)
	}
	if err := os.WriteFile(p.path+".new", text, 0o644); err != nil {
		return fmt.Errorf("write positions: %w", err)
	}
	return os.Rename(p.path+".new", p.path)
}
