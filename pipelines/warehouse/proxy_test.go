package warehouse_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy stands between the driver and the server and loses replies.
type proxy struct {
	addr string
	// target is where connections go; it can move.
	target atomic.Value
	// lose is how many replies are still to be lost: the next reply after the client
	// has sent longRequest bytes on a connection is swallowed and the connection cut.
	lose atomic.Int32
	lost atomic.Int32
}

// longRequest is more than a handshake and the head of an insert, less than a block.
const longRequest = 16 << 10

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: listener.Addr().String()}
	p.target.Store(target)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			done.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		done.Wait()
	})
	return p
}

// serve copies both ways until either side ends.
func (p *proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", p.target.Load().(string))
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	var sent atomic.Int64
	var up sync.WaitGroup
	up.Go(func() {
		defer func() { _ = server.Close() }()
		pass(server, client, func(n int) bool {
			sent.Add(int64(n))
			return true
		})
	})
	pass(client, server, func(int) bool {
		if sent.Load() < longRequest || p.lose.Add(-1) < 0 {
			return true
		}
		p.lost.Add(1)
		return false
	})
	_ = client.Close()
	up.Wait()
}

// pass copies while allowed, asked with the bytes of each read before they go on.
func pass(to, from net.Conn, allowed func(n int) bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !allowed(n) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
