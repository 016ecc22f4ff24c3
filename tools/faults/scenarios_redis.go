package faults

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"settlewatch/pipelines/servers"
)

var redisScenarios = []Scenario{
	{Number: 10, Name: "Redis FLUSHALL", Holds: []string{i1, i2}, Quick: true, inject: flushRedis},
	{Number: 11, Name: "failover to a stale replica after alerts were published", Holds: []string{i1, i2}, Quick: true, inject: staleReplica},
	{
		Number: 12, Name: "Redis stopped for a while, replies dropped", Holds: []string{i3}, inject: stopRedis,
		Scale: "stopped for 6 s instead of 30",
	},
	{Number: 13, Name: "Redis out of memory", Holds: []string{i1, i7}, inject: redisFull, Scale: "for 13 s"},
	{Number: 14, Name: "SCRIPT FLUSH mid-pipeline", Holds: []string{i3, i6}, inject: flushScripts},
	{Number: 15, Name: "AOF tail truncated", Holds: []string{i1}, inject: truncateAOF},
}

// flushRedis empties Redis under load. It has recovered when the state is beyond
// where it was: the log was folded again from its beginning.
func flushRedis(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	w.expects.rolledBack = true
	before, err := w.stored()
	if err != nil {
		return err
	}
	if _, err := ask(w.ctx, w.redis.Addr(), "FLUSHALL"); err != nil {
		return err
	}
	return w.recoverBeyond("joiner", w.stored, before)
}

// staleReplica lets a replica fall behind while alerts are published, and then
// makes it the primary that the joiner finds.
func staleReplica(w *world) error {
	if err := w.feed(0.25); err != nil {
		return err
	}
	replica, err := servers.StartRedis(w.ctx, servers.RedisOptions{Options: servers.Options{Dir: filepath.Join(w.dir, "replica")}})
	if err != nil {
		return err
	}
	w.endings = append(w.endings, replica.Stop)
	host, port, _ := strings.Cut(w.redis.Addr(), ":")
	if _, err := ask(w.ctx, replica.Addr(), "REPLICAOF", host, port); err != nil {
		return err
	}
	if err := w.until("the replica follows", func() (bool, error) {
		info, err := ask(w.ctx, replica.Addr(), "INFO", "replication")
		return strings.Contains(info, "master_link_status:up"), err
	}); err != nil {
		return err
	}
	if err := w.until("there is a state", func() (bool, error) {
		n, err := ask(w.ctx, replica.Addr(), "DBSIZE")
		return n != "0", err
	}); err != nil {
		return err
	}
	if _, err := ask(w.ctx, replica.Addr(), "REPLICAOF", "NO", "ONE"); err != nil {
		return err
	}
	w.trickle(0.85, rate)
	old, err := w.alerts()
	if err != nil {
		return err
	}
	if err := w.until("alerts are published that the replica knows nothing of", func() (bool, error) {
		n, err := w.alerts()
		return n > old+5, err
	}); err != nil {
		return err
	}
	before, err := w.stored()
	if err != nil {
		return err
	}
	w.expects.rolledBack, w.stateAddrs = true, []string{replica.Addr()}
	w.redisProxy.change(func(p *proxy) { p.target = replica.Addr() })
	w.redisProxy.cut()
	return w.recoverBeyond("joiner", w.stored, before)
}

// stopRedis freezes Redis, and then loses some of its replies.
func stopRedis(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	if err := syscall.Kill(w.redis.Pid(), syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop Redis: %w", err)
	}
	// The services are asked, Redis cannot be: nothing must wait for it meanwhile.
	waited := w.pause(6 * time.Second)
	if err := syscall.Kill(w.redis.Pid(), syscall.SIGCONT); err != nil {
		return fmt.Errorf("let Redis go on: %w", err)
	}
	if waited != nil {
		return waited
	}
	if err := w.recovery("joiner", w.stored); err != nil {
		return err
	}
	return w.loseReplies(4)
}

// loseReplies loses the next replies to commits, one after the other.
func (w *world) loseReplies(count int) error {
	lost := 0
	w.atCommit(leave, func() verdict {
		if lost == count {
			return pass
		}
		lost++
		return loseReply
	})
	return w.until("replies to commits are lost", func() (bool, error) {
		done := false
		w.redisProxy.change(func(*proxy) { done = lost == count })
		return done || w.feeder.done(), nil
	})
}

// redisFull leaves Redis no memory for another commit.
func redisFull(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	if _, err := ask(w.ctx, w.redis.Addr(), "CONFIG", "SET", "maxmemory", "1mb"); err != nil {
		return err
	}
	w.endings = append(w.endings, func() error {
		_, err := ask(w.ctx, w.redis.Addr(), "CONFIG", "SET", "maxmemory", "0")
		return err
	})
	if err := w.saysTrouble("joiner", "OOM"); err != nil {
		return err
	}
	if err := w.pause(3 * time.Second); err != nil {
		return err
	}
	if _, err := ask(w.ctx, w.redis.Addr(), "CONFIG", "SET", "maxmemory", "0"); err != nil {
		return err
	}
	return w.recovery("joiner", w.stored)
}

// saysTrouble waits until the service is not ready any more, or its log says why:
// an operator must not find out from a customer.
func (w *world) saysTrouble(service, word string) error {
	began := time.Now()
	err := w.until(service+" says what is wrong", func() (bool, error) {
		said, ok := w.verdict(w.ctx, service, "/readyz")
		return !ok && strings.Contains(said, word), nil
	})
	if err == nil {
		w.note("%s was not ready, and said %s, after %.1f s", service, word, time.Since(began).Seconds())
	}
	return err
}

// flushScripts empties the script cache again and again.
func flushScripts(w *world) error {
	if err := w.busy(); err != nil {
		return err
	}
	for range 30 {
		if _, err := ask(w.ctx, w.redis.Addr(), "SCRIPT", "FLUSH"); err != nil {
			return err
		}
		if err := w.pause(50 * time.Millisecond); err != nil {
			return err
		}
	}
	return w.recovery("joiner", w.stored)
}

// truncateAOF kills Redis and cuts the end of its file: it comes back with an
// earlier state.
func truncateAOF(w *world) error {
	// What lies before this run in the file is of another log.
	first, base, err := w.appendOnly()
	if err != nil {
		return err
	}
	if err := w.busy(); err != nil {
		return err
	}
	before, err := w.stored()
	if err != nil {
		return err
	}
	w.expects.rolledBack = true
	// Nobody reaches it until it was seen how far it has gone back.
	w.redisProxy.shut()
	if err := w.redis.Kill(); err != nil {
		return err
	}
	last, size, err := w.appendOnly()
	if err != nil {
		return err
	}
	if last != first {
		base = 0
	}
	cut := min(size-base, w.dice.Int64N(64<<10)+1)
	if err := os.Truncate(last, size-cut); err != nil {
		return fmt.Errorf("cut the append-only file: %w", err)
	}
	if err := w.restartRedis(w); err != nil {
		return err
	}
	now, err := w.stored()
	if err != nil {
		return err
	}
	w.note("%d bytes cut; the state stood at %d records, %d before", cut, now, before)
	w.redisProxy.heal(w.redis.Addr())
	return w.recoverBeyond("joiner", w.stored, before)
}

// appendOnly is the file that Redis appends to, and its size.
func (w *world) appendOnly() (file string, size int64, err error) {
	files, err := filepath.Glob(filepath.Join(w.redisOptions.Dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) == 0 {
		return "", 0, errors.Join(errors.New("the append-only file of Redis is not there"), err)
	}
	// The number in the name grows with each rewrite, in digits as well as in length.
	slices.SortFunc(files, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	file = files[len(files)-1]
	info, err := os.Stat(file)
	if err != nil {
		return "", 0, fmt.Errorf("look at the append-only file: %w", err)
	}
	return file, info.Size(), nil
}

// restartRedis starts it again on its data and address.
func (g *ground) restartRedis(w *world) (err error) {
	g.redis, err = servers.StartRedis(w.ctx, g.redisOptions)
	return err
}
