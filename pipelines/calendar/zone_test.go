package calendar

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A new archive gets a new version: other zone data under the old name would
// give other due times for a log that names it.
func TestZoneArchiveIsTheOneItsVersionNames(t *testing.T) {
	digests := map[string]string{
		"2025c": "8f55634d05f8bca1f7bc7c69c5933428c69357e0bdf565e5ba224e3f88ff12e8",
	}
	sum := sha256.Sum256([]byte(zoneArchive))
	if got := hex.EncodeToString(sum[:]); got != digests[TZDataVersion] {
		t.Fatalf("the archive's digest is %s; tzdata %s has %s", got, TZDataVersion, digests[TZDataVersion])
	}
}

func zoned(t testing.TB, name string) *zone {
	t.Helper()
	z, err := loadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestLoadZoneRefuses(t *testing.T) {
	for _, name := range []string{"", "Local", "Asia/", "Asia/Peking", "asia/shanghai", "../Asia/Shanghai", "UTC+8"} {
		if _, err := loadZone(name); !errors.Is(err, errUnknownZone) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestInstantOfLocalTimes(t *testing.T) {
	for _, test := range []struct{ about, zone, date, clock, want string }{
		{"plain", "Asia/Shanghai", "2025-09-30", "23:00", "2025-09-30T15:00:00Z"},
		{"no zone at all", "UTC", "2025-09-30", "23:00", "2025-09-30T23:00:00Z"},
		{"summer", "America/New_York", "2025-07-01", "06:00", "2025-07-01T10:00:00Z"},
		{"winter", "America/New_York", "2025-12-01", "06:00", "2025-12-01T11:00:00Z"},
		{"last before the gap", "America/New_York", "2025-03-09", "01:59", "2025-03-09T06:59:00Z"},
		{"in the gap: 03:30 summer time", "America/New_York", "2025-03-09", "02:30", "2025-03-09T07:30:00Z"},
		{"first of the gap", "America/New_York", "2025-03-09", "02:00", "2025-03-09T07:00:00Z"},
		{"after the gap", "America/New_York", "2025-03-09", "03:00", "2025-03-09T07:00:00Z"},
		{"ambiguous: the first", "America/New_York", "2025-11-02", "01:30", "2025-11-02T05:30:00Z"},
		{"after the ambiguous hour", "America/New_York", "2025-11-02", "02:00", "2025-11-02T07:00:00Z"},
		{"half an hour of gap", "Australia/Lord_Howe", "2025-10-05", "02:15", "2025-10-04T15:45:00Z"},
		{"a whole day that was left out", "Pacific/Apia", "2011-12-30", "12:00", "2011-12-30T22:00:00Z"},
		{"beyond the listed changes", "America/New_York", "2090-07-01", "06:00", "2090-07-01T10:00:00Z"},
		{"before the first change", "Asia/Shanghai", "1800-01-01", "08:05:43", "1800-01-01T00:00:00Z"},
	} {
		z := zoned(t, test.zone)
		got := time.UnixMilli(z.instant(day(t, test.date), clockMsOf(t, test.clock))).UTC().Format(time.RFC3339)
		if got != test.want {
			t.Errorf("%s: %s %s in %s is %s, want %s", test.about, test.date, test.clock, test.zone, got, test.want)
		}
	}
}

// clockMsOf reads 15:04 or 15:04:05 as milliseconds after midnight.
func clockMsOf(t testing.TB, text string) int64 {
	t.Helper()
	layout := "15:04:05"
	if len(text) == len("15:04") {
		text += ":00"
	}
	clock, err := time.Parse(layout, text)
	if err != nil {
		t.Fatal(err)
	}
	return int64(clock.Sub(clock.Truncate(24*time.Hour)) / time.Millisecond)
}

// The zone's own arithmetic against the standard library's, which shares no code
// with it but the table of changes.
func TestZoneAgreesWithTheStandardLibrary(t *testing.T) {
	zones := []*zone{
		zoned(t, "Asia/Shanghai"), zoned(t, "America/New_York"), zoned(t, "Australia/Lord_Howe"),
		zoned(t, "America/St_Johns"), zoned(t, "Pacific/Apia"), zoned(t, "Africa/Casablanca"),
	}
	rapid.Check(t, func(t *rapid.T) {
		z := rapid.SampledFrom(zones).Draw(t, "zone")
		ms := rapid.Int64Range(-2_000_000_000_000, 4_000_000_000_000).Draw(t, "ms")
		want := time.UnixMilli(ms).In(z.location)
		d, clockMs := z.local(ms)
		if y, m, dd := want.Date(); d != DateOf(y, m, dd) {
			t.Fatalf("%d in %s is of %s, want %s", ms, z.location, d, want)
		}
		h, m, s := want.Clock()
		if wantMs := int64(h*3600+m*60+s)*1000 + int64(want.Nanosecond()/1e6); clockMs != wantMs {
			t.Fatalf("%d in %s shows %d, want %d", ms, z.location, clockMs, wantMs)
		}
		// Back again: the first moment that shows this time, never a later one.
		back := z.instant(d, clockMs)
		if again, againMs := z.local(back); back > ms || again != d || againMs != clockMs {
			t.Fatalf("%d in %s comes back as %d", ms, z.location, back)
		}
	})
}
