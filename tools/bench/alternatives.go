package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/warehouse"
	"settlewatch/schemas/table"
)

// AlternativesPlan is how other layouts of the table of events are measured.
type AlternativesPlan struct {
	// Dir is where ClickHouse keeps its data while it runs.
	Dir string
	// Rows that each layout holds.
	Rows int64
	// Only these layouts; none is all.
	Only []string
	// Say receives one line per step, Done what was measured of each layout.
	Say  func(format string, args ...any)
	Done func(AlternativeResult)
}

// AlternativeResult is what one layout costs.
type AlternativeResult struct {
	Name string `json:"layout"`
	What string `json:"what"`
	Rows int64  `json:"rows"`
	// BytesPerEvent on disk when everything is merged.
	BytesPerEvent float64 `json:"bytes_per_event"`
	// RowsPerSecond and the server's CPU of inserting, with what it costs to generate
	// the rows; the layout "generated" is that alone.
	RowsPerSecond         float64 `json:"rows_per_second"`
	InsertCPUMicroseconds float64 `json:"insert_cpu_us_per_row"`
	MergeCPUMicroseconds  float64 `json:"merge_cpu_us_per_row"`
	// Questions in seconds, in the order of AlternativeQuestions.
	Questions []float64 `json:"questions_seconds"`
}

// AlternativeQuestions are asked of every layout: what the console, the shipped
// questions and an analyst's day do with events.
var AlternativeQuestions = []string{"one payment", "sources", "settlement-lag", "one day"}

// layout changes the shipped CREATE TABLE of the events.
type layout struct {
	name, what string
	change     func(ddl string) string
}

var (
	times   = []string{"arrival_time", "business_time"}
	numbers = []string{"offset", "log_offset"}
	amounts = []string{"transaction_minor", "gross_minor"}
	ids     = []string{"event_id", "raw_hash"}
)

var layouts = []layout{
	{"shipped", "the migrations: ZSTD(1) for every column", func(ddl string) string { return ddl }},
	{"all-columns", "each detail a column of its own", detailColumns},
	{"lz4", "LZ4 for every column", defaultCodec("LZ4")},
	{"zstd3", "ZSTD(3) for every column", defaultCodec("ZSTD(3)")},
	{"zstd9", "ZSTD(9) for every column", defaultCodec("ZSTD(9)")},
	{"delta", "times and offsets Delta, then ZSTD(1)", codecs("Delta, ZSTD(1)", times, numbers)},
	{"doubledelta", "times and offsets DoubleDelta, then ZSTD(1)", codecs("DoubleDelta, ZSTD(1)", times, numbers)},
	{"t64", "times, offsets and amounts T64, then ZSTD(1)", codecs("T64, ZSTD(1)", times, numbers, amounts)},
	{"string-labels", "no LowCardinality", func(ddl string) string { return strings.ReplaceAll(ddl, "LowCardinality(String)", "String") }},
	{"label-merchants", "merchant and terminal LowCardinality", types("LowCardinality(String)", "merchant", "terminal")},
	{"fixed-ids", "ids and hashes FixedString", func(ddl string) string {
		return types("FixedString(64)", "raw_hash")(types("FixedString(32)", "event_id")(ddl))
	}},
	{"zstd1-ids", "ids and hashes ZSTD(1), the rest LZ4", func(ddl string) string {
		return codecs("ZSTD(1)", ids)(defaultCodec("LZ4")(ddl))
	}},
	{"by-payment-arrival", "ORDER BY payment, arrival, identity", orderBy("payment_key, arrival_time, source, generation, offset, idx")},
	{"by-arrival", "ORDER BY arrival, payment, identity", orderBy("arrival_time, payment_key, source, generation, offset, idx")},
	{"by-acquirer-day", "ORDER BY acquirer, day, payment, identity", orderBy("acquirer, toDate(arrival_time), payment_key, source, generation, offset, idx")},
}

// LayoutNames are the layouts' names, in their order.
func LayoutNames() (names []string) {
	for _, l := range layouts {
		names = append(names, l.name)
	}
	return names
}

// defaultCodec replaces the shipped one, which is a setting of the table.
func defaultCodec(codec string) func(string) string {
	return func(ddl string) string {
		return regexp.MustCompile(`default_compression_codec = '[^']*'`).ReplaceAllString(ddl, "default_compression_codec = '"+codec+"'")
	}
}

// column is a column's line of a CREATE TABLE: name, type, and the rest of it.
func column(name string) *regexp.Regexp {
	return regexp.MustCompile("(?m)^( *`" + name + "` )((?:[^ ,()]|\\((?:[^()]|\\([^()]*\\))*\\))+)( CODEC\\(.*\\))?(,?)$")
}

// detailColumns adds a column for each detail, in front of their map.
func detailColumns(ddl string) string {
	var lines strings.Builder
	for _, c := range table.Events.Details {
		fmt.Fprintf(&lines, "    `%s` %s,\n", c.Name, c.Type)
	}
	return strings.Replace(ddl, "    `details`", lines.String()+"    `details`", 1)
}

func codecs(codec string, columns ...[]string) func(string) string {
	return func(ddl string) string {
		for _, name := range slices.Concat(columns...) {
			ddl = column(name).ReplaceAllString(ddl, "${1}${2} CODEC("+codec+")${4}")
		}
		return ddl
	}
}

func types(chType string, columns ...string) func(string) string {
	return func(ddl string) string {
		for _, name := range columns {
			ddl = column(name).ReplaceAllString(ddl, "${1}"+chType+"${3}${4}")
		}
		return ddl
	}
}

func orderBy(key string) func(string) string {
	return func(ddl string) string {
		return regexp.MustCompile(`(?m)^ORDER BY .*$`).ReplaceAllString(ddl, "ORDER BY ("+key+")")
	}
}

// generated are events like the workload's, by their number: three of a payment, a
// second apart, in four partitions. Columns that it leaves out are left out by the
// workload's too. %[1]d is the first number, %[2]d how many, %[3]d the milliseconds
// between two payments.
const generated = `SELECT
	concat('acq', toString(payment %% 7), '|o|', leftPad(toString(payment), 12, '0')) AS payment_key,
	concat(feed, '/raw.', feed, '.v1/', toString(payment %% 4), '/bench@1') AS source,
	intDiv(number, 12) AS offset,
	toDateTime64('2026-01-05 00:00:00', 3, 'UTC') + toIntervalMillisecond(payment * %[3]d + n * 1000 + number %% 7) AS arrival_time,
	toInt32(payment %% 4) AS log_partition,
	intDiv(number, 4) AS log_offset,
	lower(hex(sipHash128(number))) AS event_id,
	['authorization', 'capture', 'settlement'][n + 1] AS kind,
	'new' AS operation, 'accepted' AS outcome, 'dual' AS mode, 'unknown' AS side,
	if(n = 2, 'paid_out', 'unknown') AS stage, 'unknown' AS adjustment_target,
	'CNY' AS currency,
	if(n = 2, NULL, toInt64(1 + cityHash64(payment) %% 1000000)) AS transaction_minor,
	if(n = 2, toInt64(1 + cityHash64(payment) %% 1000000), NULL) AS gross_minor,
	if(n = 0, '00', '') AS response_code,
	if(n = 2, 'bench', '') AS batch_id,
	if(n = 2, lower(hex(cityHash64(number))), '') AS line_id,
	arrival_time - toIntervalMillisecond(number %% 5) AS business_time,
	'UTC' AS zone, 'value' AS zone_from,
	concat('acq', toString(payment %% 7)) AS acquirer,
	concat('m', toString(1000 + payment %% 5000)) AS merchant,
	concat('t', toString(10000 + payment %% 20000)) AS terminal,
	'bench' AS profile, 1 AS profile_version,
	lower(concat(hex(sipHash128(number, 1)), hex(sipHash128(number, 2)))) AS raw_hash
FROM (SELECT number, intDiv(number, 3) AS payment, toUInt8(number %% 3) AS n,
	['authorization', 'capture', 'settlement'][n + 1] AS feed FROM numbers(%[1]d, %[2]d))`

// generatedColumns are the names of what it makes, in their order.
func generatedColumns() string {
	made, _, _ := strings.Cut(generated, "\nFROM (")
	var names []string
	for _, m := range regexp.MustCompile(` AS (\w+)(?:,|$)`).FindAllStringSubmatch(made, -1) {
		names = append(names, m[1])
	}
	return strings.Join(names, ", ")
}

// insertRows are those of one insert of a backlog, and of one part.
const insertRows = 100_000

// RunAlternatives measures each layout of the table of events alone: the same rows are
// generated into it by ClickHouse itself, merged, and asked.
func RunAlternatives(ctx context.Context, plan AlternativesPlan) (err error) {
	dir := filepath.Join(plan.Dir, clickHouseName)
	server, err := servers.StartClickHouse(ctx, servers.ClickHouseOptions{
		Options: servers.Options{Dir: dir, Fresh: true}, MemoryBytesMax: questionBytes,
	})
	if err != nil {
		return fmt.Errorf("start ClickHouse: %w", err)
	}
	defer func() { err = errors.Join(err, server.Stop(), os.RemoveAll(dir)) }()
	tables, err := warehouse.Dial(ctx, warehouse.Options{DSN: server.DSN()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tables.Close()) }()
	if err := tables.Migrate(ctx, nil); err != nil {
		return err
	}
	a := &alternatives{plan: plan, server: server, tables: tables}
	if a.shipped, err = a.query(ctx, "SHOW CREATE TABLE settlewatch.events FORMAT TSVRaw"); err != nil {
		return err
	}
	if err := a.payments(ctx); err != nil {
		return err
	}
	alone, err := a.insert(ctx, "FUNCTION null('"+a.structure+"')", AlternativeResult{Name: "generated", What: "making the rows, without a table", Rows: plan.Rows})
	if err != nil {
		return err
	}
	plan.Done(alone)
	for _, l := range layouts {
		if len(plan.Only) > 0 && !slices.Contains(plan.Only, l.name) {
			continue
		}
		r, err := a.measure(ctx, l)
		if err != nil {
			return fmt.Errorf("measure layout %s: %w", l.name, err)
		}
		plan.Done(r)
	}
	return nil
}

type alternatives struct {
	plan    AlternativesPlan
	server  *servers.ClickHouse
	tables  *warehouse.Warehouse
	shipped string
	// structure of the generated columns, for a table that keeps nothing.
	structure string
}

func (a *alternatives) query(ctx context.Context, text string) (string, error) {
	return askHTTP(ctx, a.server.HTTPAddr(), text)
}

// rows generates some of the events; all of them together span a month.
func (a *alternatives) rows(from, rows int64) string {
	return fmt.Sprintf(generated, from, rows, 30*dayMs*3/a.plan.Rows)
}

func (a *alternatives) seconds(u usage) float64 { return u.seconds(a.server.Pid(), nil) }

// payments are those of the events, so that questions have something to join.
func (a *alternatives) payments(ctx context.Context) error {
	described, err := a.query(ctx, "DESCRIBE ("+a.rows(0, 1)+") FORMAT TSVRaw")
	if err != nil {
		return err
	}
	var structure []string
	for line := range strings.Lines(described) {
		fields := strings.Split(line, "\t")
		structure = append(structure, fields[0]+" "+fields[1])
	}
	a.structure = strings.ReplaceAll(strings.Join(structure, ", "), "'", `\'`)
	_, err = a.query(ctx, fmt.Sprintf(`INSERT INTO settlewatch.payments (payment_key, life, version, judged_time, status, acquirer, currency, clearing_date)
		SELECT concat('acq', toString(number %% 7), '|o|', leftPad(toString(number), 12, '0')), '00', 1,
		toDateTime64('2026-01-05 00:00:00', 3, 'UTC'), 'settled', concat('acq', toString(number %% 7)), 'CNY', toDate32('2026-01-05')
		FROM numbers(%d)`, a.plan.Rows/3))
	return err
}

func (a *alternatives) measure(ctx context.Context, l layout) (AlternativeResult, error) {
	r := AlternativeResult{Name: l.name, What: l.what, Rows: a.plan.Rows}
	ddl := l.change(a.shipped)
	if l.name != layouts[0].name && ddl == a.shipped {
		return r, errors.New("it does not differ from the shipped one")
	}
	for _, statement := range []string{"DROP TABLE settlewatch.events SYNC", ddl} {
		if _, err := a.query(ctx, statement); err != nil {
			return r, err
		}
	}
	r, err := a.insert(ctx, "settlewatch.events", r)
	if err != nil {
		return r, err
	}
	a.plan.Say("merging layout %s", l.name)
	before, err := look()
	if err != nil {
		return r, err
	}
	if _, err := a.query(ctx, "OPTIMIZE TABLE settlewatch.events FINAL"); err != nil {
		return r, err
	}
	after, err := look()
	if err != nil {
		return r, err
	}
	r.MergeCPUMicroseconds = (a.seconds(after) - a.seconds(before)) / float64(r.Rows) * 1e6
	size, err := a.query(ctx, "SELECT sum(bytes_on_disk) / sum(rows) FROM system.parts WHERE active AND database = 'settlewatch' AND table = 'events'")
	if err != nil {
		return r, err
	}
	if _, err := fmt.Sscan(size, &r.BytesPerEvent); err != nil {
		return r, fmt.Errorf("read the size: %w", err)
	}
	r.Questions, err = a.ask(ctx)
	return r, err
}

// insert generates the rows into a table, in inserts as large as a backlog's.
func (a *alternatives) insert(ctx context.Context, into string, r AlternativeResult) (AlternativeResult, error) {
	a.plan.Say("inserting %d rows: %s", a.plan.Rows, r.What)
	before, err := look()
	if err != nil {
		return r, err
	}
	for from := int64(0); from < a.plan.Rows; from += insertRows {
		rows := min(insertRows, a.plan.Rows-from)
		settings := fmt.Sprintf(" SETTINGS optimize_on_insert = 0, max_insert_threads = 1, max_block_size = %[1]d, "+
			"min_insert_block_size_rows = %[1]d, min_insert_block_size_bytes = 0", rows)
		if _, err := a.query(ctx, "INSERT INTO "+into+" ("+generatedColumns()+") "+a.rows(from, rows)+settings); err != nil {
			return r, err
		}
	}
	after, err := look()
	if err != nil {
		return r, err
	}
	r.RowsPerSecond = float64(r.Rows) / after.at.Sub(before.at).Seconds()
	r.InsertCPUMicroseconds = (a.seconds(after) - a.seconds(before)) / float64(r.Rows) * 1e6
	return r, nil
}

// ask gives the median time of each question.
func (a *alternatives) ask(ctx context.Context) ([]float64, error) {
	shipped, err := table.Questions()
	if err != nil {
		return nil, err
	}
	payment := a.plan.Rows / 6
	own := map[string]string{
		"one payment": fmt.Sprintf("SELECT * FROM settlewatch.events_distinct WHERE payment_key = 'acq%d|o|%012d' ORDER BY arrival_time", payment%7, payment),
		"one day": `SELECT kind, count(), sum(toInt128(ifNull(transaction_minor, gross_minor))) FROM settlewatch.events_distinct
			WHERE acquirer = 'acq3' AND arrival_time >= '2026-01-20 00:00:00' AND arrival_time < '2026-01-21 00:00:00' GROUP BY kind`,
	}
	var seconds []float64
	for _, name := range AlternativeQuestions {
		text, parameters := own[name], map[string]string{}
		for _, q := range shipped {
			if q.Name != name {
				continue
			}
			text = q.SQL
			for _, p := range q.Parameters {
				parameters[p.Name] = p.Default
			}
		}
		var took []float64
		for range questionTimes {
			began := time.Now()
			answer, err := a.tables.Ask(ctx, text, parameters)
			if err != nil {
				return nil, fmt.Errorf("ask %s: %w", name, err)
			}
			if len(answer.Rows) == 0 {
				return nil, fmt.Errorf("ask %s: no answer", name)
			}
			took = append(took, time.Since(began).Seconds())
		}
		slices.Sort(took)
		seconds = append(seconds, took[len(took)/2])
	}
	return seconds, nil
}
