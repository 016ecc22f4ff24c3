package warehouse

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"settlewatch/schemas/table"
)

// Options say where ClickHouse is and how patient to be.
type Options struct {
	// DSN is clickhouse://user:password@host:port/database?secure=true with the
	// native port. Set it or Addrs; what is set beside it stands before it.
	DSN string
	// Addrs are host:port of the native protocol, tried in order.
	Addrs              []string
	Username, Password string
	// TLS, if not nil, is used for every connection.
	TLS *tls.Config
	// Database of the tables. Defaults to "settlewatch". Connections are made to
	// the server's own `default` database, which is always there.
	Database string

	// DialTimeout of one address. Defaults to 5s.
	DialTimeout time.Duration
	// ReplyTimeout is how long one request may take. Defaults to 60s.
	ReplyTimeout time.Duration
	// RetryFirst and RetryMax bound the pause before a request is tried again.
	// They default to 100ms and 10s.
	RetryFirst, RetryMax time.Duration
	// OnRetry is called before each such pause. Nil is silent.
	OnRetry func(err error, wait time.Duration)
}

var (
	// ErrUnreachable is a ClickHouse that does not answer; it may later.
	ErrUnreachable = errors.New("clickhouse does not answer")
	// ErrRefused is a ClickHouse that answers but not to us, or something else at
	// its address. Dialling again does not help.
	ErrRefused = errors.New("clickhouse refuses the connection")
)

// Codes of ClickHouse for a user it does not let in.
const (
	codeUnknownUser          = 192
	codeWrongPassword        = 193
	codeRequiredPassword     = 194
	codeDatabaseAccess       = 291
	codeAuthenticationFailed = 516
)

// maxConnections is above the number of partitions that one service owns: each
// holds one connection while it inserts.
const maxConnections = 64

// sendBytes of a block are encoded, compressed and sent at a time, a whole column at
// least. Every idle connection keeps as much.
const sendBytes = 1 << 20

// Dial connects and returns when the server has answered. It tries once: a
// failed handshake is not repeated (there are servers that end at one), and
// errors.Is(err, ErrUnreachable) tells whether to dial again.
func Dial(ctx context.Context, o Options) (*Warehouse, error) {
	o, d, err := o.resolve()
	if err != nil {
		return nil, err
	}
	if err := probe(ctx, d.Addr, o.DialTimeout); err != nil {
		return nil, err
	}
	conn, err := clickhouse.Open(d)
	if err != nil {
		return nil, fmt.Errorf("open clickhouse at %s: %w", strings.Join(d.Addr, ", "), err)
	}
	if err := conn.Ping(ctx); err != nil {
		_ = conn.Close() // the ping's error says it all
		return nil, explain(err, d)
	}
	return &Warehouse{options: o, driver: d, conn: conn, database: o.Database}, nil
}

// DSN is what a DSN holds besides addresses.
type DSN struct {
	// Password says that there is one, and not which.
	Password bool
	// Unverified says that it turns the check of the server's certificate off.
	Unverified bool
}

// InspectDSN reads a DSN without connecting. Its error does not quote the DSN, in
// which a password may stand.
func InspectDSN(dsn string) (DSN, error) {
	d, err := parseDSN(dsn)
	if err != nil {
		return DSN{}, err
	}
	_, _, err = Options{DSN: dsn}.resolve()
	return DSN{Password: d.Auth.Password != "", Unverified: d.TLS != nil && d.TLS.InsecureSkipVerify}, err
}

var errDSN = errors.New("want clickhouse://host:port/database, the native protocol " +
	"(in a password, what is no letter or digit must be percent-encoded)")

func parseDSN(dsn string) (*clickhouse.Options, error) {
	parsed, err := clickhouse.ParseDSN(dsn)
	if err != nil || parsed.Protocol != clickhouse.Native || len(parsed.Addr) == 0 || parsed.Addr[0] == "" {
		return nil, errDSN // the driver's error quotes the DSN, password included
	}
	return parsed, nil
}

// resolve fills in the defaults and what the DSN says.
func (o Options) resolve() (Options, *clickhouse.Options, error) {
	d := &clickhouse.Options{}
	if o.DSN != "" {
		parsed, err := parseDSN(o.DSN)
		if err != nil {
			return o, nil, fmt.Errorf("read clickhouse dsn: %w", err)
		}
		d = parsed
	}
	if len(o.Addrs) > 0 {
		d.Addr = o.Addrs
	}
	if len(d.Addr) == 0 {
		return o, nil, errors.New("clickhouse options: no address")
	}
	if o.Username != "" {
		d.Auth.Username, d.Auth.Password = o.Username, o.Password
	} else if o.Password != "" {
		d.Auth.Password = o.Password
	}
	if o.TLS != nil {
		d.TLS = o.TLS
	}
	if o.Database == "" && d.Auth.Database != "default" {
		o.Database = d.Auth.Database
	}
	if o.Database == "" {
		o.Database = table.DefaultDatabase
	}
	if err := table.CheckDatabase(o.Database); err != nil {
		return o, nil, fmt.Errorf("clickhouse options: %w", err)
	}
	d.Auth.Database = "default" // naming one that is not there yet fails the handshake
	orDefault(&o.DialTimeout, 5*time.Second)
	orDefault(&o.ReplyTimeout, 60*time.Second)
	orDefault(&o.RetryFirst, 100*time.Millisecond)
	orDefault(&o.RetryMax, 10*time.Second)
	// Not by a deadline of the context: the driver makes a server setting of it.
	d.DialTimeout, d.ReadTimeout = o.DialTimeout, o.ReplyTimeout
	d.MaxOpenConns, d.MaxIdleConns = maxConnections, maxConnections
	d.MaxCompressionBuffer = sendBytes
	d.ConnOpenStrategy = clickhouse.ConnOpenInOrder
	if d.Compression == nil {
		d.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
		if d.TLS == nil && onThisHost(d.Addr) {
			// The way is memory: compression costs more than it saves. Where it is a tunnel
			// to another machine, the DSN says compress=lz4.
			d.Compression.Method = clickhouse.CompressionNone
		}
	}
	return o, d, nil
}

// onThisHost tells whether all addresses are those of this machine by their look.
func onThisHost(addrs []string) bool {
	return !slices.ContainsFunc(addrs, func(addr string) bool {
		host, _, err := net.SplitHostPort(addr)
		return err != nil || host != "localhost" && !net.ParseIP(host).IsLoopback()
	})
}

func orDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// probe looks for a listener before any handshake, so that "nobody there" is
// told apart from "not to you".
func probe(ctx context.Context, addrs []string, timeout time.Duration) error {
	var failed []error
	for _, addr := range addrs {
		dialer := net.Dialer{Timeout: timeout}
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		failed = append(failed, err)
	}
	return fmt.Errorf("%w at %s: check that it runs and that this is its native port (9000, or 9440 with TLS): %w",
		ErrUnreachable, strings.Join(addrs, ", "), errors.Join(failed...))
}

// tlsAlert is what crypto/tls calls an answer of the other side that ends a handshake.
const tlsAlert = "remote error"

// explain says what to check after a failed handshake.
func explain(err error, d *clickhouse.Options) error {
	addr := strings.Join(d.Addr, ", ")
	var exception *clickhouse.Exception
	if errors.As(err, &exception) {
		switch exception.Code {
		case codeUnknownUser, codeWrongPassword, codeRequiredPassword, codeDatabaseAccess, codeAuthenticationFailed:
			return fmt.Errorf("%w at %s: check the user %q and its password: %w", ErrRefused, addr, d.Auth.Username, err)
		}
		if passes(err) {
			return fmt.Errorf("%w at %s: it is busy: %w", ErrUnreachable, addr, err)
		}
		return fmt.Errorf("%w at %s: %w", ErrRefused, addr, err)
	}
	var unknownAuthority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	if errors.As(err, &unknownAuthority) || errors.As(err, &hostname) || errors.As(err, &invalid) {
		return fmt.Errorf("%w at %s: check the certificate authority and the server's name: %w", ErrRefused, addr, err)
	}
	var alert *net.OpError
	if errors.As(err, &alert) && alert.Op == tlsAlert {
		return fmt.Errorf("%w at %s: the server refuses the TLS handshake: check whether it asks for a client certificate, and which: %w",
			ErrRefused, addr, err)
	}
	// A reset is a server that goes down, or comes up, at this moment.
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("%w at %s: %w", ErrUnreachable, addr, err)
	}
	with := "without TLS"
	if d.TLS != nil {
		with = "with TLS"
	}
	return fmt.Errorf("%w at %s: something listens there but does not speak ClickHouse's native protocol %s: "+
		"check the port (9000, or 9440 with TLS; not the HTTP port 8123), TLS, user and password: %w", ErrRefused, addr, with, err)
}
