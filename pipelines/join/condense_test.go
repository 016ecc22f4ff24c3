package join

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"settlewatch/schemas/event"
)

// bucketOfPacked holds packed payments in order. They need not be payments.
func bucketOfPacked(payments [][]byte) *bucket {
	b := new(bucket)
	for i, p := range payments {
		b.add(uint32(i), p, i%3)
	}
	return b
}

func expanded(value []byte) (payments [][]byte, sequence uint64, err error) {
	sequence, err = new(expander).bucket(value, func(packed []byte) error {
		payments = append(payments, bytes.Clone(packed))
		return nil
	})
	return payments, sequence, err
}

type fataler interface{ Fatalf(string, ...any) }

// condense says what a bucket of the payments is, stored, and that it comes back.
func condense(t fataler, payments [][]byte) []byte {
	c := condenser{near: neighbour{key: 7}} // what was before does not matter
	c.bucket(nil, bucketOfPacked(payments[:len(payments)/2]), 3)
	value := c.bucket(nil, bucketOfPacked(payments), 1<<40)
	got, sequence, err := expanded(value)
	if err != nil || sequence != 1<<40 || !slices.EqualFunc(got, payments, bytes.Equal) {
		t.Fatalf("%d payments of commit %d, %v:\n%x\nwere\n%x", len(got), sequence, err, got, payments)
	}
	return value
}

// packedStates are payments as they stand after each record of some histories, with
// payment snapshots and without.
func packedStates(t testing.TB) (payments [][]byte) {
	t.Helper()
	for _, begin := range []func() *State{New, NewAlertsOnly} {
		for _, s := range fuzzScripts {
			state, out := begin(), Output{}
			if err := state.Step(configRecord(testConfig(nil), 0), &out); err != nil {
				t.Fatal(err)
			}
			for _, r := range s.records(t, testKey) {
				if err := state.Step(r, &out); err != nil {
					t.Fatal(err)
				}
				for _, p := range state.payments.all() {
					payments = append(payments, bytes.Clone(p))
				}
			}
		}
	}
	return payments
}

// benchPacked are settled payments of the benchmarks' workload.
func benchPacked(t testing.TB, n int) (payments [][]byte) {
	t.Helper()
	s, out := NewAlertsOnly(), Output{}
	if err := s.Step(configRecord(testConfig(nil), 0), &out); err != nil {
		t.Fatal(err)
	}
	newBenchLog(n, true).each(func(value []byte) {
		if err := s.Fold(value, &out); err != nil {
			t.Fatal(err)
		}
	})
	for _, p := range s.payments.all() {
		payments = append(payments, bytes.Clone(p))
	}
	return payments
}

func TestABucketComesBackAsItWas(t *testing.T) {
	payments := append(packedStates(t), benchPacked(t, 300)...)
	condense(t, payments)
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SliceOfN(rapid.SampledFrom(payments), 0, 20).Draw(t, "of histories")
		for range rapid.IntRange(0, 5).Draw(t, "drawn") {
			h := drawPayment(t)
			packed, _ := h.pack(nil, nil, rapid.Int64().Draw(t, "next"))
			some = append(some, packed)
		}
		if len(some) > 0 { // and damage, which is none of its business
			i := rapid.IntRange(0, len(some)-1).Draw(t, "which")
			p := bytes.Clone(some[i])
			p[rapid.IntRange(0, len(p)-1).Draw(t, "where")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			some = append(some, p, p[:rapid.IntRange(1, len(p)).Draw(t, "cut")])
		}
		condense(t, rapid.Permutation(some).Draw(t, "order"))
	})
}

// Of a settled payment little more is stored than its three identities.
func TestASettledPaymentIsSmall(t *testing.T) {
	payments := benchPacked(t, 600)
	if each := len(condense(t, payments)) / len(payments); each > 48+28 {
		t.Errorf("%d bytes each", each)
	}
}

// More forms than are remembered.
func TestABucketOfManyForms(t *testing.T) {
	var payments [][]byte
	for i := range 3 * maxForms {
		key := event.PaymentKey(bytes.Repeat([]byte{'a'}, i%(2*maxForms)+1)) + "|o|1"
		payments = append(payments, appendHead(nil, flagPlain, key, 1, int64(i), &template{currency: "CNY"}))
	}
	condense(t, payments)
}

// A bucket that was stored once is read for ever, or until StateFormat is raised: these
// bytes are never made anew.
func TestAStoredBucketIsRead(t *testing.T) {
	const stored = "" +
		"05011cae0107616371317c6f7c0c0100246d2574000801c1040281000502000ae4d4b0c49567b2eb15ed07954e4130d85db85838770d3795f5dfd5" +
		"f6bb010a02fb9ce049dc50c636e0e6f6a53ee1450208a01f1661157a3ded106d984cccd0ec4e92a10308a0a87a80c0eccf2601182a0107616371317c" +
		"6f7c0c0000246d2574000801c10402810428f69306ef07974e4ef4d87377c7397829371493b928fac90104a1803ee3ccb08c5ab67ed77b0139794a02" +
		"04a01fa097961c01150a0107616371317c6f7c0c0100246d2574000801c1074feec225eb07934ed87fff7d15137bd6b5c19c85fdac4c630107000201" +
		"138cb36aea07924e46a52cee3e8bce6ea6648b8abc5bb8500101d194ba77b4e1cd5105a7260cf57aaeaa0207a01f2deaffdc70a9eae44e1cc3b1c552" +
		"aa850303a0a87a0002085094844bee07964eca63ef7815f2627fc30371d72d839cf0010823e9bcdaf88ea7ebaa7f60ed4307afff0206a01f9f21347c" +
		"50d136e5ce1f587559ac4e500306a0a87a00020b77c801e807904ede235ed9cd5649eb1f6d3b95c1ce30ed010bcc120569f24095e08d7a65a78090b5" +
		"6f0209a01fb3976e5e305563a444f7c3b50e3b12350309a0a87a00020850d0db5aec07944e5660589eb7c5ceff7b57d03092dd201c0108333b94e5f5" +
		"b49fc45aace508b09200450206a01f62043e35579d6f97d0865479faf19fa50306a0a87a0002053baa9a35e907914e5dcc484a93ea5d3b2ed53826f9" +
		"87d1ff0105efd1b571c393af1a3f285edfb74fadec0203a01f9d02e35d7173c77408793c46622601890303a0a87a00"
	value, err := hex.DecodeString(stored)
	if err != nil {
		t.Fatal(err)
	}
	want := benchPacked(t, 8)
	if got := new(condenser).bucket(nil, bucketOfPacked(want), 5); !bytes.Equal(got, value) {
		t.Errorf("the same payments are stored in another way now (which is allowed):\n%x", got)
	}
	if got, sequence, err := expanded(value); err != nil || sequence != 5 || !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%d payments of commit %d, %v:\n%x\nwant\n%x", len(got), sequence, err, got, want)
	}
}

// A state of another version is not read, nor one that is cut into other buckets.
func TestAnotherStateFormatIsRefused(t *testing.T) {
	s := New()
	if err := s.Step(configRecord(testConfig(nil), 0), new(Output)); err != nil {
		t.Fatal(err)
	}
	c, err := NewRecorder(s).Commit(1, Position{Offset: 9})
	if err != nil {
		t.Fatal(err)
	}
	load := func(format, buckets int) error {
		meta := bytes.Replace(c.Meta, fmt.Appendf(nil, `"format":%d`, StateFormat), fmt.Appendf(nil, `"format":%d`, format), 1)
		meta = bytes.Replace(meta, fmt.Appendf(nil, `"buckets":%d`, bucketCount), fmt.Appendf(nil, `"buckets":%d`, buckets), 1)
		_, position, err := Load(meta, c.Buckets, [][]byte{c.Delta})
		if err == nil && position.Offset != 9 {
			t.Errorf("format %d is at %d", format, position.Offset)
		}
		return err
	}
	for format, want := range map[int]error{1: ErrOlderState, StateFormat - 1: ErrOlderState, StateFormat: nil, StateFormat + 1: ErrNewerState} {
		if err := load(format, bucketCount); !errors.Is(err, want) {
			t.Errorf("format %d: %v, want %v", format, err, want)
		}
	}
	if err := load(StateFormat, 2*bucketCount); !errors.Is(err, ErrNewerState) {
		t.Errorf("twice as many buckets: %v", err)
	}
}

// FuzzExpand: what is no stored bucket gives an error; what can be read is, stored again,
// the same payments. Whatever is stored as a payment comes back.
func FuzzExpand(f *testing.F) {
	payments := append(packedStates(f), benchPacked(f, 30)...)
	f.Add(condense(f, payments))
	f.Add(condense(f, payments[len(payments)-30:]))
	for _, p := range payments {
		f.Add(append([]byte{1, asPacked}, p...))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) > 0 {
			condense(t, [][]byte{value, value})
		}
		if payments, _, err := expanded(value); err == nil {
			condense(t, payments)
		}
	})
}
