package rdb

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/larder-db/larder/engine/value"
)

// objectType is the type under which o is written.
func objectType(o Object) (byte, error) {
	switch o.Kind {
	case value.String:
		return typeString, nil
	case value.List:
		return typeList, nil
	case value.Set:
		return typeSet, nil
	case value.ZSet:
		return typeZSet, nil
	case value.Hash:
		return typeHash, nil
	}
	return 0, fmt.Errorf("%w: %s", ErrKind, o.Kind)
}

// AppendObject appends o to dst without its type: what Redis counts as an object's serialized length.
func AppendObject(dst []byte, o Object) ([]byte, error) {
	if _, err := objectType(o); err != nil {
		return dst, err
	}
	if o.Kind == value.String {
		return appendString(dst, o.String), nil
	}
	dst = appendLength(dst, uint64(o.Len))
	switch o.Kind {
	case value.Hash:
		for f, v := range o.Fields {
			dst = appendString(appendString(dst, f), v)
		}
	case value.ZSet:
		for m, score := range o.Scores {
			dst = binary.LittleEndian.AppendUint64(appendString(dst, m), math.Float64bits(score))
		}
	default:
		for e := range o.Elements {
			dst = appendString(dst, e)
		}
	}
	return dst, nil
}

// object reads one object of the given type.
func (r *reader) object(typ byte) (Object, error) {
	if typ == typeString {
		s, err := r.str()
		return Object{Kind: value.String, String: s}, err
	}
	l, ok := layouts[typ]
	if !ok {
		return Object{}, fmt.Errorf("%w: object type %d", ErrFormat, typ)
	}
	again := *r
	n, err := l.check(r)
	if err != nil {
		return Object{}, err
	}
	o := Object{Kind: l.kind, Len: n}
	switch l.kind {
	case value.Hash:
		o.Fields = l.pairs(again)
	case value.ZSet:
		o.Scores = func(yield func(m []byte, score float64) bool) {
			for m, s := range l.pairs(again) {
				if score, _ := l.score(s); !yield(m, score) {
					return
				}
			}
		}
	default:
		o.Elements = func(yield func(e []byte) bool) {
			for e := range l.pairs(again) {
				if !yield(e) {
					return
				}
			}
		}
	}
	return o, nil
}
