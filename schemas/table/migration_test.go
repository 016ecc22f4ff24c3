package table

import "testing"

func TestMigrationsAreInOrder(t *testing.T) {
	all, err := Migrations()
	if err != nil || len(all) == 0 {
		t.Fatalf("%d migrations, %v", len(all), err)
	}
	for i, m := range all {
		if m.Version != int64(i+1) || m.Name == "" {
			t.Errorf("migration %d is %d %q; want consecutive versions", i, m.Version, m.Name)
		}
	}
}
