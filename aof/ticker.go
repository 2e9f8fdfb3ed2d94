package aof

import "time"

// tick is the ticker: once a second it syncs what EverySec owes and sees whether the log is idle.
func (l *Log) tick() {
	ticks := l.opts.Ticks
	if ticks == nil {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		ticks = ticker.C
	}
	for {
		select {
		case <-l.stop:
			return
		case <-ticks:
			l.onTick()
		}
	}
}

// onTick does a second's work. A failure has been handed to Options.Fatal, so there is nobody to return it to.
func (l *Log) onTick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.failed != nil {
		return
	}
	if l.mu.prepareErr != nil {
		l.mu.prepareErr = nil
		l.work.Signal()
	}
	idle := l.mu.written == l.mu.atTick
	l.mu.atTick = l.mu.written
	if l.mu.policy == EverySec {
		if l.awaitSyncLocked(l.mu.written) != nil {
			return
		}
	}
	// The last record is synced but no other vouches for it.
	if idle && l.mu.synced >= l.mu.content && l.mu.vouched < l.mu.content {
		l.writeVoucherLocked()
	}
}

func (l *Log) writeVoucherLocked() {
	if l.currentLocked().end+recordHeaderSize > l.currentLocked().size {
		return // the next turn vouches
	}
	if l.writeLocked(appendControl(nil, record{kind: kindVoucher})) == nil {
		l.mu.atTick = l.mu.written
		_ = l.awaitSyncLocked(l.mu.written)
	}
}
