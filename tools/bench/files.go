package bench

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"settlewatch/schemas/ruleset"
)

// Files are a workload as `settlewatch reconcile` reads it.
type Files struct {
	// Lines are the files of events, one a feed; Count are the lines in all of them.
	Lines []string
	Count int64
	// Profile and Rules are those of the services.
	Profile, Rules string
}

// WriteFiles writes the workload's events to dir as JSON Lines, the bytes that the
// topics hold, and by what they are read and judged. written is called now and then.
func (w Workload) WriteFiles(dir string, written func(done, total int64)) (Files, error) {
	f := Files{Profile: filepath.Join(dir, "profile.yaml"), Rules: filepath.Join(dir, "rules.yaml")}
	config, err := Config(w, ruleDays)
	if err != nil {
		return f, err
	}
	rules, err := ruleset.Render(config)
	if err != nil {
		return f, err
	}
	profile, err := fileProfile()
	if err != nil {
		return f, err
	}
	err = errors.Join(os.WriteFile(f.Rules, rules, 0o644), os.WriteFile(f.Profile, profile, 0o644))
	if err == nil {
		err = w.writeLines(dir, &f, written)
	}
	if err != nil {
		return f, fmt.Errorf("write workload: %w", err)
	}
	return f, nil
}

// writtenEvery so many lines the caller hears of it.
const writtenEvery = 100_000

func (w Workload) writeLines(dir string, f *Files, written func(done, total int64)) error {
	outs := make([]*bufio.Writer, len(feeds))
	files := make([]*os.File, len(feeds))
	for n, feed := range feeds {
		path := filepath.Join(dir, feed+".jsonl")
		file, err := os.Create(path)
		if err != nil {
			return err
		}
		f.Lines, files[n], outs[n] = append(f.Lines, path), file, bufio.NewWriterSize(file, 1<<20)
	}
	var line []byte
	for e := range w.Events() {
		line = append(e.AppendJSON(line[:0]), '\n')
		_, _ = outs[inputOf(e.Step)].Write(line) // Flush returns the first error
		if f.Count++; f.Count%writtenEvery == 0 {
			written(f.Count, w.EventCount())
		}
	}
	var err error
	for n := range outs {
		err = errors.Join(err, outs[n].Flush(), files[n].Close())
	}
	return err
}

// fileProfile is the three services' profiles in one, which tells the feeds by the
// names of the files.
func fileProfile() ([]byte, error) {
	text := fmt.Sprintf("profile: %s\nversion: %d\nfiles:\n", profileName, profileVersion)
	for _, feed := range feeds {
		one, err := profiles.ReadFile("profiles/" + feed + ".yaml")
		if err != nil {
			return nil, fmt.Errorf("profile of feed %s: %w", feed, err)
		}
		_, files, found := strings.Cut(string(one), "files:\n")
		if !found {
			return nil, fmt.Errorf("profile of feed %s has no files", feed)
		}
		text += strings.Replace(files, `match: "*"`, "match: "+feed+".jsonl", 1)
	}
	return []byte(text), nil
}
