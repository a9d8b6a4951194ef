// An ICE peer on pion: host, server-reflexive and relayed candidates (RFC 8445, RFC 8656).
//
// It speaks the testbed's contract on its standard streams, and words for humans on stderr.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
)

const lineLimit = 65536

type state int

const (
	start state = iota
	gathering
	offered
	dialing
	connected
	echoing
	failed
)

// What a command needs, and where it leads while it is carried out.
var order = map[string][2]state{
	"configure": {start, gathering},
	"dial":      {offered, dialing},
	"echo":      {connected, echoing},
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println(version())
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func version() string {
	if info, known := debug.ReadBuildInfo(); known {
		for _, module := range info.Deps {
			if module.Path == "github.com/pion/ice/v4" {
				return "pion/ice " + module.Version
			}
		}
	}
	return "pion/ice"
}

// run speaks the contract until "close".
func run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var p peer
	at := start
	lines, ended := read()
	done := make(chan result, 1)
	for {
		select {
		case outcome := <-done:
			next, err := outcome.tell()
			if err != nil {
				return err
			}
			at = next
		case err := <-ended:
			return err
		case line := <-lines:
			c, err := parse(line)
			if err != nil {
				return err
			}
			if c.Command == "close" && at != start {
				if at != gathering { // else the agent is still being made; the exit takes it along
					p.close()
				}
				emit("closed", nil)
				return nil
			}
			step, known := order[c.Command]
			if known && at == failed && c.Command != "configure" {
				continue // it crossed our event, and is without effect
			}
			if !known || step[0] != at {
				return fmt.Errorf("%q is out of order", c.Command)
			}
			at = step[1]
			go func() { done <- p.obey(ctx, c) }()
		}
	}
}

// result is the event that a command ends with, and the state after it.
type result struct {
	event string
	more  fields
	next  state
	err   error
}

func (r result) tell() (state, error) {
	var f failure
	if errors.As(r.err, &f) {
		emit("failed", fields{"failure": f.class, "reason": f.reason[:min(len(f.reason), 1000)]})
		return failed, nil
	}
	if r.err == nil {
		emit(r.event, r.more)
	}
	return r.next, r.err
}

func (p *peer) obey(ctx context.Context, c command) result {
	switch c.Command {
	case "configure":
		session, err := c.session()
		if err != nil {
			return result{err: err}
		}
		p.configure = c
		role := byte(roleDialer)
		if c.Role == "listener" {
			role = roleListener
		}
		p.echo = &echo{role: role, session: session}
		told, err := p.gather()
		return result{"offer", fields{"offer": told, "accepts": []string{"nonce"}}, offered, err}
	case "dial":
		more, err := p.dial(ctx, c)
		return result{"connected", more, connected, err}
	default:
		nonce, _ := hex.DecodeString(c.Nonce) // the contract has been looked at
		back := p.echo.run(p.conn, c.Bytes, p.configure.Seed, nonce)
		return result{"echoed", fields{"bytes": back}, connected, nil}
	}
}

func (p *peer) close() {
	if p.agent != nil {
		_ = p.agent.Close()
	}
}

// read gives stdin line by line, and why it ended.
func read() (<-chan []byte, <-chan error) {
	lines, ended := make(chan []byte), make(chan error, 1)
	go func() {
		scanner := bufio.NewScanner(os.Stdin)
		scanner.Buffer(make([]byte, 4096), lineLimit)
		for scanner.Scan() {
			lines <- append([]byte(nil), scanner.Bytes()...)
		}
		err := scanner.Err()
		if err == nil {
			err = fmt.Errorf("the harness went away without a word: %w", io.EOF)
		}
		ended <- err
	}()
	return lines, ended
}
