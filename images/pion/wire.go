package main

import (
	"bytes"
	"encoding/binary"
)

// The frames that two peers exchange, as in testbed/stacks/wire.py.
const (
	payloadLimit = 1000
	headerBytes  = 28 // magic, kind, role, session, number, size: network order, no padding

	kindData = 4 // to be sent back
	kindBack = 5 // a DATA that was sent back

	roleDialer   = 0
	roleListener = 1
)

var magic = []byte{0xf5, 't', 'b', '1'}

type frame struct {
	kind    byte
	role    byte // the sender's: nobody answers itself
	session [16]byte
	number  uint32
	payload []byte
}

func (f frame) encode() []byte {
	data := append(make([]byte, 0, headerBytes+len(f.payload)), magic...)
	data = append(data, f.kind, f.role)
	data = append(data, f.session[:]...)
	data = binary.BigEndian.AppendUint32(data, f.number)
	data = binary.BigEndian.AppendUint16(data, uint16(len(f.payload)))
	return append(data, f.payload...)
}

// decode gives the frame that data is; false if it is not exactly one.
func decode(data []byte) (frame, bool) {
	if len(data) < headerBytes || !bytes.HasPrefix(data, magic) || data[5] > roleListener {
		return frame{}, false
	}
	f := frame{
		kind:    data[4],
		role:    data[5],
		session: [16]byte(data[6:22]),
		number:  binary.BigEndian.Uint32(data[22:]),
		payload: data[headerBytes:],
	}
	size := int(binary.BigEndian.Uint16(data[26:]))
	return f, len(f.payload) == size && size <= payloadLimit
}
