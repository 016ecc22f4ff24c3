package e2e_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"settlewatch/schemas/topic"
	"settlewatch/tools/demo"
)

// cardNumber finds the card numbers that a raw record declares.
var cardNumber = regexp.MustCompile(`"card_number":"([0-9]{13,19})"`)

// cards are the numbers that were planted.
type cards map[string]bool

const cardDigitsMin, cardDigitsMax = 13, 19

// in returns the first planted number in a text, whole or with separators between
// its digits; empty if there is none.
func (c cards) in(text []byte) string {
	if found := c.inRuns(text); found != "" {
		return found
	}
	// 6222 0202 0011 2233 446 and 6222-0202-… are card numbers too.
	tight := make([]byte, 0, len(text))
	for i, b := range text {
		inside := i > 0 && i+1 < len(text) && isDigit(text[i-1]) && isDigit(text[i+1])
		if inside && (b == ' ' || b == '-') {
			continue
		}
		tight = append(tight, b)
	}
	return c.inRuns(tight)
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

func (c cards) inRuns(text []byte) string {
	for i := 0; i < len(text); {
		if !isDigit(text[i]) {
			i++
			continue
		}
		end := i
		for end < len(text) && isDigit(text[end]) {
			end++
		}
		for ; i+cardDigitsMin <= end; i++ {
			for n := cardDigitsMin; n <= cardDigitsMax && i+n <= end; n++ {
				if c[string(text[i:i+n])] {
					return string(text[i : i+n])
				}
			}
		}
		i = end
	}
	return ""
}

// shown is a card number as a failed test may print it.
func shown(card string) string { return card[:6] + "…" + card[len(card)-4:] }

// TestNoCardNumberAnywhere looks for every planted card number in all that the
// product has written: topics, Redis, ClickHouse, logs.
func TestNoCardNumberAnywhere(t *testing.T) {
	w := start(t, someThousand(5), nil, func(o *demo.PlatformOptions) {
		o.ServiceEnvironment = map[string][]string{"joiner": {"SETTLEWATCH_CHECKPOINT_EVERY=1s"}}
	})
	requireExact(t, w.play(nil))
	w.until("a checkpoint is written", func() bool { return w.written(topic.Checkpoints) > 0 })
	planted := make(cards)
	for r := range w.traffic.Records() {
		for _, match := range cardNumber.FindAllSubmatch(r.Value, -1) {
			planted[string(match[1])] = true
		}
	}
	t.Logf("%d card numbers were planted", len(planted))
	w.searchTopics(planted)
	w.searchRedis(planted)
	w.searchClickHouse(planted)
	w.searchLogs(planted)
}

// searchTopics also finds the numbers where they are: in the raw topics. The search
// itself is thereby known to work.
func (w *world) searchTopics(planted cards) {
	t := w.t
	t.Helper()
	for _, name := range topic.All {
		raw := strings.HasPrefix(name.Name, "raw.")
		records, found := 0, 0
		for p := range name.Partitions {
			w.eachRecord(name.Name, int32(p), func(parts ...[]byte) {
				records++
				for _, part := range parts {
					card := planted.in(part)
					if card == "" {
						continue
					}
					if found++; !raw && found <= 3 {
						t.Errorf("%s holds card number %s", name.Name, shown(card))
					}
				}
			})
		}
		t.Logf("%s: %d records, %d with a card number", name.Name, records, found)
		if records == 0 {
			t.Errorf("%s is empty", name.Name)
		}
		if name.Name == topic.RawAuthorization.Name && found < len(planted) {
			t.Errorf("%d card numbers in the raw authorizations, want at least %d", found, len(planted))
		}
	}
}

// eachRecord calls with key, value and header values of every record.
func (w *world) eachRecord(name string, partition int32, look func(parts ...[]byte)) {
	w.t.Helper()
	reader, err := w.Bus.Open(name, partition)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	_, end, err := reader.Bounds(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for next := int64(0); next < end; {
		batch, err := reader.Fetch(w.ctx, next, glance)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, r := range batch.Records {
			if r.Offset < next {
				continue
			}
			parts := [][]byte{r.Key, r.Value}
			for _, h := range r.Headers {
				parts = append(parts, []byte(h.Key), h.Value)
			}
			look(parts...)
		}
		next = max(next, batch.Next)
	}
}

// searchRedis reads the append-only file: it holds every value that was ever
// written, in plain.
func (w *world) searchRedis(planted cards) {
	t := w.t
	t.Helper()
	size, key := 0, false
	eachFile(t, filepath.Join(w.dir, "redis"), func(path string, text []byte) {
		size += len(text)
		key = key || bytes.Contains(text, []byte("|o|O00000"))
		if card := planted.in(text); card != "" {
			t.Errorf("Redis, %s: card number %s", filepath.Base(path), shown(card))
		}
	})
	t.Logf("Redis: %d bytes", size)
	if !key {
		t.Error("no payment key in the files of Redis: they were not searched as they are written")
	}
}

// searchLogs looks into the logs of services and servers.
func (w *world) searchLogs(planted cards) {
	t := w.t
	t.Helper()
	size := 0
	eachFile(t, filepath.Join(w.dir, "logs"), func(path string, text []byte) {
		size += len(text)
		if card := planted.in(text); card != "" {
			t.Errorf("log %s: card number %s", filepath.Base(path), shown(card))
		}
	})
	t.Logf("logs: %d bytes", size)
	if size == 0 {
		t.Error("nobody has logged anything")
	}
}

func eachFile(t *testing.T, dir string, look func(path string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		look(path, text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// searchClickHouse reads every column of every table as text.
func (w *world) searchClickHouse(planted cards) {
	t := w.t
	t.Helper()
	tables := strings.Fields(w.query("SELECT name FROM system.tables WHERE database = 'settlewatch' AND engine NOT LIKE '%View%'"))
	for _, name := range tables {
		text := w.query("SELECT * FROM settlewatch." + name + " FORMAT TSVRaw")
		t.Logf("ClickHouse, %s: %d bytes", name, len(text))
		for line := range strings.Lines(text) {
			if card := planted.in([]byte(line)); card != "" {
				t.Errorf("ClickHouse, %s: card number %s", name, shown(card))
				break
			}
		}
	}
	// What may be known of a card is there: else nothing would have been searched.
	masked, err := strconv.Atoi(strings.TrimSpace(w.query(
		"SELECT count() FROM settlewatch.events WHERE length(card_bin) >= 6 AND length(card_last4) = 4 AND card_token != ''")))
	if err != nil || masked < len(planted)/2 {
		t.Errorf("%d events with a masked card (%v), %d cards were planted", masked, err, len(planted))
	}
}

// query asks the embedded ClickHouse.
func (w *world) query(text string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.Stack.ClickHouseHTTP+"/", strings.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Close = true // ClickHouse waits for connections when it ends
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %s %v %s", text, response.Status, err, body)
	}
	return string(body)
}
