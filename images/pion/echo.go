package main

import (
	"bytes"
	"io"
	"math/rand"
	"sync"
	"time"
)

const (
	echoRounds    = 5 // a datagram is sent at most so often
	echoPace      = time.Millisecond
	roundDeadline = 500 * time.Millisecond // for the last one to come back
)

// echo is both ends of an echo over datagrams.
type echo struct {
	role    byte
	session [16]byte

	mutex    sync.Mutex
	missing  map[uint32][]byte
	complete chan struct{}
}

func (e *echo) say(kind byte, number uint32, payload []byte) []byte {
	return frame{kind, e.role, e.session, number, payload}.encode()
}

// serve takes the other side's datagrams, answers them or counts them, until conn ends.
func (e *echo) serve(conn io.ReadWriter) error {
	buffer := make([]byte, 1<<16)
	for {
		size, err := conn.Read(buffer)
		if err != nil {
			return err
		}
		f, whole := decode(buffer[:size])
		if !whole || f.session != e.session || f.role == e.role {
			continue
		}
		switch f.kind {
		case kindData:
			// What cannot be sent is as good as lost, and is asked for again.
			_, _ = conn.Write(e.say(kindBack, f.number, f.payload))
		case kindBack:
			e.returned(f)
		}
	}
}

func (e *echo) returned(f frame) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if sent, open := e.missing[f.number]; open && bytes.Equal(sent, f.payload) {
		delete(e.missing, f.number)
		if len(e.missing) == 0 {
			close(e.complete)
		}
	}
}

// run sends count bytes, in payloads that begin with nonce, and gives the number of those that came
// back unaltered.
func (e *echo) run(conn io.Writer, count int, seed int64, nonce []byte) int {
	data := make([]byte, count)
	rand.New(rand.NewSource(seed)).Read(data)
	total := uint32((count + payloadLimit - 1) / payloadLimit)
	e.mutex.Lock()
	e.complete = make(chan struct{})
	e.missing = make(map[uint32][]byte, total)
	for number := range total {
		start := int(number) * payloadLimit
		e.missing[number] = data[start:min(start+payloadLimit, count)]
		copy(e.missing[number], nonce)
	}
	e.mutex.Unlock()
	for round := 0; round < echoRounds && !e.round(conn, total); round++ {
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	for _, payload := range e.missing {
		count -= len(payload)
	}
	e.missing = nil
	return count
}

// round sends what is missing, and says whether all came back.
func (e *echo) round(conn io.Writer, total uint32) bool {
	for number := range total {
		e.mutex.Lock()
		payload, open := e.missing[number]
		e.mutex.Unlock()
		if open {
			_, _ = conn.Write(e.say(kindData, number, payload))
			time.Sleep(echoPace)
		}
	}
	select {
	case <-e.complete:
		return true
	case <-time.After(roundDeadline):
		return false
	}
}
