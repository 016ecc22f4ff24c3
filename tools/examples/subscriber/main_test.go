package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"settlewatch/pipelines/bus"
	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/stage"
	"settlewatch/schemas/alert"
	"settlewatch/schemas/topic"
)

func TestMain(m *testing.M) { serverstest.Main(m) }

// world is a broker with alert topics.
type world struct {
	broker string
	kafka  *bus.Bus
	dir    string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{broker: serverstest.Broker(t), dir: t.TempDir()}
	kafka, err := bus.Dial(t.Context(), bus.Options{Brokers: []string{w.broker}, ClientID: "test", WaitReady: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafka.Close)
	if err := kafka.CreateTopics(t.Context(), topic.All, 1); err != nil {
		t.Fatal(err)
	}
	w.kafka = kafka
	return w
}

// publish alerts written as payment:revision.
func (w *world) publish(t *testing.T, kind alert.Kind, alerts ...string) {
	t.Helper()
	for _, text := range alerts {
		a := alert.Alert{Kind: kind, Status: alert.Open, Acquirer: "ACQ", Merchant: "M1", AmountMinor: 1250, Currency: "CNY"}
		payment, revision, _ := strings.Cut(text, ":")
		if _, err := fmt.Sscan(revision, &a.Revision); err != nil {
			t.Fatal(err)
		}
		a.PaymentKey = "ACQ|" + payment
		a.ID = strings.Repeat(payment[:1], 32)
		body, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		to := kind.Topic()
		partition := topic.Partition([]byte(a.PaymentKey), to.Partitions)
		if err := w.kafka.Append(t.Context(), stage.Outgoing{Topic: to.Name, Partition: partition, Records: []stage.Record{{Key: []byte(a.PaymentKey), Value: body}}}); err != nil {
			t.Fatal(err)
		}
	}
}

// examples are the programs; each takes --once and prints id:revision first.
var examples = map[string]func(t *testing.T, w *world) string{
	"go": func(t *testing.T, w *world) string {
		return captured(t, func() error {
			return run(t.Context(), []string{"--once", "--kafka-brokers", w.broker, "--positions", filepath.Join(w.dir, "positions.json")})
		})
	},
	"python": func(t *testing.T, w *world) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "python3", "../subscriber-python/subscriber.py",
			"--once", "--brokers", w.broker, "--database", filepath.Join(w.dir, "alerts.db"))
		cmd.Env = append(os.Environ(), "PYTHONPATH="+pythonPackages(t))
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s%s", err, &out, &errs)
		}
		return out.String()
	},
}

// Both examples handle every alert's highest revision once, and know it after a
// restart.
func TestExamples(t *testing.T) {
	for name, program := range examples {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.publish(t, alert.PaidUnsettled, "a:1", "a:1", "a:3", "a:2", "b:1")
			w.publish(t, alert.SettledTwice, "c:1")
			want(t, program(t, w), "a:1", "a:3", "b:1", "c:1")
			w.publish(t, alert.PaidUnsettled, "a:2", "a:3", "a:4")
			w.publish(t, alert.SettledTwice, "c:1", "d:1")
			want(t, program(t, w), "a:4", "d:1")
			want(t, program(t, w))
		})
	}
}

func want(t *testing.T, out string, alerts ...string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(out) {
		id, revision, _ := strings.Cut(strings.Fields(line)[0], ":")
		got = append(got, id[:1]+":"+revision)
	}
	slices.Sort(got) // partitions have no order among each other
	if !slices.Equal(got, alerts) {
		t.Errorf("printed %v, want %v\n%s", got, alerts, out)
	}
}

// pythonPackages is the folder with the example's requirements: that of
// an earlier run where they are the same, or one made now.
func pythonPackages(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../../.cache/subscriber-python")
	if err != nil {
		t.Fatal(err)
	}
	const requirements = "../subscriber-python/requirements.txt"
	wanted, err := os.ReadFile(requirements)
	if err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(dir, ".installed")
	if have, err := os.ReadFile(mark); err == nil && bytes.Equal(have, wanted) {
		return dir
	}
	t.Log("installing the Python client (about 10 seconds)")
	cmd := exec.CommandContext(t.Context(), "python3", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
		"--root-user-action=ignore", "--upgrade", "--target", dir, "--requirement", requirements)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("install %s with pip: %v\n%s", requirements, err, out)
	}
	if err := os.WriteFile(mark, wanted, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// captured is what f prints.
func captured(t *testing.T, f func() error) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stdout := os.Stdout
	os.Stdout = w
	failed := f()
	os.Stdout = stdout
	_ = w.Close()
	out, err := io.ReadAll(r)
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return string(out)
}
