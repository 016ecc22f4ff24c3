package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// A verdict is what happens to what passes.
type verdict int

const (
	pass verdict = iota
	// loseReply: the request is carried out, and nobody hears of it.
	loseReply
	// loseRequest: it never arrives.
	loseRequest
)

// A proxy stands between the services and a server. It passes everything on until
// it is told to lose what passes, to hold it back, or to let nobody through. What is
// lost takes its connection with it.
type proxy struct {
	listener net.Listener

	mu     sync.Mutex
	target string
	// request and reply, if set, are asked what happens to each piece that passes.
	request, reply func(l *link, piece []byte) verdict
	delay          time.Duration // of replies
	closed         bool          // nobody comes through
	links          map[*link]struct{}
	ended          sync.WaitGroup
}

// A link is one connection through the proxy.
type link struct {
	client, server net.Conn
	lose           bool // the next reply
	// stage is for request and reply to remember how far the link is.
	stage int
}

func openProxy(ctx context.Context, target string) (*proxy, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a proxy to %s: %w", target, err)
	}
	p := &proxy{listener: listener, target: target, links: map[*link]struct{}{}}
	p.ended.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.ended.Go(func() { p.serve(client) })
		}
	})
	return p, nil
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) close() error {
	err := p.listener.Close()
	p.cut()
	p.ended.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// change alters how it behaves from now on.
func (p *proxy) change(f func(p *proxy)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

// heal makes it pass everything on again, to the server that is there.
func (p *proxy) heal(target string) {
	p.change(func(p *proxy) { p.target, p.request, p.reply, p.delay, p.closed = target, nil, nil, 0, false })
}

// cut ends all connections.
func (p *proxy) cut() {
	p.change(func(p *proxy) {
		for l := range p.links {
			_ = l.client.Close()
			_ = l.server.Close()
		}
	})
}

// shut lets nobody through, and ends the connections there are.
func (p *proxy) shut() {
	p.change(func(p *proxy) { p.closed = true })
	p.cut()
}

func (p *proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	p.mu.Lock()
	target, closed := p.target, p.closed
	p.mu.Unlock()
	if closed {
		return
	}
	server, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", target)
	if err != nil {
		return
	}
	l := &link{client: client, server: server}
	defer func() { _ = server.Close() }()
	p.change(func(p *proxy) { p.links[l] = struct{}{} })
	defer p.change(func(p *proxy) { delete(p.links, l) })
	p.ended.Go(func() {
		p.forward(l)
		_ = server.Close()
	})
	p.back(l)
}

const pieceBytes = 64 << 10

func (p *proxy) forward(l *link) {
	buffer := make([]byte, pieceBytes)
	for {
		n, err := l.client.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		v := pass
		if p.request != nil {
			v = p.request(l, buffer[:n])
		}
		l.lose = l.lose || v == loseReply
		p.mu.Unlock()
		if v == loseRequest {
			return
		}
		if _, err := l.server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) back(l *link) {
	buffer := make([]byte, pieceBytes)
	for {
		n, err := l.server.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		lose, delay := l.lose, p.delay
		if p.reply != nil && p.reply(l, buffer[:n]) != pass {
			lose = true
		}
		p.mu.Unlock()
		if lose {
			return
		}
		if delay > 0 {
			time.Sleep(delay)
		}
		if _, err := l.client.Write(buffer[:n]); err != nil {
			return
		}
	}
}
