package main

import (
	"encoding/binary"
	"io"
	"net"
	"unicode/utf8"
)

type object = map[string]any

// refusal is a typed error by code and reason; whoever refuses panics with it.
type refusal struct{ code, reason string }

func refuseUnless(right bool, code, reason string) {
	if !right {
		panic(refusal{code, reason})
	}
}

// attempt returns what call does, or what it refused by a panic.
func attempt(call func() object) (result, refused object) {
	defer func() {
		if caught := recover(); caught != nil {
			said := caught.(refusal) // anything else is a mistake of ours, and the end of the worker
			refused = object{"code": said.code, "reason": said.reason, "message": "refused by the worker"}
		}
	}()
	return call(), nil
}

// receive returns the next message, and nil at the end of the link or where no message is.
func receive(link net.Conn) object {
	head := make([]byte, 4)
	if _, err := io.ReadFull(link, head); err != nil || binary.BigEndian.Uint32(head) > 4<<20 {
		return nil
	}
	body := make(packed, binary.BigEndian.Uint32(head))
	if _, err := io.ReadFull(link, body); err != nil {
		return nil
	}
	message, _ := attempt(func() object {
		found, _ := body.next(0).(object)
		refuseUnless(len(body) == 0, "request.malformed", "not_msgpack")
		return found
	})
	return message
}

func send(link net.Conn, message object) {
	body := pack(message)
	link.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)) // receive sees the end of a link
}

func fail(link net.Conn, id any, code, reason any) {
	message := object{"type": "error", "code": code, "message": "refused by the worker", "retryable": false}
	message["details"] = object{"reason": reason}
	if id != nil {
		message["id"] = id
	}
	send(link, message)
}

// forms are the tags of msgpack by what follows: nothing (width 0, the tag itself counts) or a count of width bytes, twice
// as wide with each further tag. What a worker has no use for is of kind '-' and becomes nil.
var forms = []struct {
	first, last, kind byte
	width             int
}{
	{0x00, 0x7f, 'i', 0}, {0x80, 0x8f, 'm', 0}, {0x90, 0x9f, 'a', 0}, {0xa0, 0xbf, 's', 0}, {0xc0, 0xc0, '-', 0},
	{0xc2, 0xc3, '-', 0}, {0xc4, 0xc6, 'b', 1}, {0xca, 0xcb, '-', 4}, {0xcc, 0xcf, 'i', 1}, {0xd0, 0xd3, '-', 1},
	{0xd9, 0xdb, 's', 1}, {0xdc, 0xdd, 'a', 2}, {0xde, 0xdf, 'm', 2}, {0xe0, 0xff, '-', 0},
}

// packed is what is left to decode; its methods refuse what is no msgpack.
type packed []byte

func (p *packed) take(n int) []byte {
	refuseUnless(n >= 0 && n <= len(*p), "request.malformed", "not_msgpack")
	taken := (*p)[:n]
	*p = (*p)[n:]
	return taken
}

// next takes one value: int, string, []byte, []any, object or nil. A map has texts as keys, each of them once.
func (p *packed) next(depth int) any {
	tag, n := p.take(1)[0], 0
	form := forms[0]
	for _, form = range forms {
		if tag >= form.first && tag <= form.last {
			break
		}
	}
	refuseUnless(tag >= form.first && depth < 16, "request.malformed", "not_msgpack")
	if form.width == 0 {
		n = int(tag - form.first)
	} else {
		for _, b := range p.take(form.width << (tag - form.first)) {
			n = n<<8 | int(b)
		}
	}
	switch form.kind {
	case 'i':
		return n
	case 'b':
		return p.take(n)
	case 's':
		text := string(p.take(n))
		refuseUnless(utf8.ValidString(text), "request.malformed", "bad_utf8")
		return text
	case 'a':
		list := []any{}
		for ; n > 0; n-- {
			list = append(list, p.next(depth+1))
		}
		return list
	case 'm':
		table := object{}
		for ; n > 0; n-- {
			key, isText := p.next(depth + 1).(string)
			_, twice := table[key]
			refuseUnless(isText && !twice, "request.malformed", "repeated_key")
			table[key] = p.next(depth + 1)
		}
		return table
	}
	return nil
}

// pack encodes what this worker sends, counts in their longest form; its one bool is false.
func pack(value any) []byte {
	counted := func(tag byte, n int) []byte { return binary.BigEndian.AppendUint32([]byte{tag}, uint32(n)) }
	switch value := value.(type) {
	case int:
		return counted(0xce, value)
	case string:
		return append(counted(0xdb, len(value)), value...)
	case []byte:
		return append(counted(0xc6, len(value)), value...)
	case []any:
		out := counted(0xdd, len(value))
		for _, one := range value {
			out = append(out, pack(one)...)
		}
		return out
	case object:
		out := counted(0xdf, len(value))
		for key, one := range value {
			out = append(append(out, pack(key)...), pack(one)...)
		}
		return out
	}
	return []byte{0xc2}
}
