package command

// setOptions are the options of SET and GETEX. They stay as they were written: what they mean depends on the clock.
type setOptions struct {
	onlyNew, onlyOld bool // NX, XX
	get              bool
	keepTTL          bool
	persist          bool
	expiry           []byte // the argument of EX, PX, EXAT or PXAT; nil: none of them
	unit             expiryUnit
}

// parseSetOptions reads what follows SET's key and value; ok is false where the syntax is wrong.
func parseSetOptions(args [][]byte) (o setOptions, ok bool) {
	for len(args) > 0 {
		arg := args[0]
		switch {
		case isWord(arg, "NX") && !o.onlyOld:
			o.onlyNew = true
		case isWord(arg, "XX") && !o.onlyNew:
			o.onlyOld = true
		case isWord(arg, "GET"):
			o.get = true
		case isWord(arg, "KEEPTTL") && o.expiry == nil:
			o.keepTTL = true
		default:
			if !o.parseExpiry(args) {
				return o, false
			}
			args = args[1:]
		}
		args = args[1:]
	}
	return o, true
}

// parseGetExOptions reads what follows GETEX's key; ok is false where the syntax is wrong.
func parseGetExOptions(args [][]byte) (o setOptions, ok bool) {
	for len(args) > 0 {
		if isWord(args[0], "PERSIST") && o.expiry == nil {
			o.persist = true
			args = args[1:]
			continue
		}
		if !o.parseExpiry(args) {
			return o, false
		}
		args = args[2:]
	}
	return o, true
}

// parseExpiry reads one of EX, PX, EXAT and PXAT with its argument. Another word for the time to live must not stand
// before it, but the same word may, and the last one counts.
func (o *setOptions) parseExpiry(args [][]byte) bool {
	var unit expiryUnit
	switch arg := args[0]; {
	case isWord(arg, "EX"):
		unit = expiryUnit{seconds: true}
	case isWord(arg, "PX"):
	case isWord(arg, "EXAT"):
		unit = expiryUnit{seconds: true, absolute: true}
	case isWord(arg, "PXAT"):
		unit = expiryUnit{absolute: true}
	default:
		return false
	}
	if len(args) < 2 || o.keepTTL || o.persist || o.expiry != nil && o.unit != unit {
		return false
	}
	o.expiry, o.unit = args[1], unit
	return true
}
