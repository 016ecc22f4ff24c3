package statestore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"
)

// CorruptError is a stored state that no sequence of commits leaves behind.
// Wipe the partition and fold its log again.
type CorruptError struct {
	Partition string // log/partition
	Reason    string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("state of %s is corrupt: %s", e.Partition, e.Reason)
}

// Retry is one failed attempt that will be repeated.
type Retry struct {
	Partition string // log/partition
	Operation string // "acquire", "load", "commit", …
	Attempt   int    // from 1
	Wait      time.Duration
	Err       error
}

// LogValue shows the error's text in every log format; as JSON most errors are
// empty objects.
func (r Retry) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("partition", r.Partition), slog.String("operation", r.Operation), slog.Int("attempt", r.Attempt),
		slog.Duration("wait", r.Wait), slog.String("error", r.Err.Error()))
}

// run repeats op unchanged while Redis fails in a way that passes, until ctx
// ends. Every operation here may run twice without harm, so a lost reply needs
// no case of its own.
func (p *Partition) run(ctx context.Context, operation string, op func() error) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = retryFirst, retryLongest
	for attempt := 1; ; attempt++ {
		err := op()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil && !passing(err) {
			return p.client.explain(operation+" state of "+p.name+" in", err)
		}
		pause := wait.NextBackOff()
		if ctx.Err() == nil && p.client.onRetry != nil {
			p.client.onRetry(Retry{Partition: p.name, Operation: operation, Attempt: attempt, Wait: pause, Err: err})
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", context.Cause(ctx), p.client.explain(operation+" state of "+p.name+" in", err))
		}
	}
}

// passing tells errors that may go away by themselves or by an operator's hand
// from those that the same request meets for ever.
func passing(err error) bool {
	var answered redis.Error
	if !errors.As(err, &answered) {
		return !errors.Is(err, redis.ErrClosed) && !final(err)
	}
	if errors.Is(err, redis.TxFailedErr) {
		return true // a key has changed since it was looked at: look again
	}
	text := strings.TrimPrefix(err.Error(), "EXECABORT Transaction discarded because of: ")
	for _, code := range []string{
		"OOM", "MISCONF", "LOADING", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "READONLY", "NOREPLICAS", "BUSY",
		"MOVED", "ASK", "NOSCRIPT",
	} {
		// Redis before 7 puts the code of an error inside a script behind other words.
		if strings.HasPrefix(text, code+" ") || strings.Contains(text, "-"+code+" ") {
			return true
		}
	}
	return strings.Contains(text, "max number of clients reached")
}

// final is an error of this package or of the contract, not of the connection.
func final(err error) bool {
	var corrupt *CorruptError
	var fenced *fencedError
	var limit *LimitError
	return errors.As(err, &corrupt) || errors.As(err, &fenced) || errors.As(err, &limit) ||
		errors.Is(err, ErrMoved) || errors.Is(err, ErrTrimmed)
}

// explain names the address and what to check.
func (c *Client) explain(verb string, err error) error {
	if final(err) {
		return err
	}
	advice := hint(err, c.tls)
	if refused(err) {
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return fmt.Errorf("%s Redis at %s: %w%s", verb, c.addrs, err, advice)
}

// tlsAlert is what crypto/tls calls an answer of the other side that ends a handshake.
const tlsAlert = "remote error"

// refused tells a server that does not let us in from one that is not there.
func refused(err error) bool {
	var answered redis.Error
	var certificate *tls.CertificateVerificationError
	var alert *net.OpError
	if errors.As(err, &certificate) || (errors.As(err, &alert) && alert.Op == tlsAlert) {
		return true
	}
	if !errors.As(err, &answered) {
		return false
	}
	for _, code := range []string{"WRONGPASS", "NOAUTH", "NOPERM"} {
		if strings.HasPrefix(answered.Error(), code) {
			return true
		}
	}
	return false
}

func hint(err error, overTLS bool) string {
	var answered redis.Error
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	var alert *net.OpError
	var network net.Error
	text := err.Error()
	switch {
	case errors.As(err, &certificate), errors.As(err, &authority):
		return " (check the certificate authority and the server name of the TLS settings)"
	case errors.As(err, &alert) && alert.Op == tlsAlert:
		return " (the server refuses the TLS handshake: check whether it asks for a client certificate, and which)"
	case errors.As(err, &record):
		return " (the server does not speak TLS: check port and TLS settings)"
	case errors.As(err, &answered):
		switch {
		case strings.HasPrefix(text, "WRONGPASS"), strings.HasPrefix(text, "NOAUTH"), strings.Contains(text, "AUTH"):
			return " (check user name and password)"
		case strings.HasPrefix(text, "NOPERM"):
			return " (check the user's ACL: it needs @all without @dangerous, and info, on the keys of the prefix)"
		case strings.Contains(text, "cluster support disabled"):
			return " (it is a single server: do not configure it as a cluster)"
		case strings.Contains(text, "OOM"):
			return " (raise maxmemory)"
		case strings.Contains(text, "MISCONF"):
			return " (check the disk that Redis saves to)"
		}
		return ""
	case errors.Is(err, context.Canceled):
		return ""
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return " (the connection was cut: check that the server runs, and whether it wants TLS)"
	case overTLS && errors.Is(err, context.DeadlineExceeded):
		// A plain Redis waits for the end of a line that a TLS greeting never has.
		return " (check that it runs, that the address is right, that no firewall is between, and that this port speaks TLS)"
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		return " (check that it runs, that the address is right and that no firewall is between)"
	}
	return ""
}
