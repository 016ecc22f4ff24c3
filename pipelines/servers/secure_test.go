package servers_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"settlewatch/pipelines/servers"
	"settlewatch/pipelines/servers/serverstest"
)

// TestClickHouseUsers asks over HTTP: a wrong password over the native port would
// end the server.
func TestClickHouseUsers(t *testing.T) {
	c := serverstest.StartClickHouse(t, servers.ClickHouseOptions{Options: servers.Options{Log: t.Output()}, Username: "loader", Password: "s3cret"})
	for name, want := range map[string]struct{ user, password, query, answer string }{
		"right":           {"loader", "s3cret", "CREATE DATABASE theirs", ""},
		"wrong password":  {"loader", "wrong", "SELECT 1", "516"},
		"unknown user":    {"nobody", "wrong", "SELECT 1", "516"},
		"default reads":   {"default", "", "SELECT 1 AS one", "1"},
		"default may not": {"default", "", "CREATE DATABASE mine", "497"},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+c.HTTPAddr()+"/", strings.NewReader(want.query))
			if err != nil {
				t.Fatal(err)
			}
			request.Close = true
			request.Header.Set("X-ClickHouse-User", want.user)
			request.Header.Set("X-ClickHouse-Key", want.password)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			got := strings.TrimSpace(string(body))
			if code := response.Header.Get("X-ClickHouse-Exception-Code"); code != "" {
				got = code
			}
			if got != want.answer {
				t.Errorf("got %q, want %q; %s", got, want.answer, body)
			}
		})
	}
}

func TestRedisSecure(t *testing.T) {
	c := serverstest.NewCertificates(t)
	r := serverstest.StartRedisSecure(t, c, servers.RedisOptions{})
	for name, config := range map[string]*tls.Config{
		"no certificate": {RootCAs: c.Client.RootCAs, MinVersion: tls.VersionTLS12},
		"no authority":   {Certificates: c.Client.Certificates, MinVersion: tls.VersionTLS12},
	} {
		conn, err := tls.Dial("tcp", r.Addr(), config)
		if err != nil {
			continue
		}
		_, _ = conn.Write([]byte("PING\r\n"))
		if n, err := conn.Read(make([]byte, 10)); err == nil {
			t.Errorf("%s: an answer of %d bytes", name, n)
		}
		_ = conn.Close()
	}
}

func TestKafkaSecure(t *testing.T) {
	c := serverstest.NewCertificates(t)
	k := serverstest.StartKafkaSecure(t, c, servers.KafkaOptions{})
	for name, mechanism := range map[string]sasl.Mechanism{
		"plain":         plain.Auth{User: serverstest.User, Pass: serverstest.Password}.AsMechanism(),
		"scram-sha-256": scram.Auth{User: serverstest.User, Pass: serverstest.Password}.AsSha256Mechanism(),
		"scram-sha-512": scram.Auth{User: serverstest.User, Pass: serverstest.Password}.AsSha512Mechanism(),
	} {
		if err := client(t, k.Addr(), kgo.DialTLSConfig(c.Client), kgo.SASL(mechanism)).Ping(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := client(t, k.Mutual, kgo.DialTLSConfig(c.Client)).Ping(t.Context()); err != nil {
		t.Errorf("by a client certificate: %v", err)
	}
	stranger := serverstest.NewCertificates(t).Client
	stranger.RootCAs = c.Client.RootCAs
	for name, config := range map[string]*tls.Config{
		"no client certificate": {RootCAs: c.Client.RootCAs, MinVersion: tls.VersionTLS12}, "another authority's": stranger,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		if err := client(t, k.Mutual, kgo.DialTLSConfig(config)).Ping(ctx); err == nil {
			t.Errorf("%s was let in", name)
		}
		cancel()
	}
	for name, options := range map[string][]kgo.Opt{
		"wrong password": {kgo.DialTLSConfig(c.Client), kgo.SASL(plain.Auth{User: serverstest.User, Pass: "wrong"}.AsMechanism())},
		"no SASL":        {kgo.DialTLSConfig(c.Client)},
		"no TLS":         {kgo.SASL(plain.Auth{User: serverstest.User, Pass: serverstest.Password}.AsMechanism())},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		if err := client(t, k.Addr(), options...).Ping(ctx); err == nil {
			t.Errorf("%s was let in", name)
		}
		cancel()
	}
}
