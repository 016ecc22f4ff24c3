package faults

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"settlewatch/pipelines/servers"
	"settlewatch/schemas/topic"
)

var clusterScenarios = []Scenario{
	{
		Number: 10, Name: "FLUSHALL on one node of a Redis Cluster", Holds: []string{i1, i2}, prepare: onCluster, inject: flushNode,
	},
	{
		Number: 12, Name: "kill -9 of one node of a Redis Cluster, started again", Holds: []string{i1, i3, i6}, prepare: onCluster, inject: killNode,
		Scale: "away for 5 s, longer than the cluster takes to find it dead (3 s); it has no replica",
	},
	{
		Number: 14, Name: "SCRIPT FLUSH on the nodes of a Redis Cluster, one after the other", Holds: []string{i3, i6}, prepare: onCluster, inject: flushNodeScripts,
	},
}

// onCluster gives the services a Redis Cluster of three nodes, of this run only.
func onCluster(w *world) error {
	cluster, err := servers.StartRedisCluster(w.ctx, servers.RedisOptions{Options: servers.Options{Dir: filepath.Join(w.dir, "cluster")}})
	if err != nil {
		return err
	}
	w.cluster, w.stateAddrs = cluster, cluster.Addrs()
	w.endings = append(w.endings, cluster.Stop)
	w.redisEnv = []string{
		"SETTLEWATCH_REDIS_ADDRS=" + strings.Join(cluster.Addrs(), ","), "SETTLEWATCH_REDIS_CLUSTER=true",
	}
	return nil
}

// nodeWithState is a node, chosen by the run's seed, that holds state: with four
// partitions on three nodes one may have none. keys are what it holds.
func (w *world) nodeWithState() (node int, err error) {
	first := w.dice.IntN(len(w.cluster.Nodes))
	for i := range w.cluster.Nodes {
		node := (first + i) % len(w.cluster.Nodes)
		size, err := ask(w.ctx, w.cluster.Nodes[node].Addr(), "DBSIZE")
		if err != nil {
			return 0, err
		}
		if size != "0" {
			return node, nil
		}
	}
	return 0, errors.New("no node of the cluster holds any state")
}

// onNode are the log partitions whose state a node holds.
func (w *world) onNode(node int) (partitions []int32, err error) {
	for p := range int32(topic.PaymentLog.Partitions) {
		_, err := ask(w.ctx, w.cluster.Nodes[node].Addr(), "HGET", metaKey(p), "seq")
		switch {
		case err == nil:
			partitions = append(partitions, p)
		case !strings.Contains(err.Error(), "MOVED"):
			return nil, err
		}
	}
	return partitions, nil
}

// beyond is how many of the partitions stand beyond where they stood when it was called.
func (w *world) beyond(partitions []int32) (progress, error) {
	before := map[int32]int64{}
	for _, p := range partitions {
		place, err := w.storedPlace(p)
		if err != nil {
			return nil, err
		}
		before[p] = place.Offset
	}
	return func() (moved int64, err error) {
		for p, offset := range before {
			if place, err := w.storedPlace(p); err == nil && place.Offset > offset {
				moved++
			}
		}
		return moved, nil
	}, nil
}

// busyNode is a node that holds state under load, and the partitions on it.
func (w *world) busyNode() (node int, partitions []int32, err error) {
	if err := w.busy(); err != nil {
		return 0, nil, err
	}
	if node, err = w.nodeWithState(); err != nil {
		return 0, nil, err
	}
	partitions, err = w.onNode(node)
	return node, partitions, err
}

// flushNode empties one node under load: the partitions on it are folded again, the
// others never notice.
func flushNode(w *world) error {
	node, partitions, err := w.busyNode()
	if err != nil {
		return err
	}
	moved, err := w.beyond(partitions)
	if err != nil {
		return err
	}
	w.expects.rolledBack = true
	if _, err := ask(w.ctx, w.cluster.Nodes[node].Addr(), "FLUSHALL"); err != nil {
		return err
	}
	w.note("one node of three emptied, with %d of %d partitions", len(partitions), topic.PaymentLog.Partitions)
	return w.recoverBeyond("partitions of the node", moved, int64(len(partitions))-1)
}

// killNode kills one node and starts it again on its data after a while. Its
// partitions stand still meanwhile and the others go on once the cluster is whole:
// by Redis's default a cluster without all of its slots serves none of them.
func killNode(w *world) error {
	node, partitions, err := w.busyNode()
	if err != nil {
		return err
	}
	// What a postponed write of the append-only file lost is folded again.
	w.expects.rolledBack = true
	if err := w.cluster.Nodes[node].Kill(); err != nil {
		return err
	}
	if err := w.pause(5 * time.Second); err != nil {
		return err
	}
	if err := w.cluster.Restart(w.ctx, node); err != nil {
		return fmt.Errorf("start the node again: %w", err)
	}
	w.note("the node that was killed held %d of %d partitions", len(partitions), topic.PaymentLog.Partitions)
	all := w.every()
	return w.recoverBeyond("all partitions", all, int64(topic.PaymentLog.Partitions)-1)
}

// flushNodeScripts empties the script caches of the nodes in turn.
func flushNodeScripts(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	for i := range 30 {
		if _, err := ask(w.ctx, w.cluster.Nodes[i%len(w.cluster.Nodes)].Addr(), "SCRIPT", "FLUSH"); err != nil {
			return err
		}
		if err := w.pause(50 * time.Millisecond); err != nil {
			return err
		}
	}
	all := w.every()
	return w.recoverBeyond("all partitions", all, int64(topic.PaymentLog.Partitions)-1)
}
