// go-libp2p as a peer: relayed first, then upgraded by reversal or DCUtR (libp2p relay/DCUtR.md).
//
// It speaks the testbed's contract on its standard streams, and words for humans on stderr.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
)

const (
	lineLimit = 65536
	module    = "github.com/libp2p/go-libp2p"
)

type state int

const (
	start state = iota
	gathering
	offered
	dialing
	connected
	echoing
	serving
	failed
)

// What a command needs, and where it leads while it is carried out.
var order = map[string][2]state{
	"configure": {start, gathering},
	"dial":      {offered, dialing},
	"echo":      {connected, echoing},
}

func main() {
	var err error
	switch words := os.Args[1:]; {
	case len(words) == 0:
		err = run()
	case len(words) == 1 && words[0] == "--version":
		fmt.Println(version())
	default:
		err = errors.New("usage: go-libp2p [--version]")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func version() string {
	if info, known := debug.ReadBuildInfo(); known {
		for _, one := range info.Deps {
			if one.Path == module {
				return "go-libp2p " + one.Version
			}
		}
	}
	return "go-libp2p"
}

// run speaks the contract until "close".
func run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p := newPeer()
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
			if at == connected {
				p.begin()
			}
		case err := <-ended:
			return err
		case line := <-lines:
			c, err := parse(line)
			if err != nil {
				return err
			}
			if c.Command == "close" && at != start {
				if at != gathering { // else the node is still being made; the exit takes it along
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
		emit("failed", fields{"failure": f.class, "reason": clipped(f.reason)})
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
		return p.begun(ctx, c)
	case "dial":
		more, err := p.dial(ctx, c)
		return result{"connected", more, connected, err}
	default:
		back, err := p.echo(ctx, c.Bytes, c.Nonce)
		return result{"echoed", fields{"bytes": back}, connected, err}
	}
}

// begun is what configuring ends with, by the role.
func (p *peer) begun(ctx context.Context, c command) result {
	switch c.Role {
	case "dialer", "listener":
		told, err := p.gather(ctx, c)
		return result{"offer", fields{"offer": told, "accepts": []string{"nonce"}}, offered, err}
	case "relay", "autonat_server":
		more, err := p.serve(c)
		return result{"ready", more, serving, err}
	case "autonat_client":
		more, err := p.ask(ctx, c)
		return result{"verdicts", more, serving, err}
	}
	return result{err: failure{"unsupported", "no role " + c.Role}}
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
