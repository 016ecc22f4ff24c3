package statestore_test

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy stands between a client and Redis and can swallow replies: the command
// has run, its answer never arrives, the connection is cut.
type proxy struct {
	listener net.Listener
	target   string
	// drop is how many of the next replies to swallow.
	drop atomic.Int32
	// dropApplied is the same from the next reply to an EXEC on.
	dropApplied atomic.Int32
	// beforeTransaction, if set, runs once, when the next MULTI has come and Redis has not seen it.
	beforeTransaction atomic.Pointer[func()]
	open              sync.WaitGroup
}

func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, target: target}
	p.open.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.open.Go(func() { p.serve(client) })
		}
	})
	// Registered before the client's own clean-up, so that it runs after it: the
	// connections are then closed.
	t.Cleanup(func() {
		_ = listener.Close()
		p.open.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	p.open.Go(func() {
		p.requests(server, client)
		_ = server.Close()
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		if p.drop.Load() > 0 {
			p.drop.Add(-1)
			return
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// requests passes on what the client sends. A commit of these tests is one piece.
func (p *proxy) requests(server, client net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		piece := buffer[:n]
		if bytes.HasPrefix(piece, []byte("*1\r\n$5\r\nmulti\r\n")) {
			if run := p.beforeTransaction.Swap(nil); run != nil {
				(*run)()
			}
		}
		if bytes.HasSuffix(piece, []byte("$4\r\nexec\r\n")) {
			p.drop.Add(p.dropApplied.Swap(0))
		}
		if _, err := server.Write(piece); err != nil {
			return
		}
	}
}
