package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The contract of testbed/stacks/contract.schema.json, version 2, as far as this peer needs it.

const nonceBytes = 16 // that an echo begins with

type endpoint struct {
	Address string `json:"address"`
	Port    int    `json:"port"`
}

type offer struct {
	Addresses  []endpoint      `json:"addresses"`
	Ice        json.RawMessage `json:"ice"`
	Multiaddrs []string        `json:"multiaddrs"`
}

type options struct {
	Mode      string `json:"mode"`
	RelayOnly bool   `json:"relay_only"`
}

// command is any of them; which members count is told by the first.
type command struct {
	Command string `json:"command"`

	Version      int             `json:"version"`
	Role         string          `json:"role"`
	Transport    string          `json:"transport"`
	LocalAddress string          `json:"local_address"`
	Port         int             `json:"port"`
	Stun         json.RawMessage `json:"stun"`
	Turn         json.RawMessage `json:"turn"`
	Relays       []string        `json:"relays"`
	Observers    []string        `json:"observers"`
	Session      string          `json:"session"`
	Seed         int64           `json:"seed"`
	Options      options         `json:"options"`
	Announce     *endpoint       `json:"announce"`
	ExtraTime    float64         `json:"extra_time"` // seconds

	Remote  offer `json:"remote"`
	StartAt int64 `json:"start_at"`

	Bytes int    `json:"bytes"`
	Nonce string `json:"nonce"`
}

func parse(line []byte) (command, error) {
	var c command
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return c, fmt.Errorf("not a command: %w", err)
	}
	if c.Command == "configure" && c.Version != 2 {
		return c, fmt.Errorf("this peer speaks version 2 of the contract, not %d", c.Version)
	}
	if c.Command == "echo" && (c.Bytes < 1 || c.Bytes > 1<<24) {
		return c, fmt.Errorf("an echo of %d bytes", c.Bytes)
	}
	if _, err := hex.DecodeString(c.Nonce); err != nil || len(c.Nonce)%(2*nonceBytes) != 0 {
		return c, fmt.Errorf("an echo with the nonce %q", c.Nonce)
	}
	return c, nil
}

// failure is a result, not an error of this program: there is no connection, and why.
type failure struct{ class, reason string }

func (f failure) Error() string { return f.class + ": " + f.reason }

// fields is what an event has beside its name and time.
type fields map[string]any

var stdout sync.Mutex

// emit tells of an event that happens now, or at the "at" of more.
func emit(event string, more fields) {
	line := fields{"event": event, "at": now()}
	for name, value := range more {
		line[name] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // of our own making
	}
	stdout.Lock()
	defer stdout.Unlock()
	_, _ = os.Stdout.Write(append(text, '\n'))
}

// now gives nanoseconds of the clock that all peers share.
func now() int64 {
	var time unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &time) // cannot fail
	return time.Nano()
}

// monotonic gives an instant of the wall clock by the clock that all peers share.
func monotonic(realtime int64) int64 {
	return max(0, now()-(time.Now().UnixNano()-realtime))
}

// longer gives a deadline with what a world of long ways adds to it.
func (c command) longer(usual time.Duration) time.Duration {
	return usual + time.Duration(c.ExtraTime*float64(time.Second))
}

// until gives the time that is left to an instant of that clock.
func until(instant int64) time.Duration {
	return time.Duration(max(0, instant-now()))
}

// clipped is words that fit the contract.
func clipped(words string) string {
	return words[:min(len(words), 1000)]
}
