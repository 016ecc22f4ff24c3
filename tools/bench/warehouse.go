package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/table"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
)

// WarehousePlan is what goes into ClickHouse.
type WarehousePlan struct {
	// Payments whose events go through the whole pipeline.
	Payments int64
	// Events that the tables hold when the questions are asked: those of the pipeline
	// are copied inside of ClickHouse, as other payments, until there are so many.
	Events int64
	Limit  time.Duration
}

// WarehouseResult of a plan.
type WarehouseResult struct {
	Rows          int64   `json:"rows"`
	RowsPerSecond float64 `json:"rows_per_second"`
	// Parts that the inserts made; ClickHouse merges them later.
	Parts                int64              `json:"parts"`
	PartsPerMinute       float64            `json:"parts_per_minute"`
	CPUSecondsPerMillion map[string]float64 `json:"cpu_seconds_per_million_rows"`
	OtherCPUSeconds      float64            `json:"other_cpu_seconds"`
	// Tables after everything was merged.
	Tables []TableSize `json:"tables"`
	// Events that were there when the questions were asked, and the answers.
	Events    int64      `json:"events"`
	Questions []Question `json:"questions"`
	Notes     []string   `json:"notes,omitempty"`
}

// TableSize of one table.
type TableSize struct {
	Table       string  `json:"table"`
	Rows        int64   `json:"rows"`
	BytesPerRow float64 `json:"bytes_per_row"`
}

// Question is a shipped query with its defaults.
type Question struct {
	Name    string  `json:"question"`
	Seconds float64 `json:"seconds"` // median of three
	Rows    int     `json:"rows"`
}

// copied are the tables that are multiplied, with the columns that make another payment
// of a copy. Its day is another one too.
var copied = []struct{ name, replace string }{
	{"events", "concat(payment_key, '-%[1]d') AS payment_key, arrival_time + toIntervalDay(%[1]d %% 60) AS arrival_time"},
	{"payments", "concat(payment_key, '-%[1]d') AS payment_key, judged_time + toIntervalDay(%[1]d %% 60) AS judged_time"},
	{"alert_revisions", "concat(payment_key, '-%[1]d') AS payment_key, concat(id, '-%[1]d') AS id, moment_judged + toIntervalDay(%[1]d %% 60) AS moment_judged"},
}

const (
	// questionBytes are enough for questions about 100 million events, which group by
	// payment.
	questionBytes = 10 << 30
	questionTimes = 3
	loadedPoll    = 100 * time.Millisecond
)

// RunWarehouse measures the warehouse service alone, on a log that is complete, then
// the questions.
func (b *Bench) RunWarehouse(ctx context.Context, plan WarehousePlan) (WarehouseResult, error) {
	limited, cancel := context.WithTimeoutCause(ctx, plan.Limit, errTooSlow)
	defer cancel()
	o := b.newOurs(Workload{Payments: plan.Payments, Partitions: topic.PaymentLog.Partitions}, VariantWarehouse)
	o.clickHouseBytes = questionBytes
	r, err := o.warehouse(limited, plan)
	if err = errors.Join(err, o.stop()); err != nil {
		return r, fmt.Errorf("measure the warehouse: %w", err)
	}
	return r, nil
}

func (o *ours) warehouse(ctx context.Context, plan WarehousePlan) (r WarehouseResult, err error) {
	if err := o.bench.Feed(ctx, o.workload); err != nil {
		return r, err
	}
	config, err := Config(o.workload, ruleDays)
	if err == nil {
		err = o.prepare(ctx, config)
	}
	if err == nil {
		o.bench.options.Say("making the payment log")
		err = o.startServices(ctx, newStopwatch(o.servers()))
	}
	if err == nil {
		err = o.workedOff(ctx)
	}
	if err == nil {
		err = o.stopIngests()
	}
	if err == nil {
		err = o.load(ctx, &r)
	}
	if err != nil {
		return r, err
	}
	if r.Notes, err = o.inspect(ctx); err != nil {
		return r, err
	}
	o.bench.options.Say("merging")
	for _, t := range copied {
		if err := o.merge(ctx, t.name, &r); err != nil {
			return r, err
		}
	}
	if err := o.multiply(ctx, plan.Events); err != nil {
		return r, err
	}
	r.Events, err = o.number(ctx, "SELECT count() FROM settlewatch.events")
	if err != nil {
		return r, err
	}
	r.Questions, err = o.askAll(ctx)
	return r, err
}

// load starts the service and waits until everything is in the tables.
func (o *ours) load(ctx context.Context, r *WarehouseResult) error {
	o.bench.options.Say("loading ClickHouse")
	before, err := o.inserted(ctx)
	if err != nil {
		return err
	}
	watch := newStopwatch(o.servers())
	watch.pids[clickHouseName] = o.clickHouse.Pid()
	on := map[string]func(string){assignedTo(topic.PaymentLog.Name): func(string) { watch.begun() }}
	if err := o.start(warehouseName, nil, on); err != nil {
		return err
	}
	watch.pids[warehouseName] = o.processes[warehouseName].Pid()
	if err := wait(ctx, watch.first, o.processes); err != nil {
		return err
	}
	if err := watch.start(); err != nil {
		return err
	}
	names := []string{topic.PaymentLog.Name, topic.Payments.Name}
	for _, k := range alert.Kinds {
		names = append(names, k.Topic().Name)
	}
	for _, name := range names {
		if err := o.awaitLag(ctx, boot.GroupWarehouse, name, loadedPoll); err != nil {
			return err
		}
	}
	watch.end()
	after, err := o.inserted(ctx)
	if err = errors.Join(err, watch.err); err != nil {
		return err
	}
	seconds := watch.seconds()
	r.Rows, r.Parts = after.rows-before.rows, after.parts-before.parts
	r.RowsPerSecond, r.PartsPerMinute = float64(r.Rows)/seconds, float64(r.Parts)/seconds*60
	r.CPUSecondsPerMillion = map[string]float64{}
	used, other := watch.used()
	r.OtherCPUSeconds = other
	for name, cpu := range used {
		r.CPUSecondsPerMillion[name] = cpu * 1e6 / float64(r.Rows)
	}
	return nil
}

// inserts is what ClickHouse has counted since its start.
type inserts struct{ rows, parts int64 }

func (o *ours) inserted(ctx context.Context) (inserts, error) {
	// Events without a count are not listed; each block that an insert writes is a part.
	count := "SELECT sum(value) FROM system.events WHERE event = '%s'"
	rows, err := o.number(ctx, fmt.Sprintf(count, "MergeTreeDataWriterRows"))
	if err != nil {
		return inserts{}, err
	}
	parts, err := o.number(ctx, fmt.Sprintf(count, "MergeTreeDataWriterBlocks"))
	return inserts{rows, parts}, err
}

func (o *ours) merge(ctx context.Context, name string, r *WarehouseResult) error {
	if _, err := o.query(ctx, "OPTIMIZE TABLE settlewatch."+name+" FINAL"); err != nil {
		return err
	}
	of := "FROM system.parts WHERE active AND database = 'settlewatch' AND table = '" + name + "'"
	rows, err := o.number(ctx, "SELECT sum(rows) "+of)
	if err != nil {
		return err
	}
	bytes, err := o.number(ctx, "SELECT sum(bytes_on_disk) "+of)
	if err != nil {
		return err
	}
	r.Tables = append(r.Tables, TableSize{name, rows, float64(bytes) / float64(max(rows, 1))})
	return nil
}

// multiply copies all rows until there are as many events as wanted.
func (o *ours) multiply(ctx context.Context, events int64) error {
	have, err := o.number(ctx, "SELECT count() FROM settlewatch.events")
	if err != nil {
		return err
	}
	for k := int64(1); k < events/max(have, 1); k++ {
		o.bench.options.Progress("copied events", k*have, events)
		for _, t := range copied {
			// Only the first rows, those without a copy's number, are copied; the inner
			// query, because a WHERE beside REPLACE would mean the copy's key.
			_, err := o.query(ctx, fmt.Sprintf(
				"INSERT INTO settlewatch.%[1]s SELECT * REPLACE (%[2]s) FROM (SELECT * FROM settlewatch.%[1]s WHERE position(payment_key, '-') = 0) SETTINGS optimize_on_insert = 0",
				t.name, fmt.Sprintf(t.replace, k)))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *ours) askAll(ctx context.Context) ([]Question, error) {
	all, err := table.Questions()
	if err != nil {
		return nil, err
	}
	var out []Question
	for _, q := range all {
		o.bench.options.Say("asking %s", q.Name)
		parameters := map[string]string{}
		for _, p := range q.Parameters {
			parameters[p.Name] = p.Default
		}
		one := Question{Name: q.Name}
		var took []float64
		for range questionTimes {
			began := time.Now()
			answer, err := o.tables.Ask(ctx, q.SQL, parameters)
			if err != nil {
				return nil, fmt.Errorf("ask %s: %w", q.Name, err)
			}
			took = append(took, time.Since(began).Seconds())
			one.Rows = len(answer.Rows)
		}
		slices.Sort(took)
		one.Seconds = took[len(took)/2]
		out = append(out, one)
	}
	return out, nil
}

func (o *ours) number(ctx context.Context, query string) (int64, error) {
	text, err := o.query(ctx, query)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(text), 10, 64)
}

// query writes, which the warehouse package does by its own inserts only.
func (o *ours) query(ctx context.Context, query string) (string, error) {
	return askHTTP(ctx, o.clickHouse.HTTPAddr(), query)
}

func askHTTP(ctx context.Context, addr, query string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/", strings.NewReader(query))
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("query ClickHouse: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("query ClickHouse: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("query ClickHouse: %s: %.300s", response.Status, text)
	}
	return string(text), nil
}
