// Package console is what the reading commands of settlewatch show: the alert
// stream, one payment's timeline, the dead letters and the answers of ClickHouse.
//
// What enters are records of topics, packed state from Redis and rows from
// ClickHouse; what leaves is text for people, or JSON for programs, on a writer.
// The package connects to nothing by itself and reads no clock. It is given only
// what is masked already, and prints no card number.
package console
