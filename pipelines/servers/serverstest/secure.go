package serverstest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"settlewatch/pipelines/servers"
)

// User of the secured servers. The password has characters that text formats treat
// in their own way.
const (
	User     = "settlewatch"
	Password = "p@ss/w%rd#1"
)

// SecureKafka is reached over TLS only: at Addr with SASL, at Mutual with a client
// certificate and no SASL.
type SecureKafka struct {
	*servers.Kafka
	Mutual string
}

// StartKafkaSecure starts an Apache Kafka for this test. At Addr it lets User in by
// PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.
func StartKafkaSecure(t testing.TB, c *Certificates, o servers.KafkaOptions) SecureKafka {
	t.Helper()
	ports := make([]int, 4)
	for i := range ports {
		var err error
		if ports[i], err = servers.FreePort(); err != nil {
			t.Fatal(err)
		}
	}
	at := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	o.Port, o.ControllerPort = ports[0], ports[1]
	clients := "SASL_SSL://" + at(ports[0]) + ",MUTUAL://" + at(ports[3])
	internal := "INTERNAL://" + at(ports[2])
	const modules = "org.apache.kafka.common.security."
	const scram = modules + "scram.ScramLoginModule required;"
	o.Properties = map[string]string{
		"listeners":                            clients + "," + internal + ",CONTROLLER://" + at(ports[1]),
		"advertised.listeners":                 clients + "," + internal,
		"listener.security.protocol.map":       "SASL_SSL:SASL_SSL,MUTUAL:SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":           "INTERNAL",
		"ssl.keystore.type":                    "PEM",
		"ssl.keystore.location":                together(t, c.KeyFile, c.CertFile),
		"ssl.truststore.type":                  "PEM",
		"ssl.truststore.location":              c.CAFile,
		"sasl.enabled.mechanisms":              "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"listener.name.mutual.ssl.client.auth": "required",
		"listener.name.sasl_ssl.plain.sasl.jaas.config": fmt.Sprintf(
			`%splain.PlainLoginModule required user_%s="%s";`, modules, User, Password),
		"listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": scram,
		"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": scram,
	}
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		o.FormatArgs = append(o.FormatArgs, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, User, Password))
	}
	return SecureKafka{Kafka: StartKafka(t, o), Mutual: at(ports[3])}
}

// together writes the files into one: a PEM key store is a key and its certificate.
func together(t testing.TB, paths ...string) string {
	t.Helper()
	var all []byte
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	path := filepath.Join(t.TempDir(), "store.pem")
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// StartRedisSecure starts a redis-server for this test that is reached over TLS with
// a client certificate, and as the ACL user User only.
func StartRedisSecure(t testing.TB, c *Certificates, o servers.RedisOptions) *servers.Redis {
	t.Helper()
	users := filepath.Join(t.TempDir(), "users.acl")
	text := "user default off\nuser " + User + " on >" + Password + " ~sw:* &* +@all -@dangerous +info\n"
	if err := os.WriteFile(users, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o.TLS, o.Username, o.Password = c.Client, User, Password
	o.Args = append(o.Args,
		"--tls-cert-file", c.CertFile, "--tls-key-file", c.KeyFile, "--tls-ca-cert-file", c.CAFile,
		"--tls-auth-clients", "yes", "--aclfile", users)
	return StartRedis(t, o)
}

// TLSForwarder accepts TLS connections with a client certificate for this test and
// passes what they carry on to a plain address. It returns its own.
func TLSForwarder(t testing.TB, c *Certificates, to string) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", c.Server)
	if err != nil {
		t.Fatal(err)
	}
	var open sync.Map
	var all sync.WaitGroup
	all.Go(func() {
		for {
			from, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			open.Store(from, nil)
			all.Go(func() {
				defer open.Delete(from)
				forward(t, from, to)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		open.Range(func(conn, _ any) bool { return conn.(net.Conn).Close() == nil || true })
		all.Wait()
	})
	return l.Addr().String()
}

// forward copies in both directions until one side ends.
func forward(t testing.TB, from net.Conn, to string) {
	defer from.Close()
	// The handshake comes first: a stranger must not even be seen by the server.
	if err := from.(*tls.Conn).HandshakeContext(t.Context()); err != nil {
		return
	}
	onward, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to)
	if err != nil {
		return
	}
	defer onward.Close()
	var back sync.WaitGroup
	back.Go(func() {
		defer from.Close()
		_, _ = io.Copy(from, onward) // it ends when either side does
	})
	_, _ = io.Copy(onward, from) // likewise
	onward.Close()
	back.Wait()
}
