package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"settlewatch/services/health"
)

// Ports at which the services listen by default.
const (
	AuthorizationHTTP = "127.0.0.1:8081"
	CaptureHTTP       = "127.0.0.1:8082"
	SettlementHTTP    = "127.0.0.1:8083"
	JoinerHTTP        = "127.0.0.1:8084"
	WarehouseHTTP     = "127.0.0.1:8085"
)

// serve listens until stop is called.
func serve(addr string, r *Run) (stop func(), err error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on http-addr %s (another one is given by --http-addr, `off` is none): %w", addr, err)
	}
	r.Log.Info("listening", "http_addr", l.Addr().String())
	server := &http.Server{
		Handler:           router(r),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	go func() {
		if err := server.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			r.Log.Error("the HTTP listener failed", "error", err)
		}
	}()
	return func() { _ = server.Close() }, nil
}

func router(r *Run) http.Handler {
	mux := chi.NewRouter()
	mux.Use(middleware.GetHead, middleware.NoCache)
	mux.Get("/healthz", verdict(r.Health.Alive))
	mux.Get("/readyz", verdict(r.Health.Ready))
	mux.Method(http.MethodGet, "/metrics", r.Metrics.Handler())
	if r.Settings.Pprof {
		profiles(mux)
	}
	return mux
}

// profiles are for whoever looks for where the time goes: off by default, because
// a profile costs time itself.
func profiles(mux chi.Router) {
	mux.Get("/debug/pprof/", pprof.Index)
	mux.Get("/debug/pprof/profile", pprof.Profile)
	mux.Get("/debug/pprof/trace", pprof.Trace)
	mux.Get("/debug/pprof/{name}", pprof.Index)
}

// verdict answers 200 or 503, with the reasons as JSON.
func verdict(ask func() health.Report) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		report := ask()
		w.Header().Set("Content-Type", "application/json")
		if !report.OK {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(report) // who hung up does not read it
	}
}
