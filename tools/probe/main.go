// Command probe asks a service in the same container whether it is ready: the
// images have no shell and no HTTP client, and an orchestrator without probes of
// its own, such as Compose, can only run a program.
//
// What enters is the URL as the only argument; what leaves is the exit status: 0
// where the answer is 2xx within five seconds, else 1, with the reason in stderr.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"
)

// patience is how long an answer may take.
const patience = 5 * time.Second

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: probe http://127.0.0.1:8080/readyz")
		os.Exit(1)
	}
	if err := probe(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func probe(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("read the URL: %w", err)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	defer reply.Body.Close()
	if reply.StatusCode/100 != 2 {
		return fmt.Errorf("%s answers %s", url, reply.Status)
	}
	return nil
}
