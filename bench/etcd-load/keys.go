package main

import (
	"encoding/binary"
	"fmt"
	"math/rand"
)

// The keys of ../support/keys.ts, named by a number.

const directoryKeys = 100

func mix(i uint32) uint32 {
	h := i
	h = (h ^ (h >> 16)) * 0x85ebca6b
	h = (h ^ (h >> 13)) * 0xc2b2ae35
	return h ^ (h >> 16)
}

func prefix(i uint64) string {
	a := mix(uint32(i))
	return fmt.Sprintf("%08x%08x", a, mix(a))
}

func keyOf(i uint64) string          { return fmt.Sprintf("%skey/%012x", prefix(i), i) }
func directoryKeyOf(i uint64) string { return fmt.Sprintf("%sdir/%012x", prefix(i/directoryKeys), i) }

func directoryOf(i uint64) (start, end string) {
	directory := prefix(i/directoryKeys) + "dir"
	return directory + "/", directory + "0"
}

// A value that no other put has, made of one buffer a loop.
type values struct {
	buffer []byte
	random *rand.Rand
	count  uint32
}

func newValues(size int, random *rand.Rand) *values {
	buffer := make([]byte, size)
	random.Read(buffer)
	return &values{buffer: buffer, random: random}
}

func (v *values) next() string {
	if len(v.buffer) >= 8 {
		v.count++
		binary.BigEndian.PutUint32(v.buffer, v.count)
		binary.BigEndian.PutUint32(v.buffer[4:], v.random.Uint32())
	}
	return string(v.buffer)
}
