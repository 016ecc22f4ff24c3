package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// DirEnv names, for a program under test, the folder in which it keeps what it stores.
const DirEnv = "SETTLEWATCH_CHECK_DIR"

// ErrNotRun is a program that could not be started: nothing was found out about it.
var ErrNotRun = errors.New("the program could not be run")

// PlayProgram plays one case to a program in any language. For each life it is
// started: it reads records, one JSON object a line, from standard input, writes what
// it acts on, one JSON object of Told a line, to standard output, and ends with status
// 0 at the end of its input. Another status says that a record must not be trusted.
func PlayProgram(ctx context.Context, c Case, dir string, command []string) error {
	if len(command) == 0 {
		return errors.New("no program was named")
	}
	var told []Told
	for i, life := range c.Lives {
		got, refused, err := runProgram(ctx, life, dir, command)
		told = append(told, got...)
		last := i == len(c.Lives)-1
		switch {
		case err != nil:
			return fmt.Errorf("life %d: %w", i+1, err)
		case refused != "" && !(c.Refuse && last):
			return fmt.Errorf("life %d: it ended with %s", i+1, refused)
		case refused == "" && c.Refuse && last:
			return errors.New("it took two different bodies of one revision, and said nothing")
		}
	}
	return compare(told, c.Want)
}

// runProgram is one life. refused says how it ended where that was not with status 0.
func runProgram(ctx context.Context, records []Record, dir string, command []string) (told []Told, refused string, err error) {
	var in, out, problems bytes.Buffer
	encoder := json.NewEncoder(&in)
	for _, r := range records {
		if err := encoder.Encode(r); err != nil {
			return nil, "", fmt.Errorf("write record: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), DirEnv+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &problems
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, "", fmt.Errorf("%w: %s: %w", ErrNotRun, command[0], err)
	}
	if ctx.Err() != nil {
		return nil, "", ctx.Err()
	}
	if exit != nil {
		refused = exit.String()
		if last := strings.TrimSpace(problems.String()); last != "" {
			refused += ": " + last[strings.LastIndexByte(last, '\n')+1:]
		}
	}
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		var t Told
		if err := json.Unmarshal(lines.Bytes(), &t); err != nil || t.ID == "" {
			return nil, "", fmt.Errorf("it wrote %.200q, want one JSON object a line with id, revision, status and amount_minor", lines.Text())
		}
		told = append(told, t)
	}
	return told, refused, nil
}
