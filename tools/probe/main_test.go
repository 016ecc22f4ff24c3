package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProbe(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer server.Close()
	if err := probe(server.URL + "/readyz"); err != nil {
		t.Errorf("a ready service: %v", err)
	}
	status = http.StatusServiceUnavailable
	if err := probe(server.URL + "/readyz"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("a service that is not ready: %v", err)
	}
	server.Close()
	if probe(server.URL) == nil {
		t.Error("nobody answers, and the probe is content")
	}
}
