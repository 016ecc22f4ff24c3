package calendar

import "time"

// Location finds an IANA zone in the embedded database, and nowhere else, for
// whoever reads or writes local times and must agree with the due times.
func Location(name string) (*time.Location, error) {
	z, err := loadZone(name)
	if err != nil {
		return nil, err
	}
	return z.location, nil
}

// CheckCycle tells whether a settlement cycle, T+1 or D+2, is written as the
// terms understand it.
func CheckCycle(text string) error {
	_, err := parseCycle(text)
	return err
}
