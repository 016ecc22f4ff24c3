package traffic

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestFilesHoldTheRecords: every record of a partition is in its file, in order,
// with its arrival and its bytes.
func TestFilesHoldTheRecords(t *testing.T) {
	g := generator(t, Options{Seed: 31, Payments: 300, Partitions: [feedCount]int{1, 2, 11}})
	paths, err := g.WriteFiles(filepath.Join(t.TempDir(), "new"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) != 14 || !slices.IsSorted(paths) {
		t.Fatalf("files %v: want 14 whose names sort as feeds and partitions do", paths)
	}
	var files []*bufio.Scanner
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := bufio.NewScanner(bytes.NewReader(text))
		s.Buffer(nil, 4<<20)
		files = append(files, s)
	}
	first := [feedCount]int{0, 1, 3}
	plain, encoded := 0, 0
	for r := range g.Records() {
		if r.IsMark() {
			continue
		}
		file := files[first[r.Feed]+int(r.Partition)]
		if !file.Scan() {
			t.Fatalf("%s %d ends too early", r.Topic, r.Partition)
		}
		var line struct {
			Arrival time.Time       `json:"arrival"`
			Record  json.RawMessage `json:"record"`
			Raw     []byte          `json:"raw_base64"`
		}
		if err := json.Unmarshal(file.Bytes(), &line); err != nil {
			t.Fatalf("%v: %.200q", err, file.Bytes())
		}
		got := []byte(line.Record)
		if line.Record == nil {
			got = line.Raw
			encoded++
		} else {
			plain++
		}
		if !bytes.Equal(got, r.Value) || line.Arrival.UnixMilli() != r.TimeMs {
			t.Fatalf("arrived %s as %.200q, want %d %.200q", line.Arrival, got, r.TimeMs, r.Value)
		}
	}
	for i, file := range files {
		if file.Scan() {
			t.Errorf("%s has more lines than records", paths[i])
		}
	}
	if plain == 0 || encoded == 0 {
		t.Errorf("%d records as JSON, %d encoded: want both", plain, encoded)
	}
}
