package stage

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"settlewatch/schemas/table"
	"settlewatch/schemas/topic"
)

// Range is a run of offsets of one partition that became one set of rows.
type Range struct {
	Topic     string
	Partition int32
	// First and Last are offsets, both within. Offsets without a record (marks,
	// what compaction removed) may lie between.
	First, Last int64
	// Checksum of the record at Last, so that a topic that was created anew and has
	// grown again is not taken for the old one.
	Checksum uint64
}

// token names the insert of one block of the range. The same range gives the
// same rows, so what came under a token need not come again.
func (r Range) token(b table.Block) string {
	return fmt.Sprintf("%s/%d/%d-%d/%016x/%s.%s", r.Topic, r.Partition, r.First, r.Last, r.Checksum, b.Table, b.Partition)
}

// Warehouse keeps rows, and the position of every partition that they come from.
type Warehouse interface {
	// LastRange is the recorded range of the partition with the highest Last; false
	// if there is none.
	LastRange(ctx context.Context, topic string, partition int32) (Range, bool, error)
	// RecordRange returns when the range is durable. Repeating it changes nothing.
	RecordRange(ctx context.Context, r Range) error
	// Insert returns when the block's rows are durable, all of them. Under a token
	// that it has seen it changes nothing.
	Insert(ctx context.Context, b table.Block, token string) error
}

// ErrTopicChanged is a partition that no longer holds what was loaded from it:
// created anew, cut, or past its retention.
var ErrTopicChanged = errors.New("the topic is not the one that was loaded")

// LoadOptions bound what Load collects before it inserts. None of them decides
// what a row is or which rows there are.
type LoadOptions struct {
	// MaxRows of one insert. Defaults to 100,000. An insert becomes a part, and merging parts
	// is most of ClickHouse's work: with 50,000 twice as much a row, with 150,000 little less.
	MaxRows int
	// MaxBytes of the records of one insert. Defaults to 32 MiB.
	MaxBytes int
	// MaxSpan is how many offsets one range covers, rows or not: it bounds what a
	// start reads again. Defaults to 200,000.
	MaxSpan int64
	// Seats, if set, bound how many partitions hold more than SmallRows, or a thirty-second
	// part of MaxBytes, at a time. The others wait.
	Seats Seats
	// SmallRows a partition may hold without a seat. Defaults to 1,000.
	SmallRows int
	// Interval is the longest time that a record waits for its insert, unless more than
	// SmallRows lie behind it: then ten times that. Defaults to 1s.
	Interval time.Duration
	// Clock for Interval. Required.
	Clock Clock
	// Refuse takes a record that makes no row though it should, for example to a
	// dead-letter topic; it may be called again for the same record after a restart.
	// Nil: such a record ends Load with its error.
	Refuse func(ctx context.Context, r Refused) error
	// Progress is called after each insert and each hint. Nil is silent.
	Progress func(LoadProgress)
}

// Refused is a record that makes no row, or nothing to fold, though it should.
type Refused struct {
	Topic     string
	Partition int32
	Record    Record
	Err       error
}

// LoadProgress is how far a partition is loaded.
type LoadProgress struct {
	Topic     string
	Partition int32
	// Next is the first offset whose row may be missing in the warehouse.
	Next int64
	// HighWatermark as the last fetch showed it.
	HighWatermark int64
	// Rows of the insert just made.
	Rows int
	// HintErr says that the group did not take the offset. The load goes on: the
	// position is in the warehouse.
	HintErr error
}

func (o LoadOptions) withDefaults() (LoadOptions, error) {
	if o.Clock == nil {
		return o, errors.New("load options: no clock")
	}
	if o.MaxRows == 0 {
		o.MaxRows = 100_000
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 32 << 20
	}
	if o.MaxSpan == 0 {
		o.MaxSpan = 200_000
	}
	if o.SmallRows == 0 {
		o.SmallRows = 1000
	}
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	if o.MaxRows < 0 || o.MaxRows > 500_000 {
		// The server cuts a block near a million rows in two, and then an insert is
		// not atomic any more.
		return o, fmt.Errorf("load options: %d rows of one insert, want 1 to 500,000", o.MaxRows)
	}
	if o.MaxBytes < 0 || o.MaxSpan < 0 || o.SmallRows < 0 || o.Interval < 0 {
		return o, errors.New("load options: a bound is negative")
	}
	return o, nil
}

// Load writes the records of one assigned partition to the warehouse until ctx
// is done, which is no error.
//
// Exactly once in effect: a range of offsets is recorded before its rows are
// inserted, and the next one only after that. So every recorded range says that
// all rows before it are there, and only its own may be missing: a start reads
// exactly the last recorded range again and inserts it under the same tokens.
// The group's offset is a hint for people who watch the lag; nothing reads it.
func Load(ctx context.Context, log Log, warehouse Warehouse, a Assignment, o LoadOptions) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	rows, err := table.NewBuilder(a.Topic, a.Partition)
	if err != nil {
		return fmt.Errorf("load %s/%d: %w", a.Topic, a.Partition, err)
	}
	reader, err := log.Open(a.Topic, a.Partition)
	if err != nil {
		return fmt.Errorf("load %s/%d: open: %w", a.Topic, a.Partition, err)
	}
	defer func() { _ = reader.Close() }() // nothing was written through it

	l := &loader{options: o, assignment: a, reader: reader, warehouse: warehouse, rows: rows}
	defer l.stand()
	err = l.run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load %s/%d: %w", a.Topic, a.Partition, err)
	}
	return nil
}

// loader is the state of one Load.
type loader struct {
	options    LoadOptions
	assignment Assignment
	reader     Reader
	warehouse  Warehouse

	rows table.Builder
	// first is where the next range begins, next the offset to read.
	first, next   int64
	bytes         int
	highWatermark int64
	// last is the last record read since first; its memory ends with the next fetch,
	// its checksum is taken before.
	last struct {
		read     bool
		offset   int64
		checksum uint64
	}
	// since is when the oldest of what is not inserted was read.
	since  time.Time
	hinted int64
	seated bool
}

func (l *loader) run(ctx context.Context) error {
	if err := l.resume(ctx); err != nil {
		return err
	}
	for {
		batch, err := l.fetch(ctx, l.patience())
		if errors.Is(err, ErrDrained) {
			return l.flush(ctx)
		}
		if err != nil {
			return err
		}
		for _, rec := range batch.Records {
			if rec.Offset < l.next {
				continue // a compressed batch begins before the offset asked for
			}
			if err := l.add(ctx, rec); err != nil {
				return err
			}
			if l.full() {
				l.seal(rec)
				if err := l.flush(ctx); err != nil {
					return err
				}
			}
		}
		if n := len(batch.Records); n > 0 && l.last.read {
			l.seal(batch.Records[n-1])
		}
		l.next = max(l.next, batch.Next)
		if l.due() {
			if err := l.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// due tells whether what is collected has waited long enough. In a backlog, which has
// waited longer than that already, larger inserts are worth more; a seat that others
// want is not kept to wait for records that have yet to come.
func (l *loader) due() bool {
	if l.since.IsZero() {
		return false
	}
	behind := l.highWatermark - l.next
	if l.seated && behind <= 0 && l.options.Seats.Wanted() {
		return true
	}
	wait := l.options.Interval
	if behind > int64(l.options.SmallRows) {
		wait *= backlogIntervals
	}
	return l.options.Clock.Now().Sub(l.since) >= wait
}

// backlogIntervals is how many intervals a record of a backlog may wait for its insert.
const backlogIntervals = 10

// fetch reads from the next offset on. An offset that was there and is not any
// more means records that nobody has loaded.
func (l *loader) fetch(ctx context.Context, maxWait time.Duration) (Batch, error) {
	batch, err := l.reader.Fetch(ctx, l.next, maxWait)
	if errors.Is(err, ErrOffsetOutOfRange) {
		return Batch{}, fmt.Errorf("fetch offset %d: %w: %w", l.next, ErrTopicChanged, err)
	}
	if err != nil {
		return Batch{}, fmt.Errorf("fetch offset %d: %w", l.next, err)
	}
	l.highWatermark = batch.HighWatermark
	return batch, nil
}

// patience is how long a fetch may wait without delaying an insert.
func (l *loader) patience() time.Duration {
	if l.since.IsZero() {
		return l.options.Interval
	}
	return max(l.options.Interval-l.options.Clock.Now().Sub(l.since), time.Millisecond)
}

// resume finds the position and makes the last recorded range whole.
func (l *loader) resume(ctx context.Context) error {
	recorded, found, err := l.warehouse.LastRange(ctx, l.assignment.Topic, l.assignment.Partition)
	if err != nil {
		return fmt.Errorf("read last range: %w", err)
	}
	start, end, err := l.reader.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("read bounds: %w", err)
	}
	if !found {
		l.first, l.next, l.hinted = start, start, start
		return nil
	}
	if recorded.First < start || recorded.Last >= end {
		return fmt.Errorf("%w: offsets %d to %d were loaded last, the topic now has %d to %d; "+
			"check whether it was created anew, cut or passed its retention, and use a new database for a new topic",
			ErrTopicChanged, recorded.First, recorded.Last, start, end-1)
	}
	if err := l.reread(ctx, recorded); err != nil {
		return fmt.Errorf("read offsets %d to %d again: %w", recorded.First, recorded.Last, err)
	}
	inserted, err := l.insert(ctx, recorded)
	if err != nil {
		return err
	}
	l.first, l.next, l.bytes = recorded.Last+1, recorded.Last+1, 0
	l.since, l.last.read = time.Time{}, false
	l.hint(ctx, inserted)
	return nil
}

// reread collects exactly the rows of a recorded range.
func (l *loader) reread(ctx context.Context, r Range) error {
	l.next = r.First
	seen := false
	for l.next <= r.Last {
		batch, err := l.fetch(ctx, l.options.Interval)
		if err != nil {
			return err
		}
		for _, rec := range batch.Records {
			if rec.Offset < l.next || rec.Offset > r.Last {
				continue
			}
			if rec.Offset == r.Last {
				seen = true
				if checksum(rec) != r.Checksum {
					return fmt.Errorf("%w: another record stands at offset %d; check whether it was created anew, "+
						"and use a new database for a new topic", ErrTopicChanged, rec.Offset)
				}
			}
			if err := l.add(ctx, rec); err != nil {
				return err
			}
		}
		l.next = max(l.next, batch.Next)
	}
	if !seen && !compacted(r.Topic) {
		return fmt.Errorf("%w: no record stands at offset %d any more", ErrTopicChanged, r.Last)
	}
	return nil
}

// compacted tells whether records may go missing between others: an older
// snapshot of a payment, whose newer one lies ahead.
func compacted(name string) bool {
	return slices.ContainsFunc(topic.All, func(t topic.Topic) bool { return t.Name == name && t.Compacted })
}

// sit takes a seat where one is needed to collect more.
func (l *loader) sit(ctx context.Context) error {
	if l.seated || l.options.Seats == nil || l.rows.Rows() < l.options.SmallRows && l.bytes < l.options.MaxBytes/smallShare {
		return nil
	}
	if err := l.options.Seats.Take(ctx); err != nil {
		return fmt.Errorf("wait for a seat: %w", err)
	}
	l.seated = true
	return nil
}

// smallShare of MaxBytes is what a partition holds without a seat.
const smallShare = 32

// stand gives the seat back.
func (l *loader) stand() {
	if l.seated {
		l.options.Seats.Give()
		l.seated = false
	}
}

// add collects one record.
func (l *loader) add(ctx context.Context, rec Record) error {
	if err := l.sit(ctx); err != nil {
		return err
	}
	before := l.rows.Rows()
	if err := l.rows.Add(rec.Offset, rec.Key, rec.Value); err != nil {
		if l.options.Refuse == nil {
			return fmt.Errorf("record at offset %d: %w", rec.Offset, err)
		}
		// Refused before its range is recorded: a crash between repeats, never loses.
		refused := Refused{Topic: l.assignment.Topic, Partition: l.assignment.Partition, Record: rec, Err: err}
		if err := l.options.Refuse(ctx, refused); err != nil {
			return fmt.Errorf("refuse record at offset %d: %w", rec.Offset, err)
		}
	}
	if l.since.IsZero() {
		l.since = l.options.Clock.Now()
	}
	if l.rows.Rows() > before {
		l.bytes += len(rec.Key) + len(rec.Value)
	}
	l.last.read, l.last.offset = true, rec.Offset
	l.next = rec.Offset + 1
	return nil
}

func (l *loader) full() bool {
	return l.rows.Rows() >= l.options.MaxRows || l.bytes >= l.options.MaxBytes || l.next-l.first >= l.options.MaxSpan
}

// seal takes the checksum of the last record read, while its memory is there.
func (l *loader) seal(rec Record) {
	if rec.Offset == l.last.offset {
		l.last.checksum = checksum(rec)
	}
}

// flush records the range read since the last one and inserts its rows. A short
// range without rows (an idle log still carries marks) is left to the next one.
func (l *loader) flush(ctx context.Context) error {
	inserted := 0
	if l.last.read && (l.rows.Rows() > 0 || l.next-l.first >= l.options.MaxSpan) {
		r := Range{
			Topic: l.assignment.Topic, Partition: l.assignment.Partition,
			First: l.first, Last: l.last.offset, Checksum: l.last.checksum,
		}
		if err := l.warehouse.RecordRange(ctx, r); err != nil {
			return fmt.Errorf("record offsets %d to %d: %w", r.First, r.Last, err)
		}
		var err error
		if inserted, err = l.insert(ctx, r); err != nil {
			return err
		}
		l.first, l.bytes, l.last.read = r.Last+1, 0, false
	}
	l.since = time.Time{}
	l.hint(ctx, inserted)
	return nil
}

// insert writes the collected rows, which are those of r.
func (l *loader) insert(ctx context.Context, r Range) (rows int, err error) {
	for _, b := range l.rows.Blocks() {
		if err := l.warehouse.Insert(ctx, b, r.token(b)); err != nil {
			return rows, fmt.Errorf("insert offsets %d to %d: %w", r.First, r.Last, err)
		}
		rows += b.Rows
	}
	l.rows.Free()
	l.stand()
	return rows, nil
}

// hint tells the group, and whoever watches, how far the partition is loaded. A
// group that is between two generations refuses it: the next hint says more anyway.
func (l *loader) hint(ctx context.Context, inserted int) {
	var err error
	if l.next != l.hinted && l.assignment.Commit != nil {
		if err = l.assignment.Commit(ctx, l.next); err == nil {
			l.hinted = l.next
		}
	}
	if l.options.Progress != nil {
		l.options.Progress(LoadProgress{
			Topic: l.assignment.Topic, Partition: l.assignment.Partition,
			Next: l.next, HighWatermark: l.highWatermark, Rows: inserted, HintErr: err,
		})
	}
}

// checksum of a record: the first 64 bits of SHA-256 over its length-prefixed
// key and its value.
func checksum(rec Record) uint64 {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(rec.Key)))
	h.Write(n[:])
	h.Write(rec.Key)
	h.Write(rec.Value)
	return binary.BigEndian.Uint64(h.Sum(nil))
}
