package boot

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"settlewatch/services/health"
	"settlewatch/services/telemetry"
)

func TestProfilesAreServedOnRequestOnly(t *testing.T) {
	for _, on := range []bool{false, true} {
		r := &Run{Settings: Settings{Pprof: on}, Health: health.New(health.Options{})}
		r.Metrics = telemetry.NewMetrics("test", r.Health, time.Now)
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine", "/debug/pprof/profile?seconds=1"} {
			answer := httptest.NewRecorder()
			router(r).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
			if served := answer.Code == http.StatusOK; served != on {
				t.Errorf("pprof %t: %s answers %d", on, path, answer.Code)
			}
		}
	}
}
