// Package table is the contract with ClickHouse: the tables and views as
// versioned migrations, and the rows that the warehouse service makes of Kafka
// records.
//
// What enters are the records of one partition of a loaded topic. What leaves
// are blocks of columns, ready for the driver. Guaranteed: the same records in
// the same order give the same blocks; every row of a block lies in the same
// table partition, because an insert is atomic only for one block into one
// partition; and every value fits its column, because the driver would wrap it
// silently.
package table

import (
	"fmt"

	"settlewatch/schemas/alert"
	"settlewatch/schemas/topic"
)

// Table describes one table that blocks go to.
type Table struct {
	Name string
	// Key names the columns of a row's identity: of rows that are equal in them
	// one stands.
	Key []string
	// Version names the column whose highest value stands; empty where repeats
	// are equal in everything.
	Version string
	Columns []ColumnType
	// Details are values that rows seldom have: not columns but names in the map that is
	// the column `details`, with the type that they are read as.
	Details []ColumnType
}

// detailsColumn is the map of a table's Details.
const detailsColumn = "details"

// ColumnType is a column's name and its ClickHouse type, as in the migrations.
type ColumnType struct{ Name, Type string }

// Tables of the product, without the warehouse's own book-keeping.
var (
	Events = Table{
		Name: "events", Key: []string{"payment_key", "source", "generation", "offset", "idx"},
		Columns: types(eventColumns), Details: types(eventDetails),
	}
	Payments = Table{
		Name: "payments", Key: []string{"payment_key", "life"}, Version: "version",
		Columns: types(paymentColumns),
	}
	AlertRevisions = Table{
		Name: "alert_revisions", Key: []string{"kind", "payment_key", "id", "revision"},
		Columns: types(alertColumns),
	}
)

// All tables that blocks go to.
var All = []Table{Events, Payments, AlertRevisions}

// RangesTable holds the warehouse service's positions.
const RangesTable = "warehouse_ranges"

// Topics are what the warehouse loads.
func Topics() []topic.Topic {
	topics := []topic.Topic{topic.PaymentLog, topic.Payments}
	for _, k := range alert.Kinds {
		topics = append(topics, k.Topic())
	}
	return topics
}

// Builder collects the records of one partition of a topic.
type Builder interface {
	// Add decodes and checks one record and keeps its row, if it makes one: marks,
	// configuration and tombstones do not. After an error nothing is kept of it.
	// The record's memory is not referred to afterwards.
	Add(offset int64, key, value []byte) error
	// Rows that are kept and not yet taken.
	Rows() int
	// Blocks takes the kept rows, in the order of the offsets within each block
	// and of the table's partitions between blocks.
	Blocks() []Block
	// Free gives the memory of the blocks taken so far to the next that are made, of
	// any partition: they are not to be looked at any more. Without it the garbage
	// collector does.
	Free()
}

// NewBuilder makes the builder for one partition of a topic.
func NewBuilder(topicName string, partition int32) (Builder, error) {
	switch topicName {
	case topic.PaymentLog.Name:
		return newBuilder(Events, "arrival_time", (&eventReader{partition: partition}).read), nil
	case topic.Payments.Name:
		return newBuilder(Payments, "", (&paymentReader{}).read), nil
	}
	for _, k := range alert.Kinds {
		if k.Topic().Name != topicName {
			continue
		}
		return newBuilder(AlertRevisions, "moment_judged", func(_ int64, value []byte, r *row) (bool, error) {
			a, ok, err := decodeAlert(k, value)
			if ok {
				fillRow(alertColumns, &a, r)
			}
			return ok, err
		}), nil
	}
	return nil, fmt.Errorf("topic %q has no table", topicName)
}

// FieldError is a value that does not fit its column.
type FieldError struct {
	Table, Field string
	Err          error
}

// Error names table and field, never the value: it may be anything.
func (e *FieldError) Error() string {
	return fmt.Sprintf("table %s, field %s: %v", e.Table, e.Field, e.Err)
}

// Unwrap is for matching.
func (e *FieldError) Unwrap() error { return e.Err }
