// Package capacity computes what a load needs that no machine here can bear, and
// simulates what its size does to rebalance and takeover.
//
// A Demand (payments a second, how long they are open and kept) and Costs (what an
// event, a payment, a mark costs: measured, assumed or set by the product, each with its
// source) come in. A Plan goes out: partitions, joiners, shards, brokers, machines and
// money, each line with the arithmetic that gave it. A Plan's Cell goes into Simulate,
// which plays one failure in a fluid model of one consumer group, and gives how long each
// partition's alerts were late.
//
// It is guaranteed that the same input gives the same output, to the byte; that the
// arithmetic that is shown is the one that was done; and, in the simulation, that what
// has arrived in a partition is folded once or still waits, whatever happens between.
package capacity
